//! Input: what a route's callers may want models to read: `max_prompt`, `plain_text` and `models` of `[route.NAME]`.
//!
//! It does not know how a caller spells a prompt.

use std::sync::Arc;

use super::models::Pattern;
use super::plan::CallerKind;
use super::reader::Section;
use super::value;

/// What a route's callers may want models to read.
#[derive(Clone, Debug, Default)]
pub struct InputPlan {
    /// The most bytes of text; `None`: as much as the body may have.
    pub max_prompt: Option<usize>,
    /// True: no control characters but those that end lines and set tabs.
    pub is_plain: bool,
    /// The models that may be named; any when it is empty.
    pub models: Vec<Pattern>,
}

/// The keys of a route. OpenAI's callers send their texts to models as they are, terminal output and all.
pub(super) fn read(section: &mut Section<'_>, caller: Option<CallerKind>, model: Option<&Arc<str>>) -> InputPlan {
    let is_plain = section.optional("plain_text", value::boolean);
    let models = section.list("models", value::pattern).unwrap_or_default();
    let plan = InputPlan {
        max_prompt: section.optional("max_prompt", value::body_size),
        is_plain: is_plain.unwrap_or(caller != Some(CallerKind::OpenAi)),
        models: models.into_iter().map(|at| at.value).collect(),
    };
    if let Some(model) = model
        && !plan.models.is_empty()
        && !plan.models.iter().any(|pattern| pattern.matches(model))
    {
        section.problem("models", format!("the route's own `model`, {model}, is not among them"));
    }
    plan
}
