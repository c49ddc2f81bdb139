//! Structured outputs in OpenAI's dialect: how an answer of some shape is asked for, with `response_format` and in words.
//!
//! It does not know which models understand which of them, nor how answers are checked. What a request or an answer says in
//! its place is changed by `reshaped`.

use std::ops::Range;

use serde_json::{Value, json};

use crate::model::shape::Shape;
use crate::wire::json::members::{Member, members, whole};

/// The field that asks for a shape.
pub(crate) const FIELD: &str = "response_format";

/// Where a request says it, and where its schema stands, if it has one of its own.
pub(crate) struct Asked<'a> {
    pub(crate) field: Member<'a>,
    pub(crate) schema: Option<Range<usize>>,
    pub(crate) name: Option<Range<usize>>,
}

/// What a request asks of its answer's shape; `None`: nothing.
pub(crate) fn asked(body: &str) -> Option<Asked<'_>> {
    let inside = |object: &Range<usize>, name: &str| {
        let found = members(body, object.clone()).find(|member| member.name == name)?;
        Some(found.value)
    };
    let field = members(body, whole(body)).find(|member| member.name == FIELD)?;
    let kind = inside(&field.value, "type").is_some_and(|kind| &body[kind] == "\"json_schema\"");
    let described = inside(&field.value, "json_schema").filter(|_| kind);
    let is_some = |value: &Range<usize>| &body[value.clone()] != "null";
    let [schema, name] =
        ["schema", "name"].map(|part| described.as_ref().and_then(|it| inside(it, part)).filter(is_some));
    Some(Asked { field, schema, name })
}

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
