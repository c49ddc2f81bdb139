//! The contents of an error body, read once: its message, its codes, and its retry delay.
//!
//! It does not know what they mean; that is in `meaning`.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::{waits, words};

/// What an error body says.
#[derive(Default)]
pub(super) struct ErrorBody {
    pub(super) message: Option<String>,
    pub(super) code: Option<Box<str>>,
    pub(super) kind: Option<Box<str>>,
    /// Google's reason beside its status (`API_KEY_INVALID`).
    pub(super) reason: Option<Box<str>>,
    /// The status that it says it is.
    pub(super) number: Option<StatusCode>,
    pub(super) wait: Option<Duration>,
    /// True when it shows what of the request it does not want (OpenRouter).
    pub(super) has_flagged_input: bool,
    /// True for JSON: it has fields, and could have said what is wrong.
    pub(super) is_json: bool,
    /// True for an object as OpenAI's clients read it.
    pub(super) is_openai: bool,
}

impl ErrorBody {
    pub(super) fn read(body: &[u8]) -> Self {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            let message = words::of_text(&String::from_utf8_lossy(body));
            return Self { message, ..Self::default() };
        };
        // Google lists its one error.
        let root = match &value {
            Value::Array(items) => items.first().unwrap_or(&Value::Null),
            other => other,
        };
        let error = innermost(root);
        let said_outright = value["error"]["message"].as_str().filter(|text| !text.trim().is_empty());
        let is_openai = value["error"].is_object() && said_outright.is_some();
        let message = match said_outright.filter(|_| is_openai) {
            Some(message) => Some(message.to_owned()),
            None => words::of_json(&value),
        };
        let named = |names: &[&str]| names.iter().find_map(|name| word(&error[*name]).or_else(|| word(&root[*name])));
        let numbered = ["code", "status", "statusCode"].iter().find_map(|name| status(&error[*name]));
        let number = numbered.or_else(|| ["code", "status", "statusCode"].iter().find_map(|name| status(&root[*name])));
        let kind = named(&["type", "status", "error_type"]).or_else(|| word(&root["error"]));
        let code = word(&error["code"]).or_else(|| word(&root["code"]));
        let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            // What is only the status once more says less than Google's word for it.
            code: code.or_else(|| word(&error["status"])).or_else(|| number_of(&error["code"])),
            kind,
            reason: details.iter().find_map(|detail| word(&detail["reason"])),
            number,
            wait: waits::retry_info(&error["details"]).or_else(|| waits::in_words(message.as_deref()?)),
            has_flagged_input: !error["metadata"]["flagged_input"].is_null(),
            message,
            is_json: true,
            is_openai,
        }
    }

    /// Its code, its type and its reason.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.code, &self.kind, &self.reason].into_iter().flatten().map(|word| &**word)
    }
}

/// The object that is about the error: relays wrap one into another.
fn innermost(root: &Value) -> &Value {
    const DEEPEST: usize = 4;
    std::iter::successors(Some(root), |outer| inside(outer)).take(DEEPEST).last().unwrap_or(root)
}

fn inside(outer: &Value) -> Option<&Value> {
    [&outer["error"], &outer["detail"], &outer["errors"][0]].into_iter().find(|value| value.is_object())
}

/// A code or a type, if it looks like one: it is logged, and what a provider repeats in its place must not be.
fn word(value: &Value) -> Option<Box<str>> {
    let text = value.as_str()?;
    let is_word = text.len() <= 48 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_word && !text.is_empty()).then(|| text.into())
}

fn number_of(value: &Value) -> Option<Box<str>> {
    value.as_number().map(|number| number.to_string().into())
}

fn status(value: &Value) -> Option<StatusCode> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(number.try_into().ok()?).ok()?;
    (400..600).contains(&status.as_u16()).then_some(status)
}
