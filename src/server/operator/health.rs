//! `/health`, `/health/live`, `/health/ready`, `/health/status`, `/info` and `/metrics`, and the reset of circuit breakers.
//!
//! All of it is read from the state, which probes keep fresh: no request waits for a provider here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::caller::{Answered, Comeback};
use crate::config::plan::{ModelChoice, ProviderKind, ProviderPlan, TargetPlan, Usable};
use crate::gateway::Gateway;
use crate::gateway::health::{Overall, health_of, is_enabled, overall, refuses_key, status_word};
use crate::gateway::state::Health;
use crate::model::fault::Fault;
use crate::policy::breaker::Report;
use crate::server::operator::answer::{Problem, json_answer, milliseconds, ok, text_answer};
use crate::server::operator::configuration;
use crate::server::operator::endpoint::OperatorRequest;
use crate::telemetry::metrics::resident_memory;

/// `GET /health`.
pub(super) fn health(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    Ok(ok(&json!({
        "status": "healthy",
        "timestamp": timestamp(gateway),
        "uptime": uptime(gateway),
        "environment": gateway.plan.environment.as_str(),
    })))
}

/// `GET /health/live`.
pub(super) fn live(_: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(ok(&json!({"alive": true})))
}

/// What a caller gets that exceeds the rule `health`.
pub(super) fn limited(fault: &Fault, comeback: Comeback) -> Answered {
    let status = fault.status();
    let wait = comeback.of(status, fault);
    let body = json!({"error": fault.public(), "code": fault.code(), "retryAfter": wait});
    let mut answered = json_answer(status, &body);
    answered.headers.extend(wait.map(|wait| (header::RETRY_AFTER, wait.into())));
    answered
}

fn uptime(gateway: &Gateway) -> f64 {
    (gateway.state.uptime().as_millis() as f64) / 1000.0
}

/// RFC 3339, to the millisecond.
fn timestamp(gateway: &Gateway) -> String {
    format!("{:.3}", gateway.world.now())
}

/// `GET /metrics`: OpenMetrics where `Accept` asks for it, else Prometheus' text format.
pub(super) fn metrics(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let accept = request.parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open_metrics = accept.contains("application/openmetrics-text");
    let content_type = match is_open_metrics {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    Ok(text_answer(content_type, request.gateway.metrics_text(is_open_metrics)))
}

/// `GET /info`.
pub(super) fn info(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let names = |is_on: bool| -> Vec<&str> {
        let providers = gateway.plan.providers.iter().filter(|plan| is_enabled(gateway, plan) == is_on);
        providers.map(|plan| &*plan.name).collect()
    };
    let routes = || gateway.plan.routes.iter();
    // Whatever its caller names.
    let chosen = |target: &TargetPlan| match target.choose(None) {
        ModelChoice::Replace(model) => Some(model),
        ModelChoice::AsAsked | ModelChoice::NotHere => None,
    };
    let of_targets = routes().flat_map(|route| route.all_targets()).filter_map(chosen);
    let models: BTreeSet<Arc<str>> = of_targets.chain(routes().filter_map(|route| route.model.clone())).collect();
    Ok(ok(&json!({
        "name": "tidegate",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime(gateway),
        "environment": gateway.plan.environment.as_str(),
        "providers": names(true),
        "providersOff": names(false),
        "models": models,
        "pricesAsOf": gateway.plan.models.date.map(|date| date.to_string()),
        "features": ["failover", "streaming", "translation", "timeouts", "limits", "health", "metrics"],
    })))
}

/// `GET /health/ready`.
pub(super) fn ready(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    let not_ready =
        |reason: String| json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"ready": false, "reason": reason}));
    if gateway.state.is_draining() {
        return Ok(not_ready("the gateway is shutting down".into()));
    }
    let check = |name: &str, health: &Health| {
        let latency = health.latency().map(milliseconds);
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
            return Ok(not_ready(format!("BuildPanel is {}", status_word(&health))));
        }
        checks.push(check(&plan.name, &health));
    }
    Ok(ok(&json!({"ready": true, "checks": checks})))
}

/// How a provider is; where it is, for who may know.
fn service(gateway: &Gateway, plan: &ProviderPlan, shows_insides: bool) -> Value {
    let mut service = provider_status(gateway, plan);
    if shows_insides {
        service["url"] = plan.urls.iter().map(url::Url::as_str).collect::<Vec<_>>().join(", ").into();
    }
    service
}

fn provider_status(gateway: &Gateway, plan: &ProviderPlan) -> Value {
    if !is_enabled(gateway, plan) {
        let why = match plan.usable {
            Usable::NoKey => "no API key is set",
            Usable::NotEnabled => "not enabled in the configuration",
            Usable::Yes | Usable::SwitchedOff => "switched off",
        };
        return json!({"status": "disabled", "error": why, "latency": null});
    }
    let health = health_of(gateway, plan);
    let word = status_word(&health);
    let mut service = match health {
        Health::Unknown => json!({"status": word, "error": "the first probe has not finished", "latency": null}),
        health => {
            // Of one that is not probed nothing is measured.
            let latency = health.latency().filter(|_| plan.probe.is_some()).map(milliseconds);
            let mut service = json!({"status": word, "latency": latency});
            if let Some(error) = health.error() {
                service["error"] = error.into();
            }
            service
        }
    };
    if refuses_key(gateway, plan) {
        // Whatever its probe says: a provider's front page may well be open to all.
        service["status"] = "error".into();
        service["error"] = "the provider rejects the gateway's key".into();
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

/// `POST /api/llm/reset`: closes every circuit breaker, when an operator knows that a provider is well again.
pub(super) fn reset(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    for provider in request.gateway.state.providers() {
        provider.breakers.reset();
    }
    tracing::warn!("an operator closed all circuit breakers");
    Ok(ok(&json!({"success": true, "message": "all circuit breakers are closed"})))
}

fn cache(gateway: &Gateway) -> Value {
    let is_active = gateway.plan.routes.iter().any(|route| route.cache.is_some());
    let (hits, misses) = gateway.state.cache_counts();
    let keys = gateway.state.entries().fill().entries;
    json!({"status": if is_active { "active" } else { "inactive" }, "keys": keys, "hits": hits, "misses": misses})
}

/// `GET /health/status`.
pub(super) fn status(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let (gateway, shows_insides) = (request.gateway, request.shows_insides);
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
    let latency = store.latency().map(milliseconds);
    let error = store.error();
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
    let Overall { word, reasons } = overall(gateway);
    let shared = gateway.state.limits().fronts.report().fronts;
    let warnings = (shared > 0).then(|| {
        format!(
            "{shared} proxy addresses are not listed in server.trusted_proxies: limits by address are not enforced for them"
        )
    });
    let code = if word == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(json_answer(
        code,
        &json!({
            "status": word,
            "reasons": reasons,
            "timestamp": timestamp(gateway),
            "uptime": uptime(gateway),
            "environment": gateway.plan.environment.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "memory": {"rss": resident_memory()},
            "config": configuration::status(gateway, shows_insides),
            "warnings": warnings.into_iter().collect::<Vec<_>>(),
            "services": services,
        }),
    ))
}
