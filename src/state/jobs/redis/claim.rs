//! Claims: whose turn it is, and making a job a worker's.
//!
//! It does not know how many jobs a worker wants, nor what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redis::cmd;

use super::board::News;
use super::change::{Subject, command};
use super::keys::{self, CONSUMER, GROUP, Place, Queue, Ticket, Turn};
use super::record::{Record, Word, at};
use super::when::When;
use super::{JobStoreFault, RedisJobs, TakenJob, WorkerId};
use crate::model::job::{JobId, JobState};
use crate::state::jobs::turns::Turns;
use crate::state::jobs::{Lease, Parts};
use crate::state::store::StoreFault;

/// How often a claim is tried again when the job changed meanwhile.
const TRIES: usize = 3;

/// Entries of streams, each with its fields, as XREADGROUP answers them.
type Entries = Option<Vec<(String, Vec<(String, Vec<String>)>)>>;

/// Whose turn it is here, and who has jobs waiting as of the last look. Tenants are named by their hashes.
#[derive(Default)]
pub(super) struct Round {
    turns: Turns,
    waiting: BTreeMap<Arc<str>, BTreeSet<Place>>,
}

impl RedisJobs {
    pub(super) async fn claim_some(&self, worker: &WorkerId, most: usize) -> Result<Vec<TakenJob>, JobStoreFault> {
        self.open()?;
        let mut taken = Vec::new();
        if most == 0 {
            return Ok(taken);
        }
        self.see_who_waits().await?;
        while taken.len() < most {
            let Some((tenant, places)) = self.next_turn() else { break };
            match self.serve(worker, &tenant, places).await {
                Ok(Some(job)) => {
                    taken.push(job);
                    self.round.lock().turns.join(&tenant);
                }
                Ok(None) => {
                    self.round.lock().waiting.remove(&tenant);
                }
                // What was claimed so far must not wait for its lease to pass.
                Err(_) if !taken.is_empty() => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(taken)
    }

    /// Has all take part in turns who have jobs waiting.
    async fn see_who_waits(&self) -> Result<(), StoreFault> {
        let hints: Vec<String> = self.redis.ask(&command("SMEMBERS", &[&self.keys.waiting])).await?;
        let mut waiting: BTreeMap<Arc<str>, BTreeSet<Place>> = BTreeMap::new();
        for (tenant, place) in hints.iter().filter_map(|hint| keys::parse_hint(hint)) {
            waiting.entry(tenant).or_default().insert(place);
        }
        let mut round = self.round.lock();
        waiting.keys().for_each(|tenant| round.turns.join(tenant));
        round.waiting = waiting;
        Ok(())
    }

    /// Whose turn it is, and where there may be jobs of that tenant.
    fn next_turn(&self) -> Option<(Arc<str>, Vec<Place>)> {
        let mut round = self.round.lock();
        loop {
            let tenant = round.turns.serve()?;
            if let Some(places) = round.waiting.get(&tenant) {
                return Some((tenant, places.iter().copied().collect()));
            }
        }
    }

    /// Claims the first job of a tenant; `None`: there is none.
    async fn serve(
        &self,
        worker: &WorkerId,
        tenant: &Arc<str>,
        places: Vec<Place>,
    ) -> Result<Option<TakenJob>, JobStoreFault> {
        for place in places {
            let queue = Queue { tenant: tenant.clone(), priority: place.priority };
            loop {
                let ticket = match place.is_new {
                    true => self.next_of_stream(&queue).await?,
                    false => self.next_of_lane(&queue).await?,
                };
                let Some(ticket) = ticket else { break };
                if let Some(job) = self.claim(worker, &queue, &ticket, place.is_new).await? {
                    return Ok(Some(job));
                }
            }
            if let Some(places) = self.round.lock().waiting.get_mut(tenant) {
                places.remove(&place);
            }
        }
        Ok(None)
    }

    /// The first entry of a stream that was not handed out. It is held from now on, as a lease is.
    async fn next_of_stream(&self, queue: &Queue) -> Result<Option<Ticket>, JobStoreFault> {
        let stream = self.keys.stream(queue);
        let read = command("XREADGROUP", &["GROUP", GROUP, CONSUMER, "COUNT", "1", "STREAMS", &stream, ">"]);
        let entries: Entries = match self.redis.ask(&read).await {
            Err(StoreFault::NoGroup) => {
                self.make_group(queue).await?;
                self.redis.ask(&read).await?
            }
            entries => entries?,
        };
        if let Some(ticket) = ticket(entries) {
            return Ok(Some(ticket));
        }
        // It is empty, and the hint goes; unless something has come in this very moment, which is then handed out.
        let mut last = redis::pipe();
        let hint = keys::hint(queue, true);
        last.atomic().add_command(read).cmd("SREM").arg(&self.keys.waiting).arg(&hint).ignore();
        let (entries,): (Entries,) = match self.redis.run_all(&last).await {
            // The stream was forgotten meanwhile.
            Err(StoreFault::NoGroup) => return Ok(None),
            entries => entries?,
        };
        let ticket = ticket(entries);
        if ticket.is_some() {
            let _: u64 = self.redis.ask(&command("SADD", &[&self.keys.waiting, &hint])).await?;
        }
        Ok(ticket)
    }

    async fn make_group(&self, queue: &Queue) -> Result<(), StoreFault> {
        let mut commands = redis::pipe();
        commands.atomic();
        // A stream that is made for it only is known, and so forgotten again.
        commands.cmd("SADD").arg(&self.keys.queues).arg(queue.to_string()).ignore();
        commands.cmd("XGROUP").arg("CREATE").arg(self.keys.stream(queue)).arg(GROUP).arg("0").arg("MKSTREAM").ignore();
        match self.redis.run_all::<()>(&commands).await {
            // Another worker has made it meanwhile.
            Ok(()) | Err(StoreFault::Spoilt) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The first of those that were given back.
    async fn next_of_lane(&self, queue: &Queue) -> Result<Option<Ticket>, JobStoreFault> {
        let lane = self.keys.lane(queue);
        loop {
            let first: Vec<String> = self.redis.ask(&command("ZRANGE", &[&lane, "0", "0"])).await?;
            match first.first().map(|member| Ticket::parse(member).ok_or(member)) {
                Some(Ok(ticket)) => return Ok(Some(ticket)),
                // Nothing of ours.
                Some(Err(member)) => self.redis.ask(&command("ZREM", &[&lane, member])).await.map(|_: u64| ())?,
                None => break,
            }
        }
        let hint = keys::hint(queue, false);
        let empty = When::answers("0", &command("EXISTS", &[&lane]));
        self.run_when(empty.then(&command("SREM", &[&self.keys.waiting, &hint]))).await?;
        Ok(None)
    }

    /// Makes a job the worker's; `None`: this is no job's turn any more, and the ticket is gone.
    async fn claim(
        &self,
        worker: &WorkerId,
        queue: &Queue,
        ticket: &Ticket,
        is_new: bool,
    ) -> Result<Option<TakenJob>, JobStoreFault> {
        for _ in 0..TRIES {
            let record = self.read(&ticket.id, Parts { input: true, result: false }).await?;
            let Some(record) = record.filter(|record| record.waits_by(ticket)) else { break };
            let now = self.now()?;
            let lease = Lease {
                id: ticket.id,
                tenant: record.job.facts.submitter.tenant.clone(),
                priority: queue.priority,
                fence: record.word.fence.saturating_add(1),
                worker: worker.clone(),
                ticket: ticket.entry.as_str().into(),
            };
            let to = Word::of(JobState::Active, &lease);
            let subject = Subject { id: &ticket.id, queue };
            let mut row = cmd("HSET");
            row.arg(self.keys.job(&ticket.id)).arg("attempts").arg(record.job.attempts.saturating_add(1));
            row.arg("started").arg(now).arg("ticket").arg(&ticket.entry);
            let mut when = self
                .change(subject, &record.word, &to, now)
                .then(&row)
                .then(&self.without(&ticket.id, &["lost"]))
                .then(&self.confirm(queue, &ticket.entry));
            if let Some(member) = ticket.member().filter(|_| !is_new) {
                when = when.then(&command("ZREM", &[&self.keys.lane(queue), &member]));
            }
            if self.run_when(when.then(&self.publish(News::Changed(ticket.id)))).await?.is_none() {
                return Ok(Some(self.taken(lease, record, now)));
            }
        }
        self.drop_ticket(queue, ticket).await?;
        Ok(None)
    }

    fn taken(&self, lease: Lease, record: Record, now: u64) -> TakenJob {
        let signal = self.board.watchers.hold(&lease.id, lease.fence);
        let mut job = record.job;
        (job.state, job.attempts) = (JobState::Active, job.attempts.saturating_add(1));
        (job.since, job.started) = (at(now).unwrap_or(job.since), at(now));
        TakenJob { lease, job, is_takeover: record.is_lost, signal }
    }

    /// Ends a ticket that is no job's turn: its job is over, delayed, gone, or has another one. The entry stays only where
    /// it is the lease of the worker that has the job.
    pub(super) async fn drop_ticket(&self, queue: &Queue, ticket: &Ticket) -> Result<(), JobStoreFault> {
        let key = self.keys.job(&ticket.id);
        let fields: (Option<String>, Option<String>) =
            self.redis.ask(&command("HMGET", &[&key, "state", "ticket"])).await?;
        let word = fields.0.unwrap_or_default();
        let mut when = self.while_it_is(&ticket.id, &word);
        if let Some(member) = ticket.member() {
            when = when.then(&command("ZREM", &[&self.keys.lane(queue), &member]));
        }
        let is_lease = word.starts_with(JobState::Active.as_str()) && fields.1.as_ref() == Some(&ticket.entry);
        if !is_lease {
            when = self.drop_entry(when, queue, &ticket.entry);
        }
        // Where the word has changed meanwhile the ticket is looked at again, when its turn or its time comes.
        self.run_when(when).await.map(drop)
    }
}

/// The entry that was read, if it is one of ours.
fn ticket(entries: Entries) -> Option<Ticket> {
    let (entry, fields) = entries?.into_iter().next()?.1.into_iter().next()?;
    read_ticket(entry, &fields)
}

/// An entry's ticket; an entry that names no job has none that anybody could claim.
pub(super) fn read_ticket(entry: String, fields: &[String]) -> Option<Ticket> {
    let [_, id, _, turn] = fields else { return None };
    Some(Ticket { entry, id: JobId::parse(id)?, turn: Turn::Number(turn.parse().ok()?) })
}
