//! The spans of a call: one for the call and one per attempt, made from the Trail's facts once they are final.
//!
//! Names follow OpenTelemetry's semantic conventions (GenAI: v1.41.0); attributes that those do not name begin with
//! `tidegate.`. It reads facts, so there is no content. It does not know who exports the spans.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use url::Url;

use crate::config::plan::{CallKind, Plan, RoutePlan, TenantShown};
use crate::model::fault::Blame;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::time::WallClock;
use crate::model::trace::{Parent, SpanId, Trace, TraceId};
use crate::model::trail::{Attempt, Basis, Decision, Ending, Facts, Outcome, Reason, Tokens};
use crate::telemetry::spans::{Kind, Span, Spans, Value};

/// Bits of a trace's id that are random, whoever made it (W3C Trace Context level 2, 3.2.2.3).
const RANDOM_BITS: u32 = 56;

/// What the digest of a tenant is made under: the same in every gateway, so that spans of all can be put together.
const TENANTS: &str = "tidegate 2026 tenants in spans";

/// Which calls become spans, and how.
#[derive(Debug)]
pub struct Tracing {
    spans: Spans,
    clock: WallClock,
    /// A trace is kept when the random part of its id is not below this.
    threshold: u64,
    follows_parent: bool,
    tenant: TenantShown,
    routes: BTreeMap<Arc<str>, RouteWords>,
    /// Of each provider, where its instances are.
    servers: BTreeMap<Arc<str>, Vec<Option<HostAndPort>>>,
}

/// A host and a port.
type HostAndPort = (Arc<str>, u16);

/// What spans call a route.
#[derive(Debug)]
struct RouteWords {
    operation: &'static str,
    /// Its path, where it has one and not several.
    path: Option<Arc<str>>,
}

impl Tracing {
    /// Makes spans as the plan wants it; `None` when it wants none.
    pub fn new(plan: &Plan, spans: Spans, clock: WallClock) -> Option<Self> {
        plan.tracing.endpoint.as_ref()?;
        let words = |route: &Arc<RoutePlan>| {
            let path = match route.paths.as_slice() {
                [only] => Some(only.as_str().into()),
                _ => None,
            };
            (route.name.clone(), RouteWords { operation: operation(route.call), path })
        };
        let place = |url: &Url| Some((url.host_str()?.into(), url.port_or_known_default()?));
        let servers = plan.providers.iter().map(|it| (it.name.clone(), it.urls.iter().map(place).collect()));
        Some(Self {
            spans,
            clock,
            threshold: ((1.0 - plan.tracing.ratio) * (1u64 << RANDOM_BITS) as f64) as u64,
            follows_parent: plan.tracing.follows_parent,
            tenant: plan.tracing.tenant,
            routes: plan.routes.iter().map(words).collect(),
            servers: servers.collect(),
        })
    }

    /// A call's place in its caller's trace, or in a new one, and whether it is kept, as far as that is known by now.
    pub(super) fn begin(&self, parent: Option<Parent>) -> Trace {
        let bits = || self.spans.chance.bits();
        match parent {
            Some(parent) => Trace::go_on(parent, bits(), |parent| match self.follows_parent {
                true => parent.is_sampled,
                false => self.is_kept(parent.id),
            }),
            None => Trace::begin([bits(), bits(), bits()], |id| self.is_kept(id)),
        }
    }

    /// The same for all services that know the same share: the trace's id decides.
    fn is_kept(&self, id: TraceId) -> bool {
        let random = id.0 as u64 & ((1 << RANDOM_BITS) - 1);
        random >= self.threshold
    }

    /// Hands over the spans of a call that is over, if it is one of those that are kept, or failed.
    pub(super) fn export(&self, facts: &Facts) {
        let Some(trace) = facts.trace.as_ref().filter(|_| is_kept(facts)) else { return };
        let mut spans = Vec::with_capacity(1 + facts.attempts.len());
        let operation = match &facts.ending {
            Some(ending) => {
                let Some(words) = self.routes.get(&ending.route) else { return };
                spans.push(self.call(trace, facts, ending, words));
                words.operation
            }
            None => {
                // A renewal that found nothing to do.
                if facts.attempts.is_empty() {
                    return;
                }
                spans.push(self.renewal(trace, facts));
                operation(CallKind::Chat)
            }
        };
        let attempts = facts.attempts.iter().enumerate();
        spans.extend(attempts.map(|(index, attempt)| self.attempt(trace, facts, (index, attempt), operation)));
        let count = spans.len();
        self.spans.outbox.offer(spans, count);
    }

    fn call(&self, trace: &Trace, facts: &Facts, ending: &Ending, words: &RouteWords) -> Span {
        let mut attributes = vec![
            ("http.request.method", ending.method.into()),
            ("url.path", String::from(&*ending.path).into()),
            ("http.response.status_code", u64::from(ending.status).into()),
            ("gen_ai.operation.name", words.operation.into()),
            ("tidegate.request_id", ending.id.clone().into()),
            ("tidegate.route", ending.route.clone().into()),
            ("tidegate.caller", ending.caller.into()),
            ("tidegate.outcome", ending.outcome.into()),
            ("tidegate.attempts", (facts.attempts.len() as u64).into()),
        ];
        let is_error = has_failed(facts);
        let limited_by = facts.limits.iter().find(|fact| fact.decision == Decision::Refused);
        add(&mut attributes, "http.route", words.path.clone());
        add(&mut attributes, "error.type", facts.fault.filter(|_| is_error));
        add(&mut attributes, "tidegate.tenant", ending.tenant.as_deref().and_then(|tenant| self.tenant(tenant)));
        add(&mut attributes, "tidegate.cache", facts.cache.map(CacheResult::as_str));
        add(&mut attributes, "tidegate.degraded", facts.degraded.map(Degraded::as_str));
        add(&mut attributes, "tidegate.limited_by", limited_by.map(|fact| fact.terms.rule.clone()));
        add(&mut attributes, "tidegate.time_to_first_token", facts.first_token.map(|time| time.as_secs_f64()));
        let name = format!("{} {}", ending.method, words.path.as_ref().unwrap_or(&ending.route));
        Span {
            trace: trace.id,
            id: trace.span,
            parent: trace.parent,
            kind: Kind::Server,
            name: name.into(),
            start_ns: self.clock.nanoseconds(facts.started),
            end_ns: self.clock.nanoseconds(ending.at),
            attributes,
            is_error,
        }
    }

    /// Work that no caller waited for.
    fn renewal(&self, trace: &Trace, facts: &Facts) -> Span {
        let end = facts.attempts.iter().map(end).max().unwrap_or(facts.started);
        Span {
            trace: trace.id,
            id: trace.span,
            parent: None,
            kind: Kind::Internal,
            name: "refresh a cached response".into(),
            start_ns: self.clock.nanoseconds(facts.started),
            end_ns: self.clock.nanoseconds(end),
            attributes: Vec::new(),
            is_error: has_failed(facts),
        }
    }

    fn attempt(
        &self,
        trace: &Trace,
        facts: &Facts,
        (index, attempt): (usize, &Attempt),
        operation: &'static str,
    ) -> Span {
        let mut attributes: Attributes = vec![
            ("gen_ai.operation.name", operation.into()),
            ("gen_ai.provider.name", attempt.provider.clone().into()),
            ("tidegate.attempt.reason", attempt.reason.as_str().into()),
            ("tidegate.outcome", super::outcome_word(attempt).into()),
        ];
        add(&mut attributes, "gen_ai.request.model", attempt.model.clone());
        if let Some((host, port)) = self.server(attempt) {
            attributes.push(("server.address", host.clone().into()));
            attributes.push(("server.port", u64::from(*port).into()));
        }
        add(&mut attributes, "http.response.status_code", attempt.status.map(u64::from));
        add(&mut attributes, "tidegate.time_to_answer", attempt.answered.map(|time| time.as_secs_f64()));
        let error = match attempt.outcome {
            Outcome::Failed(code) => Some(code),
            Outcome::Succeeded | Outcome::Pending => None,
        };
        add(&mut attributes, "error.type", error);
        if let Some(Tokens { usage, basis }) = attempt.tokens() {
            attributes.push(("gen_ai.usage.input_tokens", usage.input.into()));
            attributes.push(("gen_ai.usage.output_tokens", usage.output.into()));
            if basis != Basis::Counted {
                attributes.push(("tidegate.usage.estimated", true.into()));
            }
        }
        let retries = facts.attempts[..index].iter().filter(|before| before.provider == attempt.provider).count();
        if attempt.reason == Reason::Retry {
            attributes.push(("http.request.resend_count", (retries as u64).into()));
        }
        let name = match &attempt.model {
            Some(model) => format!("{operation} {model}").into(),
            None => operation.into(),
        };
        Span {
            trace: trace.id,
            id: trace.attempt(index),
            parent: Some(SpanId(trace.span.0)),
            kind: Kind::Client,
            name,
            start_ns: self.clock.nanoseconds(attempt.started),
            end_ns: self.clock.nanoseconds(end(attempt)),
            attributes,
            is_error: error.is_some(),
        }
    }

    /// The instance that an attempt went to, if it was one.
    fn server(&self, attempt: &Attempt) -> Option<&HostAndPort> {
        let is_one = attempt.instances.is_power_of_two();
        let servers = self.servers.get(&attempt.provider).filter(|_| is_one)?;
        servers.get(attempt.instances.trailing_zeros() as usize)?.as_ref()
    }

    fn tenant(&self, tenant: &str) -> Option<Value> {
        match self.tenant {
            TenantShown::Off => None,
            TenantShown::Name => Some(tenant.to_owned().into()),
            TenantShown::Hash => {
                let digest = blake3::derive_key(TENANTS, tenant.as_bytes());
                Some(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into())
            }
        }
    }
}

type Attributes = Vec<(&'static str, Value)>;

fn add(attributes: &mut Attributes, name: &'static str, value: Option<impl Into<Value>>) {
    attributes.extend(value.map(|value| (name, value.into())));
}

/// True when a call's spans are kept, as far as that is known by now.
pub(super) fn is_kept(facts: &Facts) -> bool {
    facts.trace.as_ref().is_some_and(|trace| trace.is_sampled || has_failed(facts))
}

/// True when the caller did not get what it asked for, and it was not the caller's mistake.
fn has_failed(facts: &Facts) -> bool {
    match &facts.ending {
        Some(_) => facts.blame.is_some_and(|blame| blame != Blame::Caller),
        None => !facts.attempts.is_empty() && facts.served().is_none(),
    }
}

/// When an attempt was over.
fn end(attempt: &Attempt) -> Instant {
    attempt.started + attempt.took.unwrap_or_default()
}

/// `gen_ai.operation.name` of what a route is for: the conventions' own words where they have one.
fn operation(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Chat
        | CallKind::CanvasGenerate
        | CallKind::CanvasRefine
        | CallKind::Responses
        | CallKind::Messages => "chat",
        CallKind::Completions => "text_completion",
        kind => kind.as_str(),
    }
}
