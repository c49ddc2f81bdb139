//! Values of the shape that a request asks for, by the schema in its `response_format` or in its instruction.
//!
//! They are examples of no great imagination: the schemas that people write for models are kept, others perhaps not.

use serde_json::{Map, Value};

use crate::wire::openai::structured;

/// No schema of people is deeper.
const MAX_DEPTH: usize = 16;

/// What such a request is answered with, made of what was asked; `None`: it asks for no shape.
pub(super) fn answer(body: &Value, asked: &str) -> Option<String> {
    let named = &body[structured::FIELD]["json_schema"]["schema"];
    let system = body["messages"].as_array().into_iter().flatten().filter(|message| message["role"] == "system");
    let told = || system.filter_map(|message| message["content"].as_str()).find_map(structured::in_instruction);
    let schema = Some(named.clone()).filter(Value::is_object).or_else(told)?;
    Some(value(&schema, &schema, asked, MAX_DEPTH).to_string())
}

fn value(schema: &Value, root: &Value, asked: &str, depth: usize) -> Value {
    let inside = |schema: &Value| if depth == 0 { Value::Null } else { value(schema, root, asked, depth - 1) };
    if let Some(target) = schema["$ref"].as_str().and_then(|it| root.pointer(it.trim_start_matches('#'))) {
        return inside(target);
    }
    if let Some(first) = [&schema["enum"], &schema["anyOf"], &schema["oneOf"]].into_iter().find_map(|it| it.get(0)) {
        return if schema["enum"].is_array() { first.clone() } else { inside(first) };
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = if schema["type"].is_array() { &schema["type"][0] } else { &schema["type"] };
    match kind.as_str() {
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(1).clamp(1, 100);
            (0..count).map(|_| inside(&schema["items"])).collect()
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        Some("object") | None if schema["properties"].is_object() || kind == "object" => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            Value::Object(fields.map(|(name, schema)| (name.clone(), inside(schema))).collect::<Map<_, _>>())
        }
        _ => match schema["maxLength"].as_u64() {
            Some(most) => asked.chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect::<String>().into(),
            None => asked.into(),
        },
    }
}
