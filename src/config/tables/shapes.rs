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

/// What all answers of a route must look like.
pub(in crate::config) fn of_route(
    section: &mut Section<'_>,
    name: &Arc<str>,
    (caller, call): (Option<CallerKind>, Option<CallKind>),
    report: &Report,
) -> Option<Shape> {
    let text = section.located("output_schema", value::text)?;
    if call.is_some_and(|call| call != CallKind::Chat) || caller == Some(CallerKind::OpenAi) {
        section.problem("output_schema", "only calls of kind `chat` can have a schema, and no `openai` callers");
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
