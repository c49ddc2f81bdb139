//! Explain: `GET /admin/explain/{id}` says what happened to one call, `GET /admin/explain` lists the latest; as JSON, or as
//! lines for a terminal (`Accept: text/plain` or `?format=text`). The id is the gateway's, or one that the provider gave: its
//! request id, or that of its answer.
//!
//! It does not know how any of it was found out. Tenants are pseudonyms, which change with each process: what is shown here
//! ends up in tickets and on screens. An operator who knows a tenant's name finds its calls by it (`?tenant=NAME`).

mod lines;

use std::time::Duration;

use http::StatusCode;
use http::header;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::trail;
use crate::model::trail::{Attempt, LimitFact, Step, StepKind};
use crate::server::operator::answer::{Problem, milliseconds, ok, text_answer, varying};
use crate::server::operator::endpoint::OperatorRequest;
use crate::telemetry::explain::CallRecord;

const TEXT: &str = "text/plain; charset=utf-8";

/// How many calls are listed unless the request says.
const SHOWN: usize = 50;

/// The most that are listed.
const MOST: usize = 1000;

/// `GET /admin/explain`: the latest calls that meet the conditions of the query.
pub(super) fn list(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let filter = CallFilter::read(request.parts)?;
    check_history(gateway)?;
    let renderer = CallRenderer { gateway };
    let history = gateway.state.call_history();
    let records = history.latest(filter.limit, |record| filter.matches(record));
    if filter.is_text {
        let text: String = records.iter().map(|record| lines::one(&renderer, record)).collect();
        return Ok(varying(text_answer(TEXT, text)));
    }
    let calls: Vec<Value> = records.iter().map(|record| renderer.short(record)).collect();
    let (count, bytes) = history.fill();
    Ok(varying(ok(&json!({"calls": calls, "remembered": {"calls": count, "bytes": bytes}}))))
}

/// `GET /admin/explain/{id}`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let filter = CallFilter::read(request.parts)?;
    check_history(gateway)?;
    let renderer = CallRenderer { gateway };
    match gateway.state.call_history().find(request.name) {
        Some(record) if filter.is_text => Ok(varying(text_answer(TEXT, lines::all(&renderer, &record)))),
        Some(record) => Ok(varying(ok(&renderer.whole(&record)))),
        None => {
            let detail =
                "no call with this id in the history: it is still running, too old, or went through another gateway";
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

/// A problem where no calls are kept.
fn check_history(gateway: &Gateway) -> Result<(), Problem> {
    match gateway.plan.explain.keep {
        0 => Err(Problem::new(StatusCode::NOT_FOUND, "the call history is off: set `explain.keep` to keep calls")),
        _ => Ok(()),
    }
}

/// Which calls are listed, and how.
struct CallFilter {
    is_text: bool,
    limit: usize,
    route: Option<String>,
    outcome: Option<String>,
    tenant: Option<String>,
    slower_than: Duration,
}

impl CallFilter {
    fn read(parts: &Parts) -> Result<Self, Problem> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let mut filter = Self {
            is_text: accept.starts_with("text/plain"),
            limit: SHOWN,
            route: None,
            outcome: None,
            tenant: None,
            slower_than: Duration::ZERO,
        };
        let wrong = |detail: String| Problem::bad_request(detail);
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match (&*name, &*value) {
                ("format", "text") => filter.is_text = true,
                ("format", "json") => filter.is_text = false,
                ("limit", number) => {
                    let number = number.parse().ok().filter(|number| (1..=MOST).contains(number));
                    filter.limit = number.ok_or_else(|| wrong(format!("`limit` must be between 1 and {MOST}")))?;
                }
                ("slow", number) => {
                    let number = number
                        .parse()
                        .map_err(|_| wrong("`slow` must be a number of milliseconds, such as 500".into()))?;
                    filter.slower_than = Duration::from_millis(number);
                }
                ("route", name) => filter.route = Some(name.into()),
                ("outcome", word) => filter.outcome = Some(word.into()),
                ("tenant", name) => filter.tenant = Some(name.into()),
                _ => {
                    let allowed = "route, outcome (ok, failed, cancelled or a fault's code), tenant, slow, limit and \
                                   format (json or text)";
                    return Err(wrong(format!("unknown parameter {name}={value}; allowed: {allowed}")));
                }
            }
        }
        Ok(filter)
    }

    fn matches(&self, record: &CallRecord) -> bool {
        let is_outcome = match self.outcome.as_deref() {
            None => true,
            Some("failed") => !record.is_fine() && record.outcome != "cancelled",
            Some(word) => record.outcome == word,
        };
        is_outcome
            && record.took >= self.slower_than
            && self.route.as_deref().is_none_or(|route| *record.route == *route)
            && self.tenant.as_deref().is_none_or(|tenant| record.tenant.as_deref() == Some(tenant))
    }
}

/// Renders calls, with what it needs to know of the gateway.
pub(in crate::server) struct CallRenderer<'a> {
    pub(in crate::server) gateway: &'a Gateway,
}

impl CallRenderer<'_> {
    /// The pseudonym of a tenant, for where it must not be named.
    pub(in crate::server) fn pseudonym(&self, name: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 marks of tenants");
        hasher.update(self.gateway.world.salt().as_bytes()).update(name.as_bytes());
        hasher.finalize().to_hex()[..8].to_owned()
    }

    /// When a call came, by the wall clock.
    fn came(&self, record: &CallRecord) -> String {
        let ago = Instant::now().saturating_duration_since(record.facts.started);
        let now = self.gateway.world.now();
        format!("{:.3}", now.checked_sub(ago).unwrap_or(now))
    }

    /// The policies of a route as they are now, and those around each attempt.
    fn pipeline(&self, route: &str) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
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
            "route": &*record.route,
            "tenant": record.tenant.as_deref().map(|tenant| self.pseudonym(tenant)),
            "status": record.status,
            "outcome": record.outcome,
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
            "apiKey": record.api_key.as_deref(),
        })
    }

    fn whole(&self, record: &CallRecord) -> Value {
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
        "requestId": tried.request_id.as_deref(),
    })
}

fn step(step: &Step) -> Value {
    let (did, milliseconds, because) = match &step.what {
        StepKind::Refused(retry_in) => ("refused", Some(milliseconds(*retry_in)), None),
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

/// When an attempt began, from the call's start. One of an answer that others had asked for may have begun before.
fn offset(record: &CallRecord, tried: &Attempt) -> Duration {
    tried.started.saturating_duration_since(record.facts.started)
}

/// The instances that an attempt was sent to.
fn instances(tried: &Attempt) -> Vec<u32> {
    (0..u64::BITS).filter(|bit| tried.instances & (1 << bit) != 0).collect()
}

/// How an attempt ended, in a word.
fn ended(tried: &Attempt) -> &'static str {
    match (tried.outcome, tried.took) {
        (trail::Outcome::Succeeded, _) => "ok",
        (trail::Outcome::Failed(code), _) => code,
        (trail::Outcome::Pending, Some(_)) => "cancelled",
        // Others wait for it, or it is worth keeping.
        (trail::Outcome::Pending, None) => "running",
    }
}
