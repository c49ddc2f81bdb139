//! Rate limit headers: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), and
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset` for clients that know only those.
//!
//! It does not know how rate limits are counted. Rules in shadow mode are not shown to callers.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::trail::{Announced, AnnouncedList, LimitFact, LimitTerms};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds the headers of a limited request. Their values are written one after the other into `text`: they share its memory.
pub(in crate::server) fn tell(headers: &mut HeaderMap, facts: &[LimitFact], now: jiff::Timestamp, text: &mut BytesMut) {
    let shown = || facts.iter().filter(|fact| !fact.decision.is_shadow());
    let Some(tightest) = LimitFact::tightest(shown()) else { return };
    headers.reserve(5);
    say(headers, POLICY, policies(shown()));
    for fact in shown() {
        comma(text);
        text.extend_from_slice(b"\"");
        text.extend_from_slice(fact.terms.rule.as_bytes());
        text.extend_from_slice(b"\";r=");
        number(text, fact.remaining);
        text.extend_from_slice(b";t=");
        number(text, seconds(fact.more_in));
    }
    say(headers, STATE, value(text));
    say(headers, X_LIMIT, announced(&tightest.terms).limit.clone());
    amount(text, tightest.remaining, tightest.terms.scale);
    say(headers, X_REMAINING, value(text));
    let reset = now.as_second().saturating_add_unsigned(seconds(tightest.full_in));
    text.extend_from_slice(itoa::Buffer::new().format(reset).as_bytes());
    say(headers, X_RESET, value(text));
}

/// Adds a header.
fn say(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// What was written.
fn value(text: &mut BytesMut) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(text.split().freeze()).ok()
}

/// What these rules allow. Nearly all requests to a route are under the same ones, and their list is kept.
fn policies<'f>(facts: impl Iterator<Item = &'f LimitFact> + Clone) -> Option<HeaderValue> {
    let first = announced(&facts.clone().next()?.terms);
    let written = || {
        let mut text = BytesMut::new();
        for fact in facts.clone() {
            comma(&mut text);
            text.extend_from_slice(announced(&fact.terms).item.as_bytes());
        }
        value(&mut text)
    };
    let list = || facts.clone().map(|fact| &fact.terms);
    let kept =
        first.list.get_or_init(|| AnnouncedList { rules: list().map(Arc::downgrade).collect(), value: written() });
    let is_same = kept.rules.iter().map(Weak::as_ptr).eq(list().map(Arc::as_ptr));
    if is_same { kept.value.clone() } else { written() }
}

fn announced(terms: &LimitTerms) -> &Announced {
    terms.announced.get_or_init(|| {
        let mut text = BytesMut::new();
        amount(&mut text, terms.burst, terms.scale);
        Announced { item: policy(terms), limit: value(&mut text), list: OnceLock::new() }
    })
}

/// What a rule allows, as an item of `RateLimit-Policy`. Rules' names are letters, digits, `-` and `_`: they need no escaping.
fn policy(terms: &LimitTerms) -> Box<str> {
    let LimitTerms { rule, count, .. } = terms;
    let unit = match terms.quantity {
        "requests" => String::new(),
        _ => format!(";qu=\"{}\"", if terms.scale == 1 { terms.quantity } else { "micro-usd" }),
    };
    let burst = if terms.burst == terms.count { String::new() } else { format!(";tidegate-burst={}", terms.burst) };
    format!("\"{rule}\";q={count};w={}{unit}{burst}", seconds(terms.window)).into()
}

/// Separates items of a list.
fn comma(text: &mut BytesMut) {
    if !text.is_empty() {
        text.extend_from_slice(b", ");
    }
}

fn number(text: &mut BytesMut, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Units as people count them.
fn amount(text: &mut BytesMut, units: u64, scale: u64) {
    match scale {
        1 => number(text, units),
        scale => text.extend_from_slice((units as f64 / scale as f64).to_string().as_bytes()),
    }
}

/// Whole seconds, rounded up: nobody must come too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trail::Decision;

    fn said(name: &str, quantity: &'static str, scale: u64, (count, burst, remaining): (u64, u64, u64)) -> LimitFact {
        let window = Duration::from_secs(60);
        let rule = Arc::from(name);
        LimitFact {
            terms: Arc::new(LimitTerms { rule, quantity, scale, count, window, burst, announced: OnceLock::new() }),
            key: 1,
            remaining,
            more_in: Duration::from_millis(1_001),
            full_in: Duration::from_millis(29_001),
            decision: Decision::Admitted,
            source: "memory",
        }
    }

    #[test]
    fn all_rules_are_told_in_order_and_of_the_tightest_one_more() {
        let mut facts = vec![
            said("calls", "requests", 1, (600, 600, 599)),
            said("tokens", "tokens", 1, (90_000, 20_000, 100)),
            said("usd", "usd", 1_000_000, (2_500_000, 2_500_000, 1_250_000)),
            LimitFact { decision: Decision::ShadowRefused, ..said("watched", "requests", 1, (1, 1, 0)) },
        ];
        let now = jiff::Timestamp::from_second(1_000).unwrap();
        // Twice: what is fixed is written once.
        for _ in 0..2 {
            let mut headers = HeaderMap::new();
            tell(&mut headers, &facts, now, &mut BytesMut::new());
            let of = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let policies = "\"calls\";q=600;w=60, \"tokens\";q=90000;w=60;qu=\"tokens\";tidegate-burst=20000, \
                            \"usd\";q=2500000;w=60;qu=\"micro-usd\"";
            assert_eq!(of(POLICY).as_deref(), Some(policies));
            let states = "\"calls\";r=599;t=2, \"tokens\";r=100;t=2, \"usd\";r=1250000;t=2";
            assert_eq!(of(STATE).as_deref(), Some(states));
            assert_eq!(of(X_LIMIT).as_deref(), Some("20000"));
            assert_eq!(of(X_REMAINING).as_deref(), Some("100"));
            assert_eq!(of(X_RESET).as_deref(), Some("1030"));
            assert_eq!(headers.len(), 5);
        }
        // The list of others that begins with the same rule is another one.
        let mut headers = HeaderMap::new();
        tell(&mut headers, &facts[..1], now, &mut BytesMut::new());
        assert_eq!(headers[POLICY], "\"calls\";q=600;w=60");
        facts[2].decision = Decision::Refused;
        let mut headers = HeaderMap::new();
        tell(&mut headers, &facts, now, &mut BytesMut::new());
        assert_eq!((&headers[X_LIMIT], &headers[X_REMAINING]), (&"2.5".parse().unwrap(), &"1.25".parse().unwrap()));
    }

    #[test]
    fn a_request_under_no_rule_is_told_nothing() {
        let (mut headers, now) = (HeaderMap::new(), jiff::Timestamp::UNIX_EPOCH);
        tell(
            &mut headers,
            &[LimitFact { decision: Decision::ShadowAdmitted, ..said("a", "requests", 1, (1, 1, 1)) }],
            now,
            &mut BytesMut::new(),
        );
        assert!(headers.is_empty());
    }
}
