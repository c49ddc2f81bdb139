//! The data of the live page, as JSON: current problems first, then traffic, providers, variants, rate limits,
//! budgets, jobs and the latest calls.
//!
//! Everything is read from the gateway's state. It does not know who views the page.

mod budgets;
mod jobs;
mod variants;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::plan::{LimitPlan, ProviderPlan};
use crate::gateway::Gateway;
use crate::gateway::health;
use crate::gateway::state::{Health, ProviderState, RecentFailure};
use crate::model::fault::Denial;
use crate::model::names::display_name;
use crate::model::trail::{Decision, Outcome};
use crate::policy::breaker::State;
use crate::server::operator::answer::milliseconds;
use crate::server::operator::explain::CallRenderer;
use crate::state::flags::record::What;
use crate::telemetry::explain::CallRecord;
use crate::telemetry::metrics::resident_memory;

/// Calls in the list.
const CALLS: usize = 20;

/// The latest calls that are looked through for how providers did, and for the busiest keys of limits ...
const LOOKED_THROUGH: usize = 2000;

/// ... if they were over within this time.
const LATELY: Duration = Duration::from_secs(60);

/// Keys shown of each limit.
const KEYS: usize = 5;

/// Fewer calls than this in a minute, and one that failed would be a scandal.
const ENOUGH: u64 = 20;

/// From this share of failures on somebody should look, and from that one they should run: the thresholds of the alerts.
const SOME: f64 = 0.01;
const MANY: f64 = 0.05;

/// What there is to see now.
pub(super) fn of(gateway: &Gateway) -> Value {
    let renderer = CallRenderer { gateway };
    let look = gateway.state.traffic().look();
    let (calls, failures): (u64, u64) = (look.calls.iter().sum(), look.failures.iter().sum());
    let call_history = gateway.state.call_history().latest(LOOKED_THROUGH, |_| true);
    let late = call_history.iter().take_while(|record| record.facts.started.elapsed() < LATELY + record.took);
    let late: Vec<&CallRecord> = late.map(|record| &**record).collect();
    let providers: Vec<ProviderView<'_>> =
        gateway.plan.providers.iter().filter_map(|plan| ProviderView::of(gateway, plan, &late)).collect();
    let percentiles = |times: Option<[Duration; 3]>| {
        times.map(
            |[p50, p95, p99]| json!({"p50": milliseconds(p50), "p95": milliseconds(p95), "p99": milliseconds(p99)}),
        )
    };
    json!({
        "at": format!("{:.3}", gateway.world.now()),
        "version": env!("CARGO_PKG_VERSION"),
        "environment": gateway.plan.environment.as_str(),
        "uptimeSeconds": gateway.state.uptime().as_secs(),
        "generation": gateway.generation,
        "memoryBytes": resident_memory(),
        "status": health::overall(gateway),
        "notices": notices(gateway, &providers, calls, failures),
        "traffic": {
            "calls": look.calls,
            "failures": look.failures,
            "refused": look.refused,
            "left": look.left,
            "durationMs": percentiles(look.took),
            "firstTokenMs": percentiles(look.first_token),
            "kept": look.kept,
            "lookedFor": look.looked_for,
            "costUsd": look.cost,
        },
        "providers": providers.iter().map(ProviderView::shown).collect::<Vec<_>>(),
        "variants": variants::of(gateway),
        "limits": limits(&renderer, &late),
        "budgets": budgets::of(gateway, &late),
        "jobs": jobs::of(gateway),
        "remembers": gateway.plan.explain.keep > 0,
        "recent": call_history.iter().take(CALLS).map(|record| renderer.short(record)).collect::<Vec<_>>(),
    })
}

/// A provider and what is known of it.
struct ProviderView<'a> {
    plan: &'a ProviderPlan,
    state: &'a ProviderState,
    is_usable: bool,
    health: Health,
    breaker: State,
    attempts: usize,
    failures: usize,
}

impl<'a> ProviderView<'a> {
    fn of(gateway: &'a Gateway, plan: &'a ProviderPlan, late: &[&CallRecord]) -> Option<Self> {
        let state = gateway.state.provider(&plan.name)?;
        let (is_usable, health) = (health::is_set_up(plan), health::health_of(gateway, plan));
        let attempts = || late.iter().flat_map(|record| &record.facts.attempts).filter(|it| it.provider == plan.name);
        let failures = attempts().filter(|attempt| matches!(attempt.outcome, Outcome::Failed(_))).count();
        let breaker = state.breakers.worst();
        Some(Self { plan, state, is_usable, health, breaker, attempts: attempts().count(), failures })
    }

    fn is_on(&self) -> bool {
        self.is_usable && self.state.switch.is_on()
    }

    fn shown(&self) -> Value {
        let (plan, state) = (self.plan, self.state);
        let instances = state.instances.reports();
        let places = state.places.report();
        let (latency, error) = match &self.health {
            Health::Connected { latency } if plan.probe.is_some() => (Some(milliseconds(*latency)), None),
            Health::Disconnected { error } | Health::Failing { error } => (None, Some(error)),
            Health::Connected { .. } | Health::Unknown => (None, None),
        };
        let models = state.breakers.reports().into_iter().filter(|report| report.state != State::Closed);
        json!({
            "name": &*plan.name,
            "isSetUp": self.is_usable,
            "isOn": self.is_on(),
            "health": if plan.probe.is_some() { health::status_word(&self.health) } else { "not probed" },
            "latencyMs": latency,
            "error": error,
            "refusesKey": state.is_key_refused(),
            "breaker": self.breaker.as_str(),
            "brokenModels": models.map(|report| report.family).collect::<Vec<_>>(),
            "inFlight": places.map_or_else(
                || instances.iter().map(|instance| instance.in_flight).sum::<u32>(),
                |places| places.in_flight,
            ),
            "limit": places.map(|places| places.limit),
            "waiting": places.map(|places| places.waiting),
            "instances": plan.urls.len(),
            "leftOut": instances.iter().filter(|instance| instance.is_ejected).count(),
            "lately": {"attempts": self.attempts, "failures": self.failures},
            "mishaps": state.recent_failures.latest().iter().map(failure).collect::<Vec<_>>(),
        })
    }

    /// What is wrong with it, the worst first.
    fn trouble(&self) -> Option<(&'static str, String)> {
        let name = display_name(&self.plan.name);
        if !self.is_on() {
            return None;
        }
        let because = || {
            let latest = self.state.recent_failures.latest();
            latest.first().map(|last| format!(", last with {}", last.code)).unwrap_or_default()
        };
        match (self.breaker, &self.health) {
            _ if self.state.denial() == Some(Denial::Account) => Some((
                "bad",
                format!("{name} suspended the gateway's account for non-payment: calls go to the next target."),
            )),
            _ if self.state.is_key_refused() => {
                Some(("bad", format!("{name} rejects the gateway's key: calls go to the next target.")))
            }
            (State::Open, _) => Some((
                "bad",
                format!("{name} keeps failing{}: its circuit breaker is open, and it gets no calls.", because()),
            )),
            (State::HalfOpen | State::Ramp(_), _) => {
                Some(("warn", format!("{name} is recovering: its circuit breaker lets some calls through.")))
            }
            (State::Closed, Health::Disconnected { error } | Health::Failing { error }) => {
                Some(("bad", format!("{name} fails its health probes: {error}.")))
            }
            (State::Closed, _) => None,
        }
    }
}

fn failure(failure: &RecentFailure) -> Value {
    json!({"code": failure.code, "agoSeconds": failure.ago.as_secs(), "count": failure.count})
}

/// What somebody who was woken up should read first.
fn notices(gateway: &Gateway, providers: &[ProviderView<'_>], calls: u64, failures: u64) -> Vec<Value> {
    let gateway_state = &gateway.state;
    let mut notices: Vec<(&str, String)> = Vec::new();
    if gateway_state.is_draining() {
        notices.push(("warn", "The gateway is shutting down.".into()));
    }
    let share = failures as f64 / calls.max(1) as f64;
    if calls >= ENOUGH && share >= SOME {
        let level = if share >= MANY { "bad" } else { "warn" };
        let percent = share * 100.0;
        notices.push((level, format!("{failures} of {calls} calls of the last minute failed ({percent:.1} %).")));
    }
    notices.extend(providers.iter().filter_map(ProviderView::trouble));
    if gateway.plan.store.redis_url.is_some() && !gateway_state.store().is_connected() {
        notices.push(("bad", "Redis is unreachable: this gateway counts on its own.".into()));
    }
    if let Some(problem) = gateway_state.reloads().last.as_ref().and_then(|last| last.problems.first()) {
        notices.push(("warn", format!("The new configuration is invalid; the current one stays in force: {problem}")));
    }
    if gateway_state.serves_from_fallbacks() {
        notices.push(("warn", "Some calls are served by fallback targets.".into()));
    }
    notices.extend(jobs::notices(gateway));
    notices.sort_by_key(|(level, _)| *level != "bad");
    let shown = notices.into_iter().map(|(level, text)| json!({"level": level, "text": text}));
    shown.chain(tripped(gateway)).collect()
}

/// What guards have disabled, and nobody has changed since. How long ago stands beside the text, which so stays the same.
fn tripped(gateway: &Gateway) -> impl Iterator<Item = Value> {
    let now_ms = gateway.world.now().as_millisecond();
    gateway.state.switches().iter().filter_map(move |(key, known)| {
        let record = gateway.state.flags().record(key)?;
        let trip = record.in_force(known.meant.is_on).filter(|change| change.what == What::Trip)?;
        let why = trip.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
        let text = format!("A flag guard turned {key} off{why}. It stays off until an operator turns it on.");
        let ago_seconds = now_ms.saturating_sub(trip.at_ms).max(0) / 1000;
        Some(json!({"level": "warn", "text": text, "agoSeconds": ago_seconds}))
    })
}

/// One key of a rule, lately.
#[derive(Default)]
struct KeyTraffic {
    calls: u64,
    refused: u64,
    remaining: u64,
}

/// Each rule with those who ask most, as far as calls are remembered.
fn limits(renderer: &CallRenderer<'_>, late: &[&CallRecord]) -> Vec<Value> {
    let gateway = renderer.gateway;
    let mut rules: BTreeMap<&str, BTreeMap<u64, KeyTraffic>> = BTreeMap::new();
    // Newest first: the first one has the last word about what is left.
    for fact in late.iter().flat_map(|record| &record.facts.limits) {
        let keys = rules.entry(&fact.terms.rule).or_default();
        let busy =
            keys.entry(fact.key).or_insert_with(|| KeyTraffic { remaining: fact.remaining, ..KeyTraffic::default() });
        busy.calls += 1;
        busy.refused += u64::from(matches!(fact.decision, Decision::Refused | Decision::ShadowRefused));
    }
    let plan = &gateway.plan.limits;
    let active = plan.rules.iter().filter(|_| plan.is_on);
    active.map(|rule| limit(renderer, rule, rules.remove(&*rule.name).unwrap_or_default())).collect()
}

fn limit(renderer: &CallRenderer<'_>, rule: &LimitPlan, keys: BTreeMap<u64, KeyTraffic>) -> Value {
    let scale = rule.quantity.scale() as f64;
    let (calls, refused) = keys.values().fold((0, 0), |sums, busy| (sums.0 + busy.calls, sums.1 + busy.refused));
    let mut busiest: Vec<(u64, KeyTraffic)> = keys.into_iter().collect();
    busiest.sort_by_key(|(_, busy)| std::cmp::Reverse((busy.refused, busy.calls)));
    busiest.truncate(KEYS);
    let key = |(key, busy): &(u64, KeyTraffic)| {
        json!({
            "key": renderer.pseudonym(&key.to_string()),
            "calls": busy.calls,
            "refused": busy.refused,
            "remaining": busy.remaining as f64 / scale,
        })
    };
    json!({
        "rule": &*rule.name,
        "quantity": rule.quantity.as_str(),
        "count": rule.rate.count as f64 / scale,
        "burst": rule.rate.burst as f64 / scale,
        "windowSeconds": rule.rate.period.as_secs_f64(),
        "isEnforced": rule.is_enforced,
        "calls": calls,
        "refused": refused,
        "busiest": busiest.iter().map(key).collect::<Vec<_>>(),
    })
}
