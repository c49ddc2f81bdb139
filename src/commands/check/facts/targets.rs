//! Targets of a route in the order in which they are asked, and why one of them is not.
//!
//! It does not know which model a caller names.

use std::sync::Arc;

use serde::Serialize;

use crate::config::plan::{
    LeftOut, ModelChoice, ProviderKind, ProviderPlan, RoutePlan, TargetPlan, Usable, WhenDisabled, as_written,
};
use crate::gateway::state::GatewayState;
use crate::model::conversation::Api;
use crate::model::switch::{FlagKind, Switch};

/// One entry of `targets`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::commands::check) struct TargetFacts {
    pub(in crate::commands::check) provider: Arc<str>,
    /// The model that it is asked for, whatever the caller names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands::check) model: Option<Arc<str>>,
    /// The model map that the caller's model goes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands::check) model_map: Option<Arc<str>>,
    /// The API in which it is asked, where that is not the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands::check) translated_to: Option<&'static str>,
    /// What that API cannot say is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::commands::check) lossy: bool,
    /// Why it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands::check) left_out: Option<String>,
    #[serde(flatten)]
    pub(in crate::commands::check) times: Times,
}

/// How long one attempt may take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::commands::check) struct Times {
    pub(in crate::commands::check) attempt_s: f64,
    pub(in crate::commands::check) first_byte_s: f64,
    pub(in crate::commands::check) first_token_s: f64,
    pub(in crate::commands::check) idle_s: f64,
}

/// A route of which no target is asked, as the provider that it is meant for is disabled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::commands::check) struct Stopped {
    pub(in crate::commands::check) provider: Arc<str>,
    pub(in crate::commands::check) then: Then,
}

/// What its callers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::commands::check) enum Then {
    Error,
    CannedReply,
}

impl Then {
    /// `503`, `the route's canned reply`.
    pub(in crate::commands::check) fn as_str(self) -> &'static str {
        match self {
            Then::Error => "503",
            Then::CannedReply => "the route's canned reply",
        }
    }
}

/// Whether the `when_disabled` of a route forbids to ask any target, as the first one is off.
pub(in crate::commands::check) fn stopped(
    state: &GatewayState,
    route: &RoutePlan,
    is_on: impl Fn(&Switch) -> bool,
) -> Option<Stopped> {
    let then = match route.when_disabled {
        WhenDisabled::Failover => return None,
        WhenDisabled::Reject => Then::Error,
        WhenDisabled::Reply => Then::CannedReply,
    };
    let first = &route.targets.first()?.provider.name;
    let is_off = route.tunnel.is_none() && !state.provider(first).is_some_and(|provider| is_on(&provider.switch));
    is_off.then(|| Stopped { provider: first.clone(), then })
}

impl Times {
    pub(in crate::commands::check) fn of(target: &TargetPlan) -> Self {
        Self {
            attempt_s: target.total.as_secs_f64(),
            first_byte_s: target.timeouts.first_byte.as_secs_f64(),
            first_token_s: target.timeouts.first_token.as_secs_f64(),
            idle_s: target.timeouts.idle.as_secs_f64(),
        }
    }
}

impl TargetFacts {
    /// Where it is asked, and how: `openai, model gpt-4`.
    pub(in crate::commands::check) fn in_words(&self) -> String {
        let model = self.model.as_ref().map(|model| format!(", model {model}"));
        let map = self.model_map.as_ref().map(|map| format!(", models by the map {map}"));
        let api = self.translated_to.map(|api| format!(", translated to `{api}`"));
        let lossy = self.lossy.then(|| " (lossy)".to_owned());
        let why = self.left_out.as_ref().map(|why| format!(": {why}"));
        let parts = [model, map, api, lossy, why].into_iter().flatten();
        parts.fold(self.provider.to_string(), |text, part| text + &part)
    }
}

/// All that are written, in their order.
pub(super) fn of(
    state: &GatewayState,
    route: &RoutePlan,
    targets: &[TargetPlan],
    left_out: &[LeftOut],
) -> Vec<TargetFacts> {
    let facts = |(target, can_be_asked): (&TargetPlan, bool)| {
        let provider = &target.provider;
        let is_on = state.provider(&provider.name).is_some_and(|state| state.switch.is_on());
        let model = match target.choose(None) {
            ModelChoice::Replace(model) => Some(model),
            ModelChoice::AsAsked | ModelChoice::NotHere => target.asked.clone(),
        };
        TargetFacts {
            provider: provider.name.clone(),
            model,
            model_map: target.map.clone().filter(|_| target.model.is_none() && target.asked.is_none()),
            translated_to: translated_to(route, provider).map(Api::as_str),
            lossy: target.is_lossy,
            left_out: (!can_be_asked || !is_on).then(|| why(target)),
            times: Times::of(target),
        }
    };
    as_written(targets, left_out).into_iter().map(facts).collect()
}

/// The API in which a provider is asked, where it has not the one of the route's callers.
pub(in crate::commands::check) fn translated_to(route: &RoutePlan, provider: &ProviderPlan) -> Option<Api> {
    provider.translates(route.call.api()?)
}

/// Why a target is not asked, and what to do about it.
pub(in crate::commands::check) fn why(target: &TargetPlan) -> String {
    if let Some(model) = target.asked.as_ref().filter(|_| !target.has(None)) {
        return format!("left out, it does not serve {model}");
    }
    match target.provider.usable {
        Usable::Yes => "disabled by its flag".into(),
        Usable::SwitchedOff => {
            let name = &target.provider.name;
            format!("disabled (provider.{name}.enabled is false); its flag {} enables it", FlagKind::Provider.key(name))
        }
        Usable::NoKey | Usable::NotEnabled => format!("left out, {}", missing(&target.provider)),
    }
}

/// What a provider lacks that cannot be used.
pub(in crate::commands::check) fn missing(provider: &ProviderPlan) -> String {
    let name = &provider.name;
    match (&provider.usable, &provider.key_source) {
        (Usable::NotEnabled, _) if provider.kind == ProviderKind::BuildPanel && &**name == "buildpanel" => {
            "it was never enabled: set USE_BUILDPANEL=true".into()
        }
        (Usable::NotEnabled, _) => format!("it was never enabled: set provider.{name}.enabled = true"),
        // A file that has no key in it is a mistake, and reported as one.
        (_, Some(variable)) => format!("no key: set {variable}"),
        (_, None) => format!("no key: set provider.{name}.key_env or provider.{name}.key_file"),
    }
}
