//! Usage: the tokens that a message reports.
//!
//! `input_tokens` are those of the prompt that were neither read from the provider's cache nor written to it; the gateway
//! counts all of them as input (<https://docs.anthropic.com/en/api/messages>). A field in an unknown form counts as
//! missing, and reading never fails.

use serde_json::Value;

use crate::model::reply::Usage;
use crate::wire::json::scan::Scan;
use crate::wire::openai::usage::{MOST, number};

/// The tokens of one answer, as far as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    input: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    output: Option<u64>,
}

impl Counted {
    /// The tokens that a value counts.
    pub(crate) fn of(value: &Value) -> Self {
        let count = |name: &str| value.get(name).and_then(number);
        Self {
            input: count("input_tokens"),
            read: count("cache_read_input_tokens"),
            written: count("cache_creation_input_tokens"),
            output: count("output_tokens"),
        }
    }

    /// Reads what comes next in a text: an object of counts in its usual form, or `null`. `None` says nothing about it.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Option<Self> {
        let mut counted = Self::default();
        if scan.null() {
            return Some(counted);
        }
        scan.object(|scan, name| {
            let field = match name {
                b"input_tokens" => &mut counted.input,
                b"cache_read_input_tokens" => &mut counted.read,
                b"cache_creation_input_tokens" => &mut counted.written,
                b"output_tokens" => &mut counted.output,
                _ => return scan.skip(),
            };
            *field = if scan.null() { None } else { Some(scan.whole_number()?).filter(|number| *number <= MOST) };
            Some(())
        })?;
        Some(counted)
    }

    /// What several events have counted: of each number the largest, as those of later events include those before.
    pub(crate) fn with(self, later: Self) -> Self {
        Self {
            input: self.input.max(later.input),
            read: self.read.max(later.read),
            written: self.written.max(later.written),
            output: self.output.max(later.output),
        }
    }

    /// What was counted; `None` where no number was said.
    pub(crate) fn read(self) -> Option<Usage> {
        self.input.or(self.read).or(self.written).or(self.output)?;
        let [new, cached, written, output] =
            [self.input, self.read, self.written, self.output].map(Option::unwrap_or_default);
        // Each is bounded, so the sum is.
        Some(Usage { input: new + cached + written, cached, written, output, ..Usage::default() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::wire::json::mutated::mutated;
    use crate::wire::openai::parts;

    const USUAL: [&str; 4] = [
        r#"{"input_tokens":9,"cache_creation_input_tokens":100,"cache_read_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":0},"output_tokens":4,"service_tier":"standard"}"#,
        r#"{"output_tokens":15}"#,
        r#"{"input_tokens":9,"output_tokens":2000000000,"cache_read_input_tokens":null,"server_tool_use":{"web_search_requests":1}}"#,
        "null",
    ];

    const NAMES: [&str; 5] =
        ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens", "cache_creation"];

    fn read(json: &str) -> Option<Usage> {
        Counted::of(&serde_json::from_str(json).unwrap()).read()
    }

    #[test]
    fn the_input_is_all_of_the_prompt() {
        assert_eq!(read(USUAL[0]), Some(Usage { input: 129, cached: 20, written: 100, output: 4, ..Usage::default() }));
        assert_eq!(read(USUAL[1]), Some(Usage { output: 15, ..Usage::default() }));
        assert_eq!(
            read(r#"{"input_tokens":"9","output_tokens":4.0}"#),
            read(r#"{"input_tokens":9,"output_tokens":4}"#)
        );
        for nothing in ["null", "7", "[]", "{}", r#"{"input_tokens":-1,"output_tokens":1e300}"#] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn of_several_events_the_largest_number_counts() {
        let begun = Counted::of(&serde_json::from_str(r#"{"input_tokens":9,"output_tokens":1}"#).unwrap());
        let ended = Counted::of(&serde_json::from_str(r#"{"input_tokens":0,"output_tokens":15}"#).unwrap());
        assert_eq!(begun.with(ended).read(), Some(Usage { input: 9, output: 15, ..Usage::default() }));
    }

    proptest! {
        #[test]
        fn what_is_read_at_once_is_what_the_other_reader_reads(json in mutated(&USUAL, &NAMES)) {
            if let Some(counted) = Scan::whole(&json, Counted::scan) {
                match parts::value(&json) {
                    Ok(value) => prop_assert_eq!(counted, Counted::of(&value)),
                    // A number beyond a double, in a field that nobody asks for: no value, and still JSON.
                    Err(_) => prop_assert!(serde_json::from_slice::<IgnoredAny>(&json).is_ok()),
                }
            }
        }
    }
}
