//! Targets that cannot be asked, and routes, variants and mirrors that have none left.
//!
//! It does not know whether a provider answers.

use std::sync::Arc;

use super::Warning;
use crate::commands::check::facts::{Stopped, Then, missing, stopped};
use crate::commands::check::words;
use crate::config::models_file::OF_PROVIDER;
use crate::config::plan::{LeftOut, Plan, ProviderPlan, RoutePlan, TargetPlan, Usable};
use crate::gateway::state::GatewayState;
use crate::model::switch::Switch;

pub(super) fn all(plan: &Plan, state: &GatewayState) -> Vec<Warning> {
    // Where no provider can be asked the reader of the configuration has said so, once.
    let is_any = plan.providers.iter().any(|provider| provider.usable == Usable::Yes);
    let mut found = if is_any { without_key(plan) } else { Vec::new() };
    found.extend(without_target(plan, state).into_iter().filter(|_| is_any));
    found.extend(stopped_routes(plan, state));
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
    plan.providers.iter().filter(|provider| is_wanted(plan, provider)).filter_map(warning).collect()
}

/// True for a provider that somebody has written of, or named among the targets of a route or a variant. The defaults name
/// several, and most gateways have the keys of some.
fn is_wanted(plan: &Plan, provider: &Arc<ProviderPlan>) -> bool {
    let about = |key: &str| key.strip_prefix(&format!("provider.{}.", provider.name)).map(str::to_owned);
    let is_it = |left: &LeftOut| Arc::ptr_eq(&left.plan.provider, provider);
    let is_written = |key: &str| plan.effective.written().any(|known| known == key);
    plan.effective
        .written()
        .filter_map(about)
        // A models file speaks of any provider.
        .any(|key| !OF_PROVIDER.contains(&key.split('.').next().unwrap_or_default()))
        || plan.routes.iter().any(|route| {
            let is_target = route.left_out.iter().any(is_it) && is_written(&format!("route.{}.targets", route.name));
            is_target || route.variants.iter().flat_map(|variant| &variant.left_out).any(is_it)
        })
}

/// Of providers and routes that nobody but the defaults names, those that lack a key or a target, in one line.
pub(super) fn note(plan: &Plan, state: &GatewayState) -> Option<String> {
    let is_used = |provider: &Arc<ProviderPlan>| {
        plan.routes.iter().flat_map(|route| left_out(route)).any(|left| Arc::ptr_eq(&left.plan.provider, provider))
    };
    let bare = |it: &&Arc<ProviderPlan>| !it.is_set_up() && is_used(it) && !is_wanted(plan, it);
    let providers: Vec<&str> = plan.providers.iter().filter(bare).map(|it| &*it.name).collect();
    // Somebody who has written a canned reply has written of the route.
    let routes: Vec<&str> = silent(plan, state).filter(|route| !is_own(plan, route)).map(|it| &*it.name).collect();
    let mut parts = Vec::new();
    if !providers.is_empty() {
        parts.push(format!("providers without a key: {}", providers.join(", ")));
    }
    if !routes.is_empty() {
        parts.push(format!("routes without a target, whose callers get 503: {}", routes.join(", ")));
    }
    (!parts.is_empty()).then(|| format!("not set up (named only by the defaults): {}", parts.join("; ")))
}

/// True when one of them may be asked.
fn has_one(targets: &[TargetPlan], state: &GatewayState) -> bool {
    let is_on = |target: &TargetPlan| state.provider(&target.provider.name).is_some_and(|it| it.switch.is_on());
    targets.iter().any(is_on)
}

/// Routes that can ask nobody.
fn silent<'p>(plan: &'p Plan, state: &'p GatewayState) -> impl Iterator<Item = &'p Arc<RoutePlan>> {
    plan.routes.iter().filter(|route| !route.call.is_local() && !has_one(&route.targets, state))
}

/// True for a route of which somebody has written something.
fn is_own(plan: &Plan, route: &RoutePlan) -> bool {
    let beginning = format!("route.{}.", route.name);
    plan.effective.written().any(|key| key.starts_with(&beginning))
}

/// Routes of somebody's own that can ask nobody.
fn without_target(plan: &Plan, state: &GatewayState) -> Vec<Warning> {
    let own = || silent(plan, state).filter(|route| is_own(plan, route));
    let warning = |is_canned: bool| {
        let routes = own().filter(|route| route.canned.is_some() == is_canned);
        let keys: Vec<String> = routes.map(|route| format!("route.{}", route.name)).collect();
        let then = if is_canned { Then::CannedReply } else { Then::Error }.as_str();
        let text = format!(
            "no target can be asked, so that callers get {then}; give one its key, or set `enabled = false` for the route"
        );
        (!keys.is_empty()).then(|| Warning::new("route_without_target", keys.join(", "), text))
    };
    [false, true].into_iter().filter_map(warning).collect()
}

/// Routes that ask none of their targets, as the first one is disabled.
fn stopped_routes(plan: &Plan, state: &GatewayState) -> Vec<Warning> {
    let warning = |route: &Arc<RoutePlan>| {
        let Stopped { provider, then } = stopped(state, route, Switch::is_on)?;
        let text = format!(
            "its first target {provider} is disabled, so that callers get {} and no other target is asked; enable it, or \
             write `when_disabled = \"failover\"`",
            then.as_str()
        );
        Some(Warning::new("route_stopped", format!("route.{}.when_disabled", route.name), text))
    };
    plan.routes.iter().filter_map(warning).collect()
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
        let text = "`routes` matches no enabled route with targets: no call gets this variant";
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
