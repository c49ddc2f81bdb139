//! Extract: finds JSON in what a model said: the whole text, a fenced block, or an object among words.
//!
//! It mends nothing: what is broken is not found. It does not know which of several objects is the right one.

use serde_json::Value;

use crate::wire::json::plain::Plain;
use crate::wire::json::strict;

/// As many places of a text are tried: a schema is checked against each.
const MOST: usize = 16;

/// As many blocks of code, the last ones, are looked at, and as many braces are taken for the beginning of an object. A text with
/// more of them is broken, or no answer.
const MOST_STARTS: usize = 256;

/// As many bytes are read in search of objects: each brace of a broken text may be read to the end.
const MOST_READ: usize = 8 << 20;

/// What stands behind the thoughts of models that think aloud. What they think of is no answer.
const THOUGHT: &str = "</think>";

/// What marks a block of code.
const FENCE: &str = "```";

/// The JSON values in a text that may be its answer, as they stand there and read, the likeliest first: the whole text; else
/// blocks of code, the last first, and then objects among words, the longest first.
pub fn candidates(said: &str) -> Vec<(&str, Value)> {
    // Untouched where every reader takes it as it is: none takes a byte order mark, nor blanks that are not JSON's.
    if let Some(whole) = value(said) {
        return vec![whole];
    }
    let said = said.rsplit_once(THOUGHT).map_or(said, |(_, said)| said);
    let said = said.trim_start_matches('\u{feff}').trim();
    if let Some(whole) = value(said) {
        return vec![whole];
    }
    let blocks = fenced(said).into_iter().rev().take(MOST_STARTS);
    let mut found: Vec<_> = blocks.filter_map(value).filter(|(_, value)| is_nested(value)).take(MOST).collect();
    let mut objects = objects(said);
    // Those that are as long as each other stay in their order.
    objects.sort_by_key(|object| std::cmp::Reverse(object.len()));
    objects.retain(|object| !found.iter().any(|(known, _)| std::ptr::eq(*known, *object)));
    found.extend(objects.into_iter().take(MOST).filter_map(value));
    found
}

fn is_nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// A text that is one JSON value which all readers read in the same way.
fn value(text: &str) -> Option<(&str, Value)> {
    let Plain(value) = serde_json::from_str(text).ok()?;
    strict::check(text.as_bytes()).ok().map(|()| (text, value))
}

/// What is between fences, without the word for its language. A fence that is not closed goes on to the end.
fn fenced(said: &str) -> Vec<&str> {
    let mut blocks = said.split(FENCE).skip(1).step_by(2).collect::<Vec<_>>();
    for block in &mut blocks {
        *block = block.trim_start_matches(|it: char| it.is_ascii_alphanumeric()).trim();
    }
    blocks
}

/// The objects that stand side by side in a text.
fn objects(said: &str) -> Vec<&str> {
    let (mut found, mut from, mut read) = (Vec::new(), 0, 0);
    for _ in 0..MOST_STARTS {
        let Some(brace) = memchr::memchr(b'{', &said.as_bytes()[from..]).filter(|_| read < MOST_READ) else { break };
        let (start, rest) = (from + brace, &said[from + brace..]);
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
        from = match values.next() {
            Some(Ok(_)) => {
                let end = start + values.byte_offset();
                found.push(&said[start..end]);
                end
            }
            Some(Err(wrong)) => {
                read += place(rest, &wrong);
                // What begins inside a broken object may be whole.
                start + 1
            }
            None => break,
        };
    }
    found
}

/// How far a text was read until something was wrong with it.
fn place(text: &str, wrong: &serde_json::Error) -> usize {
    let mut lines = memchr::memchr_iter(b'\n', text.as_bytes());
    let line = wrong.line().checked_sub(2).and_then(|before| lines.nth(before));
    line.map_or(0, |end| end + 1) + wrong.column()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn first(said: &str) -> Option<Value> {
        candidates(said).into_iter().next().map(|(_, value)| value)
    }

    #[test]
    fn the_whole_text_is_taken_where_it_is_json() {
        assert_eq!(first(" {\"a\": [1]}\n"), Some(json!({"a": [1]})));
        assert_eq!(first("\u{feff}[1]"), Some(json!([1])));
        assert_eq!(first("\"{}\""), Some(json!("{}")), "a text that is a string holds no object");
        let odd = r#"{"$serde_json::private::RawValue": "{\"a\": 1}"}"#;
        assert_eq!(first(odd), None, "nobody else reads the text of a field as JSON");
    }

    #[test]
    fn a_fenced_block_is_taken_without_its_fence() {
        for said in [
            "Here it is:\n```json\n{\"a\": 1}\n```\nAnything else?",
            "```\n{\"a\": 1}\n```",
            "```JSON {\"a\": 1}```",
            "```json\n{\"a\": 1}",
            "{not this}\n```json\n{\"a\": 1}\n```",
            "<think>{\"a\": 2} or ```{\"a\": 3}```?</think>\n{\"a\": 1}",
            "<think>{\"a\": 2}</think>\nIt is {\"a\": 1}.",
            "```json\n{\"b\":\n```\n{\"a\": 1}",
            "````json\n{\"a\": 1}\n````",
            "```json title=\"x\"\n{\"a\": 1}\n```",
        ] {
            assert_eq!(first(said), Some(json!({"a": 1})), "{said}");
        }
    }

    #[test]
    fn of_several_blocks_the_last_comes_first() {
        let said = "A draft:\n```json\n{\"a\": 1}\n```\nBetter:\n```json\n{\"a\": 2}\n```\nRun it:\n```sh\nls\n```";
        assert_eq!(candidates(said), [("{\"a\": 2}", json!({"a": 2})), ("{\"a\": 1}", json!({"a": 1}))]);
    }

    #[test]
    fn an_object_among_words_is_found_and_the_longest_comes_first() {
        let said = "```json\n{\"b\": 1}\n```\nthat is, {\"a\": 1}";
        assert_eq!(candidates(said), [("{\"b\": 1}", json!({"b": 1})), ("{\"a\": 1}", json!({"a": 1}))]);
        let said = "{\"a\": 1}, or rather {\"a\": {\"b\": 2}}.";
        assert_eq!(
            candidates(said),
            [("{\"a\": {\"b\": 2}}", json!({"a": {"b": 2}})), ("{\"a\": 1}", json!({"a": 1}))]
        );
        assert_eq!(first("Sure! {\"a\": \"}{\"} I hope {this} helps"), Some(json!({"a": "}{"})));
        assert_eq!(first("{\"broken\": {\"a\": 1}"), Some(json!({"a": 1})), "an inner one of one that is cut off");
    }

    #[test]
    fn nothing_is_mended() {
        for said in
            ["", "no", "{a: 1}", "{\"a\": 1,}", "{'a': 1}", "{\"a\": 1, \"a\": 2}", "{\"a\": 1e999}", "```", "{{}}x"]
        {
            let found = first(said).filter(|value| *value != json!({}));
            assert_eq!(found, None, "{said}");
        }
    }

    #[test]
    fn a_text_of_braces_is_no_bomb() {
        for (piece, times) in
            [("{", 1 << 20), ("{\"a\":", 1 << 18), ("{\"", 1 << 19), ("```", 1 << 18), ("{} ", 1 << 18)]
        {
            candidates(&piece.repeat(times));
        }
    }

    proptest! {
        /// Words around an object do not hide it.
        #[test]
        fn an_object_is_found_among_any_words(before in "[^{`]*", after in "[^{`]*", text in ".*") {
            let object = json!({"text": text, "list": [1, {"deep": true}]});
            for said in [format!("{before}{object}{after}"), format!("{before}\n```json\n{object}\n```\n{after}")] {
                // A fence inside the text ends the block.
                if !text.contains("```") {
                    prop_assert_eq!(first(&said), Some(object.clone()), "{}", said);
                }
            }
        }
    }
}
