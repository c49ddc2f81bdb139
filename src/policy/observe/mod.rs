//! Observe: the outermost policy. It sees every exit, including callers that hang up, and turns the Trail into
//! metrics, counts, spans and one log line.
//!
//! What is made of the facts is in `observe/count`, `log`, `record`, `spans` and `tell`. It reads facts and never content: no
//! prompt, no response, no key passes through here.

mod log;
mod record;
pub mod spans;
mod tell;

mod count;

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use self::count::CallMetrics;
pub use self::count::requests::{RouteKind, RouteMetrics};
use self::record::Recorded;
use self::spans::Tracing;
pub use self::tell::Telling;
use crate::config::plan::Plan;
use crate::config::plan::Prices;
use crate::model::call::{Call, CallRequest, Head};
use crate::model::fault::Fault;
use crate::model::log_context::LogContext;
use crate::model::time::{refresh, since};
use crate::model::trace::Parent;
use crate::model::trail;
use crate::model::trail::{Account, Attempt, Ending, Facts, Trail, short_model};
use crate::stack::{Next, Outcome, Policy};
use crate::state::charge::Reckoning;
use crate::state::estimate::Estimates;
use crate::state::ledger::row::cost;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::reports::Reports;
use crate::telemetry::running::Running;
use crate::telemetry::traffic::{Ended, LEFT};

/// What requests of operators are marked with, where callers' dialects stand otherwise.
pub const OPERATOR: &str = "operator";

/// How a request ended that was answered, and one whose caller left.
const OK: &str = "ok";
const CANCELLED: &str = "cancelled";

/// The policy, and the only writer of request metrics.
#[derive(Clone)]
pub struct Observe {
    all: Arc<Observing>,
    reckoning: Arc<Reckoning>,
}

/// What is the same for all routes, and for each request that is watched.
#[derive(Clone)]
struct Observing {
    metrics: Arc<CallMetrics>,
    prices: Prices,
    finish: trail::Finish,
    /// `None`: calls are not traced.
    tracing: Option<Arc<Tracing>>,
    /// `None`: faults of the gateway's own are not reported.
    reports: Option<Reports>,
    telling: Option<Telling>,
}

impl Observe {
    /// Observes into `metrics`, and reckons tokens by `estimates` where providers do not count them; `count` gets the facts of
    /// each request when nothing more can happen to it.
    pub fn new(
        metrics: &Metrics,
        plan: &Plan,
        estimates: Estimates,
        count: impl Fn(&Facts) + Send + Sync + 'static,
        tracing: Option<Arc<Tracing>>,
        reports: Option<Reports>,
    ) -> Self {
        let providers = plan.providers.iter().map(|provider| provider.name.clone());
        let metrics = Arc::new(CallMetrics::new(metrics, plan.metrics, providers));
        let (counted, traced) = (metrics.clone(), tracing.clone());
        let finish = Arc::new(move |facts: &Facts| {
            counted.count_attempts(facts);
            count(facts);
            if let Some(tracing) = &traced {
                tracing.export(facts);
            }
        });
        let prices = plan.prices.clone();
        let reckoning = Arc::new(Reckoning { estimates, prices: prices.clone(), max_answer: None });
        Self { all: Arc::new(Observing { metrics, prices, finish, tracing, reports, telling: None }), reckoning }
    }

    /// What is counted of a route's requests.
    pub fn route_metrics(&self, route: &Arc<str>, kind: RouteKind) -> Arc<RouteMetrics> {
        self.all.route_metrics(route, kind)
    }

    /// The same for a route that may bound its answers.
    #[must_use]
    pub fn of_route(self, max_answer: Option<u64>) -> Self {
        Self { reckoning: Arc::new(Reckoning { max_answer, ..Reckoning::clone(&self.reckoning) }), ..self }
    }

    /// Tells others of each call too, once it is over.
    #[must_use]
    pub fn telling(self, telling: Telling) -> Self {
        let all = Observing { telling: Some(telling), ..Observing::clone(&self.all) };
        Self { all: Arc::new(all), ..self }
    }

    /// A trail for work that no caller waits for. What happens on it is counted like that of any call, and is a trace of its
    /// own.
    pub fn trail(&self) -> Trail {
        let trail = self.silent_trail();
        if let Some(tracing) = &self.all.tracing {
            trail.facts().trace = Some(Box::new(tracing.begin(None)));
        }
        self.record_renewal(&trail);
        trail
    }

    fn silent_trail(&self) -> Trail {
        Trail::start(Some(self.all.finish.clone()))
    }

    /// Begins to watch a request. The watch belongs to the response's body: when it is dropped, the request has ended.
    pub fn watch(&self, id: Arc<str>, method: &http::Method, path: &str) -> Watch {
        self.all.metrics.requests.in_flight.inc();
        Watch {
            observe: self.all.clone(),
            trail: self.silent_trail(),
            subject: LogContext::new(id),
            method: known_method(method),
            path: path[..path.floor_char_boundary(200)].into(),
            running: OnceLock::new(),
            route: self.all.metrics.none.clone(),
            caller: "none",
            tenant: None,
            api_key: None,
            recorded: None,
            status: LEFT,
            bytes_out: 0,
            events: 0,
            is_complete: false,
        }
    }
}

impl Observing {
    fn route_metrics(&self, route: &Arc<str>, kind: RouteKind) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics::new(&self.metrics.requests, route.clone(), kind))
    }
}

impl Policy for Observe {
    const NAME: &'static str = "observe";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let trail = call.trail.clone();
        trail.reckon_by(Reckoning::of(self.reckoning.clone(), &call));
        let outcome = next.call(call).await;
        let mut facts = trail.facts();
        match &outcome {
            // Anew: an answer from the cache begins in the poll in which the call came.
            Ok(_) => facts.first_token = Some(refresh().saturating_duration_since(facts.started)),
            Err(fault) => note_fault(&mut facts, fault),
        }
        drop(facts);
        outcome
    }
}

fn note_fault(facts: &mut Facts, fault: &Fault) {
    facts.fault = Some(fault.code());
    facts.blame = Some(fault.blame());
    facts.fault_detail = fault.detail();
}

/// One request being watched. Dropping it records how the request ended.
pub struct Watch {
    observe: Arc<Observing>,
    /// The request's trail.
    pub trail: Trail,
    subject: Arc<LogContext>,
    method: &'static str,
    path: Arc<str>,
    /// Its place among the calls in flight, once it is known what is asked.
    running: OnceLock<Running>,
    route: Arc<RouteMetrics>,
    caller: &'static str,
    tenant: Option<Arc<str>>,
    api_key: Option<Arc<str>>,
    /// `None`: its row is written nowhere, or it is not known who calls.
    recorded: Option<Box<Recorded>>,
    /// The status that was sent; [`LEFT`] while there is none.
    status: u16,
    bytes_out: u64,
    events: u64,
    is_complete: bool,
}

impl Watch {
    /// The route that was found.
    pub fn found(&mut self, route: &Arc<RouteMetrics>, caller: &'static str) {
        self.route = route.clone();
        self.caller = caller;
    }

    /// What answers in the place of a route, by its name in logs and metrics.
    pub fn routed(&mut self, name: &Arc<str>, kind: RouteKind) {
        let caller = if kind == RouteKind::Preflight { "browser" } else { OPERATOR };
        self.found(&self.observe.route_metrics(name, kind), caller);
    }

    fn route(&self) -> Arc<str> {
        self.route.route.clone()
    }

    /// The call, as log lines name it.
    pub fn subject(&self) -> &Arc<LogContext> {
        &self.subject
    }

    /// When the request's head had arrived.
    pub fn started(&self) -> Instant {
        self.trail.facts().started
    }

    /// From here on the request is traced, where calls are; `headers` may say as part of what.
    pub fn trace(&self, headers: &http::HeaderMap) {
        if let Some(tracing) = &self.observe.tracing {
            let trace = tracing.begin(Parent::read(headers));
            // Nobody has set it before: a request is traced once.
            let _ = self.subject.trace.set((trace.id, trace.span));
            self.trail.facts().trace = Some(Box::new(trace));
        }
    }

    /// On whose behalf the call is made.
    pub fn on_behalf_of(&mut self, head: &Head) {
        self.tenant = Some(head.tenant.clone());
        self.api_key.clone_from(&head.api_key);
        self.recorded = self.observe.recorder().map(|recorder| Box::new(Recorded::new(recorder, head)));
    }

    /// What is asked for, and on whose account.
    pub fn asked(&self, request: &CallRequest, account: Account) {
        let mut facts = self.trail.facts();
        facts.model_asked = request.model().map(short_model);
        facts.is_stream = request.wants_stream();
        facts.account = Some(account);
        let started = facts.started;
        facts.asked_at = Some(since(started));
        drop(facts);
        self.show(started);
    }

    /// The status that is sent.
    pub fn answered(&mut self, status: impl Into<u16>) {
        self.status = status.into();
    }

    /// A fault that the policies did not see, or one after the answer began.
    pub fn failed(&self, fault: &Fault) {
        note_fault(&mut self.trail.facts(), fault);
    }

    /// Bytes passed to the caller.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// An event passed to the caller.
    pub fn sent_event(&mut self, bytes: usize) {
        if self.events == 0 {
            self.observe.metrics.callers.streams.inc();
        }
        self.events += 1;
        self.sent(bytes);
    }

    /// Everything was passed on.
    pub fn completed(&mut self) {
        self.is_complete = true;
    }

    /// How the request ended, in a word: `ok`, `cancelled` or a fault's code.
    fn outcome(&self, facts: &Facts) -> &'static str {
        match facts.fault {
            Some(code) => code,
            None if self.is_complete => OK,
            None => CANCELLED,
        }
    }

    /// How it ended, seen from afar.
    fn ended(&self, facts: &Facts) -> Ended {
        Ended::by(self.status, self.outcome(facts), facts.blame)
    }

    /// The same by the status alone, which says nothing of what happened after the answer began.
    fn ended_by_head(&self) -> Ended {
        Ended::of(self.status)
    }

    fn ending(&self, facts: &Facts, at: Instant) -> Ending {
        Ending {
            at,
            id: self.subject.id.clone(),
            method: self.method,
            path: self.path.clone(),
            route: self.route(),
            caller: self.caller,
            tenant: self.tenant.clone(),
            status: self.status,
            outcome: self.outcome(facts),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observe.metrics.requests.in_flight.dec();
        if self.events > 0 {
            self.observe.metrics.callers.streams.dec();
        }
        self.trail.reckon();
        let recorded = self.recorded.take();
        // Anew, as its beginning was, and once for all who want to know, as is its cost.
        let ended = refresh();
        let mut facts = self.trail.facts();
        if facts.trace.is_some() {
            facts.ending = Some(Box::new(self.ending(&facts, ended)));
        }
        let took = ended.saturating_duration_since(facts.started);
        let cost = cost(&facts, &self.observe.prices);
        self.count(&facts, cost, took);
        self.report(&facts);
        if tracing::enabled!(target: "tidegate::access", tracing::Level::WARN) {
            self.log(&facts, cost, took);
        }
        let (sample, outcome) = (self.sample(&facts, cost, took), self.outcome(&facts));
        if let Some(recorded) = recorded {
            self.record(*recorded, &facts, took);
        }
        drop(facts);
        self.tell(&sample, outcome, cost);
        // Only now: whoever looks for the call finds it among those in flight or among those that are over.
        drop(self.running.take());
    }
}

fn outcome_word(attempt: &Attempt) -> &'static str {
    match attempt.outcome {
        trail::Outcome::Succeeded => OK,
        trail::Outcome::Failed(code) => code,
        trail::Outcome::Pending => CANCELLED,
    }
}

/// Methods as labels: what no route uses is one label.
fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        _ => "OTHER",
    }
}
