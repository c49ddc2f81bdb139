//! Conversations in requests of OpenAI's dialect: finds the last user message, for providers that take one message,
//! and the place for one more message.
//!
//! It does not know those providers, and gives up on everything that one plain text cannot express.

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

/// The last thing the user says in an OpenAI-style request, or what in it such a provider cannot do.
pub(crate) fn last_said(body: &[u8]) -> Result<String, &'static str> {
    #[derive(Deserialize)]
    struct Asked {
        messages: Vec<Turn>,
        tools: Option<Value>,
        functions: Option<Value>,
        n: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Turn {
        role: String,
        content: Option<Content>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    #[derive(Deserialize)]
    struct Part {
        r#type: String,
        text: Option<String>,
    }
    let mut asked: Asked = serde_json::from_slice(body).map_err(|_| "this conversation")?;
    let is_set = |field: &Option<Value>| match field {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    if is_set(&asked.tools) || is_set(&asked.functions) {
        return Err("tools");
    }
    if asked.n.is_some_and(|n| n > 1) {
        return Err("several choices at once");
    }
    // Pictures said earlier matter to what is said last, so every turn is looked at.
    for part in asked.messages.iter().filter_map(|turn| turn.content.as_ref()).flat_map(|content| match content {
        Content::Text(_) => &[],
        Content::Parts(parts) => &**parts,
    }) {
        match &*part.r#type {
            "text" => {}
            "image_url" => return Err("pictures"),
            "input_audio" => return Err("audio in a conversation"),
            _ => return Err("this kind of content"),
        }
    }
    let last = asked.messages.pop().filter(|turn| turn.role == "user");
    let text = match last.and_then(|turn| turn.content) {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect::<Vec<_>>().join("\n"),
        None => String::new(),
    };
    match text.trim().is_empty() {
        true => Err("a conversation without a last user message"),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_user_message_of_an_openai_request_is_found() {
        let said = |body: &str| last_said(body.as_bytes());
        assert_eq!(said(r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#), Ok("hi".into()));
        assert_eq!(
            said(r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#),
            Ok("a\nb".into())
        );
        assert_eq!(said(r#"{"messages":[{"role":"user","content":"x"}],"tools":[]}"#), Ok("x".into()));
        for (body, what) in [
            (r#"{"messages":[{"role":"user","content":"x"}],"tools":[{}]}"#, "tools"),
            (r#"{"messages":[{"role":"user","content":"x"}],"functions":[{}]}"#, "tools"),
            (r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#, "pictures"),
            (r#"{"messages":[{"role":"user","content":[{"type":"input_audio"}]}]}"#, "audio in a conversation"),
            (r#"{"messages":[{"role":"assistant","content":"x"}]}"#, "a conversation without a last user message"),
            (r#"{"messages":[]}"#, "a conversation without a last user message"),
            (r#"{"messages":7}"#, "this conversation"),
        ] {
            assert_eq!(said(body), Err(what), "{body}");
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
            let _ = (last_said(body.as_bytes()), end_of_messages(body.as_bytes()));
        }
    }
}
