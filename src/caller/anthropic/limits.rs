//! Tells what the gateway's rate limits leave, in the headers that Anthropic's SDKs and agents read:
//! `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`.
//!
//! It does not know how limits are counted. Where a rule of the gateway holds, it takes the place of what the provider says of the
//! operator's own limits.
//! Source: <https://docs.claude.com/en/api/rate-limits>.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use crate::caller::About;
use crate::model::trail::LimitFact;

/// What is counted, with the names of its limit, of what remains of it, and of when all of it is there again.
const COUNTED: [(&str, [HeaderName; 3]); 2] = [
    (
        "requests",
        [
            HeaderName::from_static("anthropic-ratelimit-requests-limit"),
            HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
            HeaderName::from_static("anthropic-ratelimit-requests-reset"),
        ],
    ),
    (
        "tokens",
        [
            HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
            HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
            HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
        ],
    ),
];

/// Adds the headers of a limited request. Rules in shadow mode are not shown.
pub(super) fn tell(headers: &mut HeaderMap, about: &About<'_>) {
    let facts = about.trail.facts();
    for (quantity, [limit, remaining, reset]) in COUNTED {
        let counted = facts.limits.iter().filter(|fact| fact.terms.quantity == quantity && !fact.decision.is_shadow());
        let Some(tightest) = LimitFact::tightest(counted) else { continue };
        headers.insert(limit, tightest.terms.burst.into());
        headers.insert(remaining, tightest.remaining.into());
        if let Some(at) = at(about.now, tightest).and_then(|at| HeaderValue::from_str(&at).ok()) {
            headers.insert(reset, at);
        }
    }
}

/// When all of it is there again, in whole seconds (RFC 3339): nobody must come too early.
fn at(now: Timestamp, fact: &LimitFact) -> Option<String> {
    let full = now.checked_add(SignedDuration::try_from(fact.full_in).ok()?).ok()?;
    let up = i64::from(full.subsec_nanosecond() > 0);
    Some(Timestamp::from_second(full.as_second().checked_add(up)?).ok()?.to_string())
}
