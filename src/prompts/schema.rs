//! Schema: a JSON Schema (draft 2020-12) that answers are held to.
//!
//! A schema may come from a caller: what it refers to is never read from elsewhere, and how much work it may make is bounded
//! before it is used (`prompts/cost`), as is the size of an answer. What is told about an answer holds none of its values. It
//! does not know the caller, nor what happens when an answer is wrong.

use std::fmt::Write as _;

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::model::offload::apart;
use crate::model::shape::{Check, Mismatch, Shape};
use crate::prompts::cost;
use crate::prompts::cost::Cost;
pub use crate::prompts::cost::Refused;
use crate::prompts::extract;

/// The longest schema, as compact JSON, in bytes.
pub const MAX_SCHEMA: usize = 64 * 1024;

/// The longest answer that is looked at, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// The longest name that providers take for a schema.
const MAX_NAME: usize = 64;

/// How deep the text of a schema may be nested.
const MAX_NESTING: usize = 64;

/// The most patterns of a schema, and the most memory for one of them, in bytes.
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN: usize = 512 * 1024;

/// The most work to check one answer: values, each held against as many subschemas as the schema has. It is a second at worst.
const MAX_WORK: u64 = 4_000_000;

/// The most work for which all mistakes are looked for. Each takes memory, also those of branches that are not told.
const MAX_TOLD: u64 = 20_000;

/// As many bytes of text are as much work as a value: patterns and lengths look at each.
const BYTES_OF_VALUE: u64 = 64;

/// How deep an answer may be, times the subschemas of a circle: each step takes stack.
const MAX_DEPTH: usize = 1024;

/// As many mistakes of an answer are told, and as much of each, in bytes.
const MOST_MISTAKES: usize = 5;
const MAX_MISTAKE: usize = 200;

/// A schema that was read.
pub struct Schema {
    name: Box<str>,
    text: Box<str>,
    is_closed: bool,
    cost: Cost,
    validator: Validator,
}

/// Reads a schema. Characters of the name that providers do not take become `_`.
///
/// # Errors
/// What is wrong with the schema, and where: it is no schema, it is too large or too much work, or it refers to something
/// outside itself.
pub fn read(name: &str, schema: &Value) -> Result<Shape, Refused> {
    let whole = |what: String| Refused { at: String::new(), what };
    let text = schema.to_string();
    if text.len() > MAX_SCHEMA {
        return Err(whole(format!("it has {} bytes; the most is {MAX_SCHEMA}", text.len())));
    }
    check_names(schema, "", 0)?;
    let mut bare = schema.clone();
    if let Value::Object(root) = &mut bare {
        // All schemas are read as draft 2020-12, and none is ever referred to by an address.
        root.retain(|key, _| !["$schema", "$id"].contains(&key.as_str()));
    }
    let cost = cost::of(&bare)?;
    if cost.patterns > MAX_PATTERNS {
        return Err(whole(format!("it has {} patterns; the most is {MAX_PATTERNS}", cost.patterns)));
    }
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
    let options = jsonschema::options().offline().with_draft(Draft::Draft202012).with_pattern_options(patterns);
    let validator = options.build(&bare).map_err(|fault| refused(&fault))?;
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    let name: String = name.chars().take(MAX_NAME).map(|it| if is_allowed(it) { it } else { '_' }).collect();
    let name = if name.is_empty() { "answer".into() } else { name.into_boxed_str() };
    Ok(Shape::new(Schema { name, text: text.into(), is_closed: is_closed(schema), cost, validator }))
}

/// Why the library does not take a schema. The schema is its author's, so its words may be told.
fn refused(fault: &ValidationError<'_>) -> Refused {
    let at = short(fault.instance_path().as_str());
    let what = match at.contains("/pattern") {
        true => "it is no regular expression that is supported (without look-around and back-references), or too large"
            .into(),
        false => short(&fault.to_string()),
    };
    Refused { at, what }
}

impl Schema {
    /// Holds one value to the schema. The work is taken from what is left of it.
    fn check(&self, value: &Value, left: &mut u64) -> Result<(), Mismatch> {
        let size = Size::of(value);
        let values = size.values + size.bytes / BYTES_OF_VALUE;
        let work = values.saturating_mul(self.cost.steps);
        let is_deep = self.cost.circle > 0 && size.depth * self.cost.circle > MAX_DEPTH;
        if is_deep || work > *left {
            return Err(mismatch("the answer is too large or too deep to be checked against its schema", "size"));
        }
        *left -= work;
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let first = || self.validator.validate(value).err().into_iter();
        Err(match work > MAX_TOLD {
            true => told(first()),
            false => told(self.validator.iter_errors(value).take(MOST_MISTAKES)),
        })
    }
}

/// What is wrong with an answer, in words.
fn told<'a>(mistakes: impl Iterator<Item = ValidationError<'a>>) -> Mismatch {
    let (mut what, mut keywords) = (String::new(), Vec::<String>::new());
    for mistake in mistakes {
        if !what.is_empty() {
            what.push_str("; ");
        }
        tell(&mistake, &mut what);
        let keyword = mistake.kind().keyword();
        if !keywords.iter().any(|known| known == keyword) {
            keywords.push(keyword.to_owned());
        }
    }
    Mismatch { what, keywords: keywords.join(", ") }
}

impl Check for Schema {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> &str {
        &self.text
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn find<'a>(&self, said: &'a str) -> Result<&'a str, Mismatch> {
        if said.len() > MAX_ANSWER {
            return Err(mismatch("the answer is too long", "size"));
        }
        let work = said.len().saturating_mul(usize::try_from(self.cost.steps / 16).unwrap_or(usize::MAX).max(1));
        apart(work, || {
            let (mut first, mut left) = (None, MAX_WORK);
            for (text, value) in extract::candidates(said) {
                match self.check(&value, &mut left) {
                    Ok(()) => return Ok(text),
                    Err(mismatch) => first = first.or(Some(mismatch)),
                }
            }
            Err(first.unwrap_or_else(|| mismatch("the answer has no complete JSON object in it", "json")))
        })
    }
}

fn mismatch(what: &str, keyword: &str) -> Mismatch {
    Mismatch { what: what.into(), keywords: keyword.into() }
}

/// One mistake in words: where, and what is wrong there.
fn tell(mistake: &ValidationError<'_>, out: &mut String) {
    let place = short(mistake.instance_path().as_str());
    if !place.is_empty() {
        let _ = write!(out, "{place}: ");
    }
    // Inside, it would be shown as it is.
    let said = match mistake.kind().keyword() {
        "propertyNames" => "the name of a field is not allowed".into(),
        _ => short(&mistake.masked().to_string()),
    };
    out.push_str(&said);
}

/// As much of a text as is told.
fn short(text: &str) -> String {
    match text.len() > MAX_MISTAKE {
        true => format!("{}...", &text[..text.floor_char_boundary(MAX_MISTAKE)]),
        false => text.to_owned(),
    }
}

/// Refuses names by which a part of a schema could be referred to, or change what its references mean.
fn check_names(schema: &Value, at: &str, depth: usize) -> Result<(), Refused> {
    const NAMES: [&str; 5] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$id"];
    if depth > MAX_NESTING {
        return Err(Refused { at: short(at), what: format!("it is nested deeper than {MAX_NESTING} levels") });
    }
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                if NAMES.contains(&key.as_str()) && value.is_string() && (key != "$id" || depth > 0) {
                    let what = format!("`{key}` is not supported: refer to parts of the schema as in `#/$defs/name`");
                    return Err(Refused { at: short(at), what });
                }
                check_names(value, &format!("{at}/{key}"), depth + 1)?;
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(place, item)| check_names(item, &format!("{at}/{place}"), depth + 1)),
        _ => Ok(()),
    }
}

/// The keywords that OpenAI's strict mode knows (guide "Structured model outputs", supported schemas). It refuses others.
const STRICT: [&str; 20] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "enum",
    "const",
    "$ref",
    "$defs",
    "title",
    "description",
    "pattern",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "minItems",
    "maxItems",
];

/// True for a schema that OpenAI's strict mode takes: an object, and none in it allows a field that it does not name, nor
/// leaves one out that it does.
fn is_closed(schema: &Value) -> bool {
    let is_object = schema.get("type").is_some_and(|it| it == "object");
    is_object && schema.get("anyOf").is_none() && is_closed_inside(schema)
}

fn is_closed_inside(schema: &Value) -> bool {
    let Value::Object(object) = schema else { return false };
    let fields = object.get("properties").and_then(Value::as_object);
    let required = object.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_object = fields.is_some() || object.get("type").is_some_and(|it| it == "object");
    let names_all = || fields.is_none_or(|fields| fields.keys().all(|name| required.iter().any(|it| it == name)));
    let is_whole = !is_object || (object.get("additionalProperties") == Some(&Value::Bool(false)) && names_all());
    is_whole
        && object.iter().all(|(keyword, value)| match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(schemas)) => schemas.values().all(is_closed_inside),
            ("anyOf", Value::Array(schemas)) => schemas.iter().all(is_closed_inside),
            ("items", schema) => is_closed_inside(schema),
            (keyword, _) => STRICT.contains(&keyword),
        })
}

/// How much there is to check.
#[derive(Default)]
struct Size {
    values: u64,
    bytes: u64,
    depth: usize,
}

impl Size {
    fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add(value, 1);
        size
    }

    fn add(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.depth = self.depth.max(depth);
        match value {
            Value::String(text) => self.bytes += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Value::Object(object) => {
                for (name, value) in object {
                    self.bytes += name.len() as u64;
                    self.add(value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn canvas() -> Shape {
        read(
            "canvas",
            &json!({
                "type": "object",
                "required": ["keyPartners"],
                "properties": {"keyPartners": {"type": "array", "items": {"type": "string", "minLength": 1}}},
                "additionalProperties": false,
            }),
        )
        .unwrap()
    }

    fn refused(schema: &Value) -> Refused {
        match read("x", schema) {
            Err(refused) => refused,
            Ok(_) => panic!("{schema} was read"),
        }
    }

    #[test]
    fn an_answer_is_found_whatever_is_around_it() {
        for said in [
            r#"{"keyPartners": ["Roaster"]}"#,
            "Here you are:\n```json\n{\"keyPartners\": [\"Roaster\"]}\n```\nShall I go on?",
            r#"First {"partners": ["nobody", "at", "all"]}, then {"keyPartners": ["Roaster"]}"#,
        ] {
            assert_eq!(canvas().find(said), Ok(r#"{"keyPartners": ["Roaster"]}"#), "{said}");
        }
        let said = "\n{ \"keyPartners\": [] }\n";
        assert_eq!(canvas().find(said), Ok(said), "as it came");
        assert_eq!(canvas().find(&format!("\u{feff}{said}")), Ok(said.trim()), "no reader takes the mark");
    }

    #[test]
    fn a_wrong_answer_says_where_and_what_and_none_of_its_values() {
        let secret = "the secret plan".repeat(1000);
        let told = canvas().find(&json!({"keyPartners": [secret, 7, ""], "x": secret}).to_string()).unwrap_err();
        assert_eq!(
            told.what,
            "/keyPartners/1: value is not of type \"string\"; /keyPartners/2: value is shorter than 1 character; \
             Additional properties are not allowed ('x' was unexpected)"
        );
        assert_eq!(told.keywords, "type, minLength, additionalProperties");
        let told = canvas().find("{}").unwrap_err();
        assert_eq!(
            (told.what.as_str(), told.keywords.as_str()),
            ("\"keyPartners\" is a required property", "required")
        );
        let told = canvas().find("I cannot do that.").unwrap_err();
        assert_eq!(
            (told.what.as_str(), told.keywords.as_str()),
            ("the answer has no complete JSON object in it", "json")
        );
    }

    #[test]
    fn no_mistake_tells_a_value() {
        for (schema, value) in [
            (json!({"enum": ["a"]}), json!("secret")),
            (json!({"const": "a"}), json!("secret")),
            (json!({"pattern": "^a$"}), json!("secret")),
            (json!({"maxLength": 1}), json!("secret")),
            (json!({"maximum": 1}), json!(5417)),
            (json!({"multipleOf": 2}), json!(5417)),
            (json!({"maxItems": 1}), json!(["secret", "secret"])),
            (json!({"uniqueItems": true}), json!(["secret", "secret"])),
            (json!({"contains": {"const": 1}}), json!(["secret"])),
            (json!({"not": {"type": "string"}}), json!("secret")),
            (json!({"anyOf": [{"const": 1}, {"const": 2}]}), json!("secret")),
            (json!({"oneOf": [true, true]}), json!("secret")),
            (json!({"propertyNames": {"maxLength": 1}}), json!({"secret": 1})),
            (json!({"items": false}), json!(["secret"])),
            (json!(false), json!("secret")),
        ] {
            let told = read("x", &schema).unwrap().find(&value.to_string()).unwrap_err();
            let is_masked = !told.what.contains("secret") && !told.what.contains("5417");
            assert!(is_masked && !told.keywords.is_empty(), "{schema}: {told:?}");
        }
    }

    #[test]
    fn schemas_that_are_none_are_refused_with_their_place() {
        for (schema, at) in [
            (json!("object"), ""),
            (json!({"type": "objekt"}), "/type"),
            (json!({"properties": {"a": {"minLength": "3"}}}), "/properties/a/minLength"),
            (json!({"properties": {"a": {"pattern": "(a"}}}), "/properties/a/pattern"),
            (json!({"pattern": r"(a)\1"}), "/pattern"),
            (json!({"properties": {"a": {"$ref": "https://example.com/a.json"}}}), "/properties/a/$ref"),
            (json!({"properties": {"a": {"$id": "https://example.com/"}}}), "/properties/a"),
            (json!({"$defs": {"a": {"$anchor": "a"}}}), "/$defs/a"),
        ] {
            assert_eq!(refused(&schema).at, at, "{schema}: {:?}", refused(&schema));
        }
    }

    #[test]
    fn schema_bombs_are_refused() {
        let patterns: Map<String, Value> = (0..100).map(|it| (format!("p{it}"), json!({"pattern": "a"}))).collect();
        for (schema, what) in [
            (json!({"pattern": "(((a{1000}){1000}){1000})"}), "or too large"),
            (json!({"properties": patterns}), "it has 100 patterns; the most is 64"),
            (json!({"description": "x".repeat(MAX_SCHEMA)}), "the most is 65536"),
            ((0..80).fold(json!(1), |inner, _| json!({"default": [inner]})), "deeper than 64"),
        ] {
            let refused = refused(&schema);
            assert!(refused.what.contains(what) && refused.what.len() < 300, "{refused:?}");
        }
    }

    #[test]
    fn what_is_too_much_to_check_is_no_answer() {
        let all: Vec<Value> = (0..9_000).map(|it| json!({"minLength": it % 2})).collect();
        let costly = read("x", &json!({"items": {"allOf": all[..3_000]}})).unwrap();
        let few = json!(vec!["a"; 1_000]).to_string();
        assert_eq!(costly.find(&few), Ok(few.as_str()));
        for many in [json!(vec!["a"; 2_000]), json!(["a".repeat(200_000)])] {
            assert_eq!(costly.find(&many.to_string()).unwrap_err().keywords, "size");
        }
        assert_eq!(canvas().find(&" ".repeat(MAX_ANSWER + 1)).unwrap_err().keywords, "size");
    }

    /// The deepest that is allowed, on the stack of a test, which is that of a worker.
    #[test]
    fn deep_answers_of_a_recursive_schema_do_not_end_the_stack() {
        let mut defs: Map<String, Value> = (1..40)
            .map(|it| (format!("d{it}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", it - 1)}]})))
            .collect();
        defs.insert("d0".into(), json!({"type": "array", "items": {"$ref": "#/$defs/d24"}}));
        let schema = read("x", &json!({"$ref": "#/$defs/d24", "$defs": defs})).unwrap();
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deepest = (1..128).rev().find(|levels| schema.find(&deep(*levels)).is_ok());
        assert_eq!(deepest, Some(1024 / (2 * 25)));
        assert_eq!(schema.find(&deep(127)).unwrap_err().keywords, "size");
        // Without a circle the schema bounds the depth.
        let open = read("x", &json!(true)).unwrap();
        assert!(open.find(&deep(127)).is_ok());
    }

    #[test]
    fn a_schema_of_another_draft_is_read_as_the_newest() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/order",
            "definitions": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/definitions/n"}},
        });
        let schema = read("order v2!", &schema).unwrap();
        assert!(schema.find(r#"{"n": 1}"#).is_ok() && schema.find(r#"{"n": "1"}"#).is_err());
        assert_eq!(schema.name(), "order_v2_");
    }

    #[test]
    fn a_closed_schema_names_all_its_fields_and_requires_them() {
        let object = |required: &[&str], more: Value| {
            json!({"type": "object", "properties": {"a": {"type": "string"}},
            "required": required, "additionalProperties": more})
        };
        assert!(is_closed(&object(&["a"], json!(false))));
        assert!(!is_closed(&object(&[], json!(false))) && !is_closed(&object(&["a"], json!(true))));
        let inside = json!({"type": "object", "properties": {"a": object(&[], json!(false))}, "required": ["a"],
            "additionalProperties": false});
        assert!(!is_closed(&inside));
        assert!(!is_closed(&json!({"type": "array", "items": {"type": "string"}})), "an object is wanted");
        let with = |field: Value| {
            json!({"type": "object", "properties": {"a": field}, "required": ["a"],
            "additionalProperties": false})
        };
        assert!(is_closed(&with(json!({"type": ["string", "null"], "description": "x", "pattern": "^a"}))));
        assert!(!is_closed(&with(json!({"allOf": [{"type": "string"}]}))), "a keyword that strict mode refuses");
    }
}
