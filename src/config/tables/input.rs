//! Input: reads the prompt rules of a route: `max_prompt`, `plain_text` and `models` of `[route.NAME]`.
//!
//! It does not know how a caller encodes a prompt.

use std::sync::Arc;

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::CallerKind;
use crate::config::plan::route::InputPlan;

/// The keys of a route. Callers whose requests pass through send their texts to models as they are, terminal output and all.
pub(in crate::config) fn read(
    section: &mut Section<'_>,
    caller: Option<CallerKind>,
    model: Option<&Arc<str>>,
) -> InputPlan {
    let is_plain = section.optional("plain_text", value::boolean);
    let models = section.list("models", value::pattern).unwrap_or_default();
    let plan = InputPlan {
        max_prompt: section.optional("max_prompt", value::body_size),
        is_plain: is_plain.unwrap_or(!caller.is_some_and(CallerKind::passes_through)),
        models: models.into_iter().map(|at| at.value).collect(),
    };
    if let Some(model) = model
        && !plan.models.is_empty()
        && !plan.models.iter().any(|pattern| pattern.matches(model))
    {
        section.problem("models", format!("the route's own `model`, {model}, is not in the list"));
    }
    plan
}
