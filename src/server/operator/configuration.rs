//! The configuration for operators: `GET /config`, and its part of `/health/status`.
//!
//! It shows no secret.

use serde_json::{Value, json};

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::OperatorRequest;

/// `GET /config`: every value in force. `tidegate check --against` reads it.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let salt = gateway.world.salt();
    Ok(ok(&json!({
        "generation": gateway.generation,
        "salt": salt,
        "config": gateway.plan.effective.dump(salt),
    })))
}

/// Which generation answers, and how the last reload went. A problem that quotes an address is shown only where addresses of
/// providers may be shown.
pub(super) fn status(gateway: &Gateway, shows_insides: bool) -> Value {
    let reloads = gateway.state.reloads();
    let mut status = json!({
        "generation": gateway.generation,
        "reloads": {"succeeded": reloads.succeeded, "failed": reloads.failed},
        "lastReload": null,
    });
    let Some(last) = reloads.last else { return status };
    let result = if last.problems.is_empty() { "success" } else { "failure" };
    status["lastReload"] = json!({"timestamp": format!("{:.3}", last.at), "result": result});
    if let Some(first) = last.problems.first() {
        // It quotes the configuration: names of customers' keys, of providers, and where they are.
        status["error"] = json!(if shows_insides { first.as_str() } else { "see the log for details" });
        status["problems"] = json!(last.problems.len());
    }
    if !last.needs_restart.is_empty() {
        status["needsRestart"] = json!(last.needs_restart);
    }
    status
}
