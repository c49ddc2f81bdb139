//! Plain: reads JSON values as every reader of JSON does, whatever their fields are called.
//!
//! It does not know what a value is for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How names begin that `serde_json` keeps for itself; also how its error begins where one is met.
pub const RESERVED: &str = "$serde_json::private::";

/// A value without reserved names. `serde_json`'s own [`Value`] takes an object whose first field has one for a text with JSON
/// inside, which it reads without counting the levels around it: a caller could nest as deep as it likes. Whoever reads the value
/// again, after it was stored, would do the same.
pub struct Plain(pub Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Plain;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Plain, E> {
                Ok(Plain(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_string<E>(self, value: String) -> Result<Plain, E> {
                Ok(Plain(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Plain, A::Error> {
                let mut values = Vec::new();
                while let Some(Plain(value)) = access.next_element()? {
                    values.push(value);
                }
                Ok(Plain(values.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Plain, A::Error> {
                let mut fields = Map::new();
                while let Some((name, Plain(value))) = access.next_entry::<String, Plain>()? {
                    if name.starts_with(RESERVED) {
                        return Err(A::Error::custom(RESERVED));
                    }
                    fields.insert(name, value);
                }
                Ok(Plain(fields.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
