//! Idempotency: the TTL of a key and its response.

use std::time::Duration;

/// `[idempotency]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyPlan {
    /// False: a call is executed whatever key it has.
    pub is_on: bool,
    /// How long a key is remembered from the end of its execution.
    pub ttl: Duration,
    /// Bytes of memory for all answers.
    pub max_bytes: usize,
    /// The largest response that is stored, in bytes.
    pub max_entry: usize,
}
