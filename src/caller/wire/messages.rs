//! Reads what routing needs from a request to Anthropic's Messages API, and says what is wrong in that API's words:
//! `messages: Field required`.
//!
//! It does not know the content of messages, which is for the provider to judge.

use super::fields;
use super::{insert_model, kind, named, note_contents};
use crate::caller::Incoming;
use crate::model::call::{Endpoint, Reach, WireRequest};
use crate::model::fault::Fault;

/// Reads a request's body.
pub(super) fn read(incoming: &Incoming<'_>, wire: &mut WireRequest) -> Result<(), Fault> {
    let read = fields::read(incoming)?;
    note_contents(&read, wire)?;
    let fields = &read.fields;
    // A container of an earlier answer, or with skills of the account's.
    if fields.container.is_some() {
        wire.contents.reach = wire.contents.reach.max(Reach::Account);
    }
    match (fields.model, &incoming.route.model) {
        (Some(model), _) => {
            check("model", Some(model), "a string", "a valid string")?;
            wire.model = named(&wire.body, model);
            if wire.model.as_ref().is_none_or(|model| model.name.trim().is_empty()) {
                return Err(wrong("model", "String should have at least 1 character"));
            }
        }
        (None, Some(model)) => insert_model(wire, model),
        (None, None) => return Err(wrong("model", MISSING)),
    }
    check("messages", fields.messages, "an array", "a valid list")?;
    if fields.messages.is_some_and(|list| list[1..].trim_start().starts_with(']')) {
        return Err(wrong("messages", "at least one message is required"));
    }
    if wire.endpoint == Endpoint::CountTokens {
        return Ok(());
    }
    check("max_tokens", fields.max_tokens, "a number", "a valid integer")?;
    wire.bounds = fields.bounds();
    match fields.stream {
        None | Some("false") => Ok(()),
        Some("true") => {
            wire.stream = true;
            Ok(())
        }
        Some(_) => Err(wrong("stream", "Input should be a valid boolean")),
    }
}

/// What Anthropic says of a field that is not there.
const MISSING: &str = "Field required";

/// Refuses a field that is not there, or of another kind than `wanted`.
fn check(field: &'static str, value: Option<&str>, wanted: &str, name: &str) -> Result<(), Fault> {
    match value.map(kind) {
        None => Err(wrong(field, MISSING)),
        Some(got) if got == wanted => Ok(()),
        Some(got) => Err(wrong(field, &format!("Input should be {name}, got {got}"))),
    }
}

fn wrong(field: &'static str, what: &str) -> Fault {
    Fault::invalid(field, format!("{field}: {what}"))
}
