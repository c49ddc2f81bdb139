//! Variants on the live page: for each route with variants, the recent calls of each, and of all others, side by
//! side; and so the versions of each prompt of which one is tested.
//!
//! It reads the call history, so it covers as much time as that does. It does not know which caller gets which
//! variant.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::LOOKED_THROUGH;
use crate::config::plan::{PromptPlan, RoutePlan};
use crate::gateway::Gateway;
use crate::model::fault::Blame;
use crate::model::money::Usd;
use crate::policy::variant::CONTROL;
use crate::server::operator::answer::milliseconds;
use crate::telemetry::explain::CallRecord;

/// From this share of failures on a variant fails, if it had at least that number of calls.
const FAILING: f64 = 0.1;
const FEWEST: usize = 5;

/// The variants of each route and the versions of each prompt, and how far back this looks; nothing where nothing is compared.
pub(super) fn of(gateway: &Gateway) -> Option<Value> {
    let plan = &gateway.plan;
    let routes: Vec<&RoutePlan> = plan.routes.iter().map(|route| &**route).filter(has_variants).collect();
    let prompts: Vec<&PromptPlan> =
        plan.prompts.iter().map(|prompt| &**prompt).filter(|prompt| prompt.testing().next().is_some()).collect();
    if routes.is_empty() && prompts.is_empty() {
        return None;
    }
    let is_compared = |record: &CallRecord| record.facts.variant.is_some() || record.facts.prompt.is_some();
    let call_history = gateway.state.call_history().latest(LOOKED_THROUGH, is_compared);
    let of_routes = routes.iter().flat_map(|route| {
        let names = std::iter::once(CONTROL).chain(route.variants.iter().map(|variant| &*variant.name));
        names.map(|name| {
            let is_its = |record: &CallRecord| {
                *record.route == *route.name && record.facts.variant.as_ref().is_some_and(|taken| *taken.name == *name)
            };
            row(&route.name, name, call_history.iter().filter(|record| is_its(record)))
        })
    });
    let of_prompts = prompts.iter().flat_map(|prompt| {
        prompt.active().into_iter().chain(prompt.testing()).map(|version| {
            let is_its = |record: &CallRecord| {
                let taken = record.facts.prompt.as_ref();
                taken.is_some_and(|taken| taken.key == prompt.key && taken.version == version.number)
            };
            let name = format!("version {}", version.number);
            row(&format!("prompt {}", prompt.key), &name, call_history.iter().filter(|record| is_its(record)))
        })
    });
    let rows: Vec<Value> = of_routes.chain(of_prompts).collect();
    let oldest = call_history.last().map(|record| record.facts.started.elapsed().as_secs());
    Some(json!({"rows": rows, "calls": call_history.len(), "sinceSeconds": oldest}))
}

/// The variants with many failures among these calls: route, variant, failures, and the calls that say something about it.
pub(super) fn failing(gateway: &Gateway, late: &[&CallRecord]) -> Vec<(Arc<str>, Arc<str>, usize, usize)> {
    let mut failing = Vec::new();
    for route in gateway.plan.routes.iter().filter(|route| has_variants(&&***route)) {
        for variant in &route.variants {
            let is_its = |record: &&&CallRecord| {
                *record.route == *route.name
                    && record.facts.variant.as_ref().is_some_and(|taken| *taken.name == *variant.name)
            };
            let verdicts: Vec<bool> = late.iter().filter(is_its).filter_map(|record| verdict(record)).collect();
            let failed = verdicts.iter().filter(|is_well| !**is_well).count();
            if verdicts.len() >= FEWEST && failed as f64 >= verdicts.len() as f64 * FAILING {
                failing.push((route.name.clone(), variant.name.clone(), failed, verdicts.len()));
            }
        }
    }
    failing
}

fn has_variants(route: &&RoutePlan) -> bool {
    !route.variants.is_empty()
}

fn row<'a>(of: &str, name: &str, its: impl Iterator<Item = &'a Arc<CallRecord>>) -> Value {
    let (mut calls, mut well, mut took, mut costs) = (0_usize, 0_usize, Vec::new(), Vec::new());
    for record in its {
        calls += 1;
        let Some(is_well) = verdict(record) else { continue };
        well += usize::from(is_well);
        took.push(record.took);
        costs.extend(record.cost);
    }
    took.sort_unstable();
    let cost = costs.iter().copied().sum::<Usd>().as_f64() / costs.len().max(1) as f64;
    json!({
        "route": of,
        "variant": name,
        "calls": calls,
        "success": (!took.is_empty()).then(|| well as f64 / took.len() as f64),
        "p50Ms": within(&took, 50).map(milliseconds),
        "p95Ms": within(&took, 95).map(milliseconds),
        "costUsd": (!costs.is_empty()).then_some(cost),
    })
}

/// Whether it has answered; `None` where that says nothing about it: its caller was to blame, or went away. Where the route's
/// own targets had to answer for it, it has failed.
fn verdict(record: &CallRecord) -> Option<bool> {
    let has_failed = record.facts.variant.as_ref().is_some_and(|taken| taken.has_failed);
    match record.facts.blame {
        Some(Blame::Caller) => None,
        Some(_) => Some(false),
        None if record.outcome == "cancelled" => None,
        None => Some(!has_failed),
    }
}

/// A percentile of the times.
fn within(times: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=40).map(Duration::from_secs).collect();
        let seconds = |times: &[Duration], percent| within(times, percent).map(|time| time.as_secs());
        assert_eq!((seconds(&times, 50), seconds(&times, 95)), (Some(20), Some(38)));
        assert_eq!((seconds(&times[..1], 50), seconds(&[], 95)), (Some(1), None));
    }
}
