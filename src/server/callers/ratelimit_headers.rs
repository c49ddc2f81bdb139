//! Rate limit headers: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), and
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset` for clients that know only those.
//!
//! It does not know how rate limits are counted. Rules in shadow mode are not shown to callers.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::trail::{Decision, LimitFact};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds the headers of a limited request.
pub(in crate::server) fn tell(headers: &mut HeaderMap, facts: &[LimitFact], now: jiff::Timestamp) {
    let (mut policies, mut states) = (String::new(), String::new());
    let shown = || facts.iter().filter(|fact| !fact.decision.is_shadow());
    for fact in shown() {
        let comma = if policies.is_empty() { "" } else { ", " };
        // Rules' names are letters, digits, `-` and `_`: they need no escaping. Writing to a String cannot fail.
        let _ = write!(policies, "{comma}\"{}\";q={};w={}", fact.rule, fact.count, seconds(fact.window));
        if fact.quantity != "requests" {
            let unit = if fact.scale == 1 { fact.quantity } else { "micro-usd" };
            let _ = write!(policies, ";qu=\"{unit}\"");
        }
        if fact.burst != fact.count {
            let _ = write!(policies, ";tidegate-burst={}", fact.burst);
        }
        let _ = write!(states, "{comma}\"{}\";r={};t={}", fact.rule, fact.remaining, seconds(fact.more_in));
    }
    // The rule that a client with one number should know: the one that refused, else the one with least left.
    let tightness = |fact: &&LimitFact| {
        let left = fact.remaining as f64 / fact.burst.max(1) as f64;
        if fact.decision == Decision::Refused { left - 1.0 } else { left }
    };
    let Some(tightest) = shown().min_by(|left, right| tightness(left).total_cmp(&tightness(right))) else { return };
    let reset = now.as_second().saturating_add_unsigned(seconds(tightest.full_in));
    let shown = |units: u64| match tightest.scale {
        1 => units.to_string(),
        scale => (units as f64 / scale as f64).to_string(),
    };
    let values = [
        (POLICY, policies),
        (STATE, states),
        (X_LIMIT, shown(tightest.burst)),
        (X_REMAINING, shown(tightest.remaining)),
        (X_RESET, reset.to_string()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, rounded up: nobody must come too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
