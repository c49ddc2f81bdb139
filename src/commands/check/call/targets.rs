//! Targets of one call: who is asked in which order for which model, and why somebody is not.
//!
//! It does not know what any of them would answer.

use std::sync::Arc;

use serde::Serialize;

use crate::commands::check::facts::{Times, translated_to, why};
use crate::commands::check::words;
use crate::config::plan::{LeftOut, ModelChoice, RoutePlan, TargetPlan, as_written};
use crate::gateway::Gateway;
use crate::model::call::Head;
use crate::model::conversation::Api;
use crate::policy::catalog;

/// One target.
#[derive(Debug, Serialize)]
pub(in crate::commands::check) struct AskedTarget {
    pub(super) provider: Arc<str>,
    /// The variant that it is of; `None`: the route's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<Arc<str>>,
    /// Why it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    /// The model that it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Arc<str>>,
    /// Why that is not the model that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) translated_to: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) lossy: bool,
    /// What it costs there, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<String>,
    /// Nothing says what the model costs: it is the price of any.
    pub(super) is_price_default: bool,
    /// Attempts at it, the first included.
    pub(super) attempts: u32,
    #[serde(flatten)]
    pub(super) times: Times,
}

impl AskedTarget {
    /// Its list of models is asked for, which has times and attempts of its own.
    pub(super) fn ask_for_models(&mut self) {
        self.attempts = self.attempts.min(catalog::ATTEMPTS);
        let most = catalog::TIMEOUT.as_secs_f64();
        let Times { attempt_s, first_byte_s, first_token_s, idle_s } = &mut self.times;
        [attempt_s, first_byte_s, first_token_s, idle_s].into_iter().for_each(|time| *time = time.min(most));
    }
}

/// Those of the route, or of one of its variants.
pub(super) fn of(
    gateway: &Gateway,
    route: &RoutePlan,
    (targets, left_out): (&[TargetPlan], &[LeftOut]),
    head: &Head,
    asked: Option<&str>,
    variant: Option<&Arc<str>>,
) -> Vec<AskedTarget> {
    let one = |(target, can_be_asked): (&TargetPlan, bool)| {
        let provider = &target.provider;
        let is_on = gateway.state.provider(&provider.name).is_some_and(|state| state.switch.is_on_for(head));
        let (model, skipped) = match target.choose(asked) {
            _ if !can_be_asked || !is_on => (None, Some(why(target))),
            ModelChoice::NotHere => (None, Some(format!("it does not serve {}", asked.unwrap_or("the model")))),
            ModelChoice::Replace(model) => (Some(model), None),
            ModelChoice::AsAsked => (asked.map(Arc::from), None),
        };
        let quote = model.as_ref().map(|model| gateway.plan.prices.of(&provider.name, model));
        let because = model.as_deref().filter(|model| Some(*model) != asked).map(|_| because(target, asked));
        AskedTarget {
            provider: provider.name.clone(),
            variant: variant.cloned(),
            skipped,
            because,
            translated_to: translated_to(route, provider).map(Api::as_str),
            lossy: target.is_lossy,
            price: quote.map(|quote| words::price(&quote.price)),
            is_price_default: quote.is_some_and(|quote| quote.is_default),
            model,
            attempts: if route.is_idempotent { provider.retry.max_attempts } else { 1 },
            times: Times::of(target),
        }
    };
    as_written(targets, left_out).into_iter().map(one).collect()
}

/// Where another model than the caller's comes from.
fn because(target: &TargetPlan, asked: Option<&str>) -> String {
    if target.model.is_some() {
        return "the target's `model`".into();
    }
    if target.asked.is_some() {
        return "the variant's `model`".into();
    }
    let found = asked.and_then(|asked| target.models.find(asked));
    match (found, &target.map) {
        (Some((pattern, _)), Some(map)) => format!("{pattern} in the model map {map}"),
        _ => "the model map".into(),
    }
}
