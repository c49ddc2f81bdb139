//! Bounds: the maximum length of the response that a request in OpenAI's dialect allows, whatever its numbers look
//! like.
//!
//! It rejects nothing: an invalid number is for the provider to reject. The result is never below what a provider
//! may produce, because budgets reserve it.

use std::borrow::Cow;

use crate::model::call::AnswerBounds;

/// No model writes more tokens than this in one choice.
const MAX_TOKENS: u64 = 10_000_000;

/// No provider writes more choices than this.
const MAX_CHOICES: u64 = 10_000;

/// Reads the limits in tokens, the numbers of choices, and the prompt, of which a list asks for as many answers.
pub(super) fn read(limits: &[Option<&str>], choices: &[Option<&str>], prompt: Option<&str>) -> AnswerBounds {
    let said = |value: &Option<&str>| value.filter(|raw| *raw != "null").map(number);
    let limits = || limits.iter().filter_map(said);
    let tokens = limits().flatten().max().unwrap_or(0).min(MAX_TOKENS);
    // One that is no positive number may be ignored, or mean "as long as you like".
    let is_open = limits().next().is_none() || limits().any(|limit| limit.is_none());
    let choices = choices.iter().filter_map(said).flatten().max().unwrap_or(1).min(MAX_CHOICES);
    let prompts = prompt.map_or(1, prompts);
    AnswerBounds { tokens, is_open, choices: choices.saturating_mul(prompts) }
}

/// A number above zero, rounded up, also one that is written as text or with a fraction.
fn number(raw: &str) -> Option<u64> {
    let text: Cow<'_, str> = match raw.starts_with('"') {
        true => serde_json::from_str(raw).ok()?,
        false => raw.into(),
    };
    let number: f64 = text.trim().parse().ok()?;
    // A cast from a float ends at the largest number.
    (number > 0.0).then(|| number.ceil() as u64)
}

/// How many prompts there are: one, or the items of a list of texts or of lists of tokens.
fn prompts(raw: &str) -> u64 {
    let Some(inside) = raw.strip_prefix('[') else { return 1 };
    match inside.trim_ascii_start().as_bytes().first() {
        Some(b'"' | b'[') => {}
        _ => return 1,
    }
    let items: Result<Vec<serde::de::IgnoredAny>, _> = serde_json::from_str(raw);
    items.map_or(1, |items| items.len() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn bounds(limits: &[&str], choices: &[&str], prompt: Option<&str>) -> AnswerBounds {
        fn all<'a>(values: &[&'a str]) -> Vec<Option<&'a str>> {
            values.iter().copied().map(Some).collect()
        }
        read(&all(limits), &all(choices), prompt)
    }

    #[test]
    fn a_limit_counts_however_it_is_written_and_the_larger_of_two_counts() {
        for (limits, most) in [
            (&["1000"][..], 1000),
            (&["1000.0"], 1000),
            (&["1e3"], 1000),
            (&["999.5"], 1000),
            (&["\"1000\""], 1000),
            (&["\" 1000.0 \""], 1000),
            (&["1", "1000"], 1000),
            (&["1000", "1"], 1000),
            (&["1", "null"], 1),
            // What says nothing leaves the model's own limit.
            (&[], 4096),
            (&["null"], 4096),
            (&["0"], 4096),
            (&["-1"], 4096),
            (&["true"], 4096),
            (&["\"many\""], 4096),
            (&["\"nan\""], 4096),
            (&["[5]"], 4096),
            (&["5", "-1"], 4096),
            (&["5000", "\"x\""], 5000),
            (&["1e300"], MAX_TOKENS),
            (&["18446744073709551616"], MAX_TOKENS),
            (&["\"inf\""], MAX_TOKENS),
        ] {
            assert_eq!(bounds(limits, &[], None).at_most(4096), most, "{limits:?}");
        }
    }

    #[test]
    fn every_choice_of_every_prompt_is_counted() {
        for (choices, prompt, count) in [
            (&["128"][..], None, 128),
            (&["2", "5"], None, 5),
            (&["\"128\""], None, 128),
            (&["128.0"], None, 128),
            (&["0"], None, 1),
            (&["-3"], None, 1),
            (&["null"], None, 1),
            (&["1e300"], None, MAX_CHOICES),
            (&[], Some("\"one\""), 1),
            (&[], Some("[1, 2, 3]"), 1),
            (&[], Some("[]"), 1),
            (&[], Some("[ \"a\", \"b\", \"c\"]"), 3),
            (&["4"], Some("[[1,2],[3]]"), 8),
        ] {
            assert_eq!(bounds(&["10"], choices, prompt).at_most(0), 10 * count, "{choices:?} {prompt:?}");
        }
    }

    proptest! {
        /// Whatever is written in a field, it is read, and never as less than the number that any reader may take it for.
        #[test]
        fn no_value_comes_out_below_what_it_says(number in any::<f64>(), whole in any::<i64>()) {
            for value in [Value::from(number), Value::from(whole), number.to_string().into(), whole.to_string().into()] {
                let read = bounds(&[&value.to_string()], &[], None);
                let said = value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0.0);
                prop_assert!(read.is_open || read.at_most(0) as f64 >= said.min(MAX_TOKENS as f64), "{value}");
            }
        }
    }
}
