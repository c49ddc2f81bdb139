//! Caches that keep less than they seem to, or give one answer to calls that want different ones.
//!
//! It does not know what callers ask.

use super::Warning;
use crate::config::plan::{CacheScope, CacheWhen, CallKind, Plan, RouteCachePlan, RoutePlan, WhenFrom};

/// Fields of a body without which calls that differ become one.
const TELLING: [&str; 10] =
    ["messages", "input", "prompt", "instructions", "system", "tools", "response_format", "temperature", "seed", "n"];

pub(super) fn all(plan: &Plan) -> Vec<Warning> {
    let cached = plan.routes.iter().filter_map(|route| Some((&**route, route.cache.as_ref()?)));
    cached.flat_map(|(route, cache)| of_route(route, cache)).collect()
}

fn of_route(route: &RoutePlan, cache: &RouteCachePlan) -> Vec<Warning> {
    let key = format!("route.{}.cache", route.name);
    let may_be_sampled = route.caller.passes_through()
        && matches!(route.call, CallKind::Chat | CallKind::Completions | CallKind::Responses | CallKind::Messages);
    let mut found = Vec::new();
    match (cache.when, cache.when_from) {
        (CacheWhen::Deterministic, WhenFrom::Defaults) => found.push(Warning::new(
            "cache_merges_deterministic",
            &*key,
            "`when = \"deterministic\"` comes from the default configuration, as tables merge key by key: only calls with \
             temperature 0 or a seed are cached; write `when` beside the keys that you set",
        )),
        (CacheWhen::Always, WhenFrom::Cache) if may_be_sampled => found.push(Warning::new(
            "cache_shares_sampled",
            &*key,
            "`when = \"always\"` comes from [cache]: callers that ask for chance (a temperature above 0, no seed) get one and \
             the same answer until it is stale; write `when = \"deterministic\"`, or `\"always\"` if that is meant",
        )),
        _ => {}
    }
    if cache.scope == CacheScope::Shared && route.needs_tenant() {
        found.push(Warning::new(
            "cache_shares_tenants",
            &*key,
            "`scope = \"shared\"` on a route whose answers depend on the tenant: one tenant gets another's answers; write \
             `scope = \"tenant\"`",
        ));
    }
    let ignored: Vec<&str> = cache.ignore.iter().map(String::as_str).filter(|field| TELLING.contains(field)).collect();
    if !ignored.is_empty() {
        let text = format!(
            "`ignore` has {}, which changes the answer: calls that differ in it get each other's; remove it",
            ignored.join(", ")
        );
        found.push(Warning::new("cache_merges_requests", &*key, text));
    }
    found
}
