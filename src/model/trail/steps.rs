//! Steps: what policies did about a call besides passing it on, and what it waits for.
//!
//! It does not know why a policy did so, nor who is told.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Trail;
use crate::model::time::since;

/// As many steps of one call are remembered. A call has few attempts, and so few reasons to do something about one.
pub const STEPS: usize = 32;

/// Something that a policy did about a call.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, from the call's start.
    pub at: Duration,
    /// The policy's name.
    pub policy: &'static str,
    /// The provider that it has to do with.
    pub provider: Option<Arc<str>>,
    /// What it did.
    pub what: StepKind,
}

/// A wait that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The policy in which the call waits.
    pub policy: &'static str,
    /// The provider that it waits for.
    pub provider: Option<Arc<str>>,
    /// When it began, from the call's start.
    pub at: Duration,
    /// Tells it from others of the call that go on.
    pub(super) number: u32,
}

/// What a policy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It kept the call from a provider, which may be asked again after this time.
    Refused(Duration),
    /// It kept this same request from a provider, which takes others.
    HeldBack {
        /// How often it has failed there in a row.
        failures: u32,
        /// When it may be made again.
        retry_in: Duration,
    },
    /// It made the call wait so long.
    Waited(Duration),
    /// It would have tried again, and did not.
    Denied(&'static str),
    /// It passed a target over.
    Skipped(&'static str),
    /// It passed a target over that cannot serve this.
    Unable(Cow<'static, str>),
    /// It found an attempt overdue, after such a silence.
    Overdue(Duration),
}

impl StepKind {
    /// Bytes of text that it holds of its own.
    pub fn text_len(&self) -> usize {
        match self {
            StepKind::Unable(Cow::Owned(what)) => what.capacity(),
            _ => 0,
        }
    }
}

/// A shorter wait was not for what the policy waits for, but for this thread.
const WORTH_TELLING: Duration = Duration::from_millis(1);

/// Ends the wait when dropped.
#[derive(Debug)]
pub struct WaitNote {
    pub(super) trail: Trail,
    pub(super) number: u32,
}

impl Drop for WaitNote {
    fn drop(&mut self) {
        let mut facts = self.trail.facts();
        let Some(index) = facts.waiting.iter().position(|waiting| waiting.number == self.number) else { return };
        let Waiting { policy, provider, at, .. } = facts.waiting.remove(index);
        if facts.waiting.is_empty() {
            // A call that is remembered has no use for the room.
            facts.waiting = Vec::new();
        }
        let waited = since(facts.started).saturating_sub(at);
        if waited >= WORTH_TELLING {
            facts.note(policy, provider, StepKind::Waited(waited));
        }
    }
}
