//! Calls as JSON: short in a list, whole where one is looked at.
//!
//! It does not know which are wanted.

use serde_json::{Value, json};

use super::timeline::Row;
use super::{ended, instances, offset, summary, timeline};
use crate::gateway::Gateway;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::trail::{Attempt, BudgetFact, GuardFact, LimitFact, Step, StepKind};
use crate::server::operator::access;
use crate::server::operator::answer::milliseconds;
use crate::server::operator::endpoint::OperatorRequest;
use crate::telemetry::explain::CallRecord;

/// Renders calls, with what it needs to know of the gateway.
pub(in crate::server) struct CallRenderer<'a> {
    pub(in crate::server) gateway: &'a Gateway,
    /// Whether tenants and API keys have their names.
    shows_names: bool,
}

impl<'a> CallRenderer<'a> {
    /// For a request: with names if it shows the admin token.
    pub(in crate::server) fn for_request(request: &OperatorRequest<'a>) -> Self {
        Self::new(request.gateway, access::shows_token(request.gateway, &request.parts.headers))
    }

    /// With names, or without.
    pub(in crate::server) fn new(gateway: &'a Gateway, shows_names: bool) -> Self {
        Self { gateway, shows_names }
    }

    /// Whether tenants and API keys have their names.
    pub(in crate::server) fn shows_names(&self) -> bool {
        self.shows_names
    }

    /// A tenant or an API key: by its name for whoever may read it, else by its pseudonym.
    pub(in crate::server) fn name(&self, name: &str) -> String {
        if self.shows_names { name.to_owned() } else { self.pseudonym(name) }
    }

    /// The pseudonym of a tenant, for where it must not be named.
    pub(in crate::server) fn pseudonym(&self, name: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 marks of tenants");
        hasher.update(self.gateway.world.salt().as_bytes()).update(name.as_bytes());
        hasher.finalize().to_hex()[..8].to_owned()
    }

    /// When a call came, by the wall clock.
    pub(super) fn came(&self, record: &CallRecord) -> String {
        format!("{:.3}", self.gateway.world.clock().at(record.facts.started))
    }

    /// The policies of a route as they are now, and those around each attempt.
    pub(super) fn pipeline(&self, route: &str) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
        let mut routes = self.gateway.describe();
        routes.find(|(plan, ..)| *plan.name == *route).map(|(_, names, target)| (names, target.to_vec()))
    }

    /// A call in a list.
    pub(in crate::server) fn short(&self, record: &CallRecord) -> Value {
        let facts = &record.facts;
        let telling = facts.telling();
        json!({
            "id": &*record.id,
            "at": self.came(record),
            // The wall clock is set and corrected meanwhile: this stays the same.
            "uptimeMs": milliseconds(self.gateway.state.uptime_at(facts.started)),
            "route": &*record.route,
            "tenant": record.tenant.as_deref().map(|tenant| self.name(tenant)),
            "status": (!record.is_running()).then_some(record.status),
            "outcome": record.outcome,
            "tone": timeline::tone(record).as_str(),
            "durationMs": milliseconds(record.took),
            "firstTokenMs": facts.first_token.map(milliseconds),
            "provider": telling.map(|attempt| &*attempt.provider),
            "model": telling.and_then(|attempt| attempt.model.as_deref()),
            "attempts": facts.attempts.len(),
            "cache": facts.cache.map(CacheResult::as_str),
            "variant": facts.variant.as_ref().map(|taken| &*taken.name),
            "prompt": facts.prompt.as_ref().map(|prompt| format!("{}@{}", prompt.key, prompt.version)),
            "degraded": facts.degraded.map(Degraded::as_str),
            "fallback": facts.fallback(),
            "modelAsked": facts.model_asked.as_deref(),
            "apiKey": record.api_key.as_deref().map(|key| self.name(key)),
            "doing": summary::doing(record),
        })
    }

    pub(super) fn whole(&self, record: &CallRecord) -> Value {
        let facts = &record.facts;
        let mut whole = self.short(record);
        let more = json!({
            "caller": record.caller,
            "method": record.method,
            "path": &*record.path,
            "generation": record.generation,
            "pipeline": self.pipeline(&record.route).map(|(route, target)| json!({"route": route, "target": target})),
            "detail": facts.fault_detail,
            "bytesIn": facts.bytes_in,
            "bytesOut": record.bytes_out,
            "events": record.events,
            "eventsDropped": facts.events_dropped,
            "cacheBecause": facts.cache_because,
            "limits": facts.limits.iter().map(limit).collect::<Vec<_>>(),
            "attempts": facts.attempts.iter().map(|tried| attempt(record, tried)).collect::<Vec<_>>(),
            "target": facts.served().and_then(|served| summary::target(self.gateway, record, served)).map(|(number, _)| number),
            "budgets": facts.budgets.iter().map(|fact| budget(record, fact)).collect::<Vec<_>>(),
            "guardrails": facts.guarded.iter().map(guardrail).collect::<Vec<_>>(),
            "summary": summary::shown(&summary::facts(self.gateway, record)),
            "timeline": timeline::rows(record).iter().map(Row::shown).collect::<Vec<_>>(),
            "steps": facts.steps.iter().map(step).collect::<Vec<_>>(),
            "tokens": facts.tokens().map(|usage| json!({"input": usage.input, "output": usage.output, "estimated": facts.is_estimated()})),
            "textsBefore": facts.texts_before,
            "costUsd": record.cost,
            "providerRequestId": facts.telling().and_then(|attempt| attempt.request_id.as_deref()),
            "answerId": facts.telling().and_then(|attempt| attempt.answer_id.as_deref()),
        });
        if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
            whole.extend(more);
        }
        whole
    }
}

fn limit(fact: &LimitFact) -> Value {
    let in_units = |units: u64| units as f64 / fact.terms.scale as f64;
    json!({
        "rule": &*fact.terms.rule,
        "decision": fact.decision.as_str(),
        "quantity": fact.terms.quantity,
        "count": in_units(fact.terms.count),
        "windowSeconds": fact.terms.window.as_secs_f64(),
        "burst": in_units(fact.terms.burst),
        "remaining": in_units(fact.remaining),
        "moreInMs": milliseconds(fact.more_in),
        "source": fact.source,
    })
}

fn attempt(record: &CallRecord, tried: &Attempt) -> Value {
    json!({
        "atMs": milliseconds(offset(record, tried)),
        "provider": &*tried.provider,
        "model": tried.model.as_deref(),
        "reason": tried.reason.as_str(),
        "instances": instances(tried),
        "answeredMs": tried.answered.map(milliseconds),
        "tookMs": tried.took.map(milliseconds),
        "outcome": ended(tried),
        "status": tried.status,
        "requestId": tried.request_id.as_deref(),
    })
}

fn step(step: &Step) -> Value {
    let (did, milliseconds, because) = match &step.what {
        StepKind::Refused(retry_in) => ("refused", Some(milliseconds(*retry_in)), None),
        StepKind::HeldBack { failures, retry_in } => {
            ("refused", Some(milliseconds(*retry_in)), Some(format!("this same request has failed {failures} times")))
        }
        StepKind::Waited(time) => ("waited", Some(milliseconds(*time)), None),
        StepKind::Denied(why) => ("denied", None, Some((*why).to_owned())),
        StepKind::Skipped(why) => ("skipped", None, Some((*why).to_owned())),
        StepKind::Unable(what) => ("skipped", None, Some(format!("it cannot serve {what}"))),
        StepKind::Overdue(silence) => ("overdue", Some(milliseconds(*silence)), None),
    };
    json!({
        "atMs": self::milliseconds(step.at),
        "policy": step.policy,
        "provider": step.provider.as_deref(),
        "did": did,
        "ms": milliseconds,
        "because": because,
    })
}

fn budget(record: &CallRecord, fact: &BudgetFact) -> Value {
    json!({
        "budget": &*fact.budget,
        "amountUsd": fact.amount,
        "beforeUsd": fact.before,
        "reservedUsd": fact.reserved,
        "fits": fact.fits,
        "spentUsd": record.cost.filter(|_| fact.fits),
    })
}

fn guardrail(fact: &GuardFact) -> Value {
    json!({
        "guard": &*fact.guard,
        "kind": &*fact.kind,
        "direction": fact.direction.as_str(),
        "action": fact.action,
        "count": fact.count,
    })
}
