//! What the rules of rate limits said about a call, and what callers are told of them.
//!
//! It does not know how a rule counts, nor in which headers callers are told.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::HeaderValue;

/// What a rule allows, the same for all calls.
#[derive(Debug)]
pub struct LimitTerms {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it counts: `requests`, `tokens` or `usd`.
    pub quantity: &'static str,
    /// Units of that in one of what people count in (a million in a dollar).
    pub scale: u64,
    /// Units allowed in a window.
    pub count: u64,
    /// The window.
    pub window: Duration,
    /// Units allowed at once.
    pub burst: u64,
    /// How callers are told of it, once they were.
    pub announced: OnceLock<Announced>,
}

/// How callers are told of a rule. It is the same for all of them; whoever tells them knows the form.
#[derive(Debug)]
pub struct Announced {
    /// What it allows.
    pub item: Box<str>,
    /// How much that is.
    pub limit: Option<HeaderValue>,
    /// The list that it was first told with, of which it was the first one.
    pub list: OnceLock<AnnouncedList>,
}

/// Rules that callers are told of together.
#[derive(Debug)]
pub struct AnnouncedList {
    /// The rules.
    pub rules: Box<[Weak<LimitTerms>]>,
    /// What all of them allow.
    pub value: Option<HeaderValue>,
}

/// What one rule said.
#[derive(Clone, Debug)]
pub struct LimitFact {
    /// The rule.
    pub terms: Arc<LimitTerms>,
    /// Who is counted, as a number that tells nobody's name.
    pub key: u64,
    /// Units that are left.
    pub remaining: u64,
    /// How long until there is more than that.
    pub more_in: Duration,
    /// How long until there is all of it.
    pub full_in: Duration,
    /// What it decided.
    pub decision: Decision,
    /// Who counted.
    pub source: &'static str,
}

impl LimitFact {
    /// Of several rules the one that a client with one number should know: the one that refused, else the one with least left.
    pub fn tightest<'f>(facts: impl Iterator<Item = &'f Self>) -> Option<&'f Self> {
        let tightness = |fact: &&Self| {
            let left = fact.remaining as f64 / fact.terms.burst.max(1) as f64;
            if fact.decision == Decision::Refused { left - 1.0 } else { left }
        };
        facts.min_by(|left, right| tightness(left).total_cmp(&tightness(right)))
    }
}

/// What a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call may go on.
    Admitted,
    /// The call is refused.
    Refused,
    /// It admits, but another rule refused: nothing was counted.
    NotCharged,
    /// It would have refused, but only watches.
    ShadowRefused,
    /// It only watches, and would have admitted.
    ShadowAdmitted,
}

impl Decision {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Admitted => "admitted",
            Decision::Refused => "refused",
            Decision::NotCharged => "not_charged",
            Decision::ShadowRefused => "shadow_refused",
            Decision::ShadowAdmitted => "shadow_admitted",
        }
    }

    /// True for rules that only watch.
    pub fn is_shadow(self) -> bool {
        matches!(self, Decision::ShadowRefused | Decision::ShadowAdmitted)
    }
}
