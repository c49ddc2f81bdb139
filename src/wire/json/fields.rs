//! One level of a JSON object: its fields in order, each value as written. Untouched parts keep the provider's
//! bytes: unknown fields, long numbers, the order of names.
//!
//! It does not know what the fields mean.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object, none named twice.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object; `None` for anything else.
    pub(crate) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// A field's value, `null` included.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

/// A name that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Fields<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    if fields.iter().any(|(own, _)| *own == name) {
                        return Err(A::Error::custom("appears twice"));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// The items of a list.
pub(crate) fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// A string's text.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get()).ok().map(|Name(text)| text)
}

/// A whole number that is not negative.
pub(crate) fn number(value: &RawValue) -> Option<u64> {
    value.get().parse().ok()
}

/// A number.
pub(crate) fn float(value: &RawValue) -> Option<f64> {
    value.get().parse().ok().filter(|number: &f64| number.is_finite())
}

/// `true` or `false`.
pub(crate) fn boolean(value: &RawValue) -> Option<bool> {
    value.get().parse().ok()
}

/// True for `null`.
pub(crate) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Adds a text as a JSON string.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &str) {
    // Nothing that is written to memory fails.
    let _ = serde_json::to_writer(out, text);
}

/// The same JSON on one line.
pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    let (mut in_string, mut is_escaped) = (false, false);
    let kept = json.chars().filter(|&c| {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    });
    Cow::Owned(kept.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_bytes() {
        let fields = Fields::read(r#"{"b": 1.00, "\u0061" : {"x":[ ]}, "c":null}"#).unwrap();
        let shown: Vec<_> = fields.iter().map(|(name, value)| (name.to_owned(), value.get())).collect();
        assert_eq!(shown, [("b".into(), "1.00"), ("a".into(), r#"{"x":[ ]}"#), ("c".into(), "null")]);
        assert!(Fields::read(r#"{"a":1,"a":2}"#).is_none());
        assert!(Fields::read("[]").is_none());
    }

    proptest! {
        #[test]
        fn what_is_compact_has_one_line_and_means_the_same(text in "[ \\n\\r\"\\\\a{:]{0,20}") {
            let pretty = serde_json::to_string_pretty(&serde_json::json!({"a": [text, {"b": 1}]})).unwrap();
            let short = compact(&pretty);
            prop_assert!(!short.contains(['\n', '\r']));
            prop_assert_eq!(serde_json::from_str::<Value>(&short).unwrap(), serde_json::from_str::<Value>(&pretty).unwrap());
        }
    }
}
