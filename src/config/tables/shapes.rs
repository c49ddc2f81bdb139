//! Shapes: reads what a route says of the shape of its answers.
//!
//! It does not know how an answer is checked, nor the schemas of prompts, which have tables of their own.

use std::sync::Arc;

use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::{CallKind, CallerKind};
use crate::model::shape::Shape;
use crate::prompts::schema;

/// Whether a route's callers of OpenAI's dialect get what they ask for by `response_format`. Others are told of no schema, and
/// are held to that of their route or prompt in any case.
pub(in crate::config) fn is_structured(
    section: &mut Section<'_>,
    (caller, call): (Option<CallerKind>, Option<CallKind>),
) -> bool {
    let is_on = section.optional("structured", value::boolean).unwrap_or(false);
    let can_be = caller.is_none_or(|it| it == CallerKind::OpenAi) && call.is_none_or(|it| it == CallKind::Chat);
    if is_on && !can_be {
        section.problem("structured", "only calls of kind `chat` of `openai` callers can be structured");
    }
    is_on && can_be
}

/// What all answers of a route must look like.
pub(in crate::config) fn of_route(
    section: &mut Section<'_>,
    name: &Arc<str>,
    (caller, call): (Option<CallerKind>, Option<CallKind>),
    is_structured: bool,
    report: &Report,
) -> Option<Shape> {
    let text = section.located("output_schema", value::text)?;
    if call.is_some_and(|call| call != CallKind::Chat) {
        section.problem("output_schema", "only calls of kind `chat` can have a schema");
        return None;
    }
    if caller == Some(CallerKind::OpenAi) && !is_structured {
        section.problem("output_schema", "`openai` callers are held to a schema only where `structured` is true");
        return None;
    }
    let refused = |message: String| report.add(&text.origin, section.path_of("output_schema"), message);
    let json = match serde_json::from_str(&text.value) {
        Ok(json) => json,
        Err(fault) => {
            refused(format!("not JSON: {fault}"));
            return None;
        }
    };
    schema::read(name, &json).map_err(|wrong| refused(wrong.to_string())).ok()
}
