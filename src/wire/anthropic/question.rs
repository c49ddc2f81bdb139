//! What of a message's request does not count for what is answered, and whether its answer may be cached.
//!
//! It does not know who asks, nor how cache keys are computed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json::canonical::Odd;
use crate::wire::openai::question::Keyless;

/// What callers say about themselves, about the form of the answer, and about what it costs; it does not change what is answered.
const LEFT_OUT: [&str; 3] = ["stream", "metadata", "service_tier"];

/// True for a field of a request that says who asks, or in what form.
pub(crate) fn is_about_form(field: &str) -> bool {
    LEFT_OUT.contains(&field)
}

/// A message may work in a container that is kept, and with servers that do what they are asked.
pub(crate) fn refuse_effects(body: &[u8]) -> Result<(), Keyless> {
    #[derive(Deserialize)]
    struct Effects<'a> {
        #[serde(default, borrow)]
        container: Option<&'a RawValue>,
        #[serde(default, borrow)]
        mcp_servers: Option<&'a RawValue>,
    }
    let effects: Effects<'_> = serde_json::from_slice(body).map_err(|_| Keyless::Odd(Odd::NotJson))?;
    let is_set = |field: Option<&RawValue>| field.is_some_and(|value| !matches!(value.get(), "null" | "[]"));
    match (is_set(effects.container), is_set(effects.mcp_servers)) {
        (true, _) => Err(Keyless::Effect("container")),
        (_, true) => Err(Keyless::Effect("mcp_servers")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_at_the_provider_is_not_cached() {
        for (body, wanted) in [
            (r#"{"model":"m","container":null,"mcp_servers":[]}"#, Ok(())),
            (r#"{"container":"c"}"#, Err(Keyless::Effect("container"))),
            (r#"{"mcp_servers":[{"url":"u"}]}"#, Err(Keyless::Effect("mcp_servers"))),
            ("{", Err(Keyless::Odd(Odd::NotJson))),
        ] {
            assert_eq!(refuse_effects(body.as_bytes()), wanted, "{body}");
        }
    }
}
