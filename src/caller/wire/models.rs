//! Models that a body names in nested places, for a tool or as a fallback.
//!
//! A list of allowed models applies to them as to the top-level one. It does not know who may name which.

use memchr::memmem;
use serde_json::{Map, Value};

use crate::caller::json;
use crate::model::fault::Fault;

/// Fields that hold what callers say, and what their own programs define: a `model` in there is no model of a provider.
const FOREIGN: [&str; 14] = [
    "messages",
    "input",
    "prompt",
    "content",
    "query",
    "documents",
    "variables",
    "metadata",
    "parameters",
    "schema",
    "json_schema",
    "input_schema",
    "arguments",
    "logit_bias",
];

/// True for a field whose texts are names of models, also in lists and objects.
pub(super) fn is_name(field: &[u8]) -> bool {
    matches!(
        field,
        b"model" | b"models" | b"model_id" | b"model_name" | b"fallbacks" | b"fallback_model" | b"fallback_models"
    )
}

/// The models that a body names elsewhere than in its own `model` and `models`. `body` is known to be JSON that no two readers
/// read differently, and `has_own` says that it has a `model` of its own.
///
/// # Errors
/// It may name one, and cannot be read to its end.
pub(super) fn named_inside(body: &[u8], has_own: bool) -> Result<Vec<Box<str>>, Fault> {
    // Most bodies have one such field, their own. In a text its quote would be escaped.
    let is_named = |name: &str| memmem::find_iter(body, name.as_bytes()).nth(usize::from(has_own)).is_some();
    let has = |name: &str| memmem::find(body, name.as_bytes()).is_some();
    let may_hide = memmem::find_iter(body, b"\\u00").any(|at| matches!(body.get(at + 4), Some(b'2'..=b'7')));
    if !may_hide && !is_named("model\"") && !has("models\"") && !has("\"model_") && !has("\"fallback") {
        return Ok(Vec::new());
    }
    let Value::Object(top) = json::plain(body)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let inside = |(name, value): &(&String, &Value)| match &***name {
        "model" => !value.is_string(),
        name => name != "models" && !FOREIGN.contains(&name),
    };
    for (name, value) in top.iter().filter(inside) {
        look(name, value, &mut found);
    }
    Ok(found)
}

/// It is no deeper than the decoders let through.
fn look(name: &str, value: &Value, found: &mut Vec<Box<str>>) {
    match value {
        Value::String(text) if is_name(name.as_bytes()) => found.push(text.as_str().into()),
        Value::Array(items) => items.iter().for_each(|item| look(name, item, found)),
        Value::Object(fields) => all(fields, found),
        _ => {}
    }
}

fn all(fields: &Map<String, Value>, found: &mut Vec<Box<str>>) {
    for (name, value) in fields.iter().filter(|(name, _)| !FOREIGN.contains(&name.as_str())) {
        look(name, value, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<String> {
        named_inside(body.as_bytes(), body.starts_with(r#"{"model":"#)).unwrap().into_iter().map(String::from).collect()
    }

    #[test]
    fn models_of_tools_and_those_to_fall_back_on_are_found() {
        for (body, models) in [
            (r#"{"model":"a","tools":[{"type":"image_generation","model":"b"}]}"#, &["b"][..]),
            (r#"{"model":"a","tools":[{"type":"image_generation","mod\u0065l":"b"}]}"#, &["b"]),
            (r#"{"model":"a","fallbacks":["b",{"model":"c","messages":[{"model":"x"}]}]}"#, &["b", "c"]),
            (r#"{"model":"a","fallback_models":["b"]}"#, &["b"]),
            (r#"{"model":"a","extra_body":{"model":"b","models":["c"]}}"#, &["b", "c"]),
            (r#"{"tools":[{"x":{"model_id":"b"}}]}"#, &["b"]),
            // A route may have the model of such a body.
            (r#"{"tools":[{"type":"image_generation","model":"b"}]}"#, &["b"]),
        ] {
            assert_eq!(found(body), models, "{body}");
        }
    }

    #[test]
    fn what_stops_a_reader_hides_no_model() {
        for odd in [r#"{"$serde_json::private::RawValue":5}"#, r#"{"$serde_json::private::RawValue":"1"}"#, "1e999"] {
            let body = format!(r#"{{"model":"a","x":{odd},"fallbacks":["b"]}}"#);
            assert!(named_inside(body.as_bytes(), true).is_err(), "{body}");
        }
    }

    #[test]
    fn what_callers_say_and_define_names_no_model() {
        for body in [
            r#"{"model":"a","messages":[{"role":"user","content":"the \"model\" and its \"models\""}]}"#,
            r#"{"model":"a","models":["b"]}"#,
            r#"{"model":"a","messages":[{"content":[{"type":"car","model":"b"}]}]}"#,
            r#"{"model":"a","tools":[{"function":{"parameters":{"properties":{"model":{"type":"string"},"x":{"model":"b"}}}}}]}"#,
            r#"{"model":"a","response_format":{"json_schema":{"schema":{"required":["model"],"model":"b"}}}}"#,
            r#"{"model":"a","prompt":{"id":"p","variables":{"model":"b"}},"metadata":{"model":"b"}}"#,
            r#"["model","models"]"#,
            "no JSON",
        ] {
            assert_eq!(found(body), [""; 0], "{body}");
        }
    }
}
