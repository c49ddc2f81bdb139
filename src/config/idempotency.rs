//! Idempotency: `[idempotency]`, how long an `Idempotency-Key` is remembered, and how much of its answer.
//!
//! It does not know what a key looks like, nor what is done with it.

use std::time::Duration;

use super::reader::Section;
use super::value;

/// `[idempotency]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyPlan {
    /// False: a call is executed whatever key it has.
    pub is_on: bool,
    /// How long a key is remembered from the end of its execution.
    pub ttl: Duration,
    /// Bytes of memory for all answers.
    pub max_bytes: usize,
    /// Bytes of the largest answer that is kept.
    pub max_entry: usize,
}

/// `[idempotency]`
pub(super) fn read(root: &mut Section<'_>) -> IdempotencyPlan {
    let mut section = root.section("idempotency");
    let plan = IdempotencyPlan {
        is_on: section.required("enabled", value::boolean).unwrap_or_default(),
        ttl: section.required("ttl", value::duration).unwrap_or_default(),
        max_bytes: section.required("max_bytes", value::memory).unwrap_or_default(),
        max_entry: section.required("max_entry", value::memory).unwrap_or_default(),
    };
    section.close();
    plan
}
