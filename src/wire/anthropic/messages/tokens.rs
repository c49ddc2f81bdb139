//! The tokens of an answer, as they stand in it.
//!
//! `input_tokens` are those of the prompt that were neither read from the cache nor written to it.

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::usage::Counted;
use crate::model::reply::Usage;
use crate::wire::json::scan::Scan;

/// What a `usage` counts.
pub(super) fn counted(usage: &RawValue) -> Counted {
    let usual = Scan::whole(usage.get().as_bytes(), Counted::scan);
    usual.or_else(|| serde_json::from_str(usage.get()).ok().map(|value| Counted::of(&value))).unwrap_or_default()
}

/// What was counted, as it is written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tokens {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input.saturating_sub(usage.cached).saturating_sub(usage.written),
            cache_creation_input_tokens: usage.written,
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.output,
        }
    }
}
