//! The JSON Schema of an answer, on routes that see to it: the caller's own in `response_format`, else the route's.
//!
//! What is odd about the field is left to the provider, and how an answer is checked is not known here.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::caller::json;
use crate::config::plan::RoutePlan;
use crate::model::call::WireRequest;
use crate::model::fault::Fault;
use crate::model::offload::apart;
use crate::prompts::schema;
use crate::wire::openai::structured;

/// Where a caller's own schema stands.
const FIELD: &str = "response_format.json_schema.schema";

/// A byte of a schema is as much work as this many of other bodies: large schemas take tens of milliseconds.
const WORK_OF_BYTE: usize = 64;

/// Notes what the answer must look like, or that nobody sees to it: an answer with tool calls, or one of several, may well have
/// no text.
pub(super) fn note(route: &RoutePlan, wire: &mut WireRequest) -> Result<(), Fault> {
    let Ok(body) = std::str::from_utf8(&wire.body) else { return Ok(()) };
    let own = structured::asked(body).and_then(|asked| {
        let name = asked.name.and_then(|name| serde_json::from_str::<String>(&body[name]).ok());
        Some((name, asked.schema?))
    });
    if own.is_none() && route.schema.is_none() {
        return Ok(());
    }
    if wire.bounds.choices != 1 || has_tools(&wire.body) {
        wire.contents.leaves_schema = true;
        return Ok(());
    }
    let Some((name, place)) = own else {
        wire.contents.schema = route.schema.clone();
        return Ok(());
    };
    let value = json::plain(body[place.clone()].as_bytes())
        .map_err(|_| Fault::invalid(FIELD, format!("`{FIELD}` must be a JSON Schema that can be read")))?;
    let name = name.unwrap_or_default();
    let shape = apart(place.len() * WORK_OF_BYTE, || schema::read(&name, &value))
        .map_err(|refused| Fault::invalid(FIELD, format!("`{FIELD}` is not supported: {refused}")))?;
    wire.contents.schema = Some(shape);
    Ok(())
}

/// True when the model may call something instead of answering.
fn has_tools(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Tools<'a> {
        #[serde(default, borrow)]
        tools: Option<&'a RawValue>,
        #[serde(default, borrow)]
        functions: Option<&'a RawValue>,
    }
    let Ok(said) = serde_json::from_slice::<Tools<'_>>(body) else { return true };
    [said.tools, said.functions].into_iter().flatten().any(|list| {
        let list = list.get();
        list != "null" && !list.strip_prefix('[').is_some_and(|list| list.trim_start().starts_with(']'))
    })
}
