//! What if: `/admin/what-if`: what the last recorded hour would have been like with another rate of one limit.
//!
//! It does not know who may ask, nor how that is found out.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::Answered;
use crate::config;
use crate::config::plan::Plan;
use crate::config::plan::limit::LimitPlan;
use crate::server::operator::answer::{Problem, json_answer, milliseconds, ok};
use crate::server::operator::endpoint::OperatorRequest;
use crate::server::what_if::{Answer, Question, State, WhatIf};

const FORM: &str = r#"the body must be like {"limit": "ai", "rate": "20/min"}"#;

/// The body of a POST.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    limit: Arc<str>,
    rate: Arc<str>,
}

/// `GET /admin/what-if`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(ok(&shown(request)))
}

/// `POST /admin/what-if`: begins, and does not wait for the end.
pub(super) fn begin(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let conflict = |detail: String| Problem::new(StatusCode::CONFLICT, detail);
    let Body { limit, rate } =
        serde_json::from_slice(&request.body).map_err(|fault| Problem::bad_request(format!("{FORM}: {fault}")))?;
    let (what_if, folder) = match (what_if(request), &gateway.plan.record.folder) {
        (Some(what_if), Some(folder)) => (what_if, folder.clone()),
        _ => return Err(conflict(obstacle(request).unwrap_or_default())),
    };
    if let Some(obstacle) = obstacle(request) {
        return Err(conflict(obstacle));
    }
    if gateway.state.is_leaving() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway is shutting down"));
    }
    let rule = gateway.plan.limits.rules.iter().find(|rule| rule.name == limit).ok_or_else(|| {
        let names: Vec<&str> = gateway.plan.limits.rules.iter().map(|rule| &*rule.name).collect();
        let detail = format!("no limit is called \"{}\"; the limits are: {}", limit.escape_debug(), names.join(", "));
        Problem::bad_request(detail)
    })?;
    config::check_rate(rule, &rate).map_err(|wrong| Problem::bad_request(format!("`rate`: {wrong}")))?;
    let question = Question { limit: rule.name.clone(), rate, is_shadow: !rule.is_enforced, folder };
    tracing::info!(limit = &*rule.name, rate = &*question.rate, address = %request.from, "an operator asks what if");
    match what_if.begin(question, gateway) {
        Ok(()) => Ok(json_answer(StatusCode::ACCEPTED, &shown(request))),
        Err(Some((running, _))) => Err(conflict(format!(
            "one simulation runs at a time, and one is running (limit {}, rate {}): ask again when it has ended",
            running.limit, running.rate
        ))),
        Err(None) => Err(conflict(NOT_OFFERED.to_owned())),
    }
}

const NOT_OFFERED: &str = "this process cannot simulate its own configuration; `tidegate serve` can";

fn what_if<'r>(request: &OperatorRequest<'r>) -> Option<&'r WhatIf> {
    request.current.map(|current| current.what_if()).filter(|what_if| what_if.is_offered())
}

/// Why nothing can be asked, and what to do.
fn obstacle(request: &OperatorRequest<'_>) -> Option<String> {
    let Plan { record, limits, .. } = &*request.gateway.plan;
    if what_if(request).is_none() {
        return Some(NOT_OFFERED.to_owned());
    }
    if record.folder.is_none() {
        let detail = "calls are not recorded: set `folder` in `[record]`, and ask when some calls have been recorded";
        return Some(detail.to_owned());
    }
    match limits.is_on && !limits.rules.is_empty() {
        true => None,
        false => Some("no rate limit is active: see `limits.enabled` and `[limit.NAME]`".to_owned()),
    }
}

fn shown(request: &OperatorRequest<'_>) -> Value {
    let obstacle = obstacle(request);
    let rules = request.gateway.plan.limits.rules.iter().filter(|_| obstacle.is_none());
    let limits: Vec<Value> = rules
        .map(|rule| json!({"name": &*rule.name, "rate": written(rule), "quantity": rule.quantity.as_str(), "isEnforced": rule.is_enforced}))
        .collect();
    let State { running, last } = what_if(request).map(WhatIf::state).unwrap_or_default();
    json!({
        "isAvailable": obstacle.is_none(),
        "obstacle": obstacle,
        "limits": limits,
        "running": running.map(|(question, since)| {
            json!({"limit": &*question.limit, "rate": &*question.rate, "seconds": since.elapsed().as_secs()})
        }),
        "last": last.as_deref().map(answered),
    })
}

fn answered(Answer { question, at, took, result }: &Answer) -> Value {
    json!({
        "limit": &*question.limit,
        "rate": &*question.rate,
        "isShadow": question.is_shadow,
        "at": at.to_string(),
        "tookMs": milliseconds(*took),
        "problem": result.as_ref().err(),
        "outcome": result.as_ref().ok(),
    })
}

/// A rate as the config has it.
fn written(rule: &LimitPlan) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "h"), (60, "min")];
    let amount = rule.rate.count as f64 / rule.quantity.scale() as f64;
    let seconds = rule.rate.period.as_secs();
    let (period, unit) =
        UNITS.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit)).unwrap_or((1, "s"));
    match rule.rate.period.as_secs_f64() / period as f64 {
        1.0 => format!("{amount}/{unit}"),
        times => format!("{amount}/{times}{unit}"),
    }
}
