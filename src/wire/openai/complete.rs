//! Completeness: which whole bodies are complete responses of their kind. Nothing else is cached, whatever its
//! status: some servers report errors with status 200, or return fewer choices than requested.
//!
//! It knows OpenAI's shapes and other servers' variations. It does not know how responses are replayed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::call::WireRequest;
use crate::wire::json::fields::{Fields, is_null, list, number, text};

/// The reasons to stop that say that everything was said: OpenAI's, and Together.ai's word for `stop`. A limit that was
/// reached and a filter that cut in are not among them.
pub(crate) const COMPLETE: [&str; 4] = ["stop", "tool_calls", "function_call", "eos"];

/// What a completion's choices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choices {
    /// Messages, of `/chat/completions`.
    Messages,
    /// Texts, of `/completions`.
    Texts,
}

impl Choices {
    /// How many of them a body asks for: `n`, for each of its prompts; `None` where that cannot be read.
    pub(crate) fn wanted(self, wire: &WireRequest) -> Option<usize> {
        #[derive(Deserialize)]
        struct Asked<'a> {
            #[serde(default, borrow)]
            n: Option<&'a RawValue>,
            #[serde(default, borrow)]
            prompt: Option<&'a RawValue>,
        }
        let asked: Asked<'_> = serde_json::from_slice(&wire.body).ok()?;
        let each = asked.n.filter(|n| !is_null(n)).map_or(Some(1.0), |n| n.get().parse::<f64>().ok())?;
        let prompts = match asked.prompt.filter(|_| self == Choices::Texts) {
            Some(prompt) if !is_null(prompt) => inputs(prompt)?,
            _ => 1,
        };
        let is_whole = each.fract() == 0.0 && (1.0..=1000.0).contains(&each);
        is_whole.then(|| prompts.saturating_mul(each as usize))
    }
}

/// True when a completion has all choices that were wanted, and each is finished and says something.
pub(crate) fn completion(body: &[u8], choices: Choices, wanted: Option<usize>) -> bool {
    let says_all = || {
        let whole = sound(body)?;
        let found = list(whole.get("choices")?)?;
        let mut places = Places::of(wanted?, found.len())?;
        for (at, choice) in found.into_iter().enumerate() {
            let choice = Fields::read(choice.get())?;
            places.take(at, choice.get("index"))?;
            let finish = text(choice.get("finish_reason")?)?;
            let says_something = match choices {
                Choices::Messages => message_says_something(choice.get("message")?)?,
                Choices::Texts => !text(choice.get("text")?)?.is_empty(),
            };
            (COMPLETE.contains(&&*finish) && says_something).then_some(())?;
        }
        Some(())
    };
    says_all().is_some()
}

/// True when a list of embeddings has one vector for each input.
pub(crate) fn embeddings(body: &[u8], wire: &WireRequest) -> bool {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow)]
        input: &'a RawValue,
    }
    let has_all = || {
        let asked: Asked<'_> = serde_json::from_slice(&wire.body).ok()?;
        let found = list(sound(body)?.get("data")?)?;
        let mut places = Places::of(inputs(asked.input)?, found.len())?;
        for (at, item) in found.into_iter().enumerate() {
            let item = Fields::read(item.get())?;
            places.take(at, item.get("index"))?;
            is_vector(item.get("embedding")?).then_some(())?;
        }
        Some(())
    };
    has_all().is_some()
}

/// True for a response that says something and is neither cut short, nor failed, nor still to be worked on.
pub(crate) fn response(body: &[u8]) -> bool {
    let is_completed = || {
        let whole = sound(body)?;
        let has_output = !list(whole.get("output")?)?.is_empty();
        (has_output && text(whole.get("status")?)? == "completed").then_some(())
    };
    is_completed().is_some()
}

/// True for a menu with something on it.
pub(crate) fn menu(body: &[u8]) -> bool {
    let has_items = || {
        let items = match serde_json::from_slice::<Vec<&RawValue>>(body) {
            Ok(items) => items,
            Err(_) => list(sound(body)?.get("items")?)?,
        };
        (!items.is_empty()).then_some(())
    };
    has_items().is_some()
}

/// The fields of an answer that reports no failure: neither an `error` that says something, nor a `detail`, which is how
/// FastAPI's servers spell theirs.
fn sound(body: &[u8]) -> Option<Fields<'_>> {
    let whole = Fields::read(std::str::from_utf8(body).ok()?)?;
    let says_nothing =
        |name| whole.get(name).is_none_or(|value| matches!(value.get(), "null" | "false" | "\"\"" | "{}" | "[]" | "0"));
    (says_nothing("error") && says_nothing("detail")).then_some(whole)
}

/// How many inputs there are in what OpenAI takes as one or many: a text, its tokens, or a list of either.
fn inputs(value: &RawValue) -> Option<usize> {
    let Some(items) = list(value) else { return text(value).map(|_| 1) };
    let first = items.first()?;
    match number(first) {
        Some(_) => Some(1),
        None => Some(items.len()),
    }
}

/// The places of a list, each of which is to be taken once.
struct Places(Vec<bool>);

impl Places {
    /// As many as were wanted; `None` when there is another number.
    fn of(wanted: usize, found: usize) -> Option<Self> {
        (wanted == found && found > 0).then(|| Self(vec![false; found]))
    }

    /// Takes the place that an item names, else the one at which it stands.
    fn take(&mut self, at: usize, index: Option<&RawValue>) -> Option<()> {
        let place = index.filter(|index| !is_null(index)).map_or(Some(at as u64), number)?;
        let is_taken = self.0.get_mut(usize::try_from(place).ok()?)?;
        (!std::mem::replace(is_taken, true)).then_some(())
    }
}

/// A list of numbers, or their bytes in base64.
fn is_vector(value: &RawValue) -> bool {
    let is_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE, \t\r\n".contains(&byte);
    match value.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(numbers) => numbers.bytes().any(|byte| byte.is_ascii_digit()) && numbers.bytes().all(is_number),
        None => text(value).is_some_and(|text| !text.is_empty()),
    }
}

/// True when there are words, or calls of tools with arguments that can be read.
fn message_says_something(message: &RawValue) -> Option<bool> {
    let message = Fields::read(message.get())?;
    let said = |name| message.get(name).filter(|value| !matches!(value.get(), "null" | "\"\"" | "[]" | "{}"));
    let calls = said("tool_calls").map_or(Some(Vec::new()), list)?;
    for call in &calls {
        let call = Fields::read(call.get())?;
        // Tools of other kinds take other things than arguments.
        let Some(function) = call.get("function") else { continue };
        let arguments = Fields::read(function.get())?.get("arguments").and_then(text)?;
        if !arguments.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(&arguments).is_err() {
            return Some(false);
        }
    }
    let has_words = ["content", "refusal", "function_call", "audio"].into_iter().any(|name| said(name).is_some());
    Some(has_words || !calls.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::call::Endpoint;

    fn asked(body: &Value) -> WireRequest {
        WireRequest {
            endpoint: Endpoint::Embeddings,
            method: Method::POST,
            path: "/".into(),
            content_type: None,
            body: body.to_string().into(),
            model: None,
            stream: false,
            bounds: crate::model::call::AnswerBounds::default(),
            contents: crate::model::call::Contents::default(),
        }
    }

    fn vectors(indexes: &[u64]) -> Value {
        let item = |index: &u64| json!({"object": "embedding", "index": index, "embedding": [0.1, -2e-5]});
        json!({"object": "list", "data": indexes.iter().map(item).collect::<Vec<_>>(), "usage": {"prompt_tokens": 1}})
    }

    fn with(mut body: Value, name: &str, value: Value) -> Value {
        body[name] = value;
        body
    }

    #[test]
    fn embeddings_have_one_vector_for_each_input() {
        let is_kept =
            |input: Value, body: &Value| embeddings(body.to_string().as_bytes(), &asked(&json!({"input": input})));
        for (input, indexes) in [
            (json!("a"), &[0][..]),
            (json!([1, 2, 3]), &[0]),
            (json!(["a", "b"]), &[0, 1]),
            (json!(["a", "b"]), &[1, 0]),
            (json!([[1, 2], [3]]), &[0, 1]),
        ] {
            assert!(is_kept(input.clone(), &vectors(indexes)), "{input}");
        }
        let bare = json!({"data": [{"embedding": "AACAPw=="}, {"embedding": [1]}], "error": "", "detail": null});
        assert!(is_kept(json!(["a", "b"]), &bare), "without indexes, in base64");
        for (input, indexes) in [
            (json!("a"), &[][..]),
            (json!("a"), &[0, 1]),
            (json!(["a", "b"]), &[0]),
            (json!(["a", "b"]), &[0, 0]),
            (json!(["a", "b"]), &[1, 2]),
            (json!([]), &[]),
            (Value::Null, &[0]),
        ] {
            assert!(!is_kept(input.clone(), &vectors(indexes)), "{input} {indexes:?}");
        }
        let own = vectors(&[0]);
        let item = |embedding: Value| json!({"data": [{"index": 0, "embedding": embedding}]});
        for body in [
            json!({}),
            json!([]),
            json!({"data": null}),
            json!({"data": {}}),
            json!({"detail": "Model is loading"}),
            with(own.clone(), "detail", json!("Model is loading")),
            with(own.clone(), "detail", json!([{"loc": ["body"], "msg": "field required"}])),
            with(own.clone(), "error", json!("out of memory")),
            with(own.clone(), "error", json!({"message": "out of memory"})),
            item(Value::Null),
            item(json!([])),
            item(json!("")),
            item(json!([null])),
            item(json!([0.1, "NaN"])),
            item(json!({})),
        ] {
            assert!(!is_kept(json!("a"), &body), "{body}");
        }
        assert!(is_kept(json!("a"), &with(own, "error", Value::Null)));
    }

    #[test]
    fn completions_have_all_their_choices_and_each_says_something() {
        let chat = |asked_for: Value, choices: Value| {
            let wanted = Choices::Messages.wanted(&asked(&asked_for));
            completion(json!({ "choices": choices }).to_string().as_bytes(), Choices::Messages, wanted)
        };
        let choice = |index: u64, message: Value| json!({"index": index, "message": message, "finish_reason": "stop"});
        let said = |index| choice(index, json!({"content": "Hi"}));
        assert!(chat(json!({}), json!([said(0)])));
        assert!(chat(json!({"n": null}), json!([said(0)])));
        assert!(chat(json!({"n": 2}), json!([said(1), said(0)])));
        for (n, choices) in [
            (json!(2), json!([said(0)])),
            (json!(1), json!([said(0), said(1)])),
            (json!(2), json!([said(0), said(0)])),
            (json!("2"), json!([said(0)])),
            (json!(1.5), json!([said(0)])),
            (json!(0), json!([])),
            (json!(1), Value::Null),
        ] {
            assert!(!chat(json!({ "n": n }), choices.clone()), "{n} {choices}");
        }
        for message in [
            json!({"content": null}),
            json!({"content": ""}),
            json!({"reasoning_content": "Hm."}),
            json!({"content": null, "tool_calls": []}),
            Value::Null,
            json!({}),
        ] {
            assert!(!chat(json!({}), json!([choice(0, message.clone())])), "{message}");
        }
        for message in [json!({"refusal": "No."}), json!({"content": [{"type": "text", "text": "Hi"}]})] {
            assert!(chat(json!({}), json!([choice(0, message.clone())])), "{message}");
        }
        let texts = |asked_for: Value, texts: &[&str]| {
            let choice = |(index, text): (usize, &&str)| json!({"index": index, "text": text, "finish_reason": "stop"});
            let body = json!({"choices": texts.iter().enumerate().map(choice).collect::<Vec<_>>()});
            let wanted = Choices::Texts.wanted(&asked(&asked_for));
            completion(body.to_string().as_bytes(), Choices::Texts, wanted)
        };
        assert!(texts(json!({"prompt": "a"}), &["b"]));
        assert!(texts(json!({"prompt": ["a", "b"], "n": 2}), &["1", "2", "3", "4"]));
        assert!(texts(json!({"prompt": [1, 2, 3]}), &["b"]));
        assert!(!texts(json!({"prompt": ["a", "b"]}), &["1"]));
        assert!(!texts(json!({"prompt": "a"}), &[""]));
    }

    #[test]
    fn responses_are_completed_and_menus_have_something_on_them() {
        let own = json!({"status": "completed", "error": null, "output": [{"type": "message"}]});
        assert!(response(own.to_string().as_bytes()));
        for (name, value) in [
            ("status", json!("incomplete")),
            ("status", Value::Null),
            ("output", json!([])),
            ("output", Value::Null),
            ("error", json!({"code": "server_error"})),
            ("detail", json!("no")),
        ] {
            assert!(!response(with(own.clone(), name, value.clone()).to_string().as_bytes()), "{name} {value}");
        }
        for body in [r#"[{"id":1}]"#, r#"{"items":[{"id":1}]}"#, r#"{"items":[{"id":1}],"error":{}}"#] {
            assert!(menu(body.as_bytes()), "{body}");
        }
        for body in ["[]", "{}", r#"{"items":[]}"#, r#"{"items":null}"#, r#"{"items":[1],"error":"no"}"#, "null"] {
            assert!(!menu(body.as_bytes()), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in "([\\[\\]{}:,\"0-9]|\"data\"|\"choices\"|\"index\"|\"embedding\"|null|[ -~]){0,40}") {
            let wire = WireRequest { body: Bytes::from(body.clone()), ..asked(&Value::Null) };
            let _ = (embeddings(body.as_bytes(), &wire), menu(body.as_bytes()), response(body.as_bytes()));
            for choices in [Choices::Messages, Choices::Texts] {
                let _ = completion(body.as_bytes(), choices, choices.wanted(&wire));
            }
        }
    }
}
