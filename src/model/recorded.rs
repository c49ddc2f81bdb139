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
