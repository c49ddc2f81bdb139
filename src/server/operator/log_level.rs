//! The log's level at run time: `/admin/log`.
//!
//! It does not know how a level takes effect, nor who may ask.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::caller::Answered;
use crate::config;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::OperatorRequest;

/// The body of a PUT.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelChange {
    /// As `log.level` in the config.
    level: String,
    /// For how long, as a duration in the config; without it, until the change is withdrawn or the process ends.
    r#for: Option<String>,
}

/// `GET /admin/log`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let shown = request.gateway.state.log().shown();
    let remaining = shown.remaining.map(|time| time.as_secs_f64());
    Ok(ok(&json!({"level": shown.level, "configured": shown.configured, "for_seconds": remaining})))
}

/// `PUT /admin/log`.
pub(super) fn change(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let (level, time) = read(&request.body).map_err(Problem::bad_request)?;
    request.gateway.state.log().wish(&level, time).map_err(Problem::bad_request)?;
    let seconds = time.map(|time| time.as_secs_f64());
    tracing::warn!(target: "tidegate::audit", level, seconds, address = %request.from, "log level changed");
    show(request)
}

/// `DELETE /admin/log`: back to the configured level.
pub(super) fn reset(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    request.gateway.state.log().withdraw().map_err(Problem::bad_request)?;
    tracing::warn!(target: "tidegate::audit", address = %request.from, "log level reset to the configured one");
    show(request)
}

fn read(body: &[u8]) -> Result<(String, Option<Duration>), String> {
    let change: LevelChange = serde_json::from_slice(body).map_err(|fault| {
        format!("the body must be like {{\"level\": \"info,tidegate=debug\", \"for\": \"10m\"}}: {fault}")
    })?;
    let time = change.r#for.as_deref().map(config::duration).transpose().map_err(|wrong| format!("`for`: {wrong}"))?;
    Ok((config::log_level(&change.level).map_err(|wrong| format!("`level`: {wrong}"))?, time))
}
