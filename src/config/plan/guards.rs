//! Guards: content guardrails, per direction.

use std::sync::Arc;

use crate::patterns::Patterns;

/// `[guard.NAME]`
#[derive(Debug)]
pub struct GuardPlan {
    /// Its name.
    pub name: Arc<str>,
    /// What it looks for.
    pub patterns: Patterns,
    /// What becomes of a request that has some of it; `None`: requests are not looked at.
    pub request: Option<GuardAction>,
    /// What becomes of an answer that has some of it.
    pub answer: Option<GuardAction>,
    /// It holds for routes that name no guards.
    pub(in crate::config) is_default: bool,
}

/// What becomes of what must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardAction {
    /// A placeholder stands in its place.
    Mask,
    /// The whole request, or the rest of the answer, does not pass.
    Reject,
    /// It passes, and is counted.
    Report,
}

impl GuardAction {
    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        ACTIONS.iter().find(|(action, _)| *action == Some(self)).map_or("off", |(_, word)| word)
    }
}

pub(in crate::config) const ACTIONS: &[(Option<GuardAction>, &str)] = &[
    (Some(GuardAction::Mask), "mask"),
    (Some(GuardAction::Reject), "reject"),
    (Some(GuardAction::Report), "report"),
    (None, "off"),
];
