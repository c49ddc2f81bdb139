//! The paths of the operators' endpoints, in one list: the endpoints take their paths from here, and the
//! configuration learns which paths no route may have.
//!
//! It does not know how they respond, nor to whom. `{name}` stands for one segment.

/// Whether the process runs.
pub const HEALTH: &str = "/health";
/// The liveness probe of an orchestrator.
pub const HEALTH_LIVE: &str = "/health/live";
/// The readiness probe of an orchestrator or a load balancer.
pub const HEALTH_READY: &str = "/health/ready";
/// The health of every provider, of the store and of the configuration.
pub const HEALTH_STATUS: &str = "/health/status";
/// Name, version, providers and models.
pub const INFO: &str = "/info";
/// Metrics for Prometheus.
pub const METRICS: &str = "/metrics";
/// The configuration in force.
pub const CONFIG: &str = "/config";
/// What calls cost.
pub const USAGE: &str = "/api/usage";
/// All flags.
pub const FLAGS: &str = "/api/flags";
/// One flag.
pub const FLAG: &str = "/api/flags/{key}";
/// What was changed of a flag.
pub const FLAG_HISTORY: &str = "/api/flags/{key}/history";
/// Takes back a change of a flag.
pub const FLAG_UNDO: &str = "/api/flags/{key}/undo";
/// All API keys.
pub const KEYS: &str = "/admin/keys";
/// One API key.
pub const KEY: &str = "/admin/keys/{name}";
/// Gives an API key a new secret.
pub const KEY_ROTATE: &str = "/admin/keys/{name}/rotate";
/// Jobs, as operators see them.
pub const JOBS: &str = "/admin/jobs";
/// One job.
pub const JOB: &str = "/admin/jobs/{id}";
/// Has a job tried again.
pub const JOB_RETRY: &str = "/admin/jobs/{id}/retry";
/// Deletes jobs that are over.
pub const JOBS_PURGE: &str = "/admin/jobs/purge";
/// The latest calls.
pub const EXPLAIN: &str = "/admin/explain";
/// What happened to one call.
pub const EXPLAIN_CALL: &str = "/admin/explain/{id}";
/// The log's level.
pub const LOG: &str = "/admin/log";
/// What the last hour or day was like.
pub const HISTORY: &str = "/admin/history";
/// What the live page shows, as events.
pub const LIVE: &str = "/admin/live";
/// What the last recorded hour would have been like.
pub const WHAT_IF: &str = "/admin/what-if";
/// Removes cached responses.
pub const PURGE: &str = "/cache/purge";
/// Closes all circuit breakers.
pub const RESET: &str = "/api/llm/reset";
/// The OpenAPI document.
pub const OPENAPI: &str = "/openapi.json";
/// The live page.
pub const PAGE: &str = "/";
/// Its scripts and its style.
pub const PAGE_FILE: &str = "/page/{name}";
/// How a simulated provider behaves; there are none but in the demo and in tests.
pub const DEMO_PROVIDER: &str = "/demo/providers/{name}";

/// The paths that the gateway answers at the callers' address too, where a route of the same path would never be reached.
pub const AT_CALLERS: [&str; 12] = [
    HEALTH,
    HEALTH_LIVE,
    HEALTH_READY,
    HEALTH_STATUS,
    INFO,
    METRICS,
    USAGE,
    FLAGS,
    FLAG,
    FLAG_HISTORY,
    FLAG_UNDO,
    DEMO_PROVIDER,
];

/// True for a path that no route can have, because the gateway answers it itself, or everything below a beginning of it.
pub fn is_reserved(path: &str) -> bool {
    AT_CALLERS.iter().any(|own| match own.split_once('{') {
        Some((beginning, _)) => path.starts_with(beginning),
        None => path == *own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_answers_is_reserved_and_nothing_else() {
        for path in ["/health", "/metrics", "/api/usage", "/api/flags", "/api/flags/{key}", "/api/flags/a/b/c"] {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/healthy", "/health/other", "/config", "/api/usages", "/api/{*rest}", "/admin/keys"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
