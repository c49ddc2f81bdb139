//! Whole messages of Anthropic's dialect: whether one is valid, and its usage.
//!
//! Each field is read on its own: one in an unknown form counts as missing, and the message is still passed on. It does not
//! know what is done with it.

use serde_json::Value;

use super::errors;
use super::usage::Counted;
use crate::wire::json::scan::{Quoted, Scan};
use crate::wire::openai::answer::Facts;
use crate::wire::openai::{failures, parts};

/// Reads a message.
pub(crate) fn read(body: &[u8]) -> Facts {
    let body = parts::without_mark(body);
    at_once(body).unwrap_or_else(|| exactly(body))
}

/// Reads a message in its usual form, in one pass; `None` says nothing about it.
fn at_once(body: &[u8]) -> Option<Facts> {
    let (mut id, mut usage, mut has_content) = (None, Counted::default(), false);
    Scan::whole_strictly(body, |scan| {
        scan.object(|scan, name| match name {
            b"id" => {
                id = if scan.null() { None } else { Some(scan.quoted().filter(Quoted::is_plain)?.raw) };
                Some(())
            }
            b"usage" => {
                usage = Counted::scan(scan)?;
                Some(())
            }
            b"content" => {
                has_content = true;
                scan.list(Scan::skip)
            }
            b"error" => scan.null().then_some(()),
            b"type" => scan.value().filter(|value| *value == "\"message\"").map(drop),
            _ => scan.skip(),
        })
    })?;
    has_content.then(|| Facts::Sound { usage: usage.read(), id: id.filter(|id| !id.is_empty()).map(Into::into) })
}

/// Reads a message in any form.
fn exactly(body: &[u8]) -> Facts {
    let Ok(value) = parts::value(body) else {
        return Facts::NotJson;
    };
    let Value::Object(fields) = value else { return Facts::Empty("neither a message nor an error") };
    if let Some(error) = errors::of_object(&fields) {
        return Facts::Error(error);
    }
    match fields.get("content") {
        None | Some(Value::Null) => match failures::of_object(&fields, None) {
            Some(error) => Facts::Error(error.to_string()),
            None => Facts::Empty("no content"),
        },
        // In whatever form it is said.
        Some(_) => {
            let id = fields.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(Into::into);
            let usage = fields.get("usage").map(Counted::of).unwrap_or_default();
            Facts::Sound { usage: usage.read(), id }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::reply::Usage;
    use crate::wire::json::mutated::mutated;

    const USUAL: [&str; 2] = [
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Hi \"you\"\n"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"cache_read_input_tokens":3,"output_tokens":6}}"#,
        r#"{"content":[],"stop_reason":"end_turn","id":null,"error":null,"usage":null}"#,
    ];

    const NAMES: [&str; 6] = ["id", "type", "content", "usage", "error", "message"];

    #[test]
    fn a_message_says_what_it_cost() {
        let usage = Usage { input: 15, cached: 3, output: 6, ..Usage::default() };
        assert_eq!(read(USUAL[0].as_bytes()), Facts::Sound { usage: Some(usage), id: Some("msg_1".into()) });
        assert_eq!(read(USUAL[1].as_bytes()), Facts::Sound { usage: None, id: None }, "nothing was left to say");
        let odd = r#"{"type":"message","content":"Hi","id":7,"usage":{"output_tokens":"6"},"x":"\ud83d"}"#;
        let usage = Usage { output: 6, ..Usage::default() };
        assert_eq!(read(odd.as_bytes()), Facts::Sound { usage: Some(usage), id: None });
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        for error in [
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            r#"{"error":{"message":"no"},"content":[]}"#,
            r#"{"type":"error"}"#,
            r#"{"detail":"Not authenticated"}"#,
        ] {
            assert!(matches!(read(error.as_bytes()), Facts::Error(_)), "{error}");
        }
        for empty in ["7", "[]", "{}", r#"{"id":"msg_1","content":null}"#] {
            assert!(matches!(read(empty.as_bytes()), Facts::Empty(_)), "{empty}");
        }
        assert_eq!(read(b"<html>"), Facts::NotJson);
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_every_message(body in mutated(&USUAL, &NAMES)) {
            if let Some(read) = at_once(&body) {
                prop_assert_eq!(read, exactly(&body));
            }
        }
    }
}
