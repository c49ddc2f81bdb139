//! Conversations in requests of OpenAI's dialect: finds the place for one more message.
//!
//! It does not know why one is added.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::model::call::Endpoint;
use crate::wire::span::span;

/// The field with which a stream tells its tokens in an event of its own, to be put in front of others.
pub(crate) const WITH_USAGE: &str = "\"stream_options\":{\"include_usage\":true},";

/// The message with what the model has said so far. Standing last, it is what models that can go on from it go on from.
pub(crate) fn said(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// Where one more message can be put behind those of a request, after a comma: before the bracket that ends them. `None`
/// where there is no message yet.
pub(crate) fn end_of_messages(body: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        messages: &'a RawValue,
    }
    let asked: Asked<'_> = serde_json::from_slice(body).ok()?;
    let list = asked.messages.get();
    let is_empty = list.strip_prefix('[')?.strip_suffix(']')?.trim().is_empty();
    let end = span(list.as_bytes(), body)?.end;
    (!is_empty).then_some(end - 1)
}

/// The edit that has a request go on from a partial answer: a place in it, and what is put there. `None` where it has no
/// conversation.
pub(crate) fn going_on(endpoint: Endpoint, body: &[u8], text: &str) -> Option<(Range<usize>, String)> {
    if endpoint != Endpoint::Responses {
        let end = end_of_messages(body)?;
        return Some((end..end, format!(",{}", said(text))));
    }
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        input: &'a RawValue,
    }
    let asked: Asked<'_> = serde_json::from_slice(body).ok()?;
    let input = asked.input.get();
    let place = span(input.as_bytes(), body)?;
    if input.starts_with('"') {
        return Some((place, format!(r#"[{{"role":"user","content":{input}}},{}]"#, said(text))));
    }
    let is_empty = input.strip_prefix('[')?.strip_suffix(']')?.trim().is_empty();
    let end = place.end - 1;
    (!is_empty).then(|| (end..end, format!(",{}", said(text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_partial_answer_stands_last_in_the_input_of_a_response() {
        let going_on = |body: &str| {
            let (place, words) = going_on(Endpoint::Responses, body.as_bytes(), "Hel\"")?;
            Some([&body[..place.start], &words, &body[place.end..]].concat())
        };
        let said = r#"{"role":"assistant","content":"Hel\""}"#;
        for (body, wanted) in [
            (
                r#"{"input": "a\u0062" ,"x":1.50}"#,
                format!(r#"{{"input": [{{"role":"user","content":"a\u0062"}},{said}] ,"x":1.50}}"#),
            ),
            (r#"{"x":[],"input":[{"role":"user"} ]}"#, format!(r#"{{"x":[],"input":[{{"role":"user"}} ,{said}]}}"#)),
        ] {
            assert_eq!(going_on(body), Some(wanted), "{body}");
        }
        for none in ["{}", r#"{"input":[ ]}"#, r#"{"input":7}"#, "[]", r#"{"messages":[{}]}"#] {
            assert_eq!(going_on(none), None, "{none}");
        }
    }

    proptest! {
        /// One more message, and otherwise not a byte changed.
        #[test]
        fn a_message_is_added_behind_the_others(
            texts in proptest::collection::vec(".{0,12}", 1..5),
            blank in "[ \n\t]{0,3}",
            before in any::<bool>(),
            partial in ".{0,20}",
        ) {
            let messages = texts.iter().map(|text| json!({"role": "user", "content": [{"type": "text", "text": text}]}).to_string());
            let list = format!("[{blank}{}{blank}]", messages.collect::<Vec<_>>().join(&format!("{blank},")));
            let body = match before {
                true => format!("{{\"x\": [1, 2],{blank}\"messages\":{blank}{list}}}"),
                false => format!("{{\"messages\":{list}{blank},\"x\": {{\"messages\": []}}}}"),
            };
            let end = end_of_messages(body.as_bytes()).unwrap();
            let longer = format!("{},{}{}", &body[..end], said(&partial), &body[end..]);
            let (mut wanted, got): (Value, Value) =
                (serde_json::from_str(&body).unwrap(), serde_json::from_str(&longer).unwrap());
            wanted["messages"].as_array_mut().unwrap().push(said(&partial));
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn no_bytes_make_it_panic(body in "([\\[\\]{}:,\"]|\"(messages|role|user|content|type|text|tools)\"|null|[ -~]){0,40}") {
            let _ = end_of_messages(body.as_bytes());
        }
    }
}
