//! File: the job store in one file of this process (redb), for a gateway without Redis; and the same in memory, for
//! simulated worlds.
//!
//! The file belongs to one process, so all claims are void when it is opened. It does not know what a job asks.

mod tables;

mod medium;
mod reads;
mod tally;

mod batch;

mod changes;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use redb::{Error, ReadTransaction};
use tokio::sync::watch;
use tokio::time::Instant;

use self::batch::Batch;
use self::medium::Medium;
use self::tables::{CONTENTS, JOBS, Part, STATES};
use self::writer::{Change, LOOK, PAUSE, Shared, Writer};
use super::{
    Again, Cancelled, Hook, HookEnd, JobCounts, JobFilter, JobStore, JobStoreFault, JobTerms, Lease, Parts, Renewal,
    Requeued, Scope, Stop, Submission, Submitted, TakenJob, WorkerId,
};
use crate::model::job::{JobEnd, JobId, JobRecord, JobState};
use crate::model::time::WallClock;

/// Jobs in a file.
pub struct FileStore {
    writer: Writer,
}

impl FileStore {
    /// The store in this file, which is opened when somebody needs it, and made by the first submission.
    pub fn new(file: PathBuf, clock: WallClock, terms: JobTerms) -> Self {
        Self { writer: Writer::new(Medium::File(file), clock, terms) }
    }

    /// A store that is gone with the process.
    pub fn in_memory(clock: WallClock, terms: JobTerms) -> Self {
        Self { writer: Writer::new(Medium::Memory, clock, terms) }
    }

    /// Makes the change with which a worker lets go of a job; false: its claim was no longer the newest one.
    async fn let_go(
        &self,
        lease: Lease,
        change: impl FnOnce(&mut Batch<'_>, &Lease) -> Result<bool, Error> + Send + 'static,
    ) -> Result<bool, JobStoreFault> {
        let change = move |batch: &mut Batch<'_>, shared: &Shared| {
            let is_done = change(batch, &lease)?;
            shared.watchers.release(&lease.id, lease.fence);
            Ok(is_done)
        };
        self.writer.write(false, change).await.map(Option::unwrap_or_default)
    }
}

impl JobStore for FileStore {
    fn configure(&self, terms: JobTerms) {
        *self.writer.shared.terms.lock() = terms;
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Submitted, JobStoreFault>> {
        Box::pin(async move {
            let submitted = self.writer.write(true, |batch, _| changes::submit(batch, submission)).await?;
            submitted.ok_or_else(|| self.writer.shared.last_fault())
        })
    }

    fn take<'a>(&'a self, worker: &'a WorkerId, most: usize) -> BoxFuture<'a, Result<Vec<TakenJob>, JobStoreFault>> {
        Box::pin(async move {
            let is_open = self.writer.shared.database.lock().is_some();
            let has_none = self.writer.shared.tally.lock().of(&Scope::Operator).queued == [0; 3];
            if is_open && (has_none || most == 0) && !self.writer.shared.is_due() {
                return Ok(Vec::new());
            }
            let worker = worker.clone();
            let take =
                move |batch: &mut Batch<'_>, shared: &Shared| changes::take(batch, &worker, most, &shared.watchers);
            // Nobody does what was taken for somebody who has left.
            let give_back = |shared: &Shared, taken: Vec<TakenJob>| {
                let back = taken.into_iter().map(|taken| -> Change {
                    Box::new(move |batch, shared| {
                        shared.watchers.release(&taken.lease.id, taken.lease.fence);
                        changes::put_back(batch, &taken.lease, Again::AtItsPlace)?;
                        Ok(Box::new(|_| ()))
                    })
                });
                shared.queue.lock().extend(back);
            };
            Ok(self.writer.write_or(false, take, give_back).await?.unwrap_or_default())
        })
    }

    fn renew<'a>(&'a self, held: &'a [Renewal]) -> BoxFuture<'a, Result<Vec<Option<Stop>>, JobStoreFault>> {
        Box::pin(async move {
            let until = Instant::now() + self.writer.shared.terms.lock().lease;
            let mut stops = Vec::with_capacity(held.len());
            for Renewal { lease, progress } in held {
                let is_held = {
                    let mut claims = self.writer.shared.claims.lock();
                    let claim = claims.get_mut(&lease.id).filter(|claim| claim.fence == lease.fence);
                    if let Some(claim) = claim {
                        claim.until = until;
                        claim.progress = progress.clone().or(claim.progress.take());
                        true
                    } else {
                        false
                    }
                };
                stops.push(match is_held {
                    true => {
                        self.writer.shared.watchers.changed(&lease.id);
                        None
                    }
                    false => {
                        let job = self.find(&Scope::Operator, &lease.id, Parts::default()).await?;
                        let is_cancelled = job.is_some_and(|job| job.state == JobState::Cancelled);
                        Some(if is_cancelled { Stop::Cancelled } else { Stop::Lost })
                    }
                });
            }
            Ok(stops)
        })
    }

    fn finish<'a>(&'a self, lease: &'a Lease, end: JobEnd) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        Box::pin(self.let_go(lease.clone(), |batch, lease| changes::finish(batch, lease, end)))
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, again: Again) -> BoxFuture<'a, Result<bool, JobStoreFault>> {
        Box::pin(self.let_go(lease.clone(), |batch, lease| changes::put_back(batch, lease, again)))
    }

    fn cancel<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Cancelled, JobStoreFault>> {
        let (scope, id) = (scope.clone(), *id);
        Box::pin(async move {
            let cancelled = self.writer.write(false, move |batch, _| changes::cancel(batch, &scope, &id)).await?;
            Ok(cancelled.unwrap_or(Cancelled::Unknown))
        })
    }

    fn find<'a>(
        &'a self,
        scope: &'a Scope,
        id: &'a JobId,
        parts: Parts,
    ) -> BoxFuture<'a, Result<Option<JobRecord>, JobStoreFault>> {
        let (scope, id) = (scope.clone(), *id);
        Box::pin(async move {
            let read = move |transaction: &ReadTransaction| {
                let Some(row) =
                    transaction.open_table(JOBS)?.get(tables::key(&id))?.map(|row| tables::Row::read(row.value()))
                else {
                    return Ok(None);
                };
                let row = row?;
                if !scope.covers(row.tenant()) {
                    return Ok(None);
                }
                let contents = transaction.open_table(CONTENTS)?;
                let content = |part, is_wanted: bool| match is_wanted {
                    true => reads::content(&contents, &id, part),
                    false => Ok(None),
                };
                let mut job = row.record(id);
                job.input = content(Part::Input, parts.input)?;
                job.result = content(Part::Result, parts.result)?;
                Ok(Some((job, row.fence)))
            };
            let found = self.writer.read(read).await?.flatten();
            Ok(found.map(|(mut job, fence)| {
                let claims = self.writer.shared.claims.lock();
                let claim = claims.get(&job.id).filter(|claim| claim.fence == fence);
                job.progress = claim.and_then(|claim| claim.progress.clone());
                job
            }))
        })
    }

    fn list<'a>(
        &'a self,
        scope: &'a Scope,
        filter: &'a JobFilter,
    ) -> BoxFuture<'a, Result<Vec<JobRecord>, JobStoreFault>> {
        let (scope, filter) = (scope.clone(), filter.clone());
        Box::pin(async move {
            let read = move |transaction: &ReadTransaction| {
                let (states, jobs) = (transaction.open_table(STATES)?, transaction.open_table(JOBS)?);
                reads::select(&states, &jobs, &scope, &filter, |_| true)
            };
            let found = self.writer.read(read).await?.unwrap_or_default();
            Ok(found.into_iter().map(|(id, row)| row.record(id)).collect())
        })
    }

    fn requeue<'a>(&'a self, scope: &'a Scope, id: &'a JobId) -> BoxFuture<'a, Result<Requeued, JobStoreFault>> {
        let (scope, id) = (scope.clone(), *id);
        Box::pin(async move {
            let requeued = self.writer.write(false, move |batch, _| changes::requeue(batch, &scope, &id)).await?;
            Ok(requeued.unwrap_or(Requeued::Unknown))
        })
    }

    fn purge<'a>(&'a self, scope: &'a Scope, filter: &'a JobFilter) -> BoxFuture<'a, Result<u64, JobStoreFault>> {
        let (scope, filter) = (scope.clone(), filter.clone());
        Box::pin(async move {
            let purged = self.writer.write(false, move |batch, _| changes::purge(batch, &scope, &filter)).await?;
            Ok(purged.unwrap_or_default())
        })
    }

    fn counts<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<JobCounts, JobStoreFault>> {
        let scope = scope.clone();
        Box::pin(async move {
            let of = scope.clone();
            let extra = self.writer.read(move |transaction| reads::oldest_and_hooks(transaction, &of)).await?;
            let (oldest, hooks) = extra.unwrap_or_default();
            Ok(JobCounts { oldest, hooks, ..self.writer.shared.tally.lock().of(&scope) })
        })
    }

    fn take_hooks(&self, most: usize, hold: Duration) -> BoxFuture<'_, Result<Vec<Hook>, JobStoreFault>> {
        Box::pin(async move {
            // Who looks whether there are any should not make the disk write.
            let now = self.writer.shared.clock.now().as_millisecond();
            let has_any = self.writer.read(move |transaction| reads::has_due_hook(transaction, now)).await?;
            if has_any != Some(true) {
                return Ok(Vec::new());
            }
            let taken = self.writer.write(false, move |batch, _| changes::take_hooks(batch, most, hold)).await?;
            Ok(taken.unwrap_or_default())
        })
    }

    fn settle_hook<'a>(&'a self, id: &'a JobId, then: HookEnd) -> BoxFuture<'a, Result<(), JobStoreFault>> {
        let id = *id;
        Box::pin(async move {
            self.writer.write(false, move |batch, _| changes::settle_hook(batch, &id, then)).await.map(|_| ())
        })
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.writer.shared.news.subscribe()
    }

    fn watch(&self, id: &JobId) -> watch::Receiver<u64> {
        self.writer.shared.watchers.watch(id)
    }

    fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut pause = PAUSE;
            loop {
                let is_open = self.writer.shared.database.lock().is_some();
                if self.writer.shared.exists() && (!is_open || self.writer.shared.is_due()) {
                    match self.writer.tick().await {
                        Ok(()) => pause = PAUSE,
                        Err(JobStoreFault::Closed) => return std::future::pending().await,
                        Err(_) => {
                            pause = (pause * 2).min(LOOK);
                            tokio::time::sleep(pause).await;
                        }
                    }
                }
                if self.writer.shared.exists() {
                    let wait = self.writer.shared.until_next();
                    let _ = tokio::time::timeout(wait, self.writer.shared.committed.notified()).await;
                } else {
                    self.writer.shared.committed.notified().await;
                }
            }
        })
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.writer.close().await;
        })
    }

    fn outage(&self) -> Option<JobStoreFault> {
        self.writer.shared.fault.lock().clone()
    }
}
