//! The tokens of an answer, as Messages counts them: `input_tokens` are those of the prompt that were neither read from the
//! cache nor written to it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::reply::Usage;

/// No answer takes more tokens: what claims so is no count.
const MOST: f64 = 1e9;

/// What was counted, as it is read.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Counted<'a> {
    #[serde(default, borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    output_tokens: Option<&'a RawValue>,
}

/// What is known by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    fresh: Option<u64>,
    written: Option<u64>,
    cached: Option<u64>,
    output: Option<u64>,
}

impl Known {
    /// Learns what an event counts. The numbers of later events include those of earlier ones.
    pub(super) fn learn(&mut self, counted: Counted<'_>) {
        // A cast from a float ends at the largest number.
        let number = |value: Option<&RawValue>| {
            let number: f64 = value?.get().trim_matches('"').parse().ok()?;
            (0.0..=MOST).contains(&number).then_some(number as u64)
        };
        self.fresh = self.fresh.max(number(counted.input_tokens));
        self.written = self.written.max(number(counted.cache_creation_input_tokens));
        self.cached = self.cached.max(number(counted.cache_read_input_tokens));
        self.output = self.output.max(number(counted.output_tokens));
    }

    /// The tokens; `None` where no number was said.
    pub(super) fn read(self) -> Option<Usage> {
        self.fresh.or(self.written).or(self.cached).or(self.output)?;
        let (cached, written) = (self.cached.unwrap_or_default(), self.written.unwrap_or_default());
        let input = self.fresh.unwrap_or_default() + cached + written;
        Some(Usage { input, cached, written, output: self.output.unwrap_or_default() })
    }
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
