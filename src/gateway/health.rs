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
        Health::Connected { .. } => "connected",
        Health::Failing { .. } => "error",
        Health::Unknown | Health::Disconnected { .. } => "disconnected",
    }
}

/// Overall: `unhealthy` when nothing can answer; `degraded` when BuildPanel is enabled and not connected, a probe was slow, a
/// provider refuses the gateway's key, the remote store is down, calls are being answered by fallbacks, many of the last minute's
/// calls failed, or each provider that is connected has open breakers for all models that it was asked for. The last two are not
/// `unhealthy`: a restart, which is what an orchestrator does about `unhealthy`, helps nobody.
pub fn overall(gateway: &Gateway) -> &'static str {
    let enabled: Vec<_> = gateway.plan.providers.iter().filter(|plan| is_enabled(gateway, plan)).collect();
    let healths: Vec<_> = enabled.iter().map(|plan| (plan.kind, health_of(gateway, plan))).collect();
    if !healths.iter().any(|(_, health)| health.is_connected()) {
        return "unhealthy";
    }
    let is_troubled = healths.iter().any(|(kind, health)| match health {
        Health::Connected { latency } => *latency > gateway.plan.health.slow_after,
        _ => *kind == ProviderKind::BuildPanel,
    });
    let is_locked_out = enabled.iter().any(|plan| refuses_key(gateway, plan));
    let store_is_down = gateway.plan.store.redis_url.is_some() && !gateway.state.store().is_connected();
    let is_closed =
        |plan: &ProviderPlan| gateway.state.provider(&plan.name).is_none_or(|it| !it.breakers.are_all_open());
    let mut connected = enabled.iter().zip(&healths).filter(|(_, (_, health))| health.is_connected());
    let all_are_open = !connected.any(|(plan, _)| is_closed(plan));
    let callers_notice = gateway.state.serves_from_fallbacks() || gateway.state.traffic().is_failing();
    match is_troubled || is_locked_out || store_is_down || all_are_open || callers_notice {
        true => "degraded",
        false => "healthy",
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
