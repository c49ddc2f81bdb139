//! What of a request of the Responses API cannot be served elsewhere, in words.
//!
//! It does not know what is refused, nor why.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// What cannot be read, in words that complete "it cannot serve ...".
pub(super) type Refused = Cow<'static, str>;

/// A value of a type, or what is wrong with it.
pub(super) fn typed<T: DeserializeOwned>(name: &str, value: &RawValue, what: &str) -> Result<T, Refused> {
    serde_json::from_str(value.get()).map_err(|_| format!("a request whose `{name}` is not {what}").into())
}
