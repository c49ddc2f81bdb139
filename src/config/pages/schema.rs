//! Schema: the configuration as JSON Schema (draft 7, which TOML editors support), for completion and validation.
//!
//! It does not know what `check` finds beyond single values: which keys exclude each other, or need another table.

use serde_json::{Map, Value as Json, json};

use crate::config::engine::document::Value;
use crate::config::engine::record::{ANY, KnownKey};
use crate::config::engine::shape::{Form, Shape, ValueType};
use crate::config::pages::Pages;

/// The schema as it is committed, in JSON with a line feed at its end.
pub fn schema() -> String {
    let pages = Pages::new();
    let KnownKey { inside, .. } = &pages.root;
    let properties: Map<String, Json> =
        inside.iter().map(|(key, known)| (key.clone(), of(known, key, &pages))).collect();
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of Tidegate",
        "description": "Generated from the program: make generate",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}\n")
}

fn of(known: &KnownKey, path: &str, pages: &Pages) -> Json {
    let mut schema = Map::new();
    if let Some(note) = pages.note(path) {
        if !note.comment.is_empty() {
            schema.insert("description".into(), note.comment.clone().into());
        }
        if let Some(default) = note.default.as_ref().and_then(json) {
            schema.insert("default".into(), default);
        }
    }
    let holds_tables = known.forms.contains(&Form::Tables);
    let mut forms: Vec<Json> = Vec::new();
    for form in &known.forms {
        match form {
            Form::One(taken) => forms.push(shape(taken)),
            Form::List(taken) => {
                let item = match holds_tables {
                    true => json!({ "anyOf": [shape(taken), table(known, path, pages)] }),
                    false => shape(taken),
                };
                let list = json!({ "type": "array", "items": item });
                forms.extend(if holds_tables { vec![list] } else { vec![shape(taken), list] });
            }
            Form::Table => forms.push(table(known, path, pages)),
            Form::Names => forms.push(names(known, path, pages)),
            Form::Tables => {}
        }
    }
    match forms.as_mut_slice() {
        [Json::Object(one)] => schema.append(one),
        [] => {}
        _ => drop(schema.insert("anyOf".into(), forms.into())),
    }
    schema.into()
}

/// A table with the keys that it can have.
fn table(known: &KnownKey, path: &str, pages: &Pages) -> Json {
    // Nobody has read such a table with anything in it.
    if known.inside.is_empty() {
        return json!({ "type": "object" });
    }
    let inside = known.inside.iter();
    let properties: Map<String, Json> =
        inside.map(|(key, known)| (key.clone(), of(known, &format!("{path}.{key}"), pages))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// A table whose keys are names.
fn names(known: &KnownKey, path: &str, pages: &Pages) -> Json {
    let path = format!("{path}.{ANY}");
    let named = known.inside.get(ANY).map(|named| match named.forms.is_empty() {
        // Tables that are read one by one say nothing about themselves.
        true => table(named, &path, pages),
        false => of(named, &path, pages),
    });
    json!({ "type": "object", "additionalProperties": named.unwrap_or(Json::Bool(true)) })
}

fn shape(taken: &ValueType) -> Json {
    match &taken.shape {
        Shape::Text => json!({ "type": "string", "minLength": 1 }),
        Shape::Form(form) => json!({ "type": "string", "pattern": form }),
        Shape::Words(words) => json!({ "type": "string", "enum": words }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number { min, max: Some(max) } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Shape::Number { min, max: None } => json!({ "type": "number", "minimum": min }),
    }
}

/// A value of the file. `None` for a table: its keys have values of their own.
pub(in crate::config) fn json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Text(text) | Value::Raw(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Bool(bool) => (*bool).into(),
        Value::Array(items) => items.iter().map(|item| json(&item.value)).collect::<Option<Vec<Json>>>()?.into(),
        Value::Date | Value::Table(_) => return None,
    })
}
