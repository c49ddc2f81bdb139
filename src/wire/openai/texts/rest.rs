//! The rest of a text that was held back, written as an event of its own, and the decoded content of a string.
//!
//! It does not know why it was held back.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::event::{Step, TextKey};
use super::fields::{LOGPROBS, is_for_programs};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Member, members, whole};

/// The data of an event like one that had some of a text, with just the rest of it, as it stands between quotes. Other texts
/// are not said again.
pub(crate) fn rest(data: &str, text: &TextKey, id: Option<&str>, rest: &str) -> String {
    let fields: Vec<Member<'_>> = members(data, whole(data)).collect();
    let mut written = String::from("{");
    let mut add = |name: &str, value: &str| {
        let comma = if written.len() > 1 { "," } else { "" };
        // To write into a String does not fail.
        let _ = write!(written, "{comma}{}:{value}", quoted(name));
    };
    let mut has_said = false;
    for field in &fields {
        let value = &data[field.value.clone()];
        match (&*field.name, text) {
            ("choices", TextKey::Choice(number, path)) if !has_said => {
                has_said = true;
                add("choices", &format!("[{}]", choice(*number, path, id, rest)));
            }
            ("delta", TextKey::Kind(..)) if !has_said => {
                has_said = true;
                add("delta", &format!("\"{rest}\""));
            }
            (LOGPROBS, _) => add(LOGPROBS, if value.starts_with('[') { "[]" } else { "null" }),
            (name, _) if is_for_programs(name) || !value.starts_with(['"', '{', '[']) => add(name, value),
            _ => {}
        }
    }
    written.push('}');
    written
}

/// A choice with just this text.
fn choice(number: u64, path: &[Step], id: Option<&str>, rest: &str) -> String {
    let inside = path.iter().rev().fold(format!("\"{rest}\""), |inside, step| match step {
        Step::Field(name) => format!("{{{}:{inside}}}", quoted(name)),
        Step::Item(number, is_said, kind) => {
            let mut item = String::from("{");
            if *is_said {
                let _ = write!(item, "\"index\":{number},");
            } else if let Some(id) = id {
                let _ = write!(item, "\"id\":\"{id}\",");
            }
            if !kind.is_empty() {
                let _ = write!(item, "\"type\":\"{kind}\",");
            }
            match inside.strip_prefix('{') {
                Some(fields) => format!("[{item}{fields}]"),
                None => format!("[{inside}]"),
            }
        }
    });
    let fields = inside.strip_prefix('{').unwrap_or("}");
    format!("{{\"index\":{number},\"finish_reason\":null,{fields}")
}

/// What a string says of which this stands between its quotes. Half of a surrogate pair becomes a sign for that.
pub(crate) fn said(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = String;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    struct Said(String);
    impl<'de> Deserialize<'de> for Said {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_bytes(Bytes).map(Said)
        }
    }
    let quoted = format!("\"{inside}\"");
    Cow::Owned(serde_json::from_str::<Said>(&quoted).map(|Said(text)| text).unwrap_or_default())
}
