//! `tidegate health [--url URL]`: checks the health of a running gateway, for people, scripts and the image's health
//! check.
//!
//! It sees what any caller may see.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::output::put_and_end;
use super::remote::{self, without_password};
use super::serve::in_runtime;
use crate::model::operator_paths::HEALTH_STATUS;
use crate::model::text::clean;

/// Asks the gateway at `url`; prints a line each for gateway, store, providers and memory. Exit code 0 healthy, 1 degraded
/// (or 0, where that is allowed), 2 unhealthy or not reachable.
pub fn run(url: &str, allow_degraded: bool) -> ExitCode {
    let (text, code) = match in_runtime(ask(url)) {
        Ok(status) => {
            let code = match &*status.status {
                "healthy" => 0,
                "degraded" if allow_degraded => 0,
                "degraded" => 1,
                _ => 2,
            };
            (report(&status), code)
        }
        Err(problem) => (line("gateway", "unreachable", &problem), 2),
    };
    put_and_end(&text, code, 2)
}

/// What a gateway says of its health, as far as it is shown.
#[derive(Deserialize)]
struct Status {
    status: String,
    /// Why it is not healthy. Older gateways say nothing.
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    config: Value,
    version: Option<String>,
    uptime: Option<f64>,
    memory: Option<Memory>,
    /// In the gateway's order.
    services: Map<String, Value>,
}

#[derive(Deserialize)]
struct Memory {
    rss: Option<f64>,
}

/// Services of the gateway's own; all others are providers.
const OWN: [&str; 4] = ["cache", "database", "redis", "websocket"];

async fn ask(url: &str) -> Result<Status, String> {
    let answer = remote::ask(url, HEALTH_STATUS).await?;
    match answer.redirection() {
        Some(location) => {
            Err(format!("{} points to {location}: give the gateway's own address", without_password(url)))
        }
        None => answer.json().map_err(|why| format!("{} is not a Tidegate gateway: {why}", without_password(url))),
    }
}

fn report(status: &Status) -> String {
    let text = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    let version = text(status.version.as_deref());
    let uptime = status.uptime.unwrap_or_default();
    let mut lines = vec![line("gateway", &status.status, &format!("version {version}, up {uptime:.0} s"))];
    lines.extend(status.reasons.iter().map(|reason| line("", "because", reason)));
    if let Some(error) = status.config["error"].as_str() {
        lines.push(line("config", "refused", &format!("the one before stays in force: {error}")));
    }
    let services = &status.services;
    let store = services.get("database").unwrap_or(&Value::Null);
    lines.push(line("store", &text(store["status"].as_str()), &text(store["kind"].as_str())));
    for (name, service) in services.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let about = match (service["latency"].as_f64(), service["error"].as_str(), service["status"].as_str()) {
            (_, Some(error), _) => error.to_owned(),
            (Some(latency), None, _) => format!("{latency:.1} ms"),
            // One without a probe is taken to be there.
            (None, None, Some("connected")) => "not probed".into(),
            (None, None, _) => String::new(),
        };
        lines.push(line(name, &text(service["status"].as_str()), &about));
        lines.extend(service["breakers"].as_array().into_iter().flatten().filter_map(breaker));
    }
    let memory = match status.memory.as_ref().and_then(|memory| memory.rss) {
        Some(bytes) => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        None => "unknown".into(),
    };
    lines.push(line("memory", "ok", &memory));
    lines.concat()
}

/// A circuit breaker that holds calls back.
fn breaker(breaker: &Value) -> Option<String> {
    let state = breaker["state"].as_str().filter(|state| *state != "closed")?;
    let models = breaker["models"].as_str().filter(|models| !models.is_empty()).unwrap_or("any model");
    let reason = breaker["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(line("", state, &format!("circuit breaker of {models}{reason}")))
}

fn line(name: &str, status: &str, about: &str) -> String {
    format!("{}\n", clean(format!("{name:<12} {status:<13} {about}").trim_end()))
}
