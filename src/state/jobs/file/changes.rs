//! Changes: what each method of the store that writes does to the tables.
//!
//! It does not know transactions, nor who waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::{Error, ReadableTable};

use super::super::{
    Again, Cancelled, Charge, Hook, HookEnd, JobFilter, Lease, Once, Requeued, Scope, Stop, Submission, Submitted,
    TakenJob, WorkerId,
};
use super::batch::{Batch, Held, milliseconds};
use super::reads;
use super::tables::{Part, Row, id, key, moment};
use crate::model::job::{JobEnd, JobFault, JobId, JobState, NewJob};
use crate::state::jobs::watchers::Watchers;

/// See [`JobStore::submit`](super::super::JobStore::submit).
pub(super) fn submit(batch: &mut Batch<'_>, submission: Submission) -> Result<Submitted, Error> {
    if let Some(known) = batch.seen(submission.once.as_ref())? {
        return Ok(known);
    }
    let mut fresh = Vec::new();
    for job in &submission.jobs {
        if batch.jobs.get(key(&job.id))?.is_none() {
            fresh.push(job);
        }
    }
    let Some(tenant) = submission.jobs.first().map(|job| job.facts.submitter.tenant.clone()) else {
        return Ok(Submitted::Accepted);
    };
    let (all, own) = {
        let tally = batch.start.tally.lock();
        (tally.of(&Scope::Operator).waiting(), tally.of(&Scope::Tenant(tenant)).waiting())
    };
    let more = fresh.len() as u64;
    for (waiting, most, is_tenants) in
        [(own, batch.start.terms.max_waiting_per_tenant, true), (all, batch.start.terms.max_waiting, false)]
    {
        if more > 0 && waiting.saturating_add(more) > most {
            return Ok(Submitted::Full { most, is_tenants });
        }
    }
    fresh.into_iter().try_for_each(|job| batch.add(job))?;
    if let Some(once) = submission.once {
        let until = batch.start.now.saturating_add(milliseconds(once.keep));
        let ids: Vec<u8> = submission.jobs.iter().flat_map(|job| *job.id.bytes()).collect();
        batch.once.insert(&once.key, (&once.request, until, &*ids))?;
        batch.once_ended.insert((until, &once.key), ())?;
    }
    Ok(Submitted::Accepted)
}

/// See [`JobStore::take`](super::super::JobStore::take).
pub(super) fn take(
    batch: &mut Batch<'_>,
    worker: &WorkerId,
    most: usize,
    watchers: &Watchers,
) -> Result<Vec<TakenJob>, Error> {
    batch.tick()?;
    let mut taken = Vec::new();
    while taken.len() < most {
        let Some(tenant) = batch.start.known.turns.serve() else { break };
        let (next, has_more) = {
            let mut queue = batch.waiting.range((&*tenant, 0, 0)..=(&*tenant, u8::MAX, u64::MAX))?;
            let next = queue.next().transpose()?.map(|(_, key)| id(key.value()));
            (next, queue.next().is_some())
        };
        if has_more {
            batch.start.known.turns.join(&tenant);
        }
        let Some(id) = next else { continue };
        if let Some(job) = claim(batch, worker, &id, watchers)? {
            taken.push(job);
        }
    }
    Ok(taken)
}

fn claim(batch: &mut Batch<'_>, worker: &WorkerId, id: &JobId, watchers: &Watchers) -> Result<Option<TakenJob>, Error> {
    let Some(mut row) = batch.row(id)? else { return Ok(None) };
    let is_takeover = std::mem::take(&mut row.is_orphan);
    row.fence += 1;
    row.attempts = row.attempts.saturating_add(1);
    row.started = Some(batch.start.now);
    batch.shift(id, &mut row, JobState::Active, Duration::ZERO)?;
    let until = batch.start.at + batch.start.terms.lease;
    batch.start.claims.lock().insert(*id, Held { fence: row.fence, until, progress: None });
    let lease = Lease {
        id: *id,
        tenant: row.tenant().clone(),
        priority: row.facts.priority,
        fence: row.fence,
        worker: worker.clone(),
        ticket: "".into(),
    };
    let mut job = row.record(*id);
    job.input = reads::content(&batch.contents, id, Part::Input)?;
    Ok(Some(TakenJob { signal: watchers.hold(id, row.fence), lease, job, is_takeover }))
}

/// See [`JobStore::finish`](super::super::JobStore::finish).
pub(super) fn finish(batch: &mut Batch<'_>, lease: &Lease, end: JobEnd) -> Result<bool, Error> {
    let Some(mut row) = batch.row(&lease.id)?.filter(|row| row.fence == lease.fence) else { return Ok(false) };
    match row.state {
        JobState::Active => {}
        JobState::Completed | JobState::Failed => return Ok(true),
        JobState::Queued | JobState::Delayed | JobState::Cancelled => return Ok(false),
    }
    let state = match end {
        JobEnd::Completed(result) => {
            batch.contents.insert((key(&lease.id), Part::Result as u8), &*result)?;
            row.fault = None;
            JobState::Completed
        }
        JobEnd::Failed(fault) => {
            row.fault = Some(fault);
            JobState::Failed
        }
    };
    batch.end(&lease.id, &mut row, state)?;
    Ok(true)
}

/// See [`JobStore::put_back`](super::super::JobStore::put_back).
pub(super) fn put_back(batch: &mut Batch<'_>, lease: &Lease, again: Again) -> Result<bool, Error> {
    let Some(mut row) = batch.row(&lease.id)?.filter(|row| row.fence == lease.fence) else { return Ok(false) };
    match row.state {
        JobState::Active => {}
        JobState::Queued | JobState::Delayed => return Ok(true),
        JobState::Completed | JobState::Failed | JobState::Cancelled => return Ok(false),
    }
    match again {
        Again::AtItsPlace => {
            row.attempts = row.attempts.saturating_sub(1);
            batch.shift(&lease.id, &mut row, JobState::Queued, Duration::ZERO)?;
        }
        Again::After { delay, charge, fault } => {
            row.attempts = row.attempts.saturating_sub(u32::from(charge == Charge::Nothing));
            row.fault = Some(fault);
            row.seq = batch.next_seq();
            batch.shift(&lease.id, &mut row, JobState::Delayed, delay)?;
        }
    }
    Ok(true)
}

/// See [`JobStore::cancel`](super::super::JobStore::cancel).
pub(super) fn cancel(batch: &mut Batch<'_>, scope: &Scope, id: &JobId) -> Result<Cancelled, Error> {
    let Some(mut row) = batch.row(id)?.filter(|row| scope.covers(row.tenant())) else { return Ok(Cancelled::Unknown) };
    match row.state {
        JobState::Completed | JobState::Failed => return Ok(Cancelled::Over(row.state)),
        JobState::Cancelled => return Ok(Cancelled::Done),
        JobState::Active => batch.news.stopped.push((*id, row.fence, Stop::Cancelled)),
        JobState::Queued | JobState::Delayed => {}
    }
    let by = match scope {
        Scope::Tenant(_) => "The job was cancelled.",
        Scope::Operator => "The job was cancelled by an operator.",
    };
    row.fault = Some(JobFault { code: "cancelled".into(), message: by.into() });
    batch.end(id, &mut row, JobState::Cancelled)?;
    Ok(Cancelled::Done)
}

/// See [`JobStore::requeue`](super::super::JobStore::requeue).
pub(super) fn requeue(batch: &mut Batch<'_>, scope: &Scope, id: &JobId) -> Result<Requeued, Error> {
    let Some(mut row) = batch.row(id)?.filter(|row| scope.covers(row.tenant())) else { return Ok(Requeued::Unknown) };
    if !matches!(row.state, JobState::Failed | JobState::Cancelled) {
        return Ok(Requeued::Refused(row.state));
    }
    batch.unhook(key(id))?;
    batch.leave(id, &row)?;
    // The last claim could otherwise be taken for one of the new life.
    row.fence += 1;
    row.attempts = 0;
    Arc::make_mut(&mut row.facts).begins = moment(batch.start.now);
    (row.state, row.since, row.seq) = (JobState::Queued, batch.start.now, batch.next_seq());
    batch.enter(id, &row)?;
    Ok(Requeued::Done)
}

/// See [`JobStore::purge`](super::super::JobStore::purge).
pub(super) fn purge(batch: &mut Batch<'_>, scope: &Scope, filter: &JobFilter) -> Result<u64, Error> {
    let found = reads::select(&batch.states, &batch.jobs, scope, filter, JobState::is_over)?;
    found.iter().try_for_each(|(id, row)| batch.delete(id, row))?;
    Ok(found.len() as u64)
}

/// See [`JobStore::take_hooks`](super::super::JobStore::take_hooks).
pub(super) fn take_hooks(batch: &mut Batch<'_>, most: usize, hold: Duration) -> Result<Vec<Hook>, Error> {
    let due = batch.hooks_due.range(..=(batch.start.now, u128::MAX))?.take(most);
    let due = due.map(|entry| entry.map(|(key, _)| key.value())).collect::<Result<Vec<_>, _>>()?;
    let mut hooks = Vec::new();
    for (when, key) in due {
        batch.hooks_due.remove((when, key))?;
        let row = batch.hooks.get(key)?.map(|row| {
            let (tenant, attempts, since, _) = row.value();
            (Arc::<str>::from(tenant), attempts.saturating_add(1), since)
        });
        let url = reads::content(&batch.contents, &id(key), Part::Webhook)?;
        let (Some((tenant, attempts, since)), Some(url)) = (row, url) else {
            batch.hooks.remove(key)?;
            continue;
        };
        let again = batch.start.now.saturating_add(milliseconds(hold).max(1));
        batch.hook(key, &tenant, attempts, since, again)?;
        hooks.push(Hook { id: id(key), tenant, url, attempts, since: moment(since) });
    }
    Ok(hooks)
}

/// See [`JobStore::settle_hook`](super::super::JobStore::settle_hook).
pub(super) fn settle_hook(batch: &mut Batch<'_>, id: &JobId, then: HookEnd) -> Result<(), Error> {
    let (delay, uncounted) = match then {
        HookEnd::Settled => return batch.unhook(key(id)),
        HookEnd::Again(delay) => (delay, 0),
        HookEnd::Untried(delay) => (delay, 1),
    };
    let row = batch.hooks.get(key(id))?.map(|row| {
        let (tenant, attempts, since, due) = row.value();
        (Arc::<str>::from(tenant), attempts, since, due)
    });
    let Some((tenant, attempts, since, due)) = row else { return Ok(()) };
    batch.hooks_due.remove((due, key(id)))?;
    let due = batch.start.now.saturating_add(milliseconds(delay));
    batch.hook(key(id), &tenant, attempts.saturating_sub(uncounted), since, due)
}

impl Batch<'_> {
    /// What is known of a submission that is accepted once; `None`: nothing.
    fn seen(&self, once: Option<&Once>) -> Result<Option<Submitted>, Error> {
        let Some(once) = once else { return Ok(None) };
        let Some(known) = self.once.get(&once.key)? else { return Ok(None) };
        let (request, until, ids) = known.value();
        if until <= self.start.now {
            return Ok(None);
        }
        if *request != once.request {
            return Ok(Some(Submitted::KeyReused));
        }
        Ok(Some(Submitted::Known(ids.as_chunks().0.iter().map(|bytes| JobId::new(*bytes)).collect())))
    }

    /// Writes a job that is not known yet.
    fn add(&mut self, job: &NewJob) -> Result<(), Error> {
        let delay = milliseconds(job.delay);
        let row = Row {
            facts: job.facts.clone().into(),
            state: if delay > 0 { JobState::Delayed } else { JobState::Queued },
            fence: 0,
            attempts: 0,
            seq: self.next_seq(),
            since: self.start.now,
            until: self.start.now.saturating_add(delay),
            started: None,
            fault: None,
            has_webhook: job.webhook.is_some(),
            is_orphan: false,
        };
        let contents: [(Part, Option<&Bytes>); 2] =
            [(Part::Input, Some(&job.input)), (Part::Webhook, job.webhook.as_ref())];
        for (part, bytes) in contents {
            if let Some(bytes) = bytes {
                self.contents.insert((key(&job.id), part as u8), &**bytes)?;
            }
        }
        self.enter(&job.id, &row)
    }
}
