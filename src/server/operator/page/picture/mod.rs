//! The data of the live page, as JSON: current problems first, then traffic, providers, variants, rate limits,
//! budgets and jobs. The calls are listed by `explain`, and here it only stands how many there are.
//!
//! Everything is read from the gateway's state. It does not know who views the page.

mod budgets;
mod limits;
mod notice;
mod variants;

mod jobs;

mod notices;

#[cfg(test)]
pub(super) use self::notice::Topic;

use std::time::Duration;

use serde_json::{Value, json};

use crate::config::plan::ProviderPlan;
use crate::gateway::Gateway;
use crate::gateway::health;
use crate::gateway::state::{Health, ProviderState, RecentFailure};
use crate::model::trail::Outcome;
use crate::policy::breaker::{self, Report, State};
use crate::server::operator::answer::milliseconds;
use crate::server::operator::explain::CallRenderer;
use crate::telemetry::explain::CallRecord;
use crate::telemetry::metrics::resident_memory;

/// The latest calls that are looked through for how providers did, and for the busiest keys of limits ...
const LOOKED_THROUGH: usize = 2000;

/// ... if they were over within this time.
const LATELY: Duration = Duration::from_secs(60);

/// Keys shown of each limit.
const KEYS: usize = 5;

/// What there is to see now; tenants and API keys by their names, or not.
pub(super) fn of(gateway: &Gateway, shows_names: bool) -> Value {
    let renderer = CallRenderer::new(gateway, shows_names);
    let look = gateway.state.traffic().look();
    let history = gateway.state.call_history();
    let call_history = history.latest(LOOKED_THROUGH, |_| true);
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
        "status": health::overall(gateway).word,
        "showsNames": shows_names,
        "notices": notices::of(gateway, &providers, &look, &late),
        "traffic": {
            "calls": look.calls,
            "failures": look.failures,
            "refused": look.refused,
            "limited": look.limited,
            "degraded": look.degraded,
            "left": look.left,
            "durationMs": percentiles(look.took),
            "firstTokenMs": percentiles(look.first_token),
            "kept": look.kept,
            "lookedFor": look.looked_for,
            "costUsd": look.cost,
        },
        "providers": providers.iter().map(ProviderView::shown).collect::<Vec<_>>(),
        "variants": variants::of(gateway),
        "limits": limits::of(&renderer, &late),
        "budgets": budgets::of(gateway, &late),
        "jobs": jobs::of(gateway),
        "remembers": gateway.plan.explain.keep > 0,
        "ended": history.told(),
        "running": history.in_flight.count(),
        "routes": gateway.plan.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(),
    })
}

/// A provider and what is known of it.
struct ProviderView<'a> {
    plan: &'a ProviderPlan,
    state: &'a ProviderState,
    is_usable: bool,
    health: Health,
    /// The circuit breakers of all models that it was asked for.
    breakers: Vec<Report>,
    attempts: usize,
    failures: usize,
}

impl<'a> ProviderView<'a> {
    fn of(gateway: &'a Gateway, plan: &'a ProviderPlan, late: &[&CallRecord]) -> Option<Self> {
        let state = gateway.state.provider(&plan.name)?;
        let (is_usable, health) = (health::is_set_up(plan), health::health_of(gateway, plan));
        let attempts = || late.iter().flat_map(|record| &record.facts.attempts).filter(|it| it.provider == plan.name);
        let failures = attempts().filter(|attempt| matches!(attempt.outcome, Outcome::Failed(_))).count();
        let breakers = state.breakers.reports();
        Some(Self { plan, state, is_usable, health, breakers, attempts: attempts().count(), failures })
    }

    /// The worst state of its circuit breakers.
    fn worst_breaker(&self) -> State {
        breaker::worst(&self.breakers)
    }

    fn is_on(&self) -> bool {
        self.is_usable && self.state.switch.is_on()
    }

    fn shown(&self) -> Value {
        let (plan, state) = (self.plan, self.state);
        let instances = state.instances.reports();
        let places = state.places.report();
        let (latency, error) = match &self.health {
            health if plan.probe.is_some() => (health.latency().map(milliseconds), health.error()),
            _ => (None, None),
        };
        let models = self.breakers.iter().filter(|report| report.state != State::Closed);
        json!({
            "name": &*plan.name,
            "isSetUp": self.is_usable,
            "isOn": self.is_on(),
            "health": if plan.probe.is_some() { health::status_word(&self.health) } else { "not probed" },
            "latencyMs": latency,
            "error": error,
            "refusesKey": state.is_key_refused(),
            "breaker": self.worst_breaker().as_str(),
            "brokenModels": models.map(|report| &*report.family).collect::<Vec<_>>(),
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
}

fn failure(failure: &RecentFailure) -> Value {
    json!({"code": failure.code, "agoSeconds": failure.ago.as_secs(), "count": failure.count})
}
