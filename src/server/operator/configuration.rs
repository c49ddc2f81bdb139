//! The configuration for operators: `GET /config`, and its part of `/health/status`.
//!
//! It shows no secret.

use serde_json::{Value, json};

use crate::gateway::Gateway;

/// Everything in force: `tidegate check --against` reads it.
pub(in crate::server) fn page(gateway: &Gateway) -> Value {
    let salt = gateway.world.salt();
    json!({
        "generation": gateway.generation,
        "salt": salt,
        "config": gateway.plan.effective.dump(salt),
    })
}

/// Which generation answers, and what became of the last attempt to change it. A mistake that quotes an address is told only
/// to who may know where providers are.
pub(in crate::server) fn status(gateway: &Gateway, shows_insides: bool) -> Value {
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
        let is_told = shows_insides || !first.contains("://");
        status["error"] = json!(if is_told { first.as_str() } else { "the log tells what is wrong" });
        status["problems"] = json!(last.problems.len());
    }
    if !last.needs_restart.is_empty() {
        status["needsRestart"] = json!(last.needs_restart);
    }
    status
}
