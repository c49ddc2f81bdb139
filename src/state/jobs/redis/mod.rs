//! Jobs in Redis: streams with a consumer group, shared by any number of gateways and workers.
//!
//! The hash of a job is the truth about it: a change compares and replaces its `Word` (`record`), and everything else
//! that the change means happens in the same transaction (`when`). An entry of a stream is the turn of a job in its queue
//! and, while a worker has the job, its lease: how long ago that was last confirmed is for Redis's clock to say, so that no
//! gateway's clock can end one. A set of tenants that have jobs waiting is what turns are made of; it is a hint.

mod board;
mod keys;
mod medium;
mod when;

mod record;

mod change;

mod claim;
mod end;
mod hooks;
mod look;
mod submit;

mod keeper;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::board::Board;
use self::claim::Round;
use self::keys::Keys;
use self::medium::Medium;
use super::{
    Again, Cancelled, Hook, HookEnd, JobCounts, JobFilter, JobStore, JobStoreFault, JobTerms, Lease, Parts, Renewal,
    Requeued, Scope, Stop, Submission, Submitted, TakenJob, WorkerId,
};
use crate::model::job::{JobEnd, JobId, JobRecord};
use crate::state::store::StoreFault;
use crate::state::store::redis::leases::Leases;
use crate::state::store::redis::{Redis, Script};

/// By so much the store's clock may seem to go back, because it is told with the inaccuracy of a round trip.
const INACCURACY_MS: u64 = 100;

/// Jobs in Redis.
pub struct RedisJobs {
    redis: Arc<Redis>,
    /// Another connection, for submissions that wait for replicas: nothing else could be asked on it meanwhile.
    replicated: Redis,
    keys: Keys,
    when: Script,
    keepers: Leases,
    terms: watch::Sender<JobTerms>,
    round: Mutex<Round>,
    board: Board,
    medium: Medium,
    /// The latest moment that the store's clock was said to show, in milliseconds.
    latest: AtomicU64,
    /// Numbers what is delayed until the same moment.
    delayed: AtomicU64,
    is_closed: AtomicBool,
}

impl From<StoreFault> for JobStoreFault {
    fn from(fault: StoreFault) -> Self {
        JobStoreFault::Store(fault)
    }
}

impl RedisJobs {
    /// Jobs in this Redis, over these two connections, which nothing else uses. Connections are made when
    /// [`run`](JobStore::run) runs; until then it is out.
    pub fn new(redis: Redis, replicated: Redis, terms: JobTerms) -> Self {
        let redis = Arc::new(redis);
        Self {
            keys: Keys::new(&redis),
            when: when::script(),
            keepers: Leases::new(redis.clone(), "jobs-keeper"),
            terms: watch::Sender::new(terms),
            round: Mutex::default(),
            board: Board::default(),
            medium: Medium::default(),
            latest: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            replicated,
            redis,
        }
    }

    fn terms(&self) -> JobTerms {
        *self.terms.borrow()
    }

    /// Nothing is done for a store that was given up.
    fn open(&self) -> Result<(), JobStoreFault> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(JobStoreFault::Closed),
            false => Ok(()),
        }
    }

    /// What the store's clock shows, in milliseconds since 1970, or a little more. It goes back only when that clock was set
    /// back: of two jobs that are delayed for the same time, the first is due first.
    fn now(&self) -> Result<u64, StoreFault> {
        let now = self.redis.time().ok_or(StoreFault::Out)?.latest_ms;
        let before = self.latest.load(Ordering::Relaxed);
        if now < before && before - now < INACCURACY_MS {
            return Ok(before);
        }
        self.latest.store(now, Ordering::Relaxed);
        Ok(now)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl JobStore for RedisJobs {
    fn configure(&self, terms: JobTerms) {
        self.terms.send_replace(terms);
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Submitted, JobStoreFault>> {
        Box::pin(self.accept(submission))
    }

    fn take<'a>(&'a self, worker: &'a WorkerId, most: usize) -> BoxFuture<'a, Result<Vec<TakenJob>, JobStoreFault>> {
        Box::pin(self.claim_some(worker, most))
    }

    fn renew<'a>(&'a self, held: &'a [Renewal]) -> BoxFuture<'a, Result<Vec<Option<Stop>>, JobStoreFault>> {
        Box::pin(self.renew_all(held))
    }

    fn finish<'a>(&'a self, lease: &'a Lease, end: JobEnd) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        Box::pin(self.end(lease, end))
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, again: Again) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        Box::pin(self.give_back(lease, again))
    }

    fn cancel<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Cancelled, JobStoreFault>> {
        Box::pin(self.cancel_one(scope, id))
    }

    fn find<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a JobId,
        parts: Parts,
    ) -> BoxFuture<'a, Result<Option<JobRecord>, JobStoreFault>> {
        Box::pin(self.find_one(scope, id, parts))
    }

    fn list<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a JobFilter,
    ) -> BoxFuture<'a, Result<Vec<JobRecord>, JobStoreFault>> {
        Box::pin(self.list_some(scope, filter))
    }

    fn requeue<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Requeued, JobStoreFault>> {
        Box::pin(self.requeue_one(scope, id))
    }

    fn purge<'a>(&'a self, scope: &'a Scope, filter: &'a JobFilter) -> BoxFuture<'a, Result<u64, JobStoreFault>> {
        Box::pin(self.purge_some(scope, filter))
    }

    fn counts<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<JobCounts, JobStoreFault>> {
        Box::pin(self.count(scope))
    }

    fn take_hooks(&self, most: usize, hold: Duration) -> BoxFuture<'_, Result<Vec<Hook>, JobStoreFault>> {
        Box::pin(self.claim_hooks(most, hold))
    }

    fn settle_hook<'a>(&'a self, id: &'a JobId, then: HookEnd) -> BoxFuture<'a, Result<(), JobStoreFault>> {
        Box::pin(self.end_hook(id, then))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.board.news()
    }

    fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        self.board.watch(id)
    }

    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.keep())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // What was asked for before is on its way to Redis, or its caller learns that it failed.
        self.is_closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(()))
    }

    fn outage(&self) -> Option<JobStoreFault> {
        self.open()
            .err()
            .or_else(|| self.redis.is_out().then_some(StoreFault::Out.into()))
            .or_else(|| (self.medium.is_volatile() && !self.terms().is_volatile).then_some(JobStoreFault::Volatile))
    }
}
