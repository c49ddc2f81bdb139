//! Recorded: a call that is over, as a traffic trace keeps it: when, who (as a word that tells nobody's name), which
//! question (as a digest), how large, and what became of it and of each attempt. Never content.
//!
//! `[record]` writes such rows, one JSON object a line; `tidegate simulate` reads them, and makes the same rows of what happens in a
//! simulated world, so that one reader serves both. It does not know where rows come from.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One call. Times are in milliseconds from `at` on, money in USD.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RecordedCall {
    /// When it came.
    pub at: Timestamp,
    /// The route's name.
    pub route: Arc<str>,
    /// The tenant, if the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// The address, and whether it is in a private network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// True for an address in a private network, where proxies are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub near: bool,
    /// The tier, a word of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Arc<str>>,
    /// True for what the gateway asked by itself, to renew a cached response: it is no call of anybody, and only its attempts and
    /// their cost count.
    #[serde(default, skip_serializing_if = "is_false")]
    pub renewal: bool,
    /// What was asked: the same for what the cache takes for the same question. `None`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Arc<str>>,
    /// The model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// Bytes of the request's body.
    #[serde(default)]
    pub bytes_in: u64,
    /// True for a stream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stream: bool,
    /// The status that was sent; 499: the caller left before there was one.
    pub status: u16,
    /// `ok`, `cancelled` or a fault's code.
    pub outcome: Arc<str>,
    /// The rules and budgets that refused it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_by: Vec<Arc<str>>,
    /// What the cache did: `hit`, `stale`, `miss`, `collapsed`, `bypass` or `refused`; `None`: the route has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Arc<str>>,
    /// Tokens of the cached response that was served, which nobody had to make again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub saved: u64,
    /// Until the first event, or the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// Until it was over.
    pub took_ms: u64,
    /// How much of that it waited for a permit, a quota or a retry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waited_ms: u64,
    /// Tokens of the answer's prompt and of the answer, as they were charged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_in: u64,
    /// See `tokens_in`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_out: u64,
    /// What all its attempts cost; `None`: no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Attempts at providers, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<RecordedAttempt>,
}

/// The first line of a file of rows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TraceHeader {
    /// The version of the rows' form; see [`TraceHeader::FORMAT`].
    pub trace: u32,
    /// The version of the gateway that wrote it.
    pub version: Box<str>,
    /// When the file was begun.
    pub start: Timestamp,
    /// A digest of the secret that names are hidden with: names of two files are the same only where this is.
    pub secret: Arc<str>,
}

impl TraceHeader {
    /// The form of rows that this version writes. It changes when a member that readers know changes its meaning.
    pub const FORMAT: u32 = 1;

    /// The first line of a file that begins now.
    pub fn new(start: Timestamp, secret: Arc<str>) -> Self {
        Self { trace: Self::FORMAT, version: env!("CARGO_PKG_VERSION").into(), start, secret }
    }
}

/// One attempt at one provider.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct RecordedAttempt {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// Why it was made: `first`, `retry`, `failover`, `hedge`, `rescue`, `resume` or `repair`.
    pub reason: Arc<str>,
    /// When it began, from the call's arrival.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_ms: u64,
    /// Until the first event or the whole answer, from its own start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// Until it was over, from its own start.
    pub took_ms: u64,
    /// The status of the provider's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `ok`, `cancelled` (given up) or a fault's code.
    pub outcome: Arc<str>,
    /// Tokens of prompt and answer, as they were charged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_in: u64,
    /// See `tokens_in`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = Arc<str>> {
        ".{0,12}".prop_map(Arc::from)
    }

    fn name() -> impl Strategy<Value = Option<Arc<str>>> {
        prop::option::of(word())
    }

    /// Mostly small numbers, as rows have them, and zero, which is left out.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1..100_000_u64, any::<u64>()]
    }

    fn attempt() -> impl Strategy<Value = RecordedAttempt> {
        let numbers = (number(), prop::option::of(number()), number(), number(), number());
        (word(), name(), word(), word(), prop::option::of(any::<u16>()), numbers).prop_map(
            |(provider, model, reason, outcome, status, (start_ms, first_ms, took_ms, tokens_in, tokens_out))| {
                RecordedAttempt {
                    provider,
                    model,
                    reason,
                    start_ms,
                    first_ms,
                    took_ms,
                    status,
                    outcome,
                    tokens_in,
                    tokens_out,
                }
            },
        )
    }

    fn call() -> impl Strategy<Value = RecordedCall> {
        let who = (name(), name(), name(), name(), name(), any::<bool>());
        let what = (word(), name(), name(), number(), any::<bool>(), any::<bool>());
        let became =
            (any::<u16>(), word(), prop::collection::vec(word(), 0..3), name(), prop::option::of(0..1_u64 << 50));
        let numbers = (number(), prop::option::of(number()), number(), number(), number(), number());
        let microseconds = 0..4_000_000_000_000_000_i64;
        let attempts = prop::collection::vec(attempt(), 0..4);
        (microseconds, who, what, became, numbers, attempts).prop_map(
            |(at, (tenant, user, key, address, tier, near), what, became, numbers, attempts)| {
                let (route, question, model, bytes_in, stream, renewal) = what;
                let (status, outcome, refused_by, cache, nanodollars) = became;
                let (saved, first_ms, took_ms, waited_ms, tokens_in, tokens_out) = numbers;
                RecordedCall {
                    at: Timestamp::from_microsecond(at).unwrap(),
                    route,
                    tenant,
                    user,
                    key,
                    address,
                    near,
                    tier,
                    renewal,
                    question,
                    model,
                    bytes_in,
                    stream,
                    status,
                    outcome,
                    refused_by,
                    cache,
                    saved,
                    first_ms,
                    took_ms,
                    waited_ms,
                    tokens_in,
                    tokens_out,
                    cost: nanodollars.map(|cost| cost as f64 / 1e9),
                    attempts,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_is_written_and_is_one_line(call in call()) {
            let line = serde_json::to_string(&call).unwrap();
            prop_assert!(!line.contains('\n'), "{line}");
            prop_assert_eq!(serde_json::from_str::<RecordedCall>(&line).unwrap(), call);
        }
    }

    #[test]
    fn what_a_row_does_not_say_is_nothing() {
        let short = r#"{"at":"2026-01-01T00:00:00Z","route":"chat","status":200,"outcome":"ok","took_ms":7}"#;
        let call: RecordedCall = serde_json::from_str(short).unwrap();
        let written = serde_json::to_string(&call).unwrap();
        assert_eq!(written, short.replace("\"status\"", "\"bytes_in\":0,\"status\""));
        let header = TraceHeader::new(call.at, "0123456789abcdef".into());
        let line = serde_json::to_string(&header).unwrap();
        assert!(line.starts_with("{\"trace\":1,"), "{line}");
        assert_eq!(serde_json::from_str::<TraceHeader>(&line).unwrap(), header);
        assert!(serde_json::from_str::<RecordedCall>(&line).is_err(), "no row is taken for it, nor it for a row");
    }
}
