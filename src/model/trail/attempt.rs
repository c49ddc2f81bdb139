//! Attempts of a call at its providers: why each was made, where it went, and how it ended.
//!
//! It does not know how an attempt is charged (that is `trail/reckoning`), nor who decides on the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Trail;
use super::tokens::{Received, Tokens};
use crate::model::bill::Bill;
use crate::model::fault::Fault;
use crate::model::reply::Usage;
use crate::model::time::{Phase, since};
use crate::model::trace::{SpanId, Trace};

/// How an attempt ended whose answer was not the one that the caller had the beginning of.
pub const DIFFERS: &str = "answer_differs";

/// Providers choose their ids.
const LONGEST_ID: usize = 128;

/// One attempt at one provider.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model sent.
    pub model: Option<Arc<str>>,
    /// Why it was made.
    pub reason: Reason,
    /// The instances it was sent to, as bits; those from the 65th on are not told apart.
    pub instances: u64,
    /// The last of them.
    pub instance: Option<usize>,
    /// The id that the provider gave the request.
    pub request_id: Option<Box<str>>,
    /// The id that the answer itself has (`chatcmpl-...`, `resp_...`), where it was read.
    pub answer_id: Option<Arc<str>>,
    /// The status of the provider's answer, once there is one.
    pub status: Option<u16>,
    /// True when no connection came about.
    pub is_unreached: bool,
    /// When it began.
    pub started: Instant,
    /// How long it took to the first event or the whole answer, once that is in hand.
    pub answered: Option<Duration>,
    /// How long it took, once it is over.
    pub took: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens, when the provider counted them.
    pub usage: Option<Usage>,
    /// What came of its answer.
    pub received: Received,
    /// Its charge, once that is known.
    pub tokens: Option<Tokens>,
}

impl Attempt {
    /// The ids that its provider gave the request and the answer.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.request_id.as_deref().into_iter().chain(self.answer_id.as_deref())
    }

    /// True while nobody has noted its end.
    pub fn is_running(&self) -> bool {
        self.took.is_none()
    }

    /// True when the provider has worked on it, as far as anybody can know: it has neither refused it nor been out of reach.
    pub fn has_begun(&self) -> bool {
        let is_refused = self.status.is_some_and(|status| !(200..300).contains(&status));
        match self.outcome {
            Outcome::Pending | Outcome::Succeeded => !is_refused,
            Outcome::Failed(code) => {
                let is_cut = self.status.is_some() && (is_broken_off(code) || code == DIFFERS);
                let is_late = matches!(code, "provider_timeout" | "deadline_exceeded");
                !is_refused && (is_cut || is_late) && !self.is_unreached
            }
        }
    }
}

/// True for the codes of an answer that its provider itself has broken off.
pub fn is_broken_off(code: &str) -> bool {
    matches!(code, "provider_broken" | "stream_incomplete")
}

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The call came.
    #[default]
    First,
    /// The same target again.
    Retry,
    /// Another target, because one before failed.
    Failover,
    /// A second attempt beside one that is slower than most.
    Hedge,
    /// An attempt beside one that is overdue.
    Rescue,
    /// A stream broke after its first event.
    Resume,
    /// The answer did not have the shape that was asked for.
    Repair,
}

impl Reason {
    /// True for an attempt that is made while another one runs: both may have to be paid for.
    pub fn is_beside(self) -> bool {
        matches!(self, Reason::Hedge | Reason::Rescue)
    }

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::First => "first",
            Reason::Retry => "retry",
            Reason::Failover => "failover",
            Reason::Hedge => "hedge",
            Reason::Rescue => "rescue",
            Reason::Resume => "resume",
            Reason::Repair => "repair",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It still runs; at the end of a call: it was given up, because the caller went away or another attempt was faster.
    Pending,
    /// The answer was complete.
    Succeeded,
    /// It failed with this fault code.
    Failed(&'static str),
}

/// The means to note how an attempt ended. The first word counts; dropped without one, the attempt was given up.
#[derive(Debug)]
pub struct AttemptNote {
    pub(super) trail: Trail,
    pub(super) index: usize,
}

impl AttemptNote {
    /// Notes an instance that it is sent to.
    pub fn sent_to(&self, instance: usize) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.instances |= 1 << instance.min(63);
            attempt.instance = Some(instance);
        }
    }

    /// Notes the id that the provider gave the request; of a long one the beginning.
    pub fn request_id(&self, id: &str) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.request_id = Some(id[..id.floor_char_boundary(LONGEST_ID)].into());
        }
    }

    /// Notes the id that the answer itself has.
    pub fn answer_id(&self, id: impl Into<Arc<str>>) {
        let id = id.into();
        let end = id.floor_char_boundary(LONGEST_ID);
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.answer_id = Some(if end < id.len() { id[..end].into() } else { id });
        }
    }

    /// Notes the tokens of an answer. Those of a stored response count once, whoever reads it, and as its model's.
    pub fn usage(&self, usage: Usage, bill: Option<&Arc<Bill>>) {
        if bill.is_some_and(|bill| !bill.close()) {
            return;
        }
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.usage = Some(usage);
            if let Some(model) = bill.and_then(|bill| bill.model.as_ref()) {
                attempt.model = Some(model.clone());
            }
        }
    }

    /// Notes what came of its answer.
    pub fn received(&self, received: Received) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.received = received;
        }
    }

    /// Notes the status of the provider's answer.
    pub fn status(&self, status: u16) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.status = Some(status);
        }
    }

    /// What the provider is told of the trace: its own place in it, where calls are traced.
    pub fn trace(&self) -> Option<(Trace, SpanId)> {
        let trace = self.trail.facts().trace.as_deref().cloned()?;
        let span = trace.attempt(self.index);
        Some((trace, span))
    }

    /// Notes that the first event, or the whole answer, is in hand.
    pub fn answered(&self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            attempt.answered = Some(since(attempt.started));
        }
    }

    /// Notes that a conversation may begin. How long it goes on says nothing about how fast its provider is.
    pub fn opened(&self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index) {
            let took = since(attempt.started);
            (attempt.answered, attempt.took) = (Some(took), Some(took));
        }
    }

    /// Notes that it failed. One that the caller did not wait for was given up.
    pub fn failed(&self, fault: &Fault) {
        if matches!(fault, Fault::Timeout { phase: Phase::Connect, .. })
            && let Some(attempt) = self.trail.facts().attempts.get_mut(self.index)
        {
            attempt.is_unreached = true;
        }
        if !matches!(fault, Fault::CallerTimeout) {
            self.end(Outcome::Failed(fault.attempt_code()));
        }
    }

    /// Notes the end.
    pub fn end(&self, outcome: Outcome) {
        let mut facts = self.trail.facts();
        if let Some(attempt) = facts.attempts.get_mut(self.index)
            && attempt.outcome == Outcome::Pending
        {
            attempt.took.get_or_insert(since(attempt.started));
            attempt.outcome = outcome;
        }
    }
}

impl Drop for AttemptNote {
    fn drop(&mut self) {
        if let Some(attempt) = self.trail.facts().attempts.get_mut(self.index)
            && attempt.took.is_none()
        {
            attempt.took = Some(since(attempt.started));
        }
    }
}
