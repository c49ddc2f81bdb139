//! Targets that cannot be asked, and routes, variants and mirrors that have none left.
//!
//! It does not know whether a provider answers.

use std::sync::Arc;

use super::Warning;
use crate::commands::check::facts::missing;
use crate::commands::check::words;
use crate::config::plan::{LeftOut, Plan, RoutePlan, TargetPlan, Usable};
use crate::gateway::state::GatewayState;

pub(super) fn all(plan: &Plan, state: &GatewayState) -> Vec<Warning> {
    // Where no provider can be asked the reader of the configuration has said so, once.
    let is_any = plan.providers.iter().any(|provider| provider.usable == Usable::Yes);
    let mut found = if is_any { without_key(plan) } else { Vec::new() };
    found.extend(without_target(plan, state).filter(|_| is_any));
    found.extend(variants(plan, state));
    found.extend(mirrors(plan));
    found
}

fn left_out(route: &RoutePlan) -> impl Iterator<Item = &LeftOut> {
    route.left_out.iter().chain(route.variants.iter().flat_map(|variant| &variant.left_out))
}

/// Providers that targets name, and that lack what it takes to be asked.
fn without_key(plan: &Plan) -> Vec<Warning> {
    let warning = |provider: &Arc<_>| {
        let is_it = |left: &LeftOut| Arc::ptr_eq(&left.plan.provider, provider) && !left.plan.provider.is_set_up();
        let routes: Vec<&str> =
            plan.routes.iter().filter(|route| left_out(route).any(is_it)).map(|route| &*route.name).collect();
        let (name, why) = (&provider.name, missing(provider));
        let text = format!(
            "{why}; its target is skipped on {}. If that is meant, set provider.{name}.enabled = false",
            words::few(&routes)
        );
        (!routes.is_empty()).then(|| Warning::new("target_without_key", format!("provider.{name}"), text))
    };
    plan.providers.iter().filter_map(warning).collect()
}

/// True when one of them may be asked.
fn has_one(targets: &[TargetPlan], state: &GatewayState) -> bool {
    let is_on = |target: &TargetPlan| state.provider(&target.provider.name).is_some_and(|it| it.switch.is_on());
    targets.iter().any(is_on)
}

/// Routes that can ask nobody.
fn without_target(plan: &Plan, state: &GatewayState) -> Option<Warning> {
    let is_silent = |route: &&Arc<RoutePlan>| !route.call.is_local() && !has_one(&route.targets, state);
    let routes: Vec<&str> = plan.routes.iter().filter(is_silent).map(|route| &*route.name).collect();
    let key = routes.iter().map(|name| format!("route.{name}")).collect::<Vec<_>>().join(", ");
    let text =
        "no target can be asked, so that callers get 503; give one its key, or set `enabled = false` for the route";
    (!routes.is_empty()).then(|| Warning::new("route_without_target", key, text))
}

/// Variants that change nothing.
fn variants(plan: &Plan, state: &GatewayState) -> Vec<Warning> {
    let mut found = Vec::new();
    for route in &plan.routes {
        for variant in route.variants.iter().filter(|variant| !has_one(&variant.targets, state)) {
            let text = format!(
                "none of its targets can be asked on {}: its {} % of callers get the route's own; give one of its providers \
                 the key, or remove the variant",
                route.name,
                variant.share.percent()
            );
            found.push(Warning::new("variant_without_target", format!("variant.{}", variant.name), text));
        }
    }
    let is_used =
        |name: &str| plan.routes.iter().flat_map(|route| &route.variants).any(|variant| *variant.name == *name);
    for name in names(plan, "variant.").filter(|name| !is_used(name)) {
        let text = "its `routes` fit no enabled route that asks a provider: nobody gets it";
        found.push(Warning::new("variant_without_target", format!("variant.{name}"), text));
    }
    found
}

/// Mirrors whose shadow target cannot be asked.
fn mirrors(plan: &Plan) -> Vec<Warning> {
    let is_written = |route: &&Arc<RoutePlan>| {
        let beginning = format!("route.{}.mirror.", route.name);
        route.mirror.is_none() && plan.effective.keys().any(|key| key.starts_with(&beginning))
    };
    let warning = |route: &Arc<RoutePlan>| {
        let text = "its target has no key or is not enabled: nothing is mirrored; give the provider its key";
        Warning::new("mirror_without_target", format!("route.{}.mirror", route.name), text)
    };
    plan.routes.iter().filter(is_written).map(warning).collect()
}

/// The names of all tables of a kind, each once.
fn names<'p>(plan: &'p Plan, kind: &'static str) -> impl Iterator<Item = &'p str> {
    let mut last = "";
    let name = move |key: &'p str| key.strip_prefix(kind)?.split('.').next();
    plan.effective.keys().filter_map(name).filter(move |name| std::mem::replace(&mut last, name) != *name)
}
