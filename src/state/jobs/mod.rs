//! Jobs: the store that keeps accepted jobs until they are done, and their ends for a while ([`JobStore`]).
//!
//! It does not know what a job asks (that is sealed), when an attempt is made again, nor how callers spell any of it.
//! A store reads no wall clock for leases: see [`JobStore::take`].

pub mod seal;
pub mod seats;
pub mod turns;
pub mod watchers;

pub mod file;
pub mod redis;

pub mod process;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::job::{JobEnd, JobFault, JobId, JobKind, JobPriority, JobProgress, JobRecord, JobState, NewJob};
use crate::state::store::StoreFault;

/// Keeps jobs. *Durable* below means: the answer comes after the write, and what was answered outlives a `kill -9` of this
/// process and, as far as the medium promises it, of the store. *Atomic* means: all of it happens or nothing, and nobody
/// sees a part.
///
/// Each job's record is the truth about it. The fence is the number of its claim: [`take`](Self::take) raises it, and only
/// who holds the newest claim can renew, finish or put back. Where a method answers with a fault it is unknown whether it
/// took effect, and it may be repeated: [`submit`](Self::submit), [`finish`](Self::finish), [`put_back`](Self::put_back)
/// and [`cancel`](Self::cancel) done twice are done once.
pub trait JobStore: Send + Sync {
    /// Takes over new terms, at the start and after each reload. What is already decided (when a result expires) stays.
    fn configure(&self, terms: JobTerms);

    /// Writes all jobs of a submission or none: atomic and durable, the key of [`Once`] included. Jobs without delay wait
    /// behind those that wait, in their order.
    ///
    /// A job whose id is known already is not written again. So a submission whose answer was lost can be repeated with
    /// the same ids.
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Submitted, JobStoreFault>>;

    /// Claims up to `most` jobs. Tenants are served in turns ([`turns::Turns`]): of each tenant one job a round, the
    /// highest priority first, and within a priority in the order in which they were queued. Each claim is atomic and
    /// durable before it is answered, raises the fence and charges an attempt: a worker that dies has used it up.
    ///
    /// A claim lasts for [`JobTerms::lease`] unless it is renewed. Then the job is queued again, at its place, and the next
    /// to take it gets it with [`TakenJob::is_takeover`]. Leases go by the clock of the store's process (Redis), or by
    /// `tokio::time::Instant` and end with the process (file), so that no wall clock can end one.
    ///
    /// It does not wait: no jobs means an empty list, and [`news`](Self::news) says when to come back.
    fn take<'a>(&'a self, worker: &'a WorkerId, most: usize) -> BoxFuture<'a, Result<Vec<TakenJob>, JobStoreFault>>;

    /// Extends leases by [`JobTerms::lease`] from now, and notes progress; one answer for each, in their order. `Some`:
    /// the lease is over and the work must stop. Each is atomic by itself. Progress is not durable. A fault says nothing
    /// about the leases: the worker goes on, and tries again before the lease has passed.
    fn renew<'a>(&'a self, held: &'a [Renewal]) -> BoxFuture<'a, Result<Vec<Option<Stop>>, JobStoreFault>>;

    /// Ends a job: writes its end, its new state, when that expires, and the webhook's row if it has one. Atomic and durable.
    /// False: the lease is no longer the newest claim, and nothing was written. Done twice with one lease it answers true
    /// twice, and the first end stays.
    fn finish<'a>(&'a self, lease: &'a Lease, end: JobEnd) -> BoxFuture<'a, Result<bool, JobStoreFault>>;

    /// Gives a job back. Atomic and durable. False: the lease is no longer the newest claim, and nothing was changed.
    fn put_back<'a>(&'a self, lease: &'a Lease, again: Again) -> BoxFuture<'a, Result<bool, JobStoreFault>>;

    /// Cancels a job that is not over. Atomic and durable: from then on a worker that has it cannot write any more, is told
    /// through [`TakenJob::signal`] as soon as the store hears of it, and by its next [`renew`](Self::renew) at the latest.
    fn cancel<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Cancelled, JobStoreFault>>;

    /// A job, with as much of its contents as asked for. `None`: there is none, it has expired, or it is beyond the scope.
    fn find<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a JobId,
        parts: Parts,
    ) -> BoxFuture<'a, Result<Option<JobRecord>, JobStoreFault>>;

    /// Jobs without contents, those first that entered their state last. One moment's view is not promised.
    fn list<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a JobFilter,
    ) -> BoxFuture<'a, Result<Vec<JobRecord>, JobStoreFault>>;

    /// Has a failed or cancelled job tried again from its first attempt on, behind those that wait; its time
    /// ([`JobFacts::begins`](crate::model::job::JobFacts)) begins anew. Atomic and durable.
    fn requeue<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Requeued, JobStoreFault>>;

    /// Deletes jobs that are over and match, at most [`JobFilter::limit`] of them, and says how many. States of jobs that
    /// are not over match nothing. Durable; each job is deleted whole.
    fn purge<'a>(&'a self, scope: &'a Scope, filter: &'a JobFilter) -> BoxFuture<'a, Result<u64, JobStoreFault>>;

    /// How many jobs there are in each state.
    fn counts<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<JobCounts, JobStoreFault>>;

    /// Webhooks that are due, up to `most`. Each is hidden from others for `hold`, counted as tried, and due again after
    /// that unless it is settled: told at least once. Atomic and durable for each.
    fn take_hooks(&self, most: usize, hold: Duration) -> BoxFuture<'_, Result<Vec<Hook>, JobStoreFault>>;

    /// Ends a webhook, or has it tried again. Atomic and durable.
    fn settle_hook<'a>(&'a self, id: &'a JobId, then: HookEnd) -> BoxFuture<'a, Result<(), JobStoreFault>>;

    /// Changes when there may be something to take, or a webhook to send, for runners. It may change for no reason, and a change elsewhere may go
    /// unseen: look every few seconds as well.
    fn news(&self) -> watch::Receiver<u64>;

    /// Changes when this job has changed, its progress included, for those who watch one. While the receiver lives its
    /// worker is told that somebody watches. It gives no access: whoever reads does so by [`find`](Self::find). A change
    /// elsewhere may go unseen: look every few seconds as well.
    fn watch(&self, id: &JobId) -> watch::Receiver<u64>;

    /// Does what the store needs done in the background: delays that end, leases that were lost, what has expired. Runs
    /// until dropped.
    fn run(&self) -> BoxFuture<'_, ()>;

    /// True when only one process at a time can have the medium: the next one waits until this one has closed it.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Gives up the medium, for a successor: what was asked for before is done, what is asked for later is
    /// [`JobStoreFault::Closed`]. Put jobs back before.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Why a submission would be refused now, as far as that is known without asking; `None`: nothing is known against it.
    fn outage(&self) -> Option<JobStoreFault>;
}

/// What the config says to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTerms {
    /// How long a worker has a job without a sign of life.
    pub lease: Duration,
    /// How long completed jobs are kept.
    pub keep_results: Duration,
    /// How long failed and cancelled jobs are kept.
    pub keep_failures: Duration,
    /// Jobs of all tenants that may be queued or delayed.
    pub max_waiting: u64,
    /// Jobs of one tenant that may be queued or delayed.
    pub max_waiting_per_tenant: u64,
    /// Replicas that must have a submission before it is accepted (Redis).
    pub replicas: u32,
    /// True: a store that does not write to disk will do (Redis without AOF).
    pub is_volatile: bool,
}

/// Jobs that are submitted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The jobs, all of one tenant, in the order in which they are to be queued.
    pub jobs: Vec<NewJob>,
    /// What makes it a submission that is accepted once.
    pub once: Option<Once>,
}

/// A submission that is accepted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The caller's key, as a hash that no other caller's key has.
    pub key: [u8; 32],
    /// The request, as a hash.
    pub request: [u8; 32],
    /// For how long it is remembered.
    pub keep: Duration,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is written.
    Accepted,
    /// It was accepted before, with these ids; nothing was written. The jobs may have expired since.
    Known(Vec<JobId>),
    /// Another request has used the key; nothing was written.
    KeyReused,
    /// Too many jobs wait, of the tenant or of all; nothing was written. Between gateways that submit at the same moment the
    /// limit may be passed by what they submit.
    Full {
        /// The limit that it would exceed.
        most: u64,
        /// True for the tenant's own limit.
        is_tenants: bool,
    },
}

/// Who takes jobs: a name that no other worker has, ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// The worker of this name: hexadecimal digits of the World's chance.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A claim on a job. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Its priority.
    pub priority: JobPriority,
    /// The number of the claim; each job counts its own.
    pub fence: u64,
    /// Who claimed it.
    pub worker: WorkerId,
    /// What else the store has to know again; nobody else reads it.
    pub ticket: Arc<str>,
}

/// A job that a worker has to do.
#[derive(Debug)]
pub struct TakenJob {
    /// The claim.
    pub lease: Lease,
    /// The job, with its input. [`JobRecord::attempts`] counts this attempt; it may be more than the config allows, when
    /// workers died: then the worker has to fail the job at once.
    pub job: JobRecord,
    /// True when another worker's lease had passed.
    pub is_takeover: bool,
    /// What the store hears of the job meanwhile. Hints: [`JobStore::renew`] decides.
    pub signal: watch::Receiver<Signal>,
}

/// What a worker is told about a job that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signal {
    /// Why the work must stop; `None`: it goes on.
    pub stop: Option<Stop>,
    /// True while somebody watches: then progress is wanted several times a second, with the text so far.
    pub is_watched: bool,
}

/// Why a worker must drop a job. Nothing that it writes counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was cancelled.
    Cancelled,
    /// The lease has passed, and the job is another's or waits for one.
    Lost,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The claim.
    pub lease: Lease,
    /// How far the work is; `None`: as before.
    pub progress: Option<JobProgress>,
}

/// When a job that is given back is taken again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// As soon as may be, at its old place and with no attempt charged: its worker leaves.
    AtItsPlace,
    /// After a delay. Then it is queued behind those that wait; of those that are due at the same moment the one that was
    /// given back first is queued first.
    After {
        /// How long.
        delay: Duration,
        /// Whether the attempt counts.
        charge: Charge,
        /// Why, for those who look.
        fault: JobFault,
    },
}

/// Whether an attempt counts among those that a job has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It counts: it has failed.
    Attempt,
    /// It does not: the job has waited, and waiting is not failing.
    Nothing,
}

/// Whose jobs may be seen and changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one tenant; all others are as if they did not exist.
    Tenant(Arc<str>),
    /// Everybody's.
    Operator,
}

impl Scope {
    /// True when it covers jobs of this tenant.
    pub fn covers(&self, tenant: &str) -> bool {
        match self {
            Scope::Tenant(own) => **own == *tenant,
            Scope::Operator => true,
        }
    }
}

/// Which contents of a job are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// What it asks.
    pub input: bool,
    /// What came of it.
    pub result: bool,
}

/// Which jobs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; none: in any.
    pub states: Vec<JobState>,
    /// Of this tenant; `None`: of all that the scope covers.
    pub tenant: Option<Arc<str>>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// That entered their state before this.
    pub before: Option<Timestamp>,
    /// At most this many.
    pub limit: usize,
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled, now or since a cancellation before.
    Done,
    /// It had ended otherwise: completed or failed.
    Over(JobState),
    /// There is no such job in the scope.
    Unknown,
}

/// What became of a requeue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It waits for its turn.
    Done,
    /// It is in another state than failed or cancelled.
    Refused(JobState),
    /// There is no such job in the scope.
    Unknown,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Queued, by priority: high, normal, low.
    pub queued: [u64; 3],
    /// Delayed.
    pub delayed: u64,
    /// Active.
    pub active: u64,
    /// Completed and not expired.
    pub completed: u64,
    /// Failed and not expired: dead letters.
    pub failed: u64,
    /// Cancelled and not expired.
    pub cancelled: u64,
    /// Webhooks that are not settled; counted for operators only.
    pub hooks: u64,
    /// Since when the oldest queued job is queued.
    pub oldest: Option<Timestamp>,
}

impl JobCounts {
    /// Jobs that are queued or delayed.
    pub fn waiting(&self) -> u64 {
        self.queued.iter().sum::<u64>() + self.delayed
    }
}

/// A webhook that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The job that has ended.
    pub id: JobId,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// The URL, sealed.
    pub url: Bytes,
    /// How often it has been tried, this time included.
    pub attempts: u32,
    /// Since when: the job's end, by the store's wall clock.
    pub since: Timestamp,
}

/// What becomes of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEnd {
    /// It is settled: delivered, or given up.
    Settled,
    /// It is tried again after this time.
    Again(Duration),
    /// It was not tried, which does not count, and may be taken after this time.
    Untried(Duration),
}

/// Why a store did not do what it was asked. It names no address and no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStoreFault {
    /// The shared store did not answer, or said that it cannot.
    Store(StoreFault),
    /// The shared store does not write to disk, and `jobs.volatile` is not set.
    Volatile,
    /// Fewer replicas than `jobs.replicas` have the write. It may have been done.
    Unreplicated,
    /// The file cannot be opened, read or written: what happened to which file.
    File(Arc<str>),
    /// The store was handed over to the next process.
    Closed,
}

impl fmt::Display for JobStoreFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobStoreFault::Store(fault) => write!(out, "the store (Redis): {fault}"),
            JobStoreFault::Volatile => out.write_str(
                "the store (Redis) does not write to disk (appendonly is off), so an accepted job could be lost; set \
                 `appendonly yes` there, or `jobs.volatile = true` here if losing jobs is acceptable",
            ),
            JobStoreFault::Unreplicated => {
                out.write_str("fewer replicas than `jobs.replicas` confirmed the write in time")
            }
            JobStoreFault::File(what) => out.write_str(what),
            JobStoreFault::Closed => out.write_str("the job store was handed over to the next process"),
        }
    }
}
