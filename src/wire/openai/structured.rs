//! Structured outputs in OpenAI's dialect: how an answer of some shape is asked for, with `response_format` and in words.
//!
//! It does not know which models understand which of them, nor how answers are checked.

use serde_json::{Value, json};

use crate::model::shape::Shape;

/// The field that asks for a shape.
pub(crate) const FIELD: &str = "response_format";

/// What asks for any JSON object. The conversation must have the word JSON in it, which [`in_words`] has.
pub(crate) fn any_object() -> Value {
    json!({"type": "json_object"})
}

/// What asks for a shape.
pub(crate) fn of_shape(shape: &Shape) -> Value {
    let schema: Value = serde_json::from_str(shape.schema()).unwrap_or_default();
    // Strict mode refuses schemas that leave something open.
    json!({"type": "json_schema", "json_schema": {"name": shape.name(), "schema": schema, "strict": shape.is_closed()}})
}

/// What stands between the words and the schema of [`in_words`].
const SCHEMA_BEGINS: &str = "no explanation, no code fence.\n\n";

/// The same in words, for models that know no such field.
pub(crate) fn in_words(shape: &Shape) -> String {
    format!("Answer with JSON that matches this JSON Schema, and with nothing else: {SCHEMA_BEGINS}{}", shape.schema())
}

/// The schema in an instruction that has these words.
pub(crate) fn in_instruction(instruction: &str) -> Option<Value> {
    let (_, schema) = instruction.split_once(SCHEMA_BEGINS)?;
    serde_json::Deserializer::from_str(schema).into_iter().next()?.ok()
}
