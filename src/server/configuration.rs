//! The configuration as operators see it: `GET /config`, and what `/health/status` says of it.
//!
//! It shows no secret.

use serde_json::{Value, json};

use crate::gateway::Gateway;

/// Everything in force: `tidegate check --against` reads it.
pub(super) fn page(gateway: &Gateway) -> Value {
    let salt = gateway.world.salt();
    json!({
        "generation": gateway.generation,
        "salt": salt,
        "config": gateway.plan.effective.dump(salt),
    })
}

/// Which generation answers, and what became of the last attempt to change it.
pub(super) fn status(gateway: &Gateway) -> Value {
    let reloads = gateway.live.reloads();
    let mut status = json!({
        "generation": gateway.generation,
        "reloads": {"succeeded": reloads.succeeded, "failed": reloads.failed},
        "lastReload": null,
    });
    let Some(last) = reloads.last else { return status };
    let result = if last.problems.is_empty() { "success" } else { "failure" };
    status["lastReload"] = json!({"timestamp": format!("{:.3}", last.at), "result": result});
    if let Some(first) = last.problems.first() {
        status["error"] = json!(first);
        status["problems"] = json!(last.problems.len());
    }
    if !last.needs_restart.is_empty() {
        status["needsRestart"] = json!(last.needs_restart);
    }
    status
}
