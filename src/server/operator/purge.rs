//! Cache purge: `POST /cache/purge` at the admin address removes cached responses by key, route or tenant, or all
//! of them.
//!
//! It does not know where they are stored.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::policy::cache::EntryKey;
use crate::policy::cache::memory::Purge;

/// Where.
pub(in crate::server) const PATH: &str = "/cache/purge";

/// The largest body that is read.
pub(in crate::server) const MAX_BODY: usize = 4096;

/// What is asked for: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    all: Option<bool>,
    route: Option<String>,
    tenant: Option<String>,
    key: Option<String>,
}

/// Purges, or says what is wrong with the request (RFC 9457).
pub(in crate::server) async fn answer(gateway: &Gateway, body: &Bytes) -> Answered {
    match read(gateway, body) {
        Ok((what, said)) => {
            let reach = purge(gateway, &what).await;
            tracing::warn!(what = said, reach, "an operator purged cached responses");
            let shape = json!({"success": true, "purged": said, "gateways": reach});
            answered(StatusCode::OK, "application/json", &shape)
        }
        Err(detail) => {
            let problem = json!({"title": "Bad Request", "status": 400, "detail": detail});
            answered(StatusCode::BAD_REQUEST, "application/problem+json", &problem)
        }
    }
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
fn read(gateway: &Gateway, body: &Bytes) -> Result<(Purge, &'static str), String> {
    const ONE: &str = r#"the body must be one of {"all": true}, {"route": NAME}, {"tenant": NAME} and {"key": HEX}"#;
    let wanted: Wanted = serde_json::from_slice(body).map_err(|_| ONE.to_owned())?;
    match wanted {
        Wanted { all: Some(true), route: None, tenant: None, key: None } => Ok((Purge::All, "all")),
        Wanted { all: None, route: Some(route), tenant: None, key: None } => {
            let mut keeping = gateway.plan.routes.iter().filter(|plan| plan.cache.is_some()).map(|plan| &plan.name);
            match keeping.clone().find(|name| ***name == *route) {
                Some(name) => Ok((Purge::Route(name.clone()), "route")),
                None => {
                    let first = keeping.next().map(|name| name.to_string()).unwrap_or_default();
                    let names = keeping.fold(first, |names, name| format!("{names}, {name}"));
                    Err(format!("no route of that name caches responses; those that do: {names}"))
                }
            }
        }
        Wanted { all: None, route: None, tenant: Some(tenant), key: None } => {
            Ok((Purge::Tenant(gateway.caches.keys.tenant(&tenant)), "tenant"))
        }
        Wanted { all: None, route: None, tenant: None, key: Some(key) } => {
            let key = EntryKey::parse(&key).ok_or("`key` must be 64 hexadecimal digits")?;
            Ok((Purge::Key(key), "key"))
        }
        _ => Err(ONE.to_owned()),
    }
}

fn answered(status: StatusCode, content_type: &'static str, body: &Value) -> Answered {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Answered { status, headers, body: AnsweredBody::Full(body.to_string().into()) }
}
