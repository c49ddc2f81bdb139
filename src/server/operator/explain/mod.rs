//! Explain: `GET /admin/explain/{id}` says what happened to one call, and what happens to one that runs; `GET /admin/explain`
//! lists the latest; as JSON, or as lines for a terminal (`Accept: text/plain` or `?format=text`). The id is the gateway's, or one
//! that the provider gave: its request id, or that of its answer.
//!
//! It does not know how any of it was found out. Tenants and API keys have their names for whoever shows the admin token, and
//! pseudonyms for all others, which change with each process: what is shown here ends up in tickets and on screens. An operator
//! who knows a tenant's name finds its calls by it (`?tenant=NAME`).

mod filter;
mod summary;
mod text;
mod timeline;

mod chart;
mod render;

mod lines;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use self::filter::{CallFilter, State};
pub(in crate::server) use self::render::CallRenderer;
use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::names::display_name;
use crate::model::trail;
use crate::model::trail::{Attempt, Facts, GuardFact};
use crate::server::operator::answer::{Problem, milliseconds, ok, text_answer, varying};
use crate::server::operator::endpoint::OperatorRequest;
use crate::telemetry::explain::CallRecord;

const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /admin/explain`: the calls that meet the conditions of the query, those in flight first.
pub(super) fn list(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let filter = CallFilter::read(request.parts)?;
    check_history(gateway)?;
    let renderer = CallRenderer::for_request(request);
    let history = gateway.state.call_history();
    let is_wanted = |record: &CallRecord| filter.matches(record, |name| renderer.pseudonym(name));
    let mut records: Vec<Arc<CallRecord>> = Vec::new();
    if filter.state != State::Ended {
        records.extend(history.running(filter.limit, is_wanted));
    }
    if filter.state != State::Running {
        // A call may have ended meanwhile: it is listed once.
        let room = filter.limit - records.len();
        let is_known = |record: &CallRecord| {
            records.iter().any(|known| known.facts.started == record.facts.started && known.id == record.id)
        };
        let ended = history.latest(room, |record| is_wanted(record) && !is_known(record));
        records.extend(ended);
    }
    if filter.is_text {
        return Ok(varying(text_answer(TEXT, lines::list(&renderer, records.iter().map(|record| &**record)))));
    }
    let calls: Vec<Value> = records.iter().map(|record| renderer.short(record)).collect();
    let (count, bytes) = history.fill();
    let remembered = json!({"calls": count, "bytes": bytes});
    Ok(varying(ok(&json!({"calls": calls, "running": history.in_flight.count(), "remembered": remembered}))))
}

/// `GET /admin/explain/{id}`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let filter = CallFilter::read(request.parts)?;
    check_history(gateway)?;
    let renderer = CallRenderer::for_request(request);
    match gateway.state.call_history().find_any(request.name) {
        Some(record) if filter.is_text => Ok(varying(text_answer(TEXT, lines::all(&renderer, &record)))),
        Some(record) => Ok(varying(ok(&renderer.whole(&record)))),
        None => {
            let detail = "no call with this id in the history: it is too old, its request is still being read, or it went through \
                          another gateway";
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

/// When an attempt began, from the call's start. One of an answer that others had asked for may have begun before.
fn offset(record: &CallRecord, tried: &Attempt) -> Duration {
    tried.started.saturating_duration_since(record.facts.started)
}

/// The instances that an attempt was sent to.
fn instances(tried: &Attempt) -> Vec<u32> {
    (0..u64::BITS).filter(|bit| tried.instances & (1 << bit) != 0).collect()
}

/// The provider that something is about, after the policy's name; empty: it is about none.
fn named(provider: Option<&str>) -> String {
    provider.map(|name| format!(" {}", display_name(name))).unwrap_or_default()
}

/// What the cache said, and why.
fn cached(facts: &Facts) -> Option<String> {
    let because = facts.cache_because.map(|why| format!(": {why}")).unwrap_or_default();
    facts.cache.map(|cache| format!("{}{because}", cache.as_str()))
}

/// What a guardrail did with its finding.
fn guarded(fact: &GuardFact) -> &'static str {
    match fact.action {
        "mask" => "masked",
        "reject" => "blocked",
        _ => "reported",
    }
}

/// How an attempt ended, with the status by which its provider failed: its support asks for that first.
fn ended_with_status(tried: &Attempt) -> Cow<'static, str> {
    let word = ended(tried);
    match (tried.outcome, tried.status) {
        (trail::Outcome::Failed(_), Some(status)) if !(200..300).contains(&status) => {
            format!("{word} (status {status})").into()
        }
        _ => word.into(),
    }
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
