//! Usage: the tokens that a response reports, in whatever spelling its server uses.
//!
//! Accounting needs these numbers, but a response without them is still good: a field in an unknown form counts as
//! missing, and reading never fails.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::model::reply::{Units, Usage};
use crate::wire::json::scan::Scan;

/// What a visitor makes of values that are neither objects nor lists.
macro_rules! nothing {
    ($nothing:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($nothing)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($nothing)
        }
    };
}

/// The tokens of one answer, or the length of a recording, as far as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    written: Option<u64>,
    milliseconds: Option<u64>,
}

impl Counted {
    /// The tokens that a value counts.
    pub(crate) fn of(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// Reads what comes next in a text: an object of counts as nearly all servers write it, or `null`. `None` says nothing about it.
    pub(crate) fn scan(scan: &mut Scan<'_>) -> Option<Self> {
        let mut counted = Self::default();
        if scan.null() {
            return Some(counted);
        }
        scan.object(|scan, name| {
            let field = match name {
                b"prompt_tokens" | b"input_tokens" => &mut counted.prompt,
                b"completion_tokens" | b"output_tokens" => &mut counted.completion,
                b"total_tokens" => &mut counted.total,
                b"cached_tokens" | b"prompt_cache_hit_tokens" => &mut counted.cached,
                b"cache_write_tokens" => &mut counted.written,
                b"seconds" | b"prompt_audio_seconds" => {
                    let seconds = if scan.null() { None } else { Some(scan.whole_number()?) };
                    let milliseconds = seconds.and_then(|seconds| milliseconds(seconds as f64));
                    counted.milliseconds = counted.milliseconds.max(milliseconds);
                    return Some(());
                }
                b"prompt_tokens_details" | b"input_tokens_details" => {
                    counted.add_details(Self::scan(scan)?);
                    return Some(());
                }
                _ => return scan.skip(),
            };
            let said = if scan.null() { None } else { Some(scan.whole_number()?) };
            *field = (*field).max(said.filter(|number| *number <= MOST));
            Some(())
        })?;
        Some(counted)
    }

    /// The tokens that an answer or a chunk counts, in any of the places that servers have for them.
    pub(crate) fn in_any_place(fields: &Map<String, Value>) -> Self {
        let in_choice = || fields.get("choices")?.get(0)?.get("usage");
        let in_groq = || fields.get("x_groq")?.get("usage");
        let places = [fields.get("usage"), in_groq(), in_choice()];
        places.into_iter().flatten().map(Self::of).fold(Self::default(), Self::or)
    }

    /// What several events have counted: of each number the largest, as some are said in parts, and some grow.
    pub(crate) fn with(self, later: Self) -> Self {
        Self {
            prompt: self.prompt.max(later.prompt),
            completion: self.completion.max(later.completion),
            total: self.total.max(later.total),
            cached: self.cached.max(later.cached),
            written: self.written.max(later.written),
            milliseconds: self.milliseconds.max(later.milliseconds),
        }
    }

    /// What the details of a prompt say of it.
    fn add_details(&mut self, details: Self) {
        self.cached = self.cached.max(details.cached);
        self.written = self.written.max(details.written);
    }

    /// This, or the other where this says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::default() { other } else { self }
    }

    /// What was counted; `None` where no number was said. What only the total has (reasoning at xAI and Google, sound at Mistral)
    /// is paid like an answer; a total alone is that of a prompt, as of embeddings.
    pub(crate) fn read(self) -> Option<Usage> {
        self.prompt.or(self.completion).or(self.total).or(self.milliseconds)?;
        let total = self.total.unwrap_or_default();
        let input = match (self.prompt, self.completion) {
            (Some(prompt), _) => prompt,
            (None, completion) => total.saturating_sub(completion.unwrap_or_default()),
        };
        let output = self.completion.unwrap_or_default().max(total.saturating_sub(input));
        // A part of a prompt is no larger than the prompt, whatever the provider says.
        let cached = self.cached.unwrap_or_default().min(input);
        let written = self.written.unwrap_or_default().min(input - cached);
        let milliseconds = self.milliseconds.unwrap_or_default().try_into().unwrap_or(u32::MAX);
        Some(Usage { input, cached, written, output, units: Units { milliseconds, ..Units::default() } })
    }
}

/// The names that servers have for these numbers; of two that are given the larger one counts.
#[derive(Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "prompt_tokens", alias = "input_tokens")]
    Prompt,
    #[serde(rename = "completion_tokens", alias = "output_tokens")]
    Completion,
    #[serde(rename = "total_tokens")]
    Total,
    /// DeepSeek's name for the tokens of a prompt that it had read before is the last of these, Together.ai's the first.
    #[serde(rename = "cached_tokens", alias = "prompt_cache_hit_tokens")]
    Cached,
    /// OpenAI's name for those that it has written to its cache.
    #[serde(rename = "cache_write_tokens")]
    Written,
    /// The length of a recording, at OpenAI and at Mistral.
    #[serde(rename = "seconds", alias = "prompt_audio_seconds")]
    Seconds,
    #[serde(rename = "prompt_tokens_details", alias = "input_tokens_details")]
    Details,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Counted;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted, A::Error> {
                let mut counted = Counted::default();
                while let Some(key) = map.next_key()? {
                    let field = match key {
                        Key::Prompt => &mut counted.prompt,
                        Key::Completion => &mut counted.completion,
                        Key::Total => &mut counted.total,
                        Key::Cached => &mut counted.cached,
                        Key::Written => &mut counted.written,
                        Key::Seconds => {
                            let milliseconds = map.next_value::<Value>()?.as_f64().and_then(milliseconds);
                            counted.milliseconds = counted.milliseconds.max(milliseconds);
                            continue;
                        }
                        Key::Details => {
                            let details: Counted = map.next_value()?;
                            counted.add_details(details);
                            continue;
                        }
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = (*field).max(map.next_value::<Number>()?.0);
                }
                Ok(counted)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Counted, A::Error> {
                drain(seq).map(|()| Counted::default())
            }

            nothing!(Counted::default());
        }
        deserializer.deserialize_any(Fields)
    }
}

/// The number of tokens that a value says, in any form; `None` for what is no count.
pub(crate) fn number(value: &Value) -> Option<u64> {
    Number::deserialize(value).ok()?.0
}

/// The length of a recording; `None` for one that is too long for any.
fn milliseconds(seconds: f64) -> Option<u64> {
    let milliseconds = seconds * 1_000.0;
    (0.0..=f64::from(u32::MAX)).contains(&milliseconds).then_some(milliseconds.ceil() as u64)
}

/// No answer takes more tokens: what claims so is no count, and would stop everybody's budget.
pub(crate) const MOST: u64 = 1_000_000_000;

/// A number of tokens, whole or with a fraction, or written as text; anything else is none.
struct Number(Option<u64>);

impl Number {
    /// A cast from a float ends at the largest number.
    fn of(number: f64) -> Self {
        Self((0.0..=MOST as f64).contains(&number).then_some(number as u64))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Number;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("anything")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(Some(number).filter(|number| *number <= MOST)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::of(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(text.trim().parse().map_or(Number(None), Number::of))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Number, A::Error> {
                drain(seq).map(|()| Number(None))
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Number, E> {
                Ok(Number(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn drain<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::json::mutated::mutated;

    const USUAL: [&str; 5] = [
        r#"{"prompt_tokens":200,"completion_tokens":230,"total_tokens":430,"prompt_tokens_details":{"cached_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#,
        r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":5},"output_tokens":4,"total_tokens":null,"queue_time":1.5e-3}"#,
        r#"{ "prompt_tokens" : 9, "prompt_cache_hit_tokens": 3, "completion_tokens": 2000000000, "input_tokens": 4, "x": ["y", {}] }"#,
        "{}",
        "null",
    ];

    #[test]
    fn the_length_of_a_recording_and_what_was_written_to_a_cache_are_read() {
        let units = |json: &str| {
            let usage = serde_json::from_str::<Counted>(json).unwrap().read()?;
            Some((usage.units.milliseconds, usage.written))
        };
        for (json, wanted) in [
            (r#"{"type":"duration","seconds":9}"#, Some((9_000, 0))),
            (r#"{"type":"duration","seconds":1.2345}"#, Some((1_235, 0))),
            (r#"{"prompt_audio_seconds":203,"prompt_tokens":4}"#, Some((203_000, 0))),
            (r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":3}}"#, Some((0, 3))),
            (r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":3}}"#, Some((0, 1))),
            (r#"{"seconds":-1}"#, None),
            (r#"{"seconds":{"a":1}}"#, None),
            (r#"{"seconds":1e99}"#, None),
        ] {
            assert_eq!(units(json), wanted, "{json}");
        }
    }

    const NAMES: [&str; 8] = [
        "prompt_tokens",
        "input_tokens",
        "completion_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "prompt_tokens_details",
        "input_tokens_details",
    ];

    fn read(json: &str) -> Option<(u64, u64, u64)> {
        let usage = serde_json::from_str::<Counted>(json).unwrap().read()?;
        Some((usage.input, usage.cached, usage.output))
    }

    #[test]
    fn tokens_are_read_in_every_spelling() {
        for json in [
            r#"{"prompt_tokens":9,"completion_tokens":4}"#,
            r#"{"input_tokens":9,"output_tokens":4,"total_tokens":13}"#,
            r#"{"prompt_tokens":9,"completion_tokens":4,"input_tokens":0,"output_tokens":0,"input_tokens_details":null}"#,
            r#"{"prompt_tokens":9.0,"completion_tokens":4.0}"#,
            r#"{"prompt_tokens":"9","completion_tokens":" 4 "}"#,
            r#"{"prompt_tokens":null,"input_tokens":9,"completion_tokens":{},"output_tokens":4}"#,
            r#"{"prompt_tokens":9,"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":[],"cost":[0.1]}"#,
        ] {
            assert_eq!(read(json), Some((9, 0, 4)), "{json}");
        }
        for (json, cached) in [
            (r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens":4}"#, 5),
            (r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":5.0},"output_tokens":4}"#, 5),
            (r#"{"prompt_tokens":9,"cached_tokens":3,"completion_tokens":4}"#, 3),
            (r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":3,"completion_tokens":4}"#, 3),
            (r#"{"prompt_tokens":9,"cached_tokens":99,"completion_tokens":4}"#, 9),
            (r#"{"prompt_tokens":9,"cached_tokens":true,"prompt_tokens_details":"x","completion_tokens":4}"#, 0),
        ] {
            assert_eq!(read(json), Some((9, cached, 4)), "{json}");
        }
    }

    fn at_once(json: &[u8]) -> Option<Counted> {
        Scan::whole(json, Counted::scan)
    }

    #[test]
    fn what_is_usual_is_read_at_once() {
        for json in USUAL {
            assert_eq!(at_once(json.as_bytes()), serde_json::from_str(json).ok(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_at_once_is_what_serde_reads(json in mutated(&USUAL, &NAMES)) {
            if let Some(counted) = at_once(&json) {
                prop_assert_eq!(Some(counted), serde_json::from_slice(&json).ok());
            }
        }
    }

    #[test]
    fn what_only_the_total_has_is_counted() {
        for (json, wanted) in [
            // xAI: reasoning beside the answer.
            (
                r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":354,"completion_tokens_details":{"reasoning_tokens":340}}"#,
                (12, 0, 342),
            ),
            (r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}"#, (12, 0, 2)),
            (r#"{"prompt_tokens":12,"total_tokens":354}"#, (12, 0, 342)),
            (r#"{"prompt_tokens":12,"completion_tokens":null,"total_tokens":"354"}"#, (12, 0, 342)),
            (r#"{"input_tokens":0,"output_tokens":2,"total_tokens":10}"#, (0, 0, 10)),
            (r#"{"completion_tokens":2,"total_tokens":10}"#, (8, 0, 2)),
            // Embeddings.
            (r#"{"prompt_tokens":8,"total_tokens":8}"#, (8, 0, 0)),
            (r#"{"total_tokens":8}"#, (8, 0, 0)),
            // A total that says less than its parts is wrong.
            (r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":3}"#, (12, 0, 2)),
            (r#"{"prompt_tokens":12,"completion_tokens":20,"total_tokens":3}"#, (12, 0, 20)),
            (r#"{"completion_tokens":20,"total_tokens":3}"#, (0, 0, 20)),
        ] {
            assert_eq!(read(json), Some(wanted), "{json}");
        }
    }

    #[test]
    fn what_is_no_count_is_not_said() {
        for json in [
            "null",
            "7",
            "-7",
            "1.5",
            "true",
            "\"x\"",
            "[]",
            "[{\"prompt_tokens\":1}]",
            "{}",
            r#"{"prompt_tokens":null}"#,
            r#"{"prompt_tokens":[1],"completion_tokens":{"a":[2]}}"#,
            r#"{"prompt_tokens":1e300,"completion_tokens":18446744073709551615,"total_tokens":"99999999999999999999"}"#,
            r#"{"prompt_tokens":-1}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
