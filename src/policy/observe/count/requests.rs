//! Metrics of a request as its caller saw it, by route.
//!
//! Labels are names of routes, rules, budgets, guards and patterns, which the config bounds, and words of the code.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::model::trail::{AuthFact, Facts, GuardFact};
use crate::telemetry::metrics::handles::Handles;
use crate::telemetry::metrics::{Group, Histograms, Registrar, SECONDS, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    /// `OTHER` for those that no route has.
    method: &'static str,
    /// 499 when the caller left before there was one.
    status: u16,
    /// See [`RouteKind`].
    kind: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
    /// See [`RouteKind`].
    kind: &'static str,
}

/// What a route's requests are. It follows from the route, so that it makes no more series. How callers are served is read with
/// `kind="call"`, whatever the routes are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Callers' calls that are for a provider.
    Call,
    /// Attempts at jobs, for which nobody waits.
    Job,
    /// What the gateway answers itself: health, statistics, the operators' API, the live page, the queue of jobs; some of it in
    /// a millisecond, and some in streams that last for hours.
    Gateway,
    /// A browser's questions whether it may call.
    Preflight,
    /// No route was found.
    None,
}

impl RouteKind {
    /// The label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Job => "job",
            Self::Gateway => "gateway",
            Self::Preflight => "preflight",
            Self::None => "none",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DegradedLabels {
    route: Arc<str>,
    how: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    route: Arc<str>,
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthLabels {
    route: Arc<str>,
    /// What was shown: `jwt`, `api_key` or `none`.
    method: &'static str,
    /// `ok`, `missing`, `invalid`, `expired`, `forbidden`, `limited` or `unavailable`.
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    limit: Arc<str>,
    /// `admitted`, `refused`, `not_charged` (another rule refused), `shadow_admitted` or `shadow_refused`.
    decision: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    /// Who counted: `memory`, `redis`, `local` (because Redis is out) or `nobody`.
    store: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    budget: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GuardLabels {
    guard: Arc<str>,
    kind: Arc<str>,
    /// `request` or `answer`.
    direction: &'static str,
    /// `mask`, `reject` or `report`.
    action: &'static str,
}

/// The label of an exemplar: a trace to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TraceLabel {
    pub(super) trace_id: Arc<str>,
}

/// A histogram whose buckets name a trace.
type TracedHistogram = HistogramWithExemplars<TraceLabel>;

/// The metrics.
pub(in crate::policy::observe) struct Requests {
    requests: Family<RequestLabels, Counter>,
    failed: Family<RouteLabels, Counter>,
    durations: Family<RouteLabels, TracedHistogram, fn() -> TracedHistogram>,
    first_tokens: Histograms<RouteLabels>,
    pub(in crate::policy::observe) in_flight: Gauge,
    degraded: Family<DegradedLabels, Counter>,
    cache: Family<ResultLabels, Counter>,
    auth: Family<AuthLabels, Counter>,
    guards: Family<GuardLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    /// Most calls are counted under the same few rules, and are admitted.
    usual_decisions: Handles<(Arc<str>, &'static str), Counter, 16>,
    checks: Family<CheckLabels, Counter>,
    usual_checks: Handles<&'static str, Counter, 4>,
    budgets: Family<BudgetLabels, Counter>,
}

impl Group for Requests {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            requests: registrar.counters("http_requests_total", "Requests by route, method and status"),
            failed: registrar.counters(
                "tidegate_requests_failed_total",
                "Requests that failed through no fault of the caller: 5xx, broken responses, a provider's 4xx of its own",
            ),
            durations: registrar.family(
                "http_request_duration_seconds",
                "Time from the request's head to the end of the response body",
                Family::new_with_constructor(|| HistogramWithExemplars::new(SECONDS.into_iter())),
            ),
            first_tokens: registrar.histograms(
                "tidegate_time_to_first_token_seconds",
                "Time to the first event of a stream, or to the whole response",
                seconds,
            ),
            in_flight: registrar.gauge("tidegate_requests_in_flight", "Requests being served"),
            degraded: registrar.counters("tidegate_degraded_total", "Degraded responses by route and kind"),
            cache: registrar.counters("tidegate_cache_results_total", "Cache lookups by route and result"),
            auth: registrar.counters("tidegate_auth_total", "Authentications by route, method and result"),
            guards: registrar.counters("tidegate_guard_matches_total", "Guardrail matches by guardrail and pattern"),
            decisions: registrar.counters("tidegate_limit_decisions_total", "Rate limit decisions by rule"),
            usual_decisions: Handles::default(),
            checks: registrar.counters("tidegate_limit_checks_total", "Rate limit checks by the store that counted"),
            usual_checks: Handles::default(),
            budgets: registrar.counters("tidegate_budget_refused_total", "Calls refused by an exhausted budget"),
        }
    }
}

/// What is counted of one route's requests: made once, when a gateway is built.
pub struct RouteMetrics {
    pub(in crate::policy::observe) route: Arc<str>,
    kind: &'static str,
    all: Arc<Requests>,
    requests: Handles<(&'static str, u16), Counter, 4>,
    durations: Handles<(), TracedHistogram, 1>,
    first_tokens: Handles<(), Histogram, 1>,
    cache: Handles<&'static str, Counter, 6>,
    auth: Handles<(&'static str, &'static str), Counter, 4>,
}

impl RouteMetrics {
    pub(in crate::policy::observe) fn new(all: &Arc<Requests>, route: Arc<str>, kind: RouteKind) -> Self {
        Self {
            route,
            kind: kind.as_str(),
            all: all.clone(),
            requests: Handles::default(),
            durations: Handles::default(),
            first_tokens: Handles::default(),
            cache: Handles::default(),
            auth: Handles::default(),
        }
    }

    /// Counts a request. `took` is until its end, and `example` a trace that shows it.
    pub(super) fn count(
        &self,
        (method, status): (&'static str, u16),
        facts: &Facts,
        took: Duration,
        example: Option<TraceLabel>,
    ) {
        let (all, kind, route) = (&self.all, self.kind, || self.route.clone());
        let labels = |&(method, status): &_| RequestLabels { route: route(), method, status, kind };
        self.requests.get((method, status), |key| all.requests.get_or_create_owned(&labels(key))).inc();
        let of_route = RouteLabels { route: route(), kind };
        let durations = self.durations.get((), |()| all.durations.get_or_create_owned(&of_route));
        durations.observe(took.as_secs_f64(), example, None);
        if let Some(first) = facts.first_token {
            let first_tokens = self.first_tokens.get((), |()| all.first_tokens.get_or_create_owned(&of_route));
            first_tokens.observe(first.as_secs_f64());
        }
        if let Some(result) = facts.cache {
            let labels = |result: &&'static str| ResultLabels { route: route(), result };
            self.cache.get(result.as_str(), |result| all.cache.get_or_create_owned(&labels(result))).inc();
        }
        if let Some(AuthFact { method, result }) = facts.auth {
            let labels = |&(method, result): &_| AuthLabels { route: route(), method, result };
            self.auth.get((method, result), |key| all.auth.get_or_create_owned(&labels(key))).inc();
        }
        // What is rare is looked up.
        if let Some(degraded) = facts.degraded {
            all.degraded.get_or_create(&DegradedLabels { route: route(), how: degraded.as_str() }).inc();
        }
        all.count(facts);
    }
}

impl RouteMetrics {
    /// Counts a request that failed, whatever its status. That is rare, and looked up.
    pub(super) fn count_failed(&self) {
        self.all.failed.get_or_create(&RouteLabels { route: self.route.clone(), kind: self.kind }).inc();
    }
}

impl Requests {
    /// Counts what rules, budgets and guards did, whatever the route.
    fn count(&self, facts: &Facts) {
        for fact in &facts.limits {
            let labels = |key: &(Arc<str>, &'static str)| DecisionLabels { limit: key.0.clone(), decision: key.1 };
            let key = (fact.terms.rule.clone(), fact.decision.as_str());
            self.usual_decisions.get(key, |key| self.decisions.get_or_create_owned(&labels(key))).inc();
        }
        if let Some(first) = facts.limits.first() {
            let find = |&store: &&'static str| self.checks.get_or_create_owned(&CheckLabels { store });
            self.usual_checks.get(first.source, find).inc();
        }
        for GuardFact { guard, kind, direction, action, count } in facts.guarded.iter().cloned() {
            let labels = GuardLabels { guard, kind, direction: direction.as_str(), action };
            self.guards.get_or_create(&labels).inc_by(count);
        }
        for budget in &facts.budgets_spent {
            self.budgets.get_or_create(&BudgetLabels { budget: budget.clone() }).inc();
        }
    }
}
