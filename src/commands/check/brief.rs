//! Brief: one line for each route, of the same facts as the full text.
//!
//! It leaves out what a line has no room for: times, sizes, guardrails, variants, and tiers.

use super::facts::{RouteFacts, Stopped};
use super::words::put_line;
use crate::commands::table::aligned;

/// All routes, a table.
pub(super) fn routes(text: &mut String, routes: &[RouteFacts]) {
    let common = routes.first().filter(|first| routes.len() > 1 && routes.iter().all(|it| it.callers == first.callers));
    if let Some(route) = common {
        put_line(text, &format!("callers: {} (on every route)", route.callers));
    }
    let row = |cells: [String; 6]| {
        let [route, callers, rest @ ..] = cells;
        let callers = common.is_none().then_some(callers);
        std::iter::once(route).chain(callers).chain(rest).collect::<Vec<String>>()
    };
    let heading = ["route", "callers", "tightest limit", "budgets", "cache", "targets"].map(String::from);
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(routes.iter().map(cells)).map(row).collect();
    text.push_str(&aligned(&rows));
}

fn cells(route: &RouteFacts) -> [String; 6] {
    let none = || "-".to_owned();
    // Of those without rules of their own, if there are any.
    let everybody = route.limits.iter().find(|of| of.tier.is_none() && of.tenant.is_none()).or(route.limits.first());
    let limit = everybody.and_then(|of| of.limits.first()).map_or_else(none, |limit| limit.in_words());
    let budgets: Vec<&str> = route.budgets.iter().map(|budget| &*budget.name).collect();
    let budgets = if budgets.is_empty() { none() } else { budgets.join(", ") };
    let cache = route.cache.as_ref().map_or_else(none, |cache| cache.when.to_owned());
    [route.name.to_string(), route.callers.clone(), limit, budgets, cache, targets(route)]
}

/// `together > openai (2 left out)`: those that are asked, in their order.
fn targets(route: &RouteFacts) -> String {
    if route.is_local {
        return "the gateway itself".into();
    }
    if let Some(Stopped { provider, then }) = &route.stopped {
        return format!("none, as {provider} is disabled: {}", then.as_str());
    }
    let asked = route.targets.iter().filter(|target| target.left_out.is_none());
    let asked: Vec<&str> = asked.map(|target| &*target.provider).collect();
    let left_out = match route.targets.len() - asked.len() {
        0 => String::new(),
        count => format!(" ({count} left out)"),
    };
    match asked.is_empty() {
        true => format!("none: {}{left_out}", if route.has_canned_reply { "the route's canned reply" } else { "503" }),
        false => format!("{}{left_out}", asked.join(" > ")),
    }
}
