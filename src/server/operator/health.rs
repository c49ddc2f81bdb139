//! Health endpoints: `/health`, `/health/live`, `/health/ready`, `/health/status`, `/info` and `/metrics`; at the
//! admin address also `/config` and the reset of circuit breakers.
//!
//! All of it is read from the gateway's state, which probes keep fresh; no request waits for a provider here.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::caller::{Answered, AnsweredBody, Comeback};
use crate::config::plan::{ProviderKind, ProviderPlan, Usable};
use crate::gateway::Gateway;
use crate::gateway::health::{health_of, is_enabled, overall, refuses_key, status_word};
use crate::gateway::state::Health;
use crate::model::fault::Fault;
use crate::policy::breaker::Report;
use crate::server::operator::configuration;
use crate::telemetry::metrics::resident_memory;

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "health".into());

/// Answers a caller when the path is one of these. What goes on inside is shown where the config says so.
pub(in crate::server) fn answer(
    gateway: &Gateway,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Answered> {
    tell(gateway, method, path, headers, gateway.plan.server.shows_insides)
}

fn tell(gateway: &Gateway, method: &Method, path: &str, headers: &HeaderMap, shows_insides: bool) -> Option<Answered> {
    let page: fn(&Gateway, &HeaderMap, bool) -> Answered = match path {
        "/health" => |gateway, _, _| {
            ok(&json!({
                "status": "healthy",
                "timestamp": timestamp(gateway),
                "uptime": uptime(gateway),
                "environment": gateway.plan.environment.as_str(),
            }))
        },
        "/health/live" => |_, _, _| ok(&json!({"alive": true})),
        "/health/ready" => |gateway, _, _| ready(gateway),
        "/health/status" => |gateway, _, shows_insides| status(gateway, shows_insides),
        "/info" => |gateway, _, _| info(gateway),
        "/metrics" if shows_insides => |gateway, headers, _| metrics(gateway, headers),
        _ => return None,
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answered = json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "allowed: GET"}));
        answered.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(answered);
    }
    Some(page(gateway, headers, shows_insides))
}

/// Answers an operator.
pub(in crate::server) fn operate(
    gateway: &Gateway,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Answered> {
    match (method, path) {
        (&Method::POST, "/api/llm/reset") => Some(reset(gateway)),
        (&Method::GET | &Method::HEAD, "/config") => Some(ok(&configuration::page(gateway))),
        _ => tell(gateway, method, path, headers, true),
    }
}

/// True for the pages of this module, which orchestrators and Prometheus read.
pub(in crate::server) fn is_page(path: &str) -> bool {
    is_limited(path) || matches!(path, "/health/live" | "/health/ready" | "/metrics")
}

/// True for pages that callers may be refused (`limit.health`).
pub(in crate::server) fn is_limited(path: &str) -> bool {
    matches!(path, "/health" | "/health/status" | "/info")
}

/// Rate-limits the pages.
pub(in crate::server) fn refuse(fault: &Fault, comeback: Comeback) -> Answered {
    let status = fault.status();
    let wait = comeback.of(status, fault);
    let body = json!({"error": fault.public(), "code": fault.code(), "retryAfter": wait});
    let mut answered = json_answer(status, &body);
    answered.headers.extend(wait.map(|wait| (header::RETRY_AFTER, wait.into())));
    answered
}

/// No endpoint at this operator path (RFC 9457).
pub(in crate::server) fn nothing() -> Answered {
    let body = json!({
        "title": "Not Found",
        "status": 404,
        "detail": "here are / (the live page), /health, /health/live, /health/ready, /health/status, /info, /metrics, /config, /api/usage, /admin/explain and /admin/keys",
    });
    let mut answered = json_answer(StatusCode::NOT_FOUND, &body);
    answered.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answered
}

fn json_answer(status: StatusCode, body: &Value) -> Answered {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Answered { status, headers, body: AnsweredBody::Full(body.to_string().into()) }
}

fn ok(body: &Value) -> Answered {
    json_answer(StatusCode::OK, body)
}

fn uptime(gateway: &Gateway) -> f64 {
    (gateway.state.uptime().as_millis() as f64) / 1000.0
}

/// RFC 3339, to the millisecond.
fn timestamp(gateway: &Gateway) -> String {
    format!("{:.3}", gateway.world.now())
}

/// Milliseconds with three decimals.
pub(in crate::server) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn metrics(gateway: &Gateway, headers: &HeaderMap) -> Answered {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open = accept.contains("application/openmetrics-text");
    let content_type = match open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(gateway.metrics_text(open).into()) }
}

fn info(gateway: &Gateway) -> Answered {
    let names = |usable: bool| -> Vec<&str> {
        let wanted = gateway.plan.providers.iter().filter(|plan| is_enabled(gateway, plan) == usable);
        wanted.map(|plan| &*plan.name).collect()
    };
    let mut models: Vec<&str> = Vec::new();
    for target in gateway.plan.routes.iter().flat_map(|route| &route.targets) {
        models.extend(target.model.as_deref());
    }
    models.extend(gateway.plan.routes.iter().filter_map(|route| route.model.as_deref()));
    models.sort_unstable();
    models.dedup();
    ok(&json!({
        "name": "tidegate",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime(gateway),
        "environment": gateway.plan.environment.as_str(),
        "providers": names(true),
        "providersOff": names(false),
        "models": models,
        "features": ["failover", "streaming", "translation", "timeouts", "limits", "health", "metrics"],
    }))
}

fn ready(gateway: &Gateway) -> Answered {
    if gateway.state.is_draining() {
        return json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": "the gateway is shutting down"}),
        );
    }
    let check = |name: &str, health: &Health| {
        let latency = if let Health::Connected { latency } = health { Some(milliseconds(*latency)) } else { None };
        json!({"name": name, "status": status_word(health), "latency": latency})
    };
    let mut checks = vec![json!({"name": "gateway", "status": "ok", "latency": 0})];
    if gateway.plan.store.redis_url.is_some() {
        checks.push(check("redis", &gateway.state.store()));
    }
    for plan in gateway.plan.providers.iter().filter(|plan| is_enabled(gateway, plan)) {
        let health = health_of(gateway, plan);
        // Taking every gateway out of the load balancer because one provider is down would turn its trouble into
        // everybody's: only those who ask for it get that.
        if gateway.plan.health.strict_readiness && plan.kind == ProviderKind::BuildPanel && !health.is_connected() {
            let reason = format!("BuildPanel is {}", status_word(&health));
            return json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"ready": false, "reason": reason}));
        }
        checks.push(check(&plan.name, &health));
    }
    ok(&json!({"ready": true, "checks": checks}))
}

/// How a provider is; where it is, for who may know.
fn service(gateway: &Gateway, plan: &ProviderPlan, shows_insides: bool) -> Value {
    let mut service = standing(gateway, plan);
    if shows_insides {
        service["url"] = plan.urls.iter().map(url::Url::as_str).collect::<Vec<_>>().join(", ").into();
    }
    service
}

fn standing(gateway: &Gateway, plan: &ProviderPlan) -> Value {
    if !is_enabled(gateway, plan) {
        let why = match plan.usable {
            Usable::NoKey => "no key is set",
            Usable::NotEnabled => "it was not enabled",
            Usable::Yes | Usable::SwitchedOff => "it is disabled",
        };
        return json!({"status": "disabled", "error": why, "latency": null});
    }
    let health = health_of(gateway, plan);
    let word = status_word(&health);
    let mut service = match health {
        Health::Connected { latency } => json!({"status": word, "latency": milliseconds(latency)}),
        Health::Unknown => json!({"status": word, "error": "the first probe has not ended", "latency": null}),
        Health::Disconnected { error } | Health::Failing { error } => {
            json!({"status": word, "error": error, "latency": null})
        }
    };
    if refuses_key(gateway, plan) {
        // Whatever its probe says: a provider's front page may well be open to all.
        service["status"] = "error".into();
        service["error"] = "it refuses the gateway's key".into();
    }
    let reports = gateway.state.provider(&plan.name).map(|state| state.breakers.reports()).unwrap_or_default();
    let breakers: Vec<Value> = reports.iter().filter(|report| report.transitions > 0).map(breaker).collect();
    if !breakers.is_empty() {
        service["breakers"] = breakers.into();
    }
    service
}

/// A breaker that has a history.
fn breaker(report: &Report) -> Value {
    json!({
        "models": &*report.family,
        "state": report.state.as_str(),
        "reason": report.reason,
        "refused": report.refused,
        "transitions": report.transitions,
    })
}

/// Closes every breaker: an operator knows that a provider is well again.
fn reset(gateway: &Gateway) -> Answered {
    for provider in gateway.state.providers() {
        provider.breakers.reset();
    }
    tracing::warn!("all breakers were closed by an operator");
    ok(&json!({"success": true, "message": "all breakers are closed"}))
}

fn cache(gateway: &Gateway) -> Value {
    let is_active = gateway.plan.routes.iter().any(|route| route.cache.is_some());
    let (hits, misses) = gateway.state.cache_counts();
    let keys = gateway.state.entries().fill().entries;
    json!({"status": if is_active { "active" } else { "inactive" }, "keys": keys, "hits": hits, "misses": misses})
}

fn status(gateway: &Gateway, shows_insides: bool) -> Answered {
    let mut services = Map::new();
    for plan in &gateway.plan.providers {
        services.insert(plan.name.to_string(), service(gateway, plan, shows_insides));
    }
    let is_remote = gateway.plan.store.redis_url.is_some();
    let (store, kind) = if is_remote {
        (gateway.state.store(), "redis")
    } else {
        (Health::Connected { latency: Duration::ZERO }, "embedded")
    };
    let latency = if let Health::Connected { latency } = &store { Some(milliseconds(*latency)) } else { None };
    let error = if let Health::Disconnected { error } | Health::Failing { error } = &store {
        Some(error.as_str())
    } else {
        None
    };
    services.insert(
        "redis".into(),
        match (is_remote, error) {
            (false, _) => json!({"status": "disabled", "latency": null}),
            (true, None) => json!({"status": status_word(&store), "latency": latency}),
            (true, Some(error)) => json!({"status": status_word(&store), "latency": latency, "error": error}),
        },
    );
    services.insert("cache".into(), cache(gateway));
    services.insert("database".into(), json!({"status": status_word(&store), "kind": kind, "latency": latency}));
    services.insert("websocket".into(), json!({"connections": gateway.state.tunnels().report().open}));
    let word = overall(gateway);
    let shared = gateway.state.limits().fronts.report().fronts;
    let warnings = (shared > 0).then(|| {
        format!(
            "{shared} addresses of proxies are not in server.trusted_proxies: limits by address are not enforced there"
        )
    });
    let code = if word == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_answer(
        code,
        &json!({
            "status": word,
            "timestamp": timestamp(gateway),
            "uptime": uptime(gateway),
            "environment": gateway.plan.environment.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "memory": {"rss": resident_memory()},
            "config": configuration::status(gateway, shows_insides),
            "warnings": warnings.into_iter().collect::<Vec<_>>(),
            "services": services,
        }),
    )
}
