//! The log level at runtime: `GET`, `PUT` and `DELETE /admin/log` at the admin address, with the admin token.
//!
//! It does not know how a level takes effect.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::caller::Answered;
use crate::config;
use crate::gateway::Gateway;
use crate::server::operator::keys::{Problem, json_answer};

/// Where.
pub(in crate::server) const PATH: &str = "/admin/log";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// As `log.level` in the config.
    level: String,
    /// For how long, as a duration in the config; without it, until it is withdrawn or the process ends.
    r#for: Option<String>,
}

/// Answers who was let in.
pub(in crate::server) fn answer(gateway: &Gateway, from: IpAddr, method: &Method, body: &Bytes) -> Answered {
    let log = gateway.state.log();
    let outcome = match *method {
        Method::GET => Ok(()),
        Method::PUT => read(body).and_then(|(level, time)| {
            log.wish(&level, time)?;
            let seconds = time.map(|time| time.as_secs_f64());
            tracing::warn!(target: "tidegate::audit", level, seconds, address = %from, "log level changed");
            Ok(())
        }),
        Method::DELETE => log.withdraw().map(|()| {
            tracing::warn!(target: "tidegate::audit", address = %from, "log level reset to the configured one");
        }),
        _ => return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "allowed: GET, PUT, DELETE").answered(),
    };
    if let Err(detail) = outcome {
        return Problem::new(StatusCode::BAD_REQUEST, detail).answered();
    }
    let shown = log.shown();
    let remaining = shown.remaining.map(|time| time.as_secs_f64());
    let body = json!({"level": shown.level, "configured": shown.configured, "for_seconds": remaining});
    json_answer(StatusCode::OK, &body)
}

fn read(body: &Bytes) -> Result<(String, Option<std::time::Duration>), String> {
    let wish: Wish = serde_json::from_slice(body).map_err(|fault| {
        format!("the body must be as {{\"level\": \"info,tidegate=debug\", \"for\": \"10m\"}}: {fault}")
    })?;
    let time = wish.r#for.as_deref().map(config::duration).transpose().map_err(|wrong| format!("`for`: {wrong}"))?;
    Ok((config::log_level(&wish.level).map_err(|wrong| format!("`level`: {wrong}"))?, time))
}
