//! Batch: several changes to jobs in one write transaction, so that one sync to disk pays for all of them.
//!
//! What the rest of the process is to learn (news, signals) is collected, and told after the commit. It does not know
//! who asked for a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use parking_lot::Mutex;
use redb::{Error, ReadableTable, Table, WriteTransaction};
use tokio::time::Instant;

use super::super::turns::Turns;
use super::super::{JobTerms, Stop};
use super::tables::{
    CONTENTS, ENDED, HOOKS, HOOKS_DUE, JOBS, LATER, NUMBERS, ONCE, ONCE_ENDED, OnceRow, Part, Row, STATES, WAITING, id,
    key,
};
use super::tally::Tally;
use crate::model::job::{JobId, JobProgress, JobState};

/// Jobs that are promoted or deleted in one batch, at most: others wait for their commit meanwhile.
const AT_ONCE: usize = 1000;

/// A claim of a worker in this process. The file's leases end with it.
pub(super) struct Held {
    pub(super) fence: u64,
    pub(super) until: Instant,
    pub(super) progress: Option<JobProgress>,
}

/// All claims.
pub(super) type Claims = HashMap<JobId, Held, FixedState>;

/// What is known of the tables without reading them.
#[derive(Default)]
pub(super) struct Known {
    pub(super) turns: Turns,
    /// The last place in a queue that was given away.
    pub(super) seq: u64,
}

/// What to tell after the commit.
#[derive(Default)]
pub(super) struct News {
    /// True when there may be something to take, or a webhook to send.
    pub(super) is_work: bool,
    pub(super) changed: Vec<JobId>,
    /// Claims that are over. Not before the commit: if it fails, their workers still have the jobs.
    pub(super) released: Vec<(JobId, u64)>,
    pub(super) stopped: Vec<(JobId, u64, Stop)>,
}

/// One write transaction.
pub(super) struct Batch<'t> {
    pub(super) jobs: Table<'t, u128, &'static [u8]>,
    pub(super) contents: Table<'t, (u128, u8), &'static [u8]>,
    pub(super) waiting: Table<'t, (&'static str, u8, u64), u128>,
    later: Table<'t, (i64, u64), u128>,
    pub(super) states: Table<'t, (u8, i64, u128), &'static str>,
    ended: Table<'t, (i64, u128), ()>,
    pub(super) once: Table<'t, &'static [u8; 32], OnceRow>,
    pub(super) once_ended: Table<'t, (i64, &'static [u8; 32]), ()>,
    pub(super) hooks: Table<'t, u128, (&'static str, u32, i64, i64)>,
    pub(super) hooks_due: Table<'t, (i64, u128), ()>,
    pub(super) numbers: Table<'t, &'static str, u64>,
    pub(super) start: Start<'t>,
    pub(super) news: News,
}

/// What a batch begins with besides its transaction.
pub(super) struct Start<'t> {
    pub(super) known: &'t mut Known,
    pub(super) tally: &'t Mutex<Tally>,
    pub(super) claims: &'t Mutex<Claims>,
    pub(super) terms: JobTerms,
    /// Milliseconds since 1970, by the wall clock.
    pub(super) now: i64,
    /// The same moment for leases.
    pub(super) at: Instant,
}

impl<'t> Batch<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, start: Start<'t>) -> Result<Self, Error> {
        Ok(Self {
            jobs: transaction.open_table(JOBS)?,
            contents: transaction.open_table(CONTENTS)?,
            waiting: transaction.open_table(WAITING)?,
            later: transaction.open_table(LATER)?,
            states: transaction.open_table(STATES)?,
            ended: transaction.open_table(ENDED)?,
            once: transaction.open_table(ONCE)?,
            once_ended: transaction.open_table(ONCE_ENDED)?,
            hooks: transaction.open_table(HOOKS)?,
            hooks_due: transaction.open_table(HOOKS_DUE)?,
            numbers: transaction.open_table(NUMBERS)?,
            start,
            news: News::default(),
        })
    }

    /// Writes what is kept in numbers; the last thing before the commit.
    pub(super) fn finish(mut self) -> Result<(News, Option<i64>), Error> {
        self.numbers.insert("seq", self.start.known.seq)?;
        let next = self.next_moment()?;
        Ok((self.news, next))
    }

    pub(super) fn row(&self, id: &JobId) -> Result<Option<Row>, Error> {
        self.jobs.get(key(id))?.map(|row| Row::read(row.value())).transpose()
    }

    /// The next place in any queue.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.start.known.seq += 1;
        self.start.known.seq
    }

    /// Takes a job out of the index of its state.
    pub(super) fn leave(&mut self, id: &JobId, row: &Row) -> Result<(), Error> {
        match row.state {
            JobState::Queued => drop(self.waiting.remove((&**row.tenant(), row.facts.priority as u8, row.seq))?),
            JobState::Delayed => drop(self.later.remove((row.until, row.seq))?),
            JobState::Active => self.news.released.push((*id, row.fence)),
            JobState::Completed | JobState::Failed | JobState::Cancelled => {
                self.ended.remove((row.until, key(id)))?;
            }
        }
        self.states.remove((row.state as u8, row.since, key(id)))?;
        self.start.tally.lock().remove(row);
        Ok(())
    }

    /// Writes a job's row, and puts it into the index of its state.
    pub(super) fn enter(&mut self, id: &JobId, row: &Row) -> Result<(), Error> {
        let tenant = row.tenant();
        match row.state {
            JobState::Queued => {
                self.waiting.insert((&**tenant, row.facts.priority as u8, row.seq), key(id))?;
                self.start.known.turns.join(tenant);
                self.news.is_work = true;
            }
            JobState::Delayed => drop(self.later.insert((row.until, row.seq), key(id))?),
            JobState::Active => {}
            JobState::Completed | JobState::Failed | JobState::Cancelled => {
                self.ended.insert((row.until, key(id)), ())?;
            }
        }
        self.states.insert((row.state as u8, row.since, key(id)), &**tenant)?;
        self.jobs.insert(key(id), &*row.write()?)?;
        self.start.tally.lock().add(row);
        self.news.changed.push(*id);
        Ok(())
    }

    /// Has a job enter a state now, which it leaves `after` this time where the state ends by itself.
    pub(super) fn shift(&mut self, id: &JobId, row: &mut Row, state: JobState, after: Duration) -> Result<(), Error> {
        self.leave(id, row)?;
        row.state = state;
        row.since = self.start.now;
        row.until = self.start.now.saturating_add(milliseconds(after));
        self.enter(id, row)
    }

    /// Ends a job without more ado than its state and webhook.
    pub(super) fn end(&mut self, id: &JobId, row: &mut Row, state: JobState) -> Result<(), Error> {
        let keep = match state {
            JobState::Completed => self.start.terms.keep_results,
            _ => self.start.terms.keep_failures,
        };
        self.shift(id, row, state, keep)?;
        if row.has_webhook {
            self.hook(key(id), row.tenant(), 0, self.start.now, self.start.now)?;
            self.news.is_work = true;
        }
        Ok(())
    }

    /// Writes a webhook, how often it was tried, since when it waits and when it is due.
    pub(super) fn hook(&mut self, key: u128, tenant: &str, attempts: u32, since: i64, due: i64) -> Result<(), Error> {
        self.hooks.insert(key, (tenant, attempts, since, due))?;
        self.hooks_due.insert((due, key), ())?;
        Ok(())
    }

    /// Forgets a webhook that is not settled.
    pub(super) fn unhook(&mut self, key: u128) -> Result<(), Error> {
        let due = self.hooks.remove(key)?.map(|row| row.value().3);
        if let Some(due) = due {
            self.hooks_due.remove((due, key))?;
        }
        Ok(())
    }

    /// Deletes a job, whole.
    pub(super) fn delete(&mut self, id: &JobId, row: &Row) -> Result<(), Error> {
        self.leave(id, row)?;
        self.unhook(key(id))?;
        for part in [Part::Input, Part::Result, Part::Webhook] {
            self.contents.remove((key(id), part as u8))?;
        }
        self.jobs.remove(key(id))?;
        self.news.changed.push(*id);
        Ok(())
    }

    /// Does what time has brought: delays that are over, leases that have passed, what has expired.
    pub(super) fn tick(&mut self) -> Result<(), Error> {
        self.sweep()?;
        let due = self.later.range(..=(self.start.now, u64::MAX))?.take(AT_ONCE);
        let due = due.map(|entry| entry.map(|(_, id)| id.value())).collect::<Result<Vec<_>, _>>()?;
        for id in due.into_iter().map(id) {
            if let Some(mut row) = self.row(&id)? {
                self.leave(&id, &row)?;
                (row.state, row.since, row.seq) = (JobState::Queued, self.start.now, self.next_seq());
                self.enter(&id, &row)?;
            }
        }
        let over = self.ended.range(..=(self.start.now, u128::MAX))?.take(AT_ONCE);
        let over = over.map(|entry| entry.map(|(key, _)| key.value().1)).collect::<Result<Vec<_>, _>>()?;
        for id in over.into_iter().map(id) {
            if let Some(row) = self.row(&id)? {
                self.delete(&id, &row)?;
            }
        }
        let over = self.once_ended.range(..=(self.start.now, &[255; 32]))?.take(AT_ONCE);
        let over = over.map(|entry| entry.map(|(key, _)| (key.value().0, *key.value().1)));
        for (until, key) in over.collect::<Result<Vec<_>, _>>()? {
            self.once_ended.remove((until, &key))?;
            // Unless the key was used again after it had expired.
            if self.once.get(&key)?.is_some_and(|row| row.value().1 == until) {
                self.once.remove(&key)?;
            }
        }
        let is_hook_due = self.hooks_due.first()?.is_some_and(|(key, _)| key.value().0 <= self.start.now);
        self.news.is_work |= is_hook_due;
        Ok(())
    }

    /// Queues the jobs again whose leases have passed.
    fn sweep(&mut self) -> Result<(), Error> {
        let passed = |(id, held): (&JobId, &Held)| (held.until <= self.start.at).then_some((held.until, *id));
        let mut lost: Vec<_> = self.start.claims.lock().iter().filter_map(passed).collect();
        lost.sort_unstable();
        lost.into_iter().try_for_each(|(_, id)| self.orphan(&id))
    }

    /// Queues an active job again, at its place, because its worker is lost.
    pub(super) fn orphan(&mut self, id: &JobId) -> Result<(), Error> {
        let Some(mut row) = self.row(id)?.filter(|row| row.state == JobState::Active) else {
            self.start.claims.lock().remove(id);
            return Ok(());
        };
        self.leave(id, &row)?;
        self.news.stopped.push((*id, row.fence, Stop::Lost));
        // The claim is void from now on, whether or not somebody else takes the job.
        row.fence += 1;
        (row.is_orphan, row.state, row.since) = (true, JobState::Queued, self.start.now);
        self.enter(id, &row)
    }

    /// When time will bring something next; `None`: never, as things are.
    fn next_moment(&self) -> Result<Option<i64>, Error> {
        let later = self.later.first()?.map(|(key, _)| key.value().0);
        let ended = self.ended.first()?.map(|(key, _)| key.value().0);
        let once = self.once_ended.first()?.map(|(key, _)| key.value().0);
        // One that is due already was told of: its time comes again when somebody has tried it.
        let hook = self.hooks_due.range((self.start.now.saturating_add(1), 0)..)?.next().transpose()?;
        let hook = hook.map(|(key, _)| key.value().0);
        Ok([later, ended, once, hook].into_iter().flatten().min())
    }
}

/// Queues again, at the opening of the file, what no worker of this process has, and learns what the tables hold.
pub(super) fn recover(batch: &mut Batch<'_>) -> Result<(), Error> {
    batch.start.known.seq = batch.numbers.get("seq")?.map_or(0, |seq| seq.value());
    let mut active = Vec::new();
    let mut tally = Tally::default();
    for entry in batch.jobs.iter()? {
        let (key, row) = entry?;
        let row = Row::read(row.value())?;
        tally.add(&row);
        if row.state == JobState::Active {
            active.push((row.seq, row.fence, id(key.value())));
        }
    }
    *batch.start.tally.lock() = tally;
    let mut last: Option<Arc<str>> = None;
    for entry in batch.waiting.iter()? {
        let tenant = entry?.0;
        let tenant = tenant.value().0;
        if last.as_deref() != Some(tenant) {
            let tenant: Arc<str> = tenant.into();
            batch.start.known.turns.join(&tenant);
            last = Some(tenant);
        }
    }
    active.sort_unstable();
    let held = |id: &JobId, fence| batch.start.claims.lock().get(id).is_some_and(|held| held.fence == fence);
    let (ours, lost): (Vec<_>, Vec<_>) = active.into_iter().partition(|(_, fence, id)| held(id, *fence));
    batch.start.claims.lock().retain(|id, _| ours.iter().any(|(_, _, ours)| ours == id));
    lost.into_iter().try_for_each(|(_, _, id)| batch.orphan(&id))?;
    batch.news.is_work = true;
    Ok(())
}

pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
