//! Failures reported with a success status: an error object inside a response, or in its place.
//!
//! It does not know what an error means; `errors` does.

use serde_json::{Map, Value, json};

use super::parts;

/// The error object of a failure that says nothing of itself.
pub(crate) const UNSAID: &str = r#"{"message":"The AI provider reported an error.","type":"server_error","code":null}"#;

/// The longest body that may be nothing but an error.
const LONGEST: usize = 64 * 1024;

/// The error object, in JSON, of a body that is nothing else. Objects that have an error among other things (jobs, files,
/// responses) are what was asked for.
pub(crate) fn alone(body: &[u8]) -> Option<String> {
    let is_object = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start().first() == Some(&b'{');
    if !is_object || body.len() > LONGEST || memchr::memmem::find(body, b"error").is_none() {
        return None;
    }
    let Ok(Value::Object(fields)) = parts::value(body) else { return None };
    let is_alone = fields.iter().all(|(name, value)| name == "error" || !is_said(value));
    let has_more =
        ["data", "output", "choices", "text", "url"].iter().any(|name| fields.get(*name).is_some_and(is_said));
    let is_flat = fields.get("object").and_then(Value::as_str) == Some("error") && !has_more;
    (is_alone || is_flat).then(|| of_object(&fields, None)).flatten().map(|error| error.to_string())
}

/// The error object, in JSON, that stands for a reason to stop which is none: the choice has failed, whatever was said before.
pub(crate) fn of_reason(reason: &str) -> Option<&'static str> {
    match reason {
        "error" => Some(UNSAID),
        // vLLM whose engine goes (vllm-project/vllm#57082), and SGLang whose scheduler gives a request up.
        "abort" => Some(ABORTED),
        // https://api-docs.deepseek.com/api/create-chat-completion
        "insufficient_system_resource" => Some(NO_CAPACITY),
        _ => None,
    }
}

/// The error object of an answer that its server has stopped.
const ABORTED: &str = r#"{"message":"The AI provider aborted the answer.","type":"server_error","code":null}"#;

/// The error object of an answer that its server had no room to finish.
const NO_CAPACITY: &str =
    r#"{"message":"The AI provider had no capacity to finish the answer.","type":"service_unavailable","code":null}"#;

/// The error object, in JSON, of a choice that reports a failure.
pub(crate) fn of_choice(choice: &Value) -> Option<String> {
    if let Some(error) = choice.get("error").filter(|error| is_said(error)) {
        return Some(error.to_string());
    }
    choice.get("finish_reason").and_then(Value::as_str).and_then(of_reason).map(Into::into)
}

/// True when the value of an `error` reports one: relays put `""`, `false`, `{}` or an object of blanks into every good answer.
pub(crate) fn says_something(json: &str) -> bool {
    match json {
        "null" | "false" | "\"\"" | "{}" | "[]" | "0" => false,
        json => parts::value(json.as_bytes()).map_or(true, |value| is_said(&value)),
    }
}

/// True for a value with something in it.
pub(crate) fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(is_said),
        Value::Object(fields) => fields.values().any(is_said),
    }
}

/// The error object of an answer or event that reports a failure: in `error`, or as the whole of it, as older vLLM, SGLang and
/// FastAPI's servers write it. `name` is the event's, if it is one.
pub(crate) fn of_object(fields: &Map<String, Value>, name: Option<&str>) -> Option<Value> {
    if let Some(error) = fields.get("error").filter(|error| is_said(error)) {
        return Some(error.clone());
    }
    let is_there = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let is_answer =
        ["choices", "data", "output", "usage", "text"].iter().filter_map(|name| fields.get(*name)).any(is_there);
    let word = |name: &str| fields.get(name).and_then(Value::as_str);
    let is_called_so = name == Some("error") || word("object") == Some("error") || word("type") == Some("error");
    if is_called_so {
        return Some(fields.clone().into());
    }
    if is_answer {
        return None;
    }
    let message = ["message", "detail"].into_iter().find_map(|name| fields.get(name).filter(|value| is_said(value)))?;
    let is_failure = |name: &str| match fields.get(name) {
        Some(Value::Number(number)) => number.as_u64().is_some_and(|status| status >= 400),
        Some(Value::String(word)) => word.parse().map_or(!word.is_empty(), |status: u16| status >= 400),
        _ => false,
    };
    let has_no_more = fields.len() == 1;
    let is_error =
        has_no_more || ["code", "status", "status_code", "error_type", "error_code"].into_iter().any(is_failure);
    is_error.then(|| match message {
        Value::String(_) if fields.contains_key("message") => fields.clone().into(),
        Value::String(text) => json!({ "message": text }),
        // A list of what is wrong, which `errors` reads.
        _ => fields.clone().into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_only_if_it_says_something() {
        for nothing in [
            "null",
            "false",
            "\"\"",
            "\" \"",
            "{}",
            "[]",
            "0",
            "[{}]",
            r#"{"message":""}"#,
            r#"{"message":"","type":"","param":"","code":null}"#,
            r#"{"code":0,"details":[]}"#,
        ] {
            assert!(!says_something(nothing), "{nothing}");
        }
        for error in [
            "true",
            "\"x\"",
            r#"{"code":500}"#,
            r#"{"message":"no"}"#,
            r#"[{"message":"no"}]"#,
            r#"{"message":"\ud83d"}"#,
        ] {
            assert!(says_something(error), "{error}");
        }
    }

    #[test]
    fn a_body_that_is_nothing_but_an_error_is_told_from_objects_that_have_one() {
        for error in [
            r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
            r#" {"error":"no","data":null}"#,
            r#"{"object":"error","message":"no credit","code":402}"#,
        ] {
            assert!(alone(error.as_bytes()).is_some(), "{error}");
        }
        for object in [
            r#"{"object":"fine_tuning.job","id":"ftjob-1","status":"failed","error":{"code":"x","message":"no"}}"#,
            r#"{"id":"file-1","status":"error","error":null}"#,
            r#"{"object":"error","data":[{"b64_json":"AA"}],"usage":{"input_tokens":1}}"#,
            r#"{"error":{"message":""}}"#,
            r#"{"error":{"message":"cut"#,
            "an error",
            "[]",
        ] {
            assert!(alone(object.as_bytes()).is_none(), "{object}");
        }
    }

    #[test]
    fn an_error_may_stand_in_the_place_of_an_answer() {
        let found = |value: Value, name| of_object(value.as_object().unwrap(), name).is_some();
        for error in [
            json!({"object": "error", "message": "the engine died", "type": "InternalServerError", "code": 500}),
            json!({"type": "error", "message": "x"}),
            json!({"detail": "Not authenticated"}),
            json!({"detail": [{"loc": ["body"], "msg": "field required"}]}),
            json!({"message": "overloaded", "code": 503}),
            json!({"message": "overloaded", "code": "overloaded"}),
            json!({"message": "slow down", "status": 429}),
            json!({"error": "no such model"}),
            json!({"choices": [{}], "error": {"message": "no"}}),
        ] {
            assert!(found(error.clone(), None), "{error}");
        }
        for answer in [
            json!({"id": "x", "choices": [{}], "message": "hello", "code": 500}),
            json!({"type": "ping"}),
            json!({"message": "hi", "id": 7}),
            json!({"object": "list", "data": [1], "detail": "x"}),
            json!({}),
            json!({"error": {"message": ""}, "choices": [{}]}),
        ] {
            assert!(!found(answer.clone(), None), "{answer}");
        }
        assert!(found(json!({"message": "x"}), Some("error")));
    }
}
