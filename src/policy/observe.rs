//! Observe: outermost, it sees every exit, a caller that hangs up included, and turns the Trail into metrics, counts and
//! one log line.
//!
//! How spans are made of facts is in `observe/spans`. It reads facts and never content: no prompt, no answer, no key passes through here.

pub mod spans;

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use self::spans::Tracing;
use crate::call::Call;
use crate::config::plan::Prices;
use crate::explain::{Stories, Story};
use crate::fault::{Blame, Fault};
use crate::ledger::row::cost;
use crate::metrics::auth::AuthLabels;
use crate::metrics::caches::CacheLabels;
use crate::metrics::callers::{ChatLabels, TenantLabels, TenantTokenLabels};
use crate::metrics::flags::VariantCall;
use crate::metrics::gen_ai::{self, Operation};
use crate::metrics::guards::GuardLabels;
use crate::metrics::limits::{BudgetLabels, CheckLabels, DecisionLabels};
use crate::metrics::outboxes::TraceLabel;
use crate::metrics::{
    AttemptLabels, DegradedLabels, EventLabels, Metrics, ProviderCallLabels, ProviderLabels, RequestLabels,
    RouteLabels, TokenLabels, as_seconds,
};
use crate::names::display_name;
use crate::reply::{CacheResult, Degraded};
use crate::reports::{Report, Reports};
use crate::stack::{Next, Outcome, Policy};
use crate::subject::Subject;
use crate::trace::Parent;
use crate::traffic::{Ended, Sample, Traffic};
use crate::trail::{self, Attempt, AuthFact, Decision, Ending, Facts, GuardFact, Taken, Trail};

/// What requests of operators are marked with, where callers' dialects stand otherwise.
pub const OPERATOR: &str = "operator";

/// How a request ended that was answered, and one whose caller left.
const OK: &str = "ok";
const CANCELLED: &str = "cancelled";

/// The status of a request whose caller left before there was one.
const LEFT: u16 = 499;

/// The policy, and the only writer of request metrics.
#[derive(Clone)]
pub struct Observe {
    metrics: Arc<Metrics>,
    prices: Prices,
    finish: trail::Finish,
    /// `None`: calls are not traced.
    tracing: Option<Arc<Tracing>>,
    /// `None`: faults of the gateway's own are not reported.
    reports: Option<Reports>,
    telling: Option<Telling>,
}

/// Who wants to know of each call that is over, beside metrics and log.
#[derive(Clone)]
pub struct Telling {
    /// What happened to it; `None`: that is not remembered.
    pub stories: Option<Stories>,
    /// What it was like in numbers.
    pub traffic: Traffic,
    /// Which generation of the configuration answers.
    pub generation: u64,
}

impl Observe {
    /// Observes into `metrics`; `count` gets the facts of each request when nothing more can happen to it.
    pub fn new(
        metrics: Arc<Metrics>,
        prices: Prices,
        count: impl Fn(&Facts) + Send + Sync + 'static,
        tracing: Option<Arc<Tracing>>,
        reports: Option<Reports>,
    ) -> Self {
        let (counted, traced) = (metrics.clone(), tracing.clone());
        let finish = Arc::new(move |facts: &Facts| {
            count_attempts(&counted, facts);
            count(facts);
            if let Some(tracing) = &traced {
                tracing.export(facts);
            }
        });
        Self { metrics, prices, finish, tracing, reports, telling: None }
    }

    /// Tells others of each call too, once it is over.
    #[must_use]
    pub fn telling(self, telling: Telling) -> Self {
        Self { telling: Some(telling), ..self }
    }

    /// A trail for work that no caller waits for. What happens on it is counted like that of any call, and is a trace of its
    /// own.
    pub fn trail(&self) -> Trail {
        let trail = self.silent_trail();
        if let Some(tracing) = &self.tracing {
            trail.facts().trace = Some(Box::new(tracing.begin(None)));
        }
        trail
    }

    fn silent_trail(&self) -> Trail {
        Trail::start(Some(self.finish.clone()))
    }

    /// Begins to watch a request. The watch belongs to the response's body: when it is dropped, the request has ended.
    pub fn watch(&self, id: Arc<str>, method: &http::Method, path: &str) -> Watch {
        self.metrics.in_flight.inc();
        Watch {
            observe: self.clone(),
            trail: self.silent_trail(),
            subject: Subject::new(id),
            method: known_method(method),
            path: path[..path.floor_char_boundary(200)].into(),
            route: Arc::from("none"),
            caller: "none",
            tenant: None,
            status: None,
            bytes_out: 0,
            events: 0,
            is_complete: false,
        }
    }
}

impl Policy for Observe {
    const NAME: &'static str = "observe";

    async fn apply<N: Next>(&self, call: Call, next: &N) -> Outcome {
        let trail = call.trail.clone();
        let is_stream = call.ask.wants_stream();
        let outcome = next.call(call).await;
        let mut facts = trail.facts();
        facts.is_stream = is_stream;
        match &outcome {
            Ok(_) => facts.first_token = Some(facts.started.elapsed()),
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
    observe: Observe,
    /// The request's trail.
    pub trail: Trail,
    subject: Arc<Subject>,
    method: &'static str,
    path: Box<str>,
    route: Arc<str>,
    caller: &'static str,
    tenant: Option<Arc<str>>,
    status: Option<u16>,
    bytes_out: u64,
    events: u64,
    is_complete: bool,
}

impl Watch {
    /// The route that was found.
    pub fn routed(&mut self, route: &Arc<str>, caller: &'static str) {
        self.route = route.clone();
        self.caller = caller;
    }

    /// The call, as log lines name it.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
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
    pub fn on_behalf_of(&mut self, tenant: &Arc<str>) {
        self.tenant = Some(tenant.clone());
    }

    /// The status that is sent.
    pub fn answered(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
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

    fn ending(&self, facts: &Facts) -> Ending {
        Ending {
            at: Instant::now(),
            id: self.subject.id.clone(),
            method: self.method,
            path: self.path.clone(),
            route: self.route.clone(),
            caller: self.caller,
            tenant: self.tenant.clone(),
            status: self.status.unwrap_or(LEFT),
            outcome: self.outcome(facts),
        }
    }

    fn count(&self, facts: &Facts) {
        let metrics = &self.observe.metrics;
        let status = self.status.unwrap_or(LEFT);
        let labels = RequestLabels { route: self.route.clone(), method: self.method, status };
        metrics.requests.get_or_create(&labels).inc();
        let route = RouteLabels { route: self.route.clone() };
        // How long people talk says nothing about how fast they were answered.
        let took = facts.tunnel.map_or_else(|| facts.started.elapsed(), |tunnel| tunnel.opened);
        let example = facts.trace.as_ref().filter(|_| spans::is_kept(facts));
        let example = example.map(|trace| TraceLabel { trace_id: trace.id.to_string().into() });
        metrics.durations.get_or_create(&route).observe(as_seconds(took), example, None);
        if let Some(first) = facts.first_token {
            metrics.first_tokens.get_or_create(&route).observe(as_seconds(first));
        }
        if let Some(degraded) = facts.degraded {
            let labels = DegradedLabels { route: self.route.clone(), how: degraded.as_str() };
            metrics.degraded.get_or_create(&labels).inc();
        }
        if let Some(result) = facts.cache {
            let labels = CacheLabels { route: self.route.clone(), result: result.as_str() };
            metrics.caches.results.get_or_create(&labels).inc();
        }
        if let Some(taken) = &facts.variant {
            metrics.flags.count(&self.route, &taken.name, self.variant_call(facts, taken));
        }
        for fact in &facts.limits {
            let labels = DecisionLabels { limit: fact.rule.clone(), decision: fact.decision.as_str() };
            metrics.limits.decisions.get_or_create(&labels).inc();
        }
        if let Some(AuthFact { method, result }) = facts.auth {
            let labels = AuthLabels { route: self.route.clone(), method, result };
            metrics.auth.results.get_or_create(&labels).inc();
        }
        for GuardFact { guard, kind, direction, action, count } in facts.guarded.iter().cloned() {
            let labels = GuardLabels { guard, kind, direction: direction.as_str(), action };
            metrics.guards.matches.get_or_create(&labels).inc_by(count);
        }
        for budget in &facts.budgets_spent {
            metrics.limits.budgets_refused.get_or_create(&BudgetLabels { budget: budget.clone() }).inc();
        }
        if let Some(first) = facts.limits.first() {
            metrics.limits.checks.get_or_create(&CheckLabels { store: first.source }).inc();
        }
        if self.events > 0
            && let Some(served) = facts.telling()
        {
            let labels = EventLabels { provider: served.provider.clone(), result: "forwarded" };
            metrics.stream_events.get_or_create(&labels).inc_by(self.events);
        }
        self.count_caller(facts, took);
    }

    /// The numbers of those whose calls they are.
    fn count_caller(&self, facts: &Facts, took: Duration) {
        let metrics = &self.observe.metrics.callers;
        let outcome = match self.outcome(facts) {
            "ok" if self.status.unwrap_or(LEFT) < 400 => "successful",
            "cancelled" => "cancelled",
            _ => "failed",
        };
        if facts.call == Some("chat") {
            metrics.chats.get_or_create(&ChatLabels { outcome }).inc();
            metrics.chat_durations.observe(as_seconds(took));
        }
        if let Some(tenant) = self.tenant.as_deref().filter(|_| metrics.tenants.is_on()) {
            let tenant = metrics.tenants.label(tenant, outcome == "successful");
            metrics.tenant_requests.get_or_create(&TenantLabels { tenant, outcome }).inc();
        }
    }

    /// Tells who wants to know. Probes and scrapes are nobody's call, and would push those out.
    fn tell(&self, facts: MutexGuard<'_, Facts>) {
        let Some(telling) = self.observe.telling.as_ref().filter(|_| self.caller != OPERATOR) else { return };
        let sample = self.sample(&facts);
        let story = telling.stories.as_ref().map(|stories| (stories, self.story(&facts, telling.generation)));
        drop(facts);
        telling.traffic.note(&sample);
        if let Some((stories, story)) = story {
            stories.tell(story);
        }
    }

    /// The call in numbers.
    fn sample(&self, facts: &Facts) -> Sample {
        let status = self.status.unwrap_or(LEFT);
        let outcome = self.outcome(facts);
        Sample {
            ended: match status {
                LEFT => Ended::Left,
                400..=499 => Ended::Refused,
                500.. => Ended::Failed,
                _ if outcome == CANCELLED => Ended::Left,
                _ if outcome == OK => Ended::Well,
                // It broke off after the answer had begun.
                _ => Ended::Failed,
            },
            took: facts.started.elapsed(),
            first_token: facts.first_token,
            is_kept: facts.cache.and_then(CacheResult::has_served),
            cost: cost(facts, &self.observe.prices).map(|cost| cost.usd).unwrap_or_default(),
        }
    }

    fn story(&self, facts: &Facts, generation: u64) -> Story {
        Story {
            id: self.subject.id.clone(),
            route: self.route.clone(),
            caller: self.caller,
            method: self.method,
            path: self.path.clone(),
            tenant: self.tenant.clone(),
            generation,
            status: self.status.unwrap_or(LEFT),
            outcome: self.outcome(facts),
            took: facts.started.elapsed(),
            bytes_out: self.bytes_out,
            events: self.events,
            cost: cost(facts, &self.observe.prices).map(|cost| cost.usd),
            facts: facts.clone(),
        }
    }

    fn variant_call(&self, facts: &Facts, taken: &Taken) -> VariantCall {
        let outcome = match facts.blame {
            Some(Blame::Caller) => "rejected",
            Some(_) => "failed",
            None if !self.is_complete => "cancelled",
            None if taken.has_failed => "fell_back",
            None => "ok",
        };
        VariantCall {
            outcome,
            took: as_seconds(facts.started.elapsed()),
            first_token: facts.first_token.map(as_seconds),
            cost: cost(facts, &self.observe.prices).map(|cost| cost.usd.as_f64()),
        }
    }

    /// Tells those who mend the gateway of a fault of its own. A panic has told of itself, with its place.
    fn report(&self, facts: &Facts) {
        let Some(reports) = &self.observe.reports else { return };
        let (Some(code), Some(Blame::Gateway)) = (facts.fault, facts.blame) else { return };
        if facts.fault_detail.as_deref() == Some(Fault::PANIC) {
            return;
        }
        let report = Report {
            code,
            place: None,
            route: Some(self.route.clone()),
            provider: facts.telling().map(|attempt| attempt.provider.clone()),
            request: Some(self.subject.id.clone()),
            trace: self.subject.trace.get().copied(),
        };
        reports.outbox.offer(report, 1);
    }

    fn log(&self, facts: &Facts) {
        let status = self.status.unwrap_or(LEFT);
        let last = facts.telling();
        let provider = last.map(|attempt| display_name(&attempt.provider));
        let cost = cost(facts, &self.observe.prices);
        let line = AccessLine {
            outcome: self.outcome(facts),
            attempts: AttemptList(&facts.attempts).to_string(),
            guarded: guarded(facts),
            milliseconds: milliseconds(facts.started.elapsed()),
        };
        macro_rules! access {
            ($level:ident) => {
                tracing::$level!(
                    target: "tidegate::access",
                    req_id = &*self.subject.id,
                    trace_id = facts.trace.as_ref().map(|trace| tracing::field::display(trace.id)),
                    method = self.method,
                    path = &*self.path,
                    route = &*self.route,
                    caller = self.caller,
                    tenant = self.tenant.as_deref(),
                    status,
                    outcome = line.outcome,
                    provider,
                    model = last.and_then(|attempt| attempt.model.as_deref()),
                    attempts = facts.attempts.len(),
                    tried = (!line.attempts.is_empty()).then_some(line.attempts.as_str()),
                    duration = line.milliseconds,
                    first_token = facts.first_token.map(milliseconds),
                    bytes_in = facts.bytes_in,
                    bytes_out = self.bytes_out,
                    events = (self.events > 0).then_some(self.events),
                    events_dropped = (facts.events_dropped > 0).then_some(facts.events_dropped),
                    chunks_in = facts.tunnel.map(|tunnel| tunnel.chunks_in),
                    chunks_out = facts.tunnel.map(|tunnel| tunnel.chunks_out),
                    ended_by = facts.tunnel.and_then(|tunnel| tunnel.ended_by),
                    close_code = facts.tunnel.and_then(|tunnel| tunnel.close_code),
                    tokens_in = facts.tokens().map(|usage| usage.input),
                    tokens_out = facts.tokens().map(|usage| usage.output),
                    cost_usd = cost.map(|cost| cost.usd.as_f64()),
                    price = cost.filter(|cost| cost.is_default).map(|_| "default"),
                    provider_request_id = facts.provider_request_id.as_deref(),
                    cache = facts.cache.map(CacheResult::as_str),
                    variant = facts.variant.as_ref().map(|taken| &*taken.name),
                    degraded = facts.degraded.map(Degraded::as_str),
                    limited_by = rule_that(facts, Decision::Refused),
                    budget = facts.budgets_spent.first().map(|budget| &**budget),
                    shadow_limited_by = rule_that(facts, Decision::ShadowRefused),
                    guarded = (!line.guarded.is_empty()).then_some(line.guarded.as_str()),
                    detail = facts.fault_detail.as_deref(),
                    "request"
                )
            };
        }
        if status >= 500 { access!(warn) } else { access!(info) }
    }
}

/// The first rule that decided so.
fn rule_that(facts: &Facts, decision: Decision) -> Option<&str> {
    facts.limits.iter().find(|fact| fact.decision == decision).map(|fact| &*fact.rule)
}

/// What guards found, as `pii:request:email:2`.
fn guarded(facts: &Facts) -> String {
    let word = |it: &GuardFact| format!("{}:{}:{}:{}", it.guard, it.direction.as_str(), it.kind, it.count);
    facts.guarded.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What happened at providers, when all of it has happened.
fn count_attempts(metrics: &Metrics, facts: &Facts) {
    for attempt in &facts.attempts {
        let labels = ProviderCallLabels { provider: attempt.provider.clone(), outcome: outcome_word(attempt) };
        metrics.provider_calls.get_or_create(&labels).inc();
        let labels = AttemptLabels { provider: attempt.provider.clone(), reason: attempt.reason.as_str() };
        metrics.attempts.get_or_create(&labels).inc();
        let labels = ProviderLabels { provider: attempt.provider.clone() };
        let took = attempt.took.unwrap_or_else(|| attempt.started.elapsed());
        metrics.provider_durations.get_or_create(&labels).observe(as_seconds(took));
        if let Some(name) = facts.call.and_then(gen_ai::operation) {
            metrics.gen_ai.attempted(&Operation {
                provider: &attempt.provider,
                model: attempt.model.as_deref(),
                name,
                error: Some(outcome_word(attempt)).filter(|word| *word != "ok").unwrap_or_default(),
                took,
                first_chunk: attempt.answered.filter(|_| facts.is_stream),
            });
        }
    }
    let Some(last) = facts.telling() else { return };
    if facts.events_dropped > 0 {
        let labels = EventLabels { provider: last.provider.clone(), result: "dropped" };
        metrics.stream_events.get_or_create(&labels).inc_by(facts.events_dropped);
    }
    if let Some(usage) = facts.tokens() {
        for (kind, count) in [("input", usage.input), ("output", usage.output)] {
            let labels = TokenLabels { provider: last.provider.clone(), kind };
            metrics.tokens.get_or_create(&labels).inc_by(count);
        }
        let tokens = [("input", usage.input), ("output", usage.output)];
        if let Some(name) = facts.call.and_then(gen_ai::operation) {
            metrics.gen_ai.used(&last.provider, last.model.as_deref(), name, tokens);
        }
        let account = facts.account.as_ref().filter(|_| metrics.callers.tenants.is_on());
        if let Some(account) = account {
            let tenant = metrics.callers.tenants.label(&account.tenant, true);
            for (kind, count) in tokens {
                let labels = TenantTokenLabels { tenant: tenant.clone(), kind };
                metrics.callers.tenant_tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }
}

struct AccessLine {
    outcome: &'static str,
    attempts: String,
    guarded: String,
    milliseconds: f64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observe.metrics.in_flight.dec();
        if self.events > 0 {
            self.observe.metrics.callers.streams.dec();
        }
        let mut facts = self.trail.facts();
        if facts.trace.is_some() {
            facts.ending = Some(Box::new(self.ending(&facts)));
        }
        self.count(&facts);
        self.report(&facts);
        if tracing::enabled!(target: "tidegate::access", tracing::Level::WARN) {
            self.log(&facts);
        }
        self.tell(facts);
    }
}

/// The attempts of a call that needed more than one, as `BuildPanel:provider_timeout together:ok`.
struct AttemptList<'a>(&'a [Attempt]);

impl std::fmt::Display for AttemptList<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.len() < 2 {
            return Ok(());
        }
        for (index, attempt) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(out, "{space}{}:{}", display_name(&attempt.provider), outcome_word(attempt))?;
        }
        Ok(())
    }
}

fn outcome_word(attempt: &Attempt) -> &'static str {
    match attempt.outcome {
        trail::Outcome::Succeeded => OK,
        trail::Outcome::Failed(code) => code,
        trail::Outcome::Pending => CANCELLED,
    }
}

/// Milliseconds with three decimals: enough for a cache hit, and short in a log.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
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

/// When the request's head had arrived.
impl Watch {
    /// See [`Facts::started`].
    pub fn started(&self) -> Instant {
        self.trail.facts().started
    }
}
