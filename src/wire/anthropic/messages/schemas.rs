//! JSON Schemas as Anthropic holds answers to them: each object is closed, and few keywords are known.
//!
//! <https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs>. What it does not know of a schema is told to the
//! model in the `description`, as Anthropic's own SDKs do. It does not know what a schema is for.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// How deep schemas may be nested.
const DEEPEST: usize = 64;

/// As many references are followed when cycles are looked for.
const MOST_STEPS: usize = 10_000;

/// The `format`s of texts that are known.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Keywords that are taken as they are.
const KEPT: [&str; 6] = ["type", "title", "description", "const", "default", "required"];

/// Keywords that say nothing of what matches.
const IDLE: [&str; 4] = ["$schema", "$id", "$comment", "strict"];

/// Those with schemas by name.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];

/// A schema that Anthropic takes, and that all match which match it. `None`: there is none, as for objects with any names.
pub(super) fn closed(schema: &RawValue) -> Option<Box<RawValue>> {
    let schema: Value = serde_json::from_str(schema.get()).ok()?;
    let closed = object(schema, DEEPEST)?;
    let is_cyclic = NAMED.iter().skip(1).filter_map(|name| closed.get(*name)?.as_object()).any(are_cyclic);
    (!is_cyclic).then(|| to_raw_value(&closed).ok()).flatten()
}

/// One schema, with those in it.
fn object(schema: Value, depth: usize) -> Option<Value> {
    let (Value::Object(fields), Some(depth)) = (schema, depth.checked_sub(1)) else { return None };
    if let Some(reference) = fields.get("$ref") {
        let is_inside = reference.as_str().is_some_and(|to| to.starts_with("#/"));
        // What stands beside a reference is refused. Definitions stand beside that of the whole.
        let beside = fields.iter().filter(|(name, _)| matches!(&***name, "$defs" | "definitions"));
        let mut whole: Map<String, Value> = beside.map(|(name, value)| (name.clone(), value.clone())).collect();
        for value in whole.values_mut() {
            *value = by_name(value.take(), depth)?;
        }
        whole.insert("$ref".into(), reference.clone());
        return is_inside.then_some(Value::Object(whole));
    }
    let is_of = |name: &str| match fields.get("type") {
        Some(Value::String(own)) => own == name,
        Some(Value::Array(all)) => all.iter().any(|own| own == name),
        _ => false,
    };
    let has_choices = ["anyOf", "oneOf", "allOf", "enum", "const"].iter().any(|name| fields.contains_key(*name));
    let is_object = is_of("object") || (fields.contains_key("properties") && !fields.contains_key("type"));
    let is_closed = fields.get("additionalProperties").is_none_or(|more| more == false);
    // With any names, or with any value.
    let is_open =
        is_object && !(is_closed && (fields.contains_key("properties") || fields.contains_key("additionalProperties")));
    if is_open || !(is_object || has_choices || fields.contains_key("type")) {
        return None;
    }
    let mut written = Map::new();
    let mut told = Vec::new();
    for (name, value) in fields {
        match &*name {
            name if KEPT.contains(&name) => _ = written.insert(name.into(), value),
            name if IDLE.contains(&name) => {}
            name if NAMED.contains(&name) => _ = written.insert(name.into(), by_name(value, depth)?),
            "anyOf" | "oneOf" | "allOf" => {
                let name = if name == "oneOf" { "anyOf" } else { &*name };
                let Value::Array(all) = value else { return None };
                let all: Option<Vec<Value>> = all.into_iter().map(|one| object(one, depth)).collect();
                // Both of them beside each other cannot be said as one.
                if written.insert(name.into(), all?.into()).is_some() {
                    return None;
                }
            }
            "items" => _ = written.insert(name, object(value, depth)?),
            "additionalProperties" => {}
            "enum" if value.as_array().is_some_and(|all| !all.iter().any(|one| one.is_object() || one.is_array())) => {
                written.insert(name, value);
            }
            "enum" => return None,
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => {
                _ = written.insert(name, value)
            }
            "minItems" if value == 0 || value == 1 => _ = written.insert(name, value),
            _ => told.push(format!("{name}: {value}")),
        }
    }
    if is_object {
        written.insert("type".into(), written.get("type").cloned().unwrap_or_else(|| "object".into()));
        written.insert("additionalProperties".into(), false.into());
    }
    if !told.is_empty() {
        let told = format!("{{{}}}", told.join(", "));
        let said = written.get("description").and_then(Value::as_str);
        let description = said.map_or_else(|| told.clone(), |said| format!("{said}\n\n{told}"));
        written.insert("description".into(), description.into());
    }
    Some(Value::Object(written))
}

/// Schemas by name.
fn by_name(schemas: Value, depth: usize) -> Option<Value> {
    let Value::Object(schemas) = schemas else { return None };
    schemas.into_iter().map(|(name, schema)| Some((name, object(schema, depth)?))).collect()
}

/// True where definitions are made of themselves, which is refused; and where that takes too long to find out.
fn are_cyclic(definitions: &Map<String, Value>) -> bool {
    let mut steps = 0;
    definitions.keys().any(|name| reaches(definitions, name, name, &mut steps, DEEPEST))
}

fn reaches(definitions: &Map<String, Value>, from: &str, to: &str, steps: &mut usize, depth: usize) -> bool {
    let mut names = Vec::new();
    definitions.get(from).into_iter().for_each(|schema| references(schema, &mut names));
    names.into_iter().any(|name| {
        *steps += 1;
        name == to
            || *steps > MOST_STEPS
            || depth == 0
            || reaches(definitions, name, to, steps, depth.saturating_sub(1))
    })
}

/// The names of definitions to which a schema refers.
fn references<'a>(schema: &'a Value, names: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
            names.extend(name);
            fields.values().for_each(|value| references(value, names));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed_of(schema: &Value) -> Option<Value> {
        Some(serde_json::from_str(closed(&to_raw_value(schema).unwrap())?.get()).unwrap())
    }

    #[test]
    fn what_anthropic_does_not_know_is_told_in_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["age"],
            "properties": {
                "age": {"type": "integer", "description": "In years.", "minimum": 0, "maximum": 150},
                "name": {"type": "string", "minLength": 1, "pattern": "^a"},
                "when": {"type": "string", "format": "date"}, "card": {"type": "string", "format": "card"},
                "tags": {"type": "array", "items": {"type": ["string", "null"]}, "minItems": 2},
                "some": {"type": "array", "items": {"properties": {}}, "minItems": 1},
                "kind": {"oneOf": [{"enum": ["a", 1, null]}, {"$ref": "#/$defs/d", "description": "x"}]},
            },
            "$defs": {"d": {"type": "object", "properties": {}}},
        });
        let wanted = json!({
            "type": "object", "required": ["age"], "additionalProperties": false,
            "properties": {
                "age": {"type": "integer", "description": "In years.\n\n{minimum: 0, maximum: 150}"},
                "name": {"type": "string", "description": "{minLength: 1, pattern: \"^a\"}"},
                "when": {"type": "string", "format": "date"},
                "card": {"type": "string", "description": "{format: \"card\"}"},
                "tags": {"type": "array", "items": {"type": ["string", "null"]}, "description": "{minItems: 2}"},
                "some": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {}, "additionalProperties": false}},
                "kind": {"anyOf": [{"enum": ["a", 1, null]}, {"$ref": "#/$defs/d"}]},
            },
            "$defs": {"d": {"type": "object", "properties": {}, "additionalProperties": false}},
        });
        assert_eq!(closed_of(&schema), Some(wanted.clone()));
        assert_eq!(closed_of(&wanted), Some(wanted));
    }

    #[test]
    fn what_cannot_be_closed_is_found() {
        let mut deep = json!({"type": "string"});
        (0..70).for_each(|_| deep = json!({"type": "array", "items": deep.clone()}));
        for schema in [
            json!({}),
            json!(true),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": true, "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"description": "anything"}}}),
            json!({"$ref": "https://example.com/a"}),
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
            deep,
        ] {
            assert_eq!(closed_of(&schema), None, "{schema}");
        }
    }
}
