//! Conversations in requests of OpenAI's dialect: finds the place for one more message.
//!
//! It does not know why one is added.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
