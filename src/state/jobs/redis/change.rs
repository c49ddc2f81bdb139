//! The changes of a job's state: the word, the indices of tenant and all, and what else belongs to it, in one transaction.
//!
//! It does not know who wants a change, nor whether it is right.

use redis::{Cmd, cmd};

use super::board::News;
use super::keys::{self, CONSUMER, GROUP, Queue, Ticket};
use super::record::{Word, ask, json, read};
use super::when::When;
use super::{JobStoreFault, RedisJobs, milliseconds, record::Record};
use crate::model::job::{JobFault, JobId, JobState};
use crate::state::jobs::Parts;

/// Where gateways tell each other what happens to jobs.
pub(super) const CHANNEL: &str = "jobs";

/// One job that changes.
#[derive(Clone, Copy)]
pub(super) struct Subject<'s> {
    pub(super) id: &'s JobId,
    pub(super) queue: &'s Queue,
}

/// A command with its words.
pub(super) fn command(name: &str, words: &[&str]) -> Cmd {
    let mut command = cmd(name);
    command.arg(words);
    command
}

impl RedisJobs {
    /// Runs a transaction; see [`When::run`].
    pub(super) async fn run_when(&self, when: When) -> Result<Option<String>, JobStoreFault> {
        Ok(when.run(&self.redis, &self.when).await?)
    }

    /// Reads one record.
    pub(super) async fn read(&self, id: &JobId, parts: Parts) -> Result<Option<Record>, JobStoreFault> {
        Ok(read(id, self.redis.ask(&ask(&self.keys.job(id), parts)).await?))
    }

    /// A transaction that happens only while a job has this word.
    pub(super) fn while_it_is(&self, id: &JobId, word: &str) -> When {
        When::answers(word, &command("HGET", &[&self.keys.job(id), "state"]))
    }

    /// Enters a job into the indices of a state: its tenant's and that of all.
    pub(super) fn index(&self, when: When, subject: Subject<'_>, state: JobState, now: u64) -> When {
        let (now, name) = (now.to_string(), subject.id.to_string());
        self.indices_of(subject, state).fold(when, |when, index| when.then(&command("ZADD", &[&index, &now, &name])))
    }

    /// Takes a job out of them.
    pub(super) fn unindex(&self, when: When, subject: Subject<'_>, state: JobState) -> When {
        let name = subject.id.to_string();
        self.indices_of(subject, state).fold(when, |when, index| when.then(&command("ZREM", &[&index, &name])))
    }

    fn indices_of<'s>(&'s self, subject: Subject<'s>, state: JobState) -> impl Iterator<Item = String> + 's {
        let queue = subject.queue;
        [&*queue.tenant, keys::ALL].into_iter().map(move |scope| self.keys.index(scope, state, queue.priority))
    }

    /// A change from one word to another: nothing happens unless the job has the first.
    pub(super) fn change(&self, subject: Subject<'_>, from: &Word, to: &Word, now: u64) -> When {
        let when = self.while_it_is(subject.id, &from.to_string());
        // What takes no memory comes first: a transaction that has begun goes on where Redis is full, so jobs can end then.
        let when = self.unindex(when, subject, from.state);
        let job = self.keys.job(subject.id);
        let when = when.then(&command("HSET", &[&job, "state", &to.to_string(), "since", &now.to_string()]));
        self.index(when, subject, to.state, now)
    }

    /// Sets a field of the record.
    pub(super) fn field(&self, id: &JobId, name: &str, value: &[u8]) -> Cmd {
        let mut command = cmd("HSET");
        command.arg(self.keys.job(id)).arg(name).arg(value);
        command
    }

    /// Removes fields of the record.
    pub(super) fn without(&self, id: &JobId, names: &[&str]) -> Cmd {
        let mut command = cmd("HDEL");
        command.arg(self.keys.job(id)).arg(names);
        command
    }

    pub(super) fn fault(&self, id: &JobId, fault: &JobFault) -> Cmd {
        self.field(id, "fault", &json(fault))
    }

    pub(super) fn publish(&self, news: News) -> Cmd {
        command("PUBLISH", &[&self.channel(), &news.text()])
    }

    pub(super) fn channel(&self) -> String {
        self.redis.key("channel", CHANNEL)
    }

    /// Has a job, whose newest claim has this number, wait behind all that wait: a new entry in its stream.
    pub(super) fn enqueue(&self, when: When, subject: Subject<'_>, fence: u64) -> When {
        let Subject { id, queue } = subject;
        let (name, turn) = (id.to_string(), fence.to_string());
        when.then(&self.field(id, "turn", turn.as_bytes()))
            .then(&self.without(id, &["ticket"]))
            .then(&command("XADD", &[&self.keys.stream(queue), "*", "id", &name, "turn", &turn]))
            .then(&command("SADD", &[&self.keys.queues, &queue.to_string()]))
            .then(&command("SADD", &[&self.keys.waiting, &keys::hint(queue, true)]))
    }

    /// Has a job wait at its place in the stream: nobody holds its entry any more, and the lane has it.
    pub(super) fn return_ticket(&self, when: When, queue: &Queue, ticket: &Ticket) -> When {
        let when = when.then(&command("XACK", &[&self.keys.stream(queue), GROUP, &ticket.entry]));
        // The id of an entry is two numbers, or Redis did not make it.
        let Some(member) = ticket.member() else { return when };
        when.then(&command("ZADD", &[&self.keys.lane(queue), "0", &member]))
            .then(&command("SADD", &[&self.keys.waiting, &keys::hint(queue, false)]))
    }

    /// Ends the entry of a job: it waits no more, and nobody has it.
    pub(super) fn drop_entry(&self, when: When, queue: &Queue, entry: &str) -> When {
        let stream = self.keys.stream(queue);
        when.then(&command("XACK", &[&stream, GROUP, entry])).then(&command("XDEL", &[&stream, entry]))
    }

    /// Has a job expire, as one that is over.
    pub(super) fn expire(&self, when: When, subject: Subject<'_>, state: JobState, now: u64) -> When {
        let terms = self.terms();
        let keep = match state {
            JobState::Completed => terms.keep_results,
            _ => terms.keep_failures,
        };
        let (job, keep) = (self.keys.job(subject.id), milliseconds(keep).max(1));
        let member = Self::over_member(state, subject);
        when.then(&command("PEXPIRE", &[&job, &keep.to_string()]))
            .then(&command("ZADD", &[&self.keys.over, &now.saturating_add(keep).to_string(), &member]))
    }

    /// A member of [`over`](keys::Keys::over).
    pub(super) fn over_member(state: JobState, subject: Subject<'_>) -> String {
        format!("{} {} {}", state.as_str(), subject.queue, subject.id)
    }

    /// The row of a webhook that is to be told of a job's end, where the job has one.
    pub(super) fn hook(&self, when: When, id: &JobId, tenant: &str, url: Option<&[u8]>, now: u64) -> When {
        let Some(url) = url else { return when };
        let mut row = cmd("HSET");
        row.arg(self.keys.hook(id)).arg("url").arg(url).arg("tenant").arg(tenant);
        row.arg("attempts").arg(0).arg("since").arg(now);
        when.then(&row).then(&command("ZADD", &[&self.keys.hooks, &now.to_string(), &id.to_string()]))
    }

    /// Confirms a lease: its entry is held, by the one consumer that there is, since now. By force where it is not held yet.
    pub(super) fn confirm(&self, queue: &Queue, entry: &str) -> Cmd {
        let stream = self.keys.stream(queue);
        command("XCLAIM", &[&stream, GROUP, CONSUMER, "0", entry, "FORCE", "JUSTID"])
    }
}
