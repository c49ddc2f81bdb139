//! Strict parsing of JSON bodies: errors name the field or the position, never the content.
//!
//! It does not know which fields a dialect has, nor what they mean.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::model::fault::{Fault, RequestFault};
use crate::wire::json::plain::{Plain, RESERVED};
use crate::wire::json::strict;
use crate::wire::media::{essence_of, is_json_suffixed};

/// This many nested arrays and objects are too many. `serde_json` draws the line at the same place.
const TOO_DEEP: usize = 128;

/// Refuses a body that does not claim to be JSON. No claim at all is fine: many small clients make none.
pub(crate) fn check_json_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().map(essence_of).unwrap_or_default();
    // Something stands between the slash and the suffix.
    let has_name =
        || essence.iter().position(|byte| *byte == b'/').is_some_and(|at| at + 1 + b"+json".len() < essence.len());
    let is_json = essence.eq_ignore_ascii_case(b"application/json") || (is_json_suffixed(essence) && has_name());
    match is_json {
        true => Ok(()),
        false => Err(RequestFault::MediaType { allowed: "application/json" }.into()),
    }
}

/// Refuses JSON that is nested too deep, before any recursive reader sees it. Needs no stack of its own.
pub(crate) fn check_depth(body: &[u8]) -> Result<(), Fault> {
    // Nearly every body has few brackets: one pass of vector instructions and nothing to scan.
    if memchr::memchr2_iter(b'[', b'{', body).nth(TOO_DEEP - 1).is_none() {
        return Ok(());
    }
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for &byte in body {
        match (in_string, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            // Stray closing brackets are the parser's to refuse.
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth >= TOO_DEEP {
            return Err(Fault::invalid(None, format!("the body must be nested fewer than {TOO_DEEP} levels deep")));
        }
    }
    Ok(())
}

/// Refuses JSON that its reader and the next one might read differently: a name twice in one object, a number without bounds,
/// bytes that are no text.
/// To be asked once the body is known to be JSON.
pub(crate) fn check_strictly(body: &[u8]) -> Result<(), Fault> {
    strict::check(body).map_err(|odd| Fault::invalid(None, format!("the body cannot be parsed: {}", odd.message(body))))
}

/// How long a text may be, and in which unit that is counted.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Bytes of UTF-8.
    Bytes(usize),
    /// Characters (Unicode scalar values).
    Chars(usize),
}

impl Limit {
    /// The beginning of an ASCII text, as far as it is allowed.
    pub(crate) fn clip(self, text: &str) -> &str {
        let (Limit::Bytes(most) | Limit::Chars(most)) = self;
        &text[..text.floor_char_boundary(most)]
    }
}

/// The value that a body is, which is known to be JSON that no two readers read differently. Whoever looks for something in it
/// must not find nothing because it could not be read.
///
/// # Errors
/// A name that `serde_json` reads otherwise than others, or a number that no computer holds.
pub(crate) fn plain(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice::<Plain>(body).map(|Plain(value)| value).map_err(|error| told(&error))
}

/// What is wrong with a body that could not be read.
fn told(error: &serde_json::Error) -> Fault {
    let (line, column) = (error.line(), error.column());
    let wrong = match error.classify() {
        // The only things that `Distinct` and `Plain` themselves can object to.
        Category::Data if error.to_string().starts_with(RESERVED) => {
            "a field of the body has a reserved name (`$serde_json::private::`)"
        }
        Category::Data => "a field of the body appears twice",
        Category::Eof => "the body ends in the middle of its JSON",
        _ if error.to_string().starts_with("number out of range") => "a number of the body is too large",
        _ => "the body is not valid JSON",
    };
    Fault::invalid(None, format!("{wrong} (line {line}, column {column})"))
}

/// The object of a request's body. Fields are taken out; those nobody asks for are ignored.
#[derive(Debug)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Reads a body that must be one JSON object in which no field appears twice.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        check_json_content_type(headers)?;
        check_depth(body)?;
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Fault::invalid(None, "the body must be a JSON object"));
        }
        let read =
            serde_json::from_slice::<Distinct>(body).map(|Distinct(map)| Self(map)).map_err(|error| told(&error))?;
        check_strictly(body)?;
        Ok(read)
    }

    /// An object within a body that was read.
    pub(crate) fn of(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The names of the fields that are not taken yet and not `null`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    /// The fields that are not taken yet.
    pub(crate) fn into_rest(self) -> Map<String, Value> {
        self.0
    }

    /// Takes a value of any type; `null` counts as absent.
    pub(crate) fn take(&mut self, field: &'static str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    /// True when a field is there and not `null`.
    pub(crate) fn has(&self, field: &'static str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// A text that must be there and must not be blank.
    pub(crate) fn text(&mut self, field: &'static str, limit: Limit) -> Result<String, Fault> {
        let text =
            self.optional_text(field, limit)?.ok_or_else(|| Fault::invalid(field, format!("`{field}` is required")))?;
        match text.trim().is_empty() {
            true => Err(Fault::invalid(field, format!("`{field}` must not be empty"))),
            false => Ok(text),
        }
    }

    /// A text that may be absent or empty.
    pub(crate) fn optional_text(&mut self, field: &'static str, limit: Limit) -> Result<Option<String>, Fault> {
        let text = match self.take(field) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(other) => return Err(must_be(field, "a string", &other)),
        };
        let (length, most, unit) = match limit {
            Limit::Bytes(most) => (text.len(), most, "bytes"),
            Limit::Chars(most) => (text.chars().count(), most, "characters"),
        };
        match length > most {
            true => Err(Fault::invalid(field, format!("`{field}` must be at most {most} {unit} long, got {length}"))),
            false => Ok(Some(text)),
        }
    }

    /// A number within `range`.
    pub(crate) fn number(&mut self, field: &'static str, range: RangeInclusive<f64>) -> Result<Option<f64>, Fault> {
        let Some(value) = self.take(field) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                Err(must_be_number(field, &format!("a number between {} and {}", range.start(), range.end()), &value))
            }
        }
    }

    /// A whole number within `range`; `1000.0` is one too.
    pub(crate) fn whole_number(
        &mut self,
        field: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Fault> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let in_range = |number: &f64| {
            number.fract() == 0.0 && (f64::from(*range.start())..=f64::from(*range.end())).contains(number)
        };
        match value.as_f64().filter(in_range) {
            // In range, hence exact.
            Some(number) => Ok(Some(number as u32)),
            None => Err(must_be_number(
                field,
                &format!("a whole number between {} and {}", range.start(), range.end()),
                &value,
            )),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<Option<bool>, Fault> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(must_be(field, "true or false", &other)),
        }
    }
}

/// The fault of a value of the wrong type or size.
pub(crate) fn must_be(field: impl Into<Cow<'static, str>>, wanted: &str, got: &Value) -> Fault {
    let field = field.into();
    let message = format!("`{field}` must be {wanted}, got {}", kind_of(got));
    Fault::invalid_in(field, message)
}

/// The fault of a value that is no number, or one outside the range: then it is shown, as nothing explains the range
/// better, and a number in a field for numbers is no secret.
fn must_be_number(field: &'static str, wanted: &str, got: &Value) -> Fault {
    match got {
        Value::Number(number) => Fault::invalid(field, format!("`{field}` must be {wanted}, got {number}")),
        other => must_be(field, wanted, other),
    }
}

/// What a value is, without its content.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An object in which no field appears twice. Two readers of `{"a":1,"a":2}` may disagree on what it says.
struct Distinct(Map<String, Value>);

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Distinct;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Distinct, A::Error> {
                let mut map = Map::new();
                while let Some((name, Plain(value))) = access.next_entry::<String, Plain>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("appears twice"));
                    }
                }
                Ok(Distinct(map))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Object, Fault> {
        Object::read(&HeaderMap::new(), body.as_bytes())
    }

    /// `serde_json`'s own reader of values would parse the text, and begin to count levels anew.
    #[test]
    fn a_text_is_not_read_as_json_whatever_its_field_is_called() {
        for name in
            ["$serde_json::private::RawValue", r"\u0024serde_json::private::RawValue", "$serde_json::private::Number"]
        {
            let said = message(read(&format!("{{\"a\":[{{\"{name}\":\"[1]\"}}]}}")));
            assert!(said.starts_with("a field of the body has a reserved name"), "{name}: {said}");
        }
        let mut object = read(r#"{"a":{"$serde_json":"[1]"}}"#).unwrap();
        assert_eq!(object.take("a").unwrap()["$serde_json"], "[1]");
    }

    fn message(result: Result<impl Sized, Fault>) -> String {
        match result {
            Ok(_) => "accepted".into(),
            Err(fault) => fault.public().into_owned(),
        }
    }

    #[test]
    fn only_json_is_read_as_json() {
        for (value, is_fine) in [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("+json", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(check_json_content_type(&headers).is_ok(), is_fine, "{value}");
        }
        assert!(check_json_content_type(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        assert!(check_depth(&b"[".repeat(100_000)).is_err());
        assert!(check_depth("{\"a\":".repeat(100_000).as_bytes()).is_err());
        let deepest = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
        assert!(read(&deepest).is_ok());
        let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
        assert!(message(read(&too_deep)).contains("nested"));
    }

    #[test]
    fn brackets_side_by_side_or_in_strings_are_not_depth() {
        assert!(check_depth("[]".repeat(1000).as_bytes()).is_ok());
        assert!(check_depth(format!("\"{}\\\"{}\"", "[".repeat(500), "{".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_its_content() {
        assert_eq!(message(read("[1]")), "the body must be a JSON object");
        assert_eq!(message(read("")), "the body must be a JSON object");
        let twice = message(read("{\"canary\":1,\n\"canary\":2}"));
        assert!(twice.contains("appears twice (line 2") && !twice.contains("canary"), "{twice}");
        let broken = message(read("{\"a\": canary}"));
        assert!(broken.contains("not valid JSON (line 1") && !broken.contains("canary"), "{broken}");
        assert!(message(read("{\"a\":1")).contains("ends in the middle"));
        assert!(message(read("{\"a\":1e999}")).contains("a number of the body is too large"));
        assert!(message(read("{} {}")).contains("not valid JSON"));
    }

    #[test]
    fn a_wrong_field_is_named_with_what_is_allowed() {
        let object = || read(r#"{"s":"hot","b":true,"n":3,"f":1.5,"w":7.0,"z":null,"blank":" "}"#).unwrap();
        assert_eq!(message(object().text("m", Limit::Bytes(9))), "`m` is required");
        assert_eq!(message(object().text("z", Limit::Bytes(9))), "`z` is required");
        assert_eq!(message(object().text("n", Limit::Bytes(9))), "`n` must be a string, got a number");
        assert_eq!(message(object().text("blank", Limit::Bytes(9))), "`blank` must not be empty");
        assert_eq!(message(object().text("s", Limit::Chars(2))), "`s` must be at most 2 characters long, got 3");
        assert_eq!(message(object().number("s", 0.0..=2.0)), "`s` must be a number between 0 and 2, got a string");
        assert_eq!(message(object().number("n", 0.0..=2.0)), "`n` must be a number between 0 and 2, got 3");
        assert_eq!(message(object().whole_number("f", 1..=9)), "`f` must be a whole number between 1 and 9, got 1.5");
        assert_eq!(object().whole_number("w", 1..=9).unwrap(), Some(7));
        assert_eq!(message(object().flag("s")), "`s` must be true or false, got a string");
        assert_eq!(object().flag("b").unwrap(), Some(true));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Object::read(&HeaderMap::new(), &body);
        }

        #[test]
        fn what_passes_the_depth_check_never_hits_the_parsers_own_limit(body in "[\\[\\]{}\":,1\\\\ ]{0,400}") {
            if check_depth(body.as_bytes()).is_ok()
                && let Err(error) = serde_json::from_str::<Value>(&body)
            {
                prop_assert!(!error.to_string().contains("recursion"));
            }
        }
    }
}
