//! What becomes of a claim: renewed, finished, given back, cancelled; and what is over begins again.
//!
//! It does not know why.

use futures_util::future::join_all;
use redis::cmd;

use super::board::News;
use super::change::{Subject, command};
use super::keys::{self, Queue, Ticket, Turn};
use super::record::{Record, Word, at, json};
use super::when::When;
use super::{Again, Cancelled, JobStoreFault, Lease, RedisJobs, Renewal, Requeued, Scope, Stop, milliseconds};
use crate::model::job::{JobEnd, JobFacts, JobFault, JobId, JobState};
use crate::state::jobs::{Charge, Parts};

/// How often a change is tried again when the job changed meanwhile. Each time that somebody else's change came first.
const TRIES: usize = 10;

impl RedisJobs {
    pub(super) async fn renew_all(&self, held: &[Renewal]) -> Result<Vec<Option<Stop>>, JobStoreFault> {
        self.open()?;
        let answers = join_all(held.iter().map(|renewal| self.renew_one(renewal))).await;
        answers.into_iter().collect()
    }

    async fn renew_one(&self, renewal: &Renewal) -> Result<Option<Stop>, JobStoreFault> {
        let Renewal { lease, progress } = renewal;
        let word = Word::of(JobState::Active, lease).to_string();
        let key = self.keys.job(&lease.id);
        let mut when = self.while_it_is(&lease.id, &word).then(&self.confirm(&queue(lease), &lease.ticket));
        if let Some(progress) = progress {
            let mut row = cmd("HSET");
            row.arg(&key).arg("percent").arg(progress.percent);
            if let Some(text) = &progress.text {
                row.arg("text").arg(&text[..]);
            }
            when = when.then(&row);
            if progress.text.is_none() {
                when = when.then(&self.without(&lease.id, &["text"]));
            }
            if self.board.watchers.is_watched(&lease.id) {
                when = when.then(&self.publish(News::Changed(lease.id)));
            }
        }
        let Some(said) = self.run_when(when).await? else { return Ok(None) };
        self.board.watchers.release(&lease.id, lease.fence);
        let is_cancelled =
            Word::parse(&said).is_some_and(|word| word.state == JobState::Cancelled && word.fence == lease.fence);
        Ok(Some(if is_cancelled { Stop::Cancelled } else { Stop::Lost }))
    }

    pub(super) async fn end(&self, lease: &Lease, end: JobEnd) -> Result<bool, JobStoreFault> {
        self.open()?;
        let (id, queue, now) = (&lease.id, queue(lease), self.now()?);
        let state = match &end {
            JobEnd::Completed(_) => JobState::Completed,
            JobEnd::Failed(_) => JobState::Failed,
        };
        // It never changes, and a lease does not say it.
        let url: Option<Vec<u8>> = self.redis.ask(&command("HGET", &[&self.keys.job(id), "webhook"])).await?;
        let subject = Subject { id, queue: &queue };
        let (from, to) = (Word::of(JobState::Active, lease), Word::of(state, lease));
        let mut when = self.change(subject, &from, &to, now);
        when = match &end {
            JobEnd::Completed(result) => {
                when.then(&self.field(id, "result", result)).then(&self.without(id, &["fault", "percent", "text"]))
            }
            JobEnd::Failed(fault) => when.then(&self.fault(id, fault)).then(&self.without(id, &["percent", "text"])),
        };
        when = self.drop_entry(when, &queue, &lease.ticket);
        when = self.hook(self.expire(when, subject, state, now), id, &lease.tenant, url.as_deref(), now);
        let said = self.run_when(when.then(&self.publish(News::Changed(*id)))).await?;
        self.board.watchers.release(id, lease.fence);
        let ends = [JobState::Completed, JobState::Failed].map(|state| Word::of(state, lease).to_string());
        Ok(said.is_none_or(|said| ends.contains(&said)))
    }

    pub(super) async fn give_back(&self, lease: &Lease, again: Again) -> Result<bool, JobStoreFault> {
        self.open()?;
        let (id, queue, now) = (&lease.id, queue(lease), self.now()?);
        let subject = Subject { id, queue: &queue };
        let from = Word::of(JobState::Active, lease);
        let uncharged = matches!(again, Again::AtItsPlace | Again::After { charge: Charge::Nothing, .. });
        let state = if matches!(again, Again::AtItsPlace) { JobState::Queued } else { JobState::Delayed };
        let mut when = self.change(subject, &from, &Word::of(state, lease), now);
        when = when.then(&self.without(id, &["percent", "text"]));
        if uncharged {
            when = when.then(&command("HINCRBY", &[&self.keys.job(id), "attempts", "-1"]));
        }
        when = match again {
            Again::AtItsPlace => {
                let ticket = Ticket { entry: lease.ticket.to_string(), id: *id, turn: Turn::Named };
                self.return_ticket(when, &queue, &ticket).then(&self.publish(News::Queued))
            }
            Again::After { delay, fault, .. } => {
                let when = self.drop_entry(when, &queue, &lease.ticket).then(&self.fault(id, &fault));
                self.delay(when, subject, now.saturating_add(milliseconds(delay)))
            }
        };
        let said = self.run_when(when.then(&self.publish(News::Changed(*id)))).await?;
        self.board.watchers.release(id, lease.fence);
        let given_back = [JobState::Queued, JobState::Delayed].map(|state| Word::of(state, lease).to_string());
        Ok(said.is_none_or(|said| given_back.contains(&said)))
    }

    pub(super) async fn cancel_one(&self, scope: &Scope, id: &JobId) -> Result<Cancelled, JobStoreFault> {
        self.open()?;
        for _ in 0..TRIES {
            let Some(record) = self.seen_by(scope, id).await? else { return Ok(Cancelled::Unknown) };
            match record.word.state {
                JobState::Cancelled => return Ok(Cancelled::Done),
                state if state.is_over() => return Ok(Cancelled::Over(state)),
                _ => {}
            }
            let (queue, now) = (record.queue(), self.now()?);
            let subject = Subject { id, queue: &queue };
            let to = record.word.without_worker(JobState::Cancelled);
            let message = match scope {
                Scope::Tenant(_) => "The job was cancelled.",
                Scope::Operator => "The job was cancelled by an operator.",
            };
            let fault = JobFault { code: "cancelled".into(), message: message.into() };
            let mut when = self.change(subject, &record.word, &to, now).then(&self.fault(id, &fault));
            when = self.leave(when, subject, &record);
            let tenant = &record.job.facts.submitter.tenant;
            when = self.expire(when, subject, JobState::Cancelled, now);
            when = self.hook(when, id, tenant, record.webhook.as_deref(), now);
            let news = match record.word.state {
                JobState::Active => News::Cancelled(*id, record.word.fence),
                _ => News::Changed(*id),
            };
            if self.run_when(when.then(&self.publish(news))).await?.is_none() {
                self.board.hear(news);
                return Ok(Cancelled::Done);
            }
        }
        Err(busy())
    }

    /// Removes a job from where it waits, or from who has it.
    fn leave(&self, when: When, subject: Subject<'_>, record: &Record) -> When {
        let when = when.then(&self.without(subject.id, &["percent", "text", "due", "order"]));
        let when = when.then_maybe(record.order.as_deref().map(|order| command("ZREM", &[&self.keys.later, order])));
        let Some(entry) = record.ticket.as_deref().filter(|_| record.word.state != JobState::Delayed) else {
            // Its entry is not known here: whoever reads it finds the job over.
            return when;
        };
        let ticket = Ticket { entry: entry.to_owned(), id: *subject.id, turn: Turn::Named };
        let lane = self.keys.lane(subject.queue);
        let when = when.then_maybe(ticket.member().map(|member| command("ZREM", &[&lane, &member])));
        self.drop_entry(when, subject.queue, entry)
    }

    pub(super) async fn requeue_one(&self, scope: &Scope, id: &JobId) -> Result<Requeued, JobStoreFault> {
        self.open()?;
        for _ in 0..TRIES {
            let Some(record) = self.seen_by(scope, id).await? else { return Ok(Requeued::Unknown) };
            let state = record.word.state;
            if !matches!(state, JobState::Failed | JobState::Cancelled) {
                return Ok(Requeued::Refused(state));
            }
            let (queue, now) = (record.queue(), self.now()?);
            let subject = Subject { id, queue: &queue };
            // The last claim could otherwise be taken for one of the new life.
            let fence = record.word.fence.saturating_add(1);
            let to = Word { state: JobState::Queued, fence, worker: None };
            let key = self.keys.job(id);
            let facts = &record.job.facts;
            let facts = JobFacts { begins: at(now).unwrap_or(facts.begins), ..JobFacts::clone(facts) };
            let when = self
                .change(subject, &record.word, &to, now)
                .then(&command("PERSIST", &[&key]))
                .then(&self.field(id, "attempts", b"0"))
                .then(&self.field(id, "facts", &json(&facts)))
                .then(&self.without(id, &["lost"]))
                .then(&command("ZREM", &[&self.keys.over, &Self::over_member(state, subject)]));
            let when = self.enqueue(self.unhook(when, id), subject, fence);
            let when = when.then(&self.publish(News::Queued)).then(&self.publish(News::Changed(*id)));
            if self.run_when(when).await?.is_none() {
                self.board.hear(News::Queued);
                return Ok(Requeued::Done);
            }
        }
        Err(busy())
    }

    /// The record of a job that the scope covers.
    pub(super) async fn seen_by(&self, scope: &Scope, id: &JobId) -> Result<Option<Record>, JobStoreFault> {
        let record = self.read(id, Parts::default()).await?;
        Ok(record.filter(|record| scope.covers(&record.job.facts.submitter.tenant)))
    }
}

/// Others have changed a job again and again.
fn busy() -> JobStoreFault {
    crate::state::store::StoreFault::Busy.into()
}

fn queue(lease: &Lease) -> Queue {
    Queue { tenant: keys::hash(&lease.tenant), priority: lease.priority }
}
