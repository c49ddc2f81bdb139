//! Purging: `POST /cache/purge` removes cached responses, by key, route or tenant, or all of them.
//!
//! It does not know where they are kept.

use serde::Deserialize;
use serde_json::json;

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::policy::cache::EntryKey;
use crate::policy::cache::memory::Purge;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::OperatorRequest;

/// What the body must be.
const FORMS: &str = r#"the body must be one of {"all": true}, {"route": NAME}, {"tenant": NAME} and {"key": HEX}"#;

/// The body: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    all: Option<bool>,
    route: Option<String>,
    tenant: Option<String>,
    key: Option<String>,
}

/// `POST /cache/purge`.
pub(super) async fn answer(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let (what, word) = read(request)?;
    let gateways = purge(request.gateway, &what).await;
    tracing::warn!(what = word, gateways, "an operator purged cached responses");
    Ok(ok(&json!({"success": true, "purged": word, "gateways": gateways})))
}

/// Purges here and at all gateways that share a store. Returns which of them know of it.
async fn purge(gateway: &Gateway, what: &Purge) -> &'static str {
    let entries = &gateway.caches.entries;
    entries.purge(what, entries.now_ms());
    let Some(cluster) = gateway.state.cluster() else { return "this" };
    match cluster.purge(what).await {
        Ok(()) => "all",
        Err(_) => "this; the others when the store is back",
    }
}

/// What is to be purged, and a word for it.
fn read(request: &OperatorRequest<'_>) -> Result<(Purge, &'static str), Problem> {
    let gateway = request.gateway;
    match serde_json::from_slice(&request.body).map_err(|_| Problem::bad_request(FORMS))? {
        PurgeRequest { all: Some(true), route: None, tenant: None, key: None } => Ok((Purge::All, "all")),
        PurgeRequest { all: None, route: Some(route), tenant: None, key: None } => {
            let cached = || gateway.plan.routes.iter().filter(|plan| plan.cache.is_some()).map(|plan| &plan.name);
            match cached().find(|name| ***name == *route) {
                Some(name) => Ok((Purge::Route(name.clone()), "route")),
                None => {
                    let names = cached().map(|name| &**name).collect::<Vec<_>>().join(", ");
                    let detail = format!("no route of this name caches responses; the routes that do are: {names}");
                    Err(Problem::bad_request(detail))
                }
            }
        }
        PurgeRequest { all: None, route: None, tenant: Some(tenant), key: None } => {
            Ok((Purge::Tenant(gateway.caches.keys.tenant(&tenant)), "tenant"))
        }
        PurgeRequest { all: None, route: None, tenant: None, key: Some(key) } => match EntryKey::parse(&key) {
            Some(key) => Ok((Purge::Key(key), "key")),
            None => Err(Problem::bad_request("`key` must be 64 hexadecimal digits")),
        },
        _ => Err(Problem::bad_request(FORMS)),
    }
}
