//! What became of a call, in the few words that a report counts by.
//!
//! It knows the codes of two faults: those of limits and budgets, which refuse a call on purpose.

use crate::model::recorded::RecordedCall;

/// What became of a call. Each call is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The caller got its answer.
    Answered,
    /// A limit or a budget refused it.
    Refused,
    /// The request itself was wrong: malformed, not authenticated, not found. No configuration of the gateway mends that.
    Invalid,
    /// The caller saw an error, in place of the answer or within it.
    Failed,
    /// The caller left.
    Cancelled,
}

impl Fate {
    /// Reads it from a row.
    pub fn of(call: &RecordedCall) -> Self {
        match &*call.outcome {
            "ok" => Fate::Answered,
            "cancelled" => Fate::Cancelled,
            "rate_limited" | "budget_exhausted" => Fate::Refused,
            _ if !call.refused_by.is_empty() => Fate::Refused,
            // A provider's 429 that nobody could mend is an error. One of the gateway's own names its rule.
            _ if (400..500).contains(&call.status) && call.status != 429 => Fate::Invalid,
            _ => Fate::Failed,
        }
    }
}

/// What the cost of a call is in nanodollars. Nothing below zero, and nothing that is no number.
pub fn nanos(cost: f64) -> u64 {
    // A cast of a float stops at the ends of the range, and makes zero of what is not a number.
    (cost * 1e9).round() as u64
}

/// What became of a call at the cache: `Some(true)` for a cached response, `None` where the cache was not consulted.
pub fn hit(call: &RecordedCall) -> Option<bool> {
    match call.cache.as_deref()? {
        "hit" | "stale" => Some(true),
        "bypass" => None,
        _ => Some(false),
    }
}
