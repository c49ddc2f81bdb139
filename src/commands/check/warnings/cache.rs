//! Caches that keep less than they seem to, or give one answer to calls that want different ones.
//!
//! It does not know what callers ask.

use std::sync::Arc;

use super::Warning;
use crate::commands::check::words;
use crate::config::engine::effective::quoted;
use crate::config::plan::{CacheScope, CacheWhen, CallKind, Plan, RouteCachePlan, RoutePlan};
use crate::wire::openai::question::is_decisive;

pub(super) fn all(plan: &Plan) -> Vec<Warning> {
    let cached = plan.routes.iter().filter_map(|route| Some((&**route, route.cache.as_ref()?)));
    cached.flat_map(|(route, cache)| of_route(plan, route, cache)).chain(unused_when(plan)).collect()
}

/// A `when` for all routes beside those of the default configuration, whose own ones are another.
fn unused_when(plan: &Plan) -> Option<Warning> {
    const KEY: &str = "cache.when";
    let is_written = |key: &str| plan.effective.written().any(|known| known == key);
    let has_own = |route: &&Arc<RoutePlan>| {
        let own = format!("route.{}.cache.when", quoted(&route.name));
        let differs = |text: &str| Some(text) != plan.effective.text(KEY);
        route.cache.is_some() && plan.effective.text(&own).is_some_and(differs) && !is_written(&own)
    };
    let routes: Vec<&str> = plan.routes.iter().filter(has_own).map(|route| &*route.name).collect();
    (is_written(KEY) && !routes.is_empty()).then(|| {
        let text = format!(
            "it is not used by {}, each of which has its own `when` in the default configuration; write it in the `cache` \
             of the route that is meant",
            words::few(&routes)
        );
        Warning::new("cache_when_unused", KEY, text)
    })
}

/// Where `when` of a route's cache is written. Tables merge key by key, so that it may not be where the rest of the table is.
enum WhenFrom {
    /// With the route's other keys.
    Route,
    /// In the default configuration, while another key of the table is set in the user's.
    Defaults,
    /// In `[cache]`.
    Cache,
}

impl WhenFrom {
    fn of(plan: &Plan, table: &str) -> Self {
        let when = format!("{table}.when");
        let is_of_table = |key: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        let written: Vec<&str> = plan.effective.written().filter(|key| is_of_table(key)).collect();
        let is_mixed = !written.is_empty() && !written.contains(&&*when);
        match plan.effective.keys().any(|key| key == when) {
            false => WhenFrom::Cache,
            true if is_mixed => WhenFrom::Defaults,
            true => WhenFrom::Route,
        }
    }
}

fn of_route(plan: &Plan, route: &RoutePlan, cache: &RouteCachePlan) -> Vec<Warning> {
    let key = format!("route.{}.cache", route.name);
    let may_be_sampled = route.caller.passes_through()
        && matches!(route.call, CallKind::Chat | CallKind::Completions | CallKind::Responses | CallKind::Messages);
    let mut found = Vec::new();
    match (cache.when, WhenFrom::of(plan, &key)) {
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
    let ignored: Vec<&str> = cache.ignore.iter().map(String::as_str).filter(|field| is_decisive(field)).collect();
    if !ignored.is_empty() {
        let text = format!(
            "`ignore` has {}, which changes the answer: calls that differ in it get each other's; remove it",
            ignored.join(", ")
        );
        found.push(Warning::new("cache_merges_requests", &*key, text));
    }
    found
}
