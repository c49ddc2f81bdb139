//! `tidegate health [URL]`: checks the health of a running gateway, for people, scripts and the image's health
//! check.
//!
//! It sees what any caller may see.

use std::process::ExitCode;

use serde_json::Value;

use super::remote;
use super::serve::in_runtime;
use crate::model::operator_paths::HEALTH_STATUS;

/// Asks the gateway at `url`; prints a line each for gateway, store, providers and memory. Exit code 0 healthy, 1 degraded
/// (or 0, where that is allowed), 2 unhealthy or not reachable.
pub fn run(url: &str, allow_degraded: bool) -> ExitCode {
    match in_runtime(ask(url)) {
        Ok(status) => {
            print!("{}", report(&status));
            match status["status"].as_str() {
                Some("healthy") => ExitCode::SUCCESS,
                Some("degraded") if allow_degraded => ExitCode::SUCCESS,
                Some("degraded") => ExitCode::from(1),
                _ => ExitCode::from(2),
            }
        }
        Err(problem) => {
            println!("{:<12} unreachable   {problem}", "gateway");
            ExitCode::from(2)
        }
    }
}

/// Services of the gateway's own; all others are providers.
const OWN: [&str; 4] = ["cache", "database", "redis", "websocket"];

async fn ask(url: &str) -> Result<Value, String> {
    let status = remote::ask(url, HEALTH_STATUS).await?.unwrap_or_default();
    match status["status"].is_string() && status["services"].is_object() {
        true => Ok(status),
        false => Err(format!("{url} is not a Tidegate gateway")),
    }
}

fn report(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let version = text(&status["version"]);
    let uptime = status["uptime"].as_f64().unwrap_or_default();
    let mut lines = vec![line("gateway", &text(&status["status"]), &format!("version {version}, up {uptime:.0} s"))];
    let services = status["services"].as_object().cloned().unwrap_or_default();
    let store = &services.get("database").cloned().unwrap_or_default();
    lines.push(line("store", &text(&store["status"]), &text(&store["kind"])));
    for (name, service) in services.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let about = match (service["latency"].as_f64(), service["error"].as_str()) {
            (_, Some(error)) => error.to_owned(),
            (Some(latency), None) => format!("{latency:.1} ms"),
            (None, None) => String::new(),
        };
        lines.push(line(name, &text(&service["status"]), &about));
    }
    let memory = match status["memory"]["rss"].as_f64() {
        Some(bytes) => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        None => "unknown".into(),
    };
    lines.push(line("memory", "ok", &memory));
    lines.concat()
}

fn line(name: &str, status: &str, about: &str) -> String {
    format!("{}\n", format!("{name:<12} {status:<13} {about}").trim_end())
}
