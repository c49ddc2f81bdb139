//! The provider's id of a response.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An answer's own id. One that is no text, or is spelt with escapes, is none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Id<'a>(Option<&'a str>);

impl<'a> Id<'a> {
    /// The id, where it says something.
    pub(crate) fn said(self) -> Option<&'a str> {
        self.0.filter(|id| !id.is_empty())
    }

    /// Remembers the first that says something.
    pub(crate) fn note(self, first: &mut Option<Box<str>>) {
        if first.is_none() {
            *first = self.said().map(Into::into);
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Id<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an id")
            }

            fn visit_borrowed_str<E>(self, id: &'de str) -> Result<Id<'de>, E> {
                Ok(Id(Some(id)))
            }

            fn visit_str<E>(self, _: &str) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_unit<E>(self) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Id<'de>, E> {
                Ok(Id(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Id<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Id(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Id<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Id(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
