//! Current problems on the live page: what somebody who was woken up should read first, with the runbook's entry that says what to
//! do, and the calls that show it.
//!
//! It does not know the runbook's text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::budgets::refused_by;
use super::notice::{Level, Notice, Topic};
use super::{LOOKED_THROUGH, ProviderView, jobs, variants};
use crate::config::plan::{BudgetPlan, OnStop, ProviderKind};
use crate::gateway::Gateway;
use crate::gateway::health;
use crate::model::fault::Denial;
use crate::model::names::display_name;
use crate::model::time::in_words;
use crate::policy::breaker::State;
use crate::state::flags::record::What;
use crate::telemetry::explain::CallRecord;
use crate::telemetry::traffic::{ENOUGH, Ended, Look, MANY, are_most};

/// From this share of failures on somebody should look: the threshold of the alert that warns.
const SOME: f64 = 0.01;

/// The share of requests that a provider rejects from which on it may be the gateway's doing.
const MOST: f64 = 0.5;

/// The outcome of a call that a provider rejects.
const REJECTED: &str = "provider_rejected";

/// Everything that is wrong, the worst first.
pub(super) fn of(gateway: &Gateway, providers: &[ProviderView<'_>], look: &Look, late: &[&CallRecord]) -> Vec<Value> {
    let gateway_state = &gateway.state;
    let mut notices: Vec<Notice> = Vec::new();
    if gateway_state.is_draining() {
        notices.push(Notice::new(Level::Warn, Topic::Draining, "The gateway is shutting down."));
    }
    notices.extend(failures(look));
    notices.extend(providers.iter().filter_map(|view| trouble(gateway, view)));
    if gateway.plan.store.redis_url.is_some() && !gateway_state.store().is_connected() {
        let text =
            "Redis is unreachable: this gateway counts on its own, and flags and issued keys stay as last known.";
        notices.push(Notice::new(Level::Bad, Topic::StoreOut, text));
    }
    if let Some(problem) = gateway_state.reloads().last.as_ref().and_then(|last| last.problems.first()) {
        let text = format!("The new configuration is invalid; the current one stays in force: {problem}");
        notices.push(Notice::new(Level::Warn, Topic::ConfigRefused, text));
    }
    if gateway_state.serves_from_fallbacks() {
        let text = "Some calls are served by fallback targets.";
        notices.push(Notice::new(Level::Warn, Topic::Fallbacks, text).calls(&[("outcome", "fallback")]));
    }
    notices.extend(jobs::notices(gateway));
    notices.extend(failing_variants(gateway, late));
    notices.extend(switched_off(gateway));
    notices.extend(spent_budgets(gateway, late));
    notices.extend(refusals(late));
    notices.extend(rejections(late));
    // What happened in the same way comes in the order above.
    notices.sort_by_key(|notice| notice.level);
    notices.iter().map(Notice::shown).collect()
}

/// Calls that fail.
fn failures(look: &Look) -> Option<Notice> {
    let (calls, failures): (u64, u64) = (look.calls.iter().sum(), look.failures.iter().sum());
    let share = failures as f64 / calls.max(1) as f64;
    if (calls < ENOUGH || share < SOME) && !are_most(calls, failures) {
        return None;
    }
    let level = if share >= MANY { Level::Bad } else { Level::Warn };
    let detail = format!("{failures} of {calls} in the last minute ({:.1} %)", share * 100.0);
    Some(Notice::new(level, Topic::ErrorRate, "Calls fail.").detail(detail).calls(&[("outcome", "failed")]))
}

/// What is wrong with a provider, the worst.
fn trouble(gateway: &Gateway, view: &ProviderView<'_>) -> Option<Notice> {
    let name = display_name(&view.plan.name);
    if !view.is_on() {
        return None;
    }
    let because = || {
        let latest = view.state.recent_failures.latest();
        latest.first().map(|last| format!(", last with {}", last.code)).unwrap_or_default()
    };
    let (level, topic, text) = match (view.worst_breaker(), &view.health) {
        _ if view.state.denial() == Some(Denial::Account) => (
            Level::Bad,
            Topic::KeyRefused,
            format!("{name} suspended the gateway's account for non-payment: {}.", next_target(gateway, view)),
        ),
        _ if view.state.is_key_refused() => (
            Level::Bad,
            Topic::KeyRefused,
            format!("{name} rejects the gateway's key: {}.", next_target(gateway, view)),
        ),
        (State::Open, _) => {
            let open: Vec<_> = view.breakers.iter().filter(|it| it.state == State::Open).collect();
            // What ended last may be of another trouble, before this one: a call that hangs has not ended.
            let are_all = |reason: &str| open.iter().all(|it| it.reason == Some(reason));
            let (does, why) = match () {
                () if are_all("silent") => ("does not answer", String::new()),
                () if are_all("slow_share") => ("answers much slower than usual", String::new()),
                () => ("keeps failing", because()),
            };
            let text = match open.len() == view.breakers.len() {
                true => format!("{name} {does}{why}: its circuit breaker is open, and it gets no calls."),
                false => {
                    let families: Vec<&str> = open.iter().map(|it| &*it.family).collect();
                    let models = some_of(&families);
                    format!(
                        "{name} {does} with {models}{why}: that circuit breaker is open, and only other models get calls."
                    )
                }
            };
            (Level::Bad, Topic::BreakerOpen, text)
        }
        (State::HalfOpen | State::Ramp(_), _) => (
            Level::Warn,
            Topic::BreakerOpen,
            format!("{name} is recovering: its circuit breaker lets some calls through."),
        ),
        (State::Closed, health) => {
            let error = health.error()?;
            let is_buildpanel = view.plan.kind == ProviderKind::BuildPanel;
            let topic = if is_buildpanel { Topic::BuildPanelUnreachable } else { Topic::ProviderUnreachable };
            (Level::Bad, topic, format!("{name} fails its health probes: {error}."))
        }
    };
    Some(Notice::new(level, topic, text).calls(&[("provider", &view.plan.name)]))
}

/// What becomes of calls that a provider does not answer.
fn next_target(gateway: &Gateway, view: &ProviderView<'_>) -> &'static str {
    let is_another = |name: &str| {
        let plan = gateway.plan.providers.iter().find(|plan| *plan.name == *name && plan.name != view.plan.name);
        plan.is_some_and(|plan| health::is_enabled(gateway, plan))
    };
    let routes = gateway.plan.routes.iter().map(|route| &route.targets);
    let its = routes.filter(|targets| targets.iter().any(|target| target.provider.name == view.plan.name));
    let (with, without): (Vec<_>, Vec<_>) =
        its.partition(|targets| targets.iter().any(|it| is_another(&it.provider.name)));
    match (with.is_empty(), without.is_empty()) {
        (false, true) => "calls go to the next target",
        (false, false) => "calls go to the next target on routes that have one, and fail on the others",
        (true, _) => "calls fail, as no route has another target",
    }
}

/// The first of these names, and how many more there are. Callers choose the names of models.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> =
        names.iter().take(SHOWN).map(|name| if name.is_empty() { "any model" } else { name }).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Variants that fail much more than calls may.
fn failing_variants(gateway: &Gateway, late: &[&CallRecord]) -> impl Iterator<Item = Notice> {
    variants::failing(gateway, late).into_iter().map(|(route, variant, failed, calls)| {
        let text = format!(
            "The variant {variant} of the route {route} fails; the route's own targets answer instead where they can."
        );
        let detail = format!("{failed} of {calls} {} ({:.1} %)", lately(late), failed as f64 / calls as f64 * 100.0);
        Notice::new(Level::Warn, Topic::VariantFailing, text)
            .detail(detail)
            .calls(&[("route", &*route), ("variant", &*variant)])
    })
}

/// What guards or operators have switched off although the configuration has it on, and nobody has changed since.
fn switched_off(gateway: &Gateway) -> impl Iterator<Item = Notice> {
    let now_ms = gateway.world.now().as_millisecond();
    gateway.state.switches().iter().filter_map(move |(key, known)| {
        let record = gateway.state.flags().record(key)?;
        let change = record.in_force(known.meant.is_on)?;
        let why = change.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
        let ago_seconds = now_ms.saturating_sub(change.at_ms).max(0) / 1000;
        let notice = match change.what {
            What::Trip => {
                let text = format!("A flag guard turned {key} off{why}. It stays off until an operator turns it on.");
                Notice::new(Level::Warn, Topic::FlagTripped, text)
            }
            What::Set | What::Undo => {
                if !known.meant.is_on || change.position.as_ref().is_none_or(|position| position.is_on) {
                    return None;
                }
                // Without its note: whoever wrote it may have named a tenant, and nobody here has shown the token.
                let text = format!("{} turned {key} off. It stays off until an operator turns it on.", change.by);
                Notice::new(Level::Note, Topic::FlagOff, text)
            }
        };
        Some(notice.ago(ago_seconds))
    })
}

/// Budgets of which an account is spent, or has so little left that it refuses calls.
fn spent_budgets(gateway: &Gateway, late: &[&CallRecord]) -> impl Iterator<Item = Notice> {
    let now = gateway.world.now();
    let shares = gateway.state.accounts().shares(now);
    let spent = move |plan: &BudgetPlan| {
        let share = shares.get(&plan.name).copied().unwrap_or_default();
        let refused = refused_by(plan, late);
        if share < 1.0 && refused == 0 {
            return None;
        }
        let then = plan.on_stop.effect();
        let left = now.duration_until(plan.period.end(now)).try_into().map(in_words).unwrap_or_default();
        let level = if matches!(plan.on_stop, OnStop::Report) { Level::Note } else { Level::Warn };
        let (name, period) = (&plan.name, plan.period.as_str());
        let text = match share >= 1.0 {
            true => format!("The budget {name} is spent for at least one account: {then} until the {period} ends."),
            false => format!(
                "The budget {name} refuses calls: what is left of it does not cover the most that they may cost."
            ),
        };
        let detail = format!(
            "{:.0} % of {} USD, {refused} refused {}, resets in {left}",
            share * 100.0,
            plan.amount,
            lately(late)
        );
        Some(Notice::new(level, Topic::BudgetSpent, text).detail(detail).calls(&[("budget", &plan.name)]))
    };
    gateway.plan.budgets.iter().filter_map(move |plan| spent(plan))
}

/// Refusals, by the rate limit that refused.
fn refusals(late: &[&CallRecord]) -> impl Iterator<Item = Notice> {
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    for rule in late.iter().flat_map(|record| record.facts.refusing_rules()) {
        *rules.entry(rule).or_default() += 1;
    }
    rules.into_iter().map(|(rule, refused)| {
        let calls = late.len() as u64;
        let share = refused as f64 / calls.max(1) as f64;
        let level = if calls >= ENOUGH && share >= MANY { Level::Warn } else { Level::Note };
        let detail = format!("{refused} of {calls} {} ({:.1} %)", lately(late), share * 100.0);
        Notice::new(level, Topic::RateLimits, format!("The rate limit {rule} refuses calls."))
            .detail(detail)
            .calls(&[("limit_rule", rule)])
    })
}

/// Providers that find fault with most requests, each with the status that they answer most. That is the callers' doing, one by
/// one; of most calls it may as well be the gateway's: its account there, its URL, or what it makes of requests.
fn rejections(late: &[&CallRecord]) -> impl Iterator<Item = Notice> {
    let asked = late.iter().filter_map(|record| Some((record, &*record.facts.telling()?.provider)));
    let mut providers: BTreeMap<&str, (u64, BTreeMap<u16, u64>)> = BTreeMap::new();
    for (record, provider) in asked {
        let (calls, statuses) = providers.entry(provider).or_default();
        *calls += 1;
        if record.outcome == REJECTED && record.ended() == Some(Ended::Refused) {
            *statuses.entry(record.status).or_default() += 1;
        }
    }
    providers.into_iter().filter_map(|(provider, (calls, statuses))| {
        let rejected: u64 = statuses.values().sum();
        if calls < ENOUGH || (rejected as f64) < MOST * calls as f64 {
            return None;
        }
        let (status, _) = statuses.into_iter().max_by_key(|(_, count)| *count)?;
        let text = format!("{} rejects most requests, mostly with status {status}.", display_name(provider));
        let detail = format!("{rejected} of {calls} {}", lately(late));
        Some(
            Notice::new(Level::Warn, Topic::Rejections, text)
                .detail(detail)
                .calls(&[("outcome", REJECTED), ("provider", provider)]),
        )
    })
}

/// What the history covers.
fn lately(late: &[&CallRecord]) -> String {
    match late.len() {
        LOOKED_THROUGH.. => format!("of the latest {LOOKED_THROUGH} calls"),
        _ => "in the last minute".into(),
    }
}
