//! Idempotency: reads `[idempotency]`: the TTL of an `Idempotency-Key`, and the size limits of stored responses.
//!
//! It does not know what a key looks like, nor how it is used.

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::idempotency::IdempotencyPlan;

/// `[idempotency]`
pub(in crate::config) fn read(root: &mut Section<'_>) -> IdempotencyPlan {
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
