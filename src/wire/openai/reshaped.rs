//! Reshaped: requests and answers of OpenAI's dialect with other words in a few places, for answers that must have a shape.
//! Everything else stays, byte for byte.
//!
//! It does not know what a shape is, nor who decides that one is asked for.

use std::ops::Range;

use serde_json::json;

use super::{conversation, parts, structured};
use crate::model::call::{NamedModel, Role, WireRequest};
use crate::wire::json::fields::quoted;
use crate::wire::json::members::{Member, items, members, whole};

/// An edit of a body: other words in a place.
pub(crate) type Edit = (Range<usize>, String);

/// Asks for a shape by this value of `response_format` in the place of the caller's; without one, no more by that field.
pub(crate) fn in_field(body: &str, format: Option<&str>) -> Option<Edit> {
    let asked = structured::asked(body);
    match (asked, format) {
        (Some(asked), Some(format)) => Some((asked.field.value, format.to_owned())),
        (Some(_), None) => without(body, structured::FIELD).map(|place| (place, String::new())),
        (None, Some(format)) => {
            // There are other fields behind it: the messages are one.
            let brace = memchr::memchr(b'{', body.as_bytes())?;
            Some((brace + 1..brace + 1, format!("\"{}\":{format},", structured::FIELD)))
        }
        (None, None) => None,
    }
}

/// Tells a model more before the conversation: at the end of the system message that begins it, else in a message in front of
/// it. Some models take no second system message.
pub(crate) fn in_instruction(body: &str, words: &str) -> Option<Edit> {
    let list = field(body, whole(body), "messages")?;
    let first = items(body, list.clone()).next();
    let system = first.filter(|first| {
        let role = field(body, first.clone(), "role").map(|role| &body[role]);
        matches!(role, Some("\"system\"" | "\"developer\""))
    });
    let content = system.and_then(|system| field(body, system, "content"));
    match content.as_ref().map(|content| &body[content.clone()]) {
        Some(text) if text.starts_with('"') => {
            let words = quoted(&format!("\n\n{words}"));
            let end = content?.end - 1;
            Some((end..end, words[1..words.len() - 1].to_owned()))
        }
        Some(list) if list.starts_with('[') => {
            let end = content?.end - 1;
            let comma = if list[1..].trim_start().starts_with(']') { "" } else { "," };
            Some((end..end, format!("{comma}{}", json!({"type": "text", "text": words}))))
        }
        _ => {
            let start = list.start + 1;
            let comma = if body[start..].trim_start().starts_with(']') { "" } else { "," };
            let message = json!({"role": Role::System.as_str(), "content": words});
            Some((start..start, format!("{message}{comma}")))
        }
    }
}

/// The request with a wrong answer to it and what is wrong with that; `None` where it has no messages.
pub(crate) fn repaired(request: &WireRequest, said: &str, told: &str) -> Option<WireRequest> {
    let body = std::str::from_utf8(&request.body).ok()?;
    let end = conversation::end_of_messages(body.as_bytes())?;
    let told = json!({"role": Role::User.as_str(), "content": told});
    let more = format!(",{},{told}", conversation::said(said));
    Some(with_body(request, [&body[..end], &more, &body[end..]].concat()))
}

/// The same request for an answer that comes whole; `None` where it is not known how.
pub(crate) fn unstreamed(request: &WireRequest) -> Option<WireRequest> {
    let mut body = std::str::from_utf8(&request.body).ok()?.to_owned();
    // Providers refuse the options of a stream that is none.
    for name in ["stream", "stream_options"] {
        if let Some(place) = without(&body, name) {
            body.replace_range(place, "");
        }
    }
    let mut whole = with_body(request, body);
    (whole.stream, whole.contents.has_stream_options) = (false, false);
    Some(whole)
}

/// The request with another body, in which the model's name may stand elsewhere.
fn with_body(request: &WireRequest, body: String) -> WireRequest {
    let model = request.model.as_ref().map(|model| {
        let span = model.span.as_ref().and_then(|_| field(&body, whole(&body), "model"));
        NamedModel { name: model.name.clone(), span }
    });
    WireRequest { body: body.into(), model, ..request.clone() }
}

/// Where the value of a field stands in the object of this range.
fn field(text: &str, object: Range<usize>, name: &str) -> Option<Range<usize>> {
    members(text, object).find(|member| member.name == name).map(|member| member.value)
}

/// Where a field of a body stands, with one of the commas beside it.
fn without(body: &str, name: &str) -> Option<Range<usize>> {
    let fields: Vec<Member<'_>> = members(body, whole(body)).collect();
    let at = fields.iter().position(|field| field.name == name)?;
    let (start, end) = (fields[at].start, fields[at].value.end);
    Some(match (fields.get(at + 1), at.checked_sub(1)) {
        (Some(next), _) => start..next.start,
        (None, Some(before)) => fields[before].value.end..end,
        (None, None) => start..end,
    })
}

/// What a completion with one choice says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// Where it stands in the body, behind its byte order mark.
        place: Range<usize>,
        /// True when every reader finds this text in its place as it is.
        is_plain: bool,
        /// True when its limit of tokens has cut it off.
        is_cut: bool,
    },
    /// Why the model does not answer.
    Refusal,
}

/// What a completion with one choice says; `None` for any other.
pub(crate) fn said(body: &[u8]) -> Option<Said> {
    let body = std::str::from_utf8(parts::without_mark(body)).ok()?;
    let mut choices = items(body, field(body, whole(body), "choices")?);
    let (choice, None) = (choices.next()?, choices.next()) else { return None };
    let message = field(body, choice.clone(), "message")?;
    let is_cut = field(body, choice, "finish_reason").is_some_and(|reason| &body[reason] == "\"length\"");
    let read = |name: &str| {
        let place = field(body, message.clone(), name)?;
        let text = parts::text(&parts::value(body[place.clone()].as_bytes()).ok()?)?.text;
        (!text.trim().is_empty()).then_some((place, text))
    };
    let Some((place, text)) = read("content") else { return read("refusal").map(|_| Said::Refusal) };
    let is_plain = serde_json::from_str::<String>(&body[place.clone()]).is_ok();
    Some(Said::Text { text, place, is_plain, is_cut })
}

/// The same completion with another text in its place.
pub(crate) fn saying(body: &[u8], place: Range<usize>, text: &str) -> Vec<u8> {
    let body = parts::without_mark(body);
    let (before, after) = (body.get(..place.start).unwrap_or_default(), body.get(place.end..).unwrap_or_default());
    [before, quoted(text).as_bytes(), after].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn edited(body: &str, edit: Option<Edit>) -> String {
        let mut body = body.to_owned();
        let (place, words) = edit.unwrap();
        body.replace_range(place, &words);
        body
    }

    #[test]
    fn a_format_is_put_in_replaced_or_taken_out() {
        const MESSAGES: &str = r#""messages":[]"#;
        for (body, format, wanted) in [
            (r#"{"messages":[]}"#, Some("1"), r#"{"response_format":1,"messages":[]}"#),
            (
                r#"{"response_format" : {"type": "text"} , "messages":[]}"#,
                Some("1"),
                r#"{"response_format" : 1 , "messages":[]}"#,
            ),
            (r#"{ "response_format": null, "messages":[]}"#, None, r#"{ "messages":[]}"#),
            (r#"{"messages":[] , "response_format":{"a":[1,"}"]} }"#, None, r#"{"messages":[] }"#),
            (r#"{"a":1,"response\u005fformat":7,"messages":[]}"#, None, r#"{"a":1,"messages":[]}"#),
        ] {
            assert!(body.contains(MESSAGES));
            assert_eq!(edited(body, in_field(body, format)), wanted, "{body}");
        }
        assert!(in_field(r#"{"messages":[]}"#, None).is_none());
    }

    #[test]
    fn words_stand_in_the_one_system_message() {
        for (messages, wanted) in [
            (
                r#"[{"role":"system","content":"Be \"brief\""}]"#,
                r#"[{"role":"system","content":"Be \"brief\"\n\nSay \"a\\b\""}]"#,
            ),
            (
                r#"[ {"content":[ {"type":"text","text":"x"} ],"role":"developer"}]"#,
                r#"[ {"content":[ {"type":"text","text":"x"} ,{"type":"text","text":"Say \"a\\b\""}],"role":"developer"}]"#,
            ),
            (
                r#"[{"role":"system","content":[]}]"#,
                r#"[{"role":"system","content":[{"type":"text","text":"Say \"a\\b\""}]}]"#,
            ),
            (
                r#"[{"role":"user","content":"x"}]"#,
                r#"[{"role":"system","content":"Say \"a\\b\""},{"role":"user","content":"x"}]"#,
            ),
            (
                r#"[{"role":"system","content":null}]"#,
                r#"[{"role":"system","content":"Say \"a\\b\""},{"role":"system","content":null}]"#,
            ),
            ("[]", r#"[{"role":"system","content":"Say \"a\\b\""}]"#),
        ] {
            let body = format!(r#"{{"model":"m","messages":{messages},"n":1}}"#);
            let wanted = format!(r#"{{"model":"m","messages":{wanted},"n":1}}"#);
            assert_eq!(edited(&body, in_instruction(&body, "Say \"a\\b\"")), wanted);
        }
        assert!(in_instruction(r#"{"model":"m"}"#, "x").is_none());
    }

    #[test]
    fn what_a_completion_says_is_found_in_its_one_choice() {
        let says = |message: &str| {
            let body =
                format!(r#"{{"id":"x","choices":[{{"message":{message},"finish_reason":"stop"}}],"usage":null}}"#);
            said(body.as_bytes()).map(|said| match said {
                Said::Text { text, place, is_plain, is_cut } => {
                    assert!(!is_cut);
                    (is_plain, String::from_utf8(saying(body.as_bytes(), place, &format!("{text}!"))).unwrap())
                }
                Said::Refusal => (false, "refused".into()),
            })
        };
        let whole = |text: &str| {
            format!(r#"{{"id":"x","choices":[{{"message":{text},"finish_reason":"stop"}}],"usage":null}}"#)
        };
        assert_eq!(says(r#"{ "content": "a\"b" }"#), Some((true, whole(r#"{ "content": "a\"b!" }"#))));
        let parts = r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"role":"assistant"}"#;
        assert_eq!(says(parts), Some((false, whole(r#"{"content":"ab!","role":"assistant"}"#))));
        assert_eq!(says(r#"{"content":null,"refusal":"No."}"#), Some((false, "refused".into())));
        for none in [r#"{"content":null}"#, r#"{"content":" "}"#, "{}", "7"] {
            assert_eq!(says(none), None, "{none}");
        }
        let cut = br#"{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}"#;
        assert!(matches!(said(cut), Some(Said::Text { is_cut: true, .. })));
        let two = br#"{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}"#;
        assert_eq!(said(two), None, "nobody has asked for two");
        assert_eq!(said(b"no JSON"), None);
    }

    fn request(body: &str) -> WireRequest {
        WireRequest {
            endpoint: crate::model::call::Endpoint::ChatCompletions,
            method: http::Method::POST,
            path: "/chat/completions".into(),
            content_type: None,
            body: body.to_owned().into(),
            model: Some(NamedModel { name: "m".into(), span: field(body, whole(body), "model") }),
            stream: true,
            bounds: crate::model::call::AnswerBounds::default(),
            contents: crate::model::call::Contents::default(),
        }
    }

    proptest! {
        /// Whatever is changed, the model's name is found, and nothing else differs.
        #[test]
        fn the_rest_of_a_request_stays(
            order in Just(vec!["model", "messages", "stream", "stream_options", "response_format", "user"]).prop_shuffle(),
            blank in "[ \n\t]{0,2}",
            said in ".{0,20}",
        ) {
            let value = |name: &str| match name {
                "messages" => json!([{"role": "user", "content": "Hi"}]),
                "stream" => true.into(),
                "stream_options" => json!({"include_usage": true}),
                "response_format" => json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"stream": 1}}}),
                name => name.into(),
            };
            let fields: Vec<String> = order.iter().map(|name| format!("{blank}\"{name}\"{blank}:{blank}{}", value(name))).collect();
            let body = format!("{{{}{blank}}}", fields.join(&format!("{blank},")));
            let request = request(&body);
            let changed = [
                (unstreamed(&request).unwrap(), vec!["stream", "stream_options"]),
                (repaired(&request, &said, "No.").unwrap(), vec![]),
                (with_body(&request, edited(&body, in_field(&body, None))), vec!["response_format"]),
                (with_body(&request, edited(&body, in_field(&body, Some("1")))), vec![]),
                (with_body(&request, edited(&body, in_instruction(&body, &said))), vec![]),
            ];
            for (changed, gone) in changed {
                let read: Value = serde_json::from_slice(&changed.body).unwrap();
                let place = changed.model.unwrap().span.unwrap();
                prop_assert_eq!(&changed.body[place], b"\"model\"");
                for name in order.iter().filter(|name| !["messages", "response_format"].contains(name)) {
                    let wanted = if gone.contains(name) { Value::Null } else { value(name) };
                    prop_assert_eq!(&read[*name], &wanted);
                }
                let messages = read["messages"].as_array().unwrap();
                let is_there = messages.contains(&json!({"role": "user", "content": "Hi"}));
                prop_assert!(is_there, "{read}");
                prop_assert_eq!(read.as_object().unwrap().len(), order.len() - gone.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(body in "([\\[\\]{}:,\"]|\"(messages|role|content|choices|message|stream|response_format|type)\"|null|[ -~]){0,40}") {
            let request = request(&body);
            let _ = (in_field(&body, None), in_field(&body, Some("1")), in_instruction(&body, "x"), said(body.as_bytes()));
            let _ = (unstreamed(&request), repaired(&request, "x", "y"));
        }
    }
}
