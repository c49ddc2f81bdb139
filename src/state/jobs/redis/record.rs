//! The record of a job: a hash whose field `state` is the word that every change compares and replaces.
//!
//! It does not know which changes there are.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use redis::{Cmd, cmd};

use super::keys::{Queue, Ticket, Turn};
use crate::model::job::{JobFacts, JobFault, JobId, JobProgress, JobRecord, JobState};
use crate::state::jobs::{Lease, Parts};

/// The state of a job, the number of its newest claim, and whose that is or was: `active 3 5d0f`. No two moments of a job's
/// life have the same word unless nothing but its progress has changed between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) state: JobState,
    pub(super) fence: u64,
    /// `None`: nobody claimed it, or who did has lost it.
    pub(super) worker: Option<Arc<str>>,
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.state.as_str(), self.fence)?;
        self.worker.as_ref().map_or(Ok(()), |worker| write!(out, " {worker}"))
    }
}

impl Word {
    /// The word while a lease is held, or of what its holder has done with it.
    pub(super) fn of(state: JobState, lease: &Lease) -> Self {
        Self { state, fence: lease.fence, worker: Some(lease.worker.as_str().into()) }
    }

    /// The word of a job that nobody has any more.
    pub(super) fn without_worker(&self, state: JobState) -> Self {
        Self { state, fence: self.fence, worker: None }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (state, fence) = (parts.next()?, parts.next()?);
        Some(Self { state: JobState::parse(state)?, fence: fence.parse().ok()?, worker: parts.next().map(Into::into) })
    }
}

/// The fields of the hash that [`read`] reads, in its order, before the contents.
const FIELDS: [&str; 14] = [
    "state", "facts", "attempts", "since", "due", "started", "fault", "percent", "text", "webhook", "order", "ticket",
    "turn", "lost",
];

/// A job as its hash has it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) word: Word,
    pub(super) job: JobRecord,
    /// The URL of its webhook, sealed.
    pub(super) webhook: Option<Bytes>,
    /// What it is called among the delayed ones, while it is one of them.
    pub(super) order: Option<String>,
    /// The entry of the stream by which it was claimed last.
    pub(super) ticket: Option<String>,
    /// The number of its newest claim when it was queued last.
    pub(super) turn: u64,
    /// True after a worker lost it, until the next claim.
    pub(super) is_lost: bool,
}

impl Record {
    /// True while this ticket is its turn.
    pub(super) fn waits_by(&self, ticket: &Ticket) -> bool {
        self.word.state == JobState::Queued
            && match ticket.turn {
                Turn::Number(turn) => turn == self.turn,
                Turn::Named => self.ticket.as_ref() == Some(&ticket.entry),
            }
    }

    /// Where it waits.
    pub(super) fn queue(&self) -> Queue {
        let facts = &self.job.facts;
        Queue { tenant: super::keys::hash(&facts.submitter.tenant), priority: facts.priority }
    }
}

/// Reads a record, with these contents.
pub(super) fn ask(key: &str, parts: Parts) -> Cmd {
    let mut command = cmd("HMGET");
    command.arg(key).arg(&FIELDS);
    // What is not asked for is asked for by a name that no field has, so that answers have one form.
    command.arg(if parts.input { "input" } else { "-" }).arg(if parts.result { "result" } else { "-" });
    command
}

/// What [`ask`] answers.
pub(super) type Answer = Vec<Option<Vec<u8>>>;

/// The record; `None`: there is none. One that cannot be read is none, and the log names it.
pub(super) fn read(id: &JobId, answer: Answer) -> Option<Record> {
    let is_there = answer.first().is_some_and(Option::is_some);
    let record = parse(id, answer);
    if is_there && record.is_none() {
        tracing::error!(job = %id, "the record of a job in Redis is damaged; check what else writes to its keys");
    }
    record
}

fn parse(id: &JobId, answer: Answer) -> Option<Record> {
    let mut fields = answer.into_iter();
    let mut bytes = || fields.next().flatten();
    let word = Word::parse(&text(bytes())?)?;
    let facts: JobFacts = serde_json::from_slice(&bytes()?).ok()?;
    let attempts = number(bytes())?;
    let since = moment(bytes())?;
    let (due, started) = (moment(bytes()), moment(bytes()));
    let fault: Option<JobFault> = bytes().and_then(|text| serde_json::from_slice(&text).ok());
    let (percent, said) = (number(bytes()), bytes().map(Bytes::from));
    let webhook = bytes().map(Bytes::from);
    let (order, ticket, turn, is_lost) = (text(bytes()), text(bytes()), number(bytes()), bytes().is_some());
    let (input, result) = (bytes().map(Bytes::from), bytes().map(Bytes::from));
    let progress = percent.and_then(|percent| u8::try_from(percent).ok());
    let job = JobRecord {
        id: *id,
        facts: Arc::new(facts),
        state: word.state,
        attempts: u32::try_from(attempts).ok()?,
        since,
        due: due.filter(|_| word.state == JobState::Delayed),
        started,
        fault,
        progress: progress
            .filter(|_| word.state == JobState::Active)
            .map(|percent| JobProgress { percent, text: said }),
        has_webhook: webhook.is_some(),
        input,
        result,
    };
    Some(Record { word, job, webhook, order, ticket, turn: turn.unwrap_or_default(), is_lost })
}

fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.and_then(|bytes| String::from_utf8(bytes).ok())
}

fn number(bytes: Option<Vec<u8>>) -> Option<u64> {
    text(bytes)?.parse().ok()
}

/// Milliseconds since 1970 as a moment.
pub(super) fn at(milliseconds: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

fn moment(bytes: Option<Vec<u8>>) -> Option<Timestamp> {
    number(bytes).and_then(at)
}

/// The text of something that is kept.
pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Neither facts nor faults have maps whose keys are no texts, which is all that could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written() {
        for text in ["queued 0", "active 3 5d0f", "completed 18446744073709551615 a", "cancelled 1"] {
            assert_eq!(Word::parse(text).map(|word| word.to_string()).as_deref(), Some(text));
        }
        for text in ["", "queued", "queued x", "done 1", "active -1 a"] {
            assert_eq!(Word::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_damaged_is_no_record_and_no_panic() {
        let id = JobId::new([1; 16]);
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert!(read(&id, Vec::new()).is_none());
        assert!(read(&id, vec![some("queued 1"), some("{}"), some("0"), some("0")]).is_none());
        assert!(read(&id, vec![Some(vec![0xff]); 15]).is_none());
    }
}
