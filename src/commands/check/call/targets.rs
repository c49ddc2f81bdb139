//! Targets of one call: who is asked in which order for which model, and why somebody is not.
//!
//! It does not know what any of them would answer.

use std::sync::Arc;

use serde::Serialize;

use crate::commands::check::facts::{Times, translated_to, why};
use crate::commands::check::words;
use crate::config::plan::{LeftOut, ModelChoice, RoutePlan, TargetPlan, as_written};
use crate::gateway::Gateway;
use crate::model::call::{Call, CallRequest, ClientDeadline, Head};
use crate::model::conversation::Api;
use crate::model::fault::{Fault, sum_up};
use crate::model::time::{Deadline, Phase};
use crate::model::trail::Trail;
use crate::policy::catalog;
use crate::policy::failover;
use crate::provider;

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
    /// The objection of its API to the call.
    #[serde(skip)]
    unable: Option<Fault>,
}

/// A call, and who makes it.
pub(super) struct Asking<'a> {
    pub(super) head: &'a Arc<Head>,
    /// The model that it names.
    pub(super) model: Option<&'a str>,
    /// What is asked of each target; `None`: no such call is made up, or all targets are asked something else.
    pub(super) request: Option<&'a Arc<CallRequest>>,
}

impl Asking<'_> {
    /// What the caller gets where none of these targets of a route is asked.
    pub(super) fn unanswered(&self, gateway: &Gateway, route: &RoutePlan, asked: &mut [AskedTarget]) -> Fault {
        let unable: Vec<Fault> = asked.iter_mut().filter_map(|target| target.unable.take()).collect();
        if !unable.is_empty() {
            return sum_up(unable, std::time::Duration::MAX);
        }
        let is_on = |target: &TargetPlan| {
            gateway.state.provider(&target.provider.name).is_some_and(|state| state.switch.is_on_for(self.head))
        };
        let targets: Vec<(&TargetPlan, bool)> = route.targets.iter().map(|target| (target, is_on(target))).collect();
        failover::nobody(self.model, None, &targets)
    }

    /// The objection of a target's API to the call with this model in the place of the caller's.
    fn objection(&self, gateway: &Gateway, target: &TargetPlan, model: Option<Arc<str>>) -> Option<Fault> {
        let limits = (Deadline::after(target.total, Phase::Call), ClientDeadline::default());
        let attempts = gateway.plan.attempts;
        let call = Call::new(self.head.clone(), self.request?.clone(), limits, attempts, Trail::start(None));
        let instruction = target.instruction.clone();
        let call = Call { model, instruction, is_lossy: target.is_lossy, ..call };
        provider::request(provider::dialect(target.provider.kind), &call, &target.provider).err()
    }
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
    asking: &Asking<'_>,
    variant: Option<&Arc<str>>,
) -> Vec<AskedTarget> {
    let asked = asking.model;
    let one = |(target, can_be_asked): (&TargetPlan, bool)| {
        let provider = &target.provider;
        let is_on = gateway.state.provider(&provider.name).is_some_and(|state| state.switch.is_on_for(asking.head));
        let (model, skipped, unable) = match target.choose(asked) {
            _ if !can_be_asked || !is_on => (None, Some(why(target)), None),
            ModelChoice::NotHere => (None, Some(format!("it does not serve {}", asked.unwrap_or("the model"))), None),
            choice => {
                let other = match choice {
                    ModelChoice::Replace(model) => Some(model),
                    ModelChoice::AsAsked | ModelChoice::NotHere => None,
                };
                let unable = asking.objection(gateway, target, other.clone());
                (other.or_else(|| asked.map(Arc::from)), unable.as_ref().map(objection), unable)
            }
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
            unable,
        }
    };
    as_written(targets, left_out).into_iter().map(one).collect()
}

/// Why a target's API does not take the call.
fn objection(fault: &Fault) -> String {
    match fault {
        Fault::Unsupported { what, .. } | Fault::Untranslatable { what, .. } => format!("it does not support {what}"),
        fault => fault.public().into_owned(),
    }
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
