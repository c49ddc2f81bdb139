//! Health: combines the results of probes, circuit breakers and the store: whether a provider may be called,
//! whether the gateway is healthy, degraded or unhealthy, and the data of callers' health reports.
//!
//! It reads the state and waits for nobody. It does not know who asks, nor how the result is encoded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::caller::{ProviderSnapshot, Snapshot};
use crate::config::plan::{ProviderKind, ProviderPlan, Usable};
use crate::gateway::Gateway;
use crate::gateway::state::Health;
use crate::model::fault::Denial;
use crate::model::names::display_name;

/// True when nothing is missing that a provider needs.
pub fn is_set_up(plan: &ProviderPlan) -> bool {
    matches!(plan.usable, Usable::Yes | Usable::SwitchedOff)
}

/// True when calls may go to a provider now.
pub fn is_enabled(gateway: &Gateway, plan: &ProviderPlan) -> bool {
    is_set_up(plan) && gateway.state.provider(&plan.name).is_some_and(|state| state.switch.is_on())
}

/// True when a provider refuses the gateway's key, or its account.
pub fn refuses_key(gateway: &Gateway, plan: &ProviderPlan) -> bool {
    gateway.state.provider(&plan.name).is_some_and(|state| state.is_key_refused())
}

/// What the last probe found. A provider that is not probed is taken to be there.
pub fn health_of(gateway: &Gateway, plan: &ProviderPlan) -> Health {
    match (&plan.probe, gateway.state.provider(&plan.name)) {
        (Some(_), Some(state)) => state.health(),
        _ => Health::Connected { latency: Duration::ZERO },
    }
}

/// The word for it: `connected`, `error` or `disconnected`.
pub fn status_word(health: &Health) -> &'static str {
    match health {
        Health::Connected { .. } | Health::Limited { .. } => "connected",
        Health::Failing { .. } => "error",
        Health::Unknown | Health::Disconnected { .. } => "disconnected",
    }
}

/// How the gateway is as a whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Overall {
    /// `healthy`, `degraded` or `unhealthy`.
    pub word: &'static str,
    /// Why it is not healthy, a sentence each. They name providers, and no URL and no key.
    pub reasons: Vec<String>,
}

/// `unhealthy` when nothing can answer; `degraded` when BuildPanel is enabled and not connected, a probe was slow, a provider
/// refuses the gateway's key, the remote store is down, calls are being answered by fallbacks, many of the last minute's calls
/// failed, or each provider that is connected has open breakers for all models that it was asked for. The last two are not
/// `unhealthy`: a restart, which is what an orchestrator does about `unhealthy`, helps nobody.
pub fn overall(gateway: &Gateway) -> Overall {
    let enabled: Vec<_> = gateway.plan.providers.iter().filter(|plan| is_enabled(gateway, plan)).collect();
    let healths: Vec<_> = enabled.iter().map(|plan| (*plan, health_of(gateway, plan))).collect();
    if !healths.iter().any(|(_, health)| health.is_connected()) {
        let why = if enabled.is_empty() {
            "no provider is set up and enabled"
        } else {
            "no provider answers its health probes"
        };
        return Overall { word: "unhealthy", reasons: vec![why.into()] };
    }
    let mut reasons: Vec<String> = healths.iter().filter_map(|(plan, health)| trouble(gateway, plan, health)).collect();
    if gateway.plan.store.redis_url.is_some() && !gateway.state.store().is_connected() {
        reasons.push("Redis is unreachable".into());
    }
    let is_closed =
        |plan: &ProviderPlan| gateway.state.provider(&plan.name).is_none_or(|it| !it.breakers.are_all_open());
    let mut connected = healths.iter().filter(|(_, health)| health.is_connected());
    if !connected.any(|(plan, _)| is_closed(plan)) {
        reasons.push("the circuit breakers of all providers are open".into());
    }
    if gateway.state.traffic().is_failing() {
        reasons.push("many of the last minute's calls failed".into());
    }
    if gateway.state.serves_from_fallbacks() {
        reasons.push("some calls are answered by fallback targets".into());
    }
    Overall { word: if reasons.is_empty() { "healthy" } else { "degraded" }, reasons }
}

/// What about a provider makes the gateway worse.
fn trouble(gateway: &Gateway, plan: &ProviderPlan, health: &Health) -> Option<String> {
    let name = display_name(&plan.name);
    let denial = gateway.state.provider(&plan.name).and_then(|state| state.denial());
    match (denial, health.latency()) {
        (Some(Denial::Key), _) => Some(format!("{name} rejects the gateway's key")),
        (Some(Denial::Account), _) => Some(format!("{name} rejects the gateway's account")),
        (None, Some(latency)) => (latency > gateway.plan.health.slow_after)
            .then(|| format!("{name} answers health probes slowly ({} ms)", latency.as_millis())),
        (None, None) if plan.kind == ProviderKind::BuildPanel => Some(match health.error() {
            Some(error) => format!("{name} fails its health probes ({error})"),
            None => format!("{name} has answered no health probe yet"),
        }),
        (None, None) => None,
    }
}

/// The gateway's state for callers whose dialect has endpoints about it.
pub fn snapshot(gateway: &Gateway, tenant: &str) -> Snapshot {
    let provider = |plan: &Arc<ProviderPlan>| {
        let state = gateway.state.provider(&plan.name);
        let counts = state.map(|state| state.counts()).unwrap_or_default();
        let breakers = state.map(|state| state.breakers.clone());
        ProviderSnapshot {
            name: plan.name.clone(),
            is_connected: health_of(gateway, plan).is_connected(),
            is_enabled: is_enabled(gateway, plan),
            breaker: breakers.as_ref().map_or("closed", |breakers| breakers.worst().as_str()),
            calls: counts.calls,
            successes: counts.successes,
            failures: counts.failures,
            fallbacks: counts.fallbacks,
            rejects: breakers.map_or(0, |breakers| breakers.refused()),
        }
    };
    Snapshot {
        providers: gateway.plan.providers.iter().map(provider).collect(),
        menu_items: gateway.state.menu_items(tenant),
        cache: gateway.state.cache_counts(),
    }
}

/// How many items a menu has: an array, or `{"items": [...]}`.
pub fn menu_items(menu: &Bytes) -> usize {
    let menu: Value = serde_json::from_slice(menu).unwrap_or_default();
    menu.as_array().or_else(|| menu["items"].as_array()).map_or(0, Vec::len)
}
