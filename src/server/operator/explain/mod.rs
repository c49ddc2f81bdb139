//! Explain: `GET /admin/explain/ID` and `GET /admin/explain` at the admin address: what happened to a call, and the
//! latest calls. JSON, or text for a terminal (`Accept: text/plain` or `?format=text`). The ID is the gateway's, or
//! one from the provider: its request id, or that of its response.
//!
//! It does not know how any of it was found out. Tenants appear as hashes, which differ per process, because this
//! output ends up in tickets and on screens. Whoever knows a tenant finds its calls by name (`?tenant=NAME`).

mod lines;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::trail;
use crate::model::trail::{Attempt, LimitFact, Step, StepKind};
use crate::server::operator::health::milliseconds;
use crate::server::operator::keys::Problem;
use crate::telemetry::explain::CallRecord;

/// Where.
pub(in crate::server) const PATH: &str = "/admin/explain";

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "explain".into());

/// How many calls are listed unless the request says.
const SHOWN: usize = 50;

/// The most that are listed.
const MOST: usize = 1000;

/// True for the paths that this file answers.
pub(in crate::server) fn is_here(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Tells of one call, or lists the latest.
pub(in crate::server) fn answer(gateway: &Gateway, parts: &Parts) -> Answered {
    let rest = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    let id = rest.strip_prefix('/').unwrap_or_default();
    let wanted = match Wanted::read(parts) {
        Ok(wanted) => wanted,
        Err(problem) => return problem.answered(),
    };
    if gateway.plan.explain.keep == 0 {
        let detail = "the call history is off: set `explain.keep`";
        return Problem::new(StatusCode::NOT_FOUND, detail).answered();
    }
    let teller = Teller { gateway };
    if id.is_empty() {
        let call_history = gateway.state.call_history().latest(wanted.limit, |story| wanted.is_met_by(story));
        return match wanted.is_text {
            true => plain(call_history.iter().map(|story| lines::one(&teller, story)).collect()),
            false => {
                let calls: Vec<Value> = call_history.iter().map(|story| teller.short(story)).collect();
                let (count, bytes) = gateway.state.call_history().fill();
                answered(&json!({"calls": calls, "remembered": {"calls": count, "bytes": bytes}}))
            }
        };
    }
    match gateway.state.call_history().find(id) {
        Some(story) if wanted.is_text => plain(lines::all(&teller, &story)),
        Some(story) => answered(&teller.whole(&story)),
        None => {
            let detail =
                "no call with this id in the history: it is still running, too old, or went through another gateway";
            Problem::new(StatusCode::NOT_FOUND, detail).answered()
        }
    }
}

/// What is asked for.
struct Wanted {
    is_text: bool,
    limit: usize,
    route: Option<String>,
    outcome: Option<String>,
    tenant: Option<String>,
    slower_than: Duration,
}

impl Wanted {
    fn read(parts: &Parts) -> Result<Self, Problem> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let mut wanted = Self {
            is_text: accept.starts_with("text/plain"),
            limit: SHOWN,
            route: None,
            outcome: None,
            tenant: None,
            slower_than: Duration::ZERO,
        };
        let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match (&*name, &*value) {
                ("format", "text") => wanted.is_text = true,
                ("format", "json") => wanted.is_text = false,
                ("limit", number) => {
                    let number = number.parse().ok().filter(|number| (1..=MOST).contains(number));
                    wanted.limit = number.ok_or_else(|| wrong(format!("`limit` must be 1 to {MOST}")))?;
                }
                ("slow", number) => {
                    let number =
                        number.parse().map_err(|_| wrong("`slow` must be milliseconds, such as 500".into()))?;
                    wanted.slower_than = Duration::from_millis(number);
                }
                ("route", name) => wanted.route = Some(name.into()),
                ("outcome", word) => wanted.outcome = Some(word.into()),
                ("tenant", name) => wanted.tenant = Some(name.into()),
                _ => {
                    let allowed = "route, outcome (ok, failed, cancelled or a fault's code), tenant, slow, limit and \
                                   format (json or text)";
                    return Err(wrong(format!("unknown parameter {name}={value}; allowed: {allowed}")));
                }
            }
        }
        Ok(wanted)
    }

    fn is_met_by(&self, story: &CallRecord) -> bool {
        let is_outcome = match self.outcome.as_deref() {
            None => true,
            Some("failed") => !story.is_fine() && story.outcome != "cancelled",
            Some(word) => story.outcome == word,
        };
        is_outcome
            && story.took >= self.slower_than
            && self.route.as_deref().is_none_or(|route| *story.route == *route)
            && self.tenant.as_deref().is_none_or(|tenant| story.tenant.as_deref() == Some(tenant))
    }
}

/// Who tells stories, with what is needed to do so.
pub(in crate::server) struct Teller<'a> {
    pub(in crate::server) gateway: &'a Gateway,
}

impl Teller<'_> {
    /// What a tenant is called where it must not be named.
    pub(in crate::server) fn mark(&self, name: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 marks of tenants");
        hasher.update(self.gateway.world.salt().as_bytes()).update(name.as_bytes());
        hasher.finalize().to_hex()[..8].to_owned()
    }

    /// When a call came, by the wall clock.
    fn came(&self, story: &CallRecord) -> String {
        let ago = Instant::now().saturating_duration_since(story.facts.started);
        let now = self.gateway.world.now();
        format!("{:.3}", now.checked_sub(ago).unwrap_or(now))
    }

    /// The policies of a route as they are now, and those around each attempt.
    fn pipeline(&self, route: &str) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
        let mut routes = self.gateway.describe();
        routes.find(|(plan, ..)| *plan.name == *route).map(|(_, names, target)| (names, target.to_vec()))
    }

    /// A call in a list.
    pub(in crate::server) fn short(&self, story: &CallRecord) -> Value {
        let facts = &story.facts;
        let telling = facts.telling();
        json!({
            "id": &*story.id,
            "at": self.came(story),
            "route": &*story.route,
            "tenant": story.tenant.as_deref().map(|tenant| self.mark(tenant)),
            "status": story.status,
            "outcome": story.outcome,
            "durationMs": milliseconds(story.took),
            "firstTokenMs": facts.first_token.map(milliseconds),
            "provider": telling.map(|attempt| &*attempt.provider),
            "model": telling.and_then(|attempt| attempt.model.as_deref()),
            "attempts": facts.attempts.len(),
            "cache": facts.cache.map(CacheResult::as_str),
            "variant": facts.variant.as_ref().map(|taken| &*taken.name),
            "degraded": facts.degraded.map(Degraded::as_str),
            "fallback": facts.fallback(),
            "modelAsked": facts.model_asked.as_deref(),
            "apiKey": story.api_key.as_deref(),
        })
    }

    fn whole(&self, story: &CallRecord) -> Value {
        let facts = &story.facts;
        let mut whole = self.short(story);
        let more = json!({
            "caller": story.caller,
            "method": story.method,
            "path": &*story.path,
            "generation": story.generation,
            "pipeline": self.pipeline(&story.route).map(|(route, target)| json!({"route": route, "target": target})),
            "detail": facts.fault_detail,
            "bytesIn": facts.bytes_in,
            "bytesOut": story.bytes_out,
            "events": story.events,
            "eventsDropped": facts.events_dropped,
            "cacheBecause": facts.cache_because,
            "limits": facts.limits.iter().map(limit).collect::<Vec<_>>(),
            "attempts": facts.attempts.iter().map(|tried| attempt(story, tried)).collect::<Vec<_>>(),
            "steps": facts.steps.iter().map(step).collect::<Vec<_>>(),
            "tokens": facts.tokens().map(|usage| json!({"input": usage.input, "output": usage.output, "estimated": facts.is_estimated()})),
            "textsBefore": facts.texts_before,
            "costUsd": story.cost,
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
    let in_units = |units: u64| units as f64 / fact.scale as f64;
    json!({
        "rule": &*fact.rule,
        "decision": fact.decision.as_str(),
        "quantity": fact.quantity,
        "count": in_units(fact.count),
        "windowSeconds": fact.window.as_secs_f64(),
        "burst": in_units(fact.burst),
        "remaining": in_units(fact.remaining),
        "moreInMs": milliseconds(fact.more_in),
        "source": fact.source,
    })
}

fn attempt(story: &CallRecord, tried: &Attempt) -> Value {
    json!({
        "atMs": milliseconds(offset(story, tried)),
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
    let (did, milliseconds, because) = match step.what {
        StepKind::Refused(retry_in) => ("refused", Some(milliseconds(retry_in)), None),
        StepKind::Waited(time) => ("waited", Some(milliseconds(time)), None),
        StepKind::Denied(why) => ("denied", None, Some(why)),
        StepKind::Skipped(why) => ("skipped", None, Some(why)),
        StepKind::Overdue(silence) => ("overdue", Some(milliseconds(silence)), None),
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
fn offset(story: &CallRecord, tried: &Attempt) -> Duration {
    tried.started.saturating_duration_since(story.facts.started)
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

fn answered(body: &Value) -> Answered {
    text_answer("application/json", body.to_string())
}

fn plain(text: String) -> Answered {
    text_answer("text/plain; charset=utf-8", text)
}

fn text_answer(content_type: &'static str, text: String) -> Answered {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
    ]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(text.into()) }
}
