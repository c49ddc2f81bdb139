//! Caching: reads `[cache]` and `[route.NAME.cache]`. A route's own table inherits from the top-level one; a route
//! without such a table caches no responses.
//!
//! It does not know what a cache key is, nor how a response is cached.

use std::time::Duration;

use crate::config::engine::environment::Variables;
use crate::config::engine::problem::{Layer, Report};
use crate::config::engine::reader::Section;
use crate::config::engine::secret::Secret;
use crate::config::engine::value;
use crate::config::plan::cache::{CachePlan, CacheScope, CacheWhen, RouteCachePlan};
use crate::config::plan::{CallKind, Environment};
use crate::config::tables::general;

const SCOPES: &[(CacheScope, &str)] =
    &[(CacheScope::Shared, "shared"), (CacheScope::Tenant, "tenant"), (CacheScope::User, "user")];

const WHEN: &[(CacheWhen, &str)] = &[(CacheWhen::Always, "always"), (CacheWhen::Deterministic, "deterministic")];

/// The calls whose answers can be kept.
const KEPT: [CallKind; 8] = [
    CallKind::Chat,
    CallKind::CanvasGenerate,
    CallKind::CanvasRefine,
    CallKind::Completions,
    CallKind::Embeddings,
    CallKind::Responses,
    CallKind::Messages,
    CallKind::Menu,
];

/// One entry may take at most this part of all the memory for entries, so that it cannot push many others out.
const LARGEST_PART: usize = 8;

/// `[cache]`, with what routes take from it.
#[derive(Debug)]
pub(in crate::config) struct Caching {
    pub(in crate::config) plan: CachePlan,
    above: RouteCachePlan,
}

/// `[cache]`
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    environment: Environment,
    redis_url: Option<&Secret>,
    variables: &Variables,
    report: &Report,
) -> Caching {
    let mut section = root.section("cache");
    let is_wanted = section.optional("enabled", value::boolean).unwrap_or(environment != Environment::Development);
    let max_bytes = section.required("max_bytes", value::memory).unwrap_or_default();
    let redis_timeout = section.required("redis_timeout", value::duration).unwrap_or_default();
    let cluster_wait = section.required("cluster_wait", value::duration_or_zero).unwrap_or_default();
    let above = route_table(&mut section, None, max_bytes);
    let chosen = section.exclusive(&["secret_env", "secret_file"]);
    let by_name = section.located("secret_env", value::variable_name);
    let by_file = section.located("secret_file", value::text);
    let secret = match chosen {
        Some("secret_env") => by_name.and_then(|name| general::from_variable(&name, variables)),
        Some(_) => {
            by_file.and_then(|path| general::from_file(&path, section.path_of("secret_file"), variables, report))
        }
        // Gateways that share a store know its address, and nobody else does who must not read what is kept there.
        None => redis_url.cloned(),
    };
    section.hide("secret", secret.as_ref());
    section.close();
    // A time to live of nothing is how existing deployments switch all of it off.
    let plan = CachePlan { is_on: is_wanted && !above.ttl.is_zero(), max_bytes, redis_timeout, cluster_wait, secret };
    Caching { plan, above }
}

/// `[route.NAME.cache]`. `None`: this route keeps no answers.
pub(in crate::config) fn route(
    section: &mut Section<'_>,
    call: Option<CallKind>,
    is_idempotent: bool,
    caching: &Caching,
) -> Option<RouteCachePlan> {
    let node = section.node("cache")?;
    let cannot = match call {
        Some(call) if !KEPT.contains(&call) => {
            let kept = KEPT.map(CallKind::as_str).join(", ");
            Some(format!("responses to `{}` cannot be cached, only those to {kept}", call.as_str()))
        }
        _ if !is_idempotent => Some("`idempotent` is false: such a call must always reach its provider".into()),
        _ => None,
    };
    if let Some(problem) = cannot {
        // A default that no longer fits the route is not the user's mistake.
        if node.origin.layer() != Layer::Defaults {
            section.problem("cache", problem);
        }
        return None;
    }
    let mut table = section.section("cache");
    let plan = route_table(&mut table, Some(&caching.above), caching.plan.max_bytes);
    table.close();
    (caching.plan.is_on && !plan.ttl.is_zero()).then_some(plan)
}

fn route_table(table: &mut Section<'_>, above: Option<&RouteCachePlan>, max_bytes: usize) -> RouteCachePlan {
    let zero_or_more = value::duration_or_zero;
    let scope = table.optional("scope", value::word("a scope", SCOPES));
    let when = table.optional("when", value::word("a choice", WHEN));
    let ignore = table.list("ignore", value::text).map(|list| list.into_iter().map(|at| at.value).collect());
    let plan = RouteCachePlan {
        ttl: table.inherited("ttl", value::lifetime, above.map(|it| it.ttl)),
        stale_while_revalidate: table.inherited(
            "stale_while_revalidate",
            value::lifetime,
            above.map(|it| it.stale_while_revalidate),
        ),
        stale_if_error: table.inherited("stale_if_error", value::lifetime, above.map(|it| it.stale_if_error)),
        scope: scope.or(above.map(|it| it.scope)).unwrap_or(CacheScope::Tenant),
        when: when.or(above.map(|it| it.when)).unwrap_or(CacheWhen::Always),
        max_entry: table.inherited("max_entry", value::body_size, above.map(|it| it.max_entry)),
        ignore: ignore.or_else(|| above.map(|it| it.ignore.clone())).unwrap_or_default(),
        pace: table.inherited::<Duration>("replay_pace", zero_or_more, above.map(|it| it.pace)),
    };
    let largest = max_bytes / LARGEST_PART;
    if (table.has("max_entry") || above.is_none()) && plan.max_entry > largest && max_bytes > 0 {
        table.problem(
            "max_entry",
            format!("one entry could take {} of {max_bytes} bytes: the limit is {largest}", plan.max_entry),
        );
    }
    plan
}
