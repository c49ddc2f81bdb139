//! The API keys of callers: `/admin/keys`. Keys are created, listed, rotated and revoked here. Each change is a line in the
//! audit log, which says who made it and never holds a key.
//!
//! It does not know what a key opens, nor who may ask.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::api_key::{ApiKey, Digest, KeyHash, Written};
use crate::server::operator::answer::{Problem, json_answer, ok};
use crate::server::operator::endpoint::OperatorRequest;
use crate::state::issued_keys::NotChanged;

/// How many seconds the old secret stays valid beside the new one, unless the request says.
const OVERLAP: u64 = 3600;

/// The most seconds that it may: whoever needs more than a month can use two keys.
const LONGEST_OVERLAP: u64 = 30 * 24 * 3600;

/// How many secrets of one key may be valid at once.
const MOST_SECRETS: usize = 8;

/// What a secret begins with, so that scanners recognise it wherever it leaks.
const PREFIX: &str = "tg_";

/// The body of a rotation.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RotationRequest {
    overlap_seconds: Option<u64>,
}

/// `GET /admin/keys`.
pub(super) fn list(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let (gateway, authenticator) = (request.gateway, &request.gateway.authenticator);
    let written = authenticator.written_keys().keys().map(|key| shown(gateway, key, true));
    let issued = authenticator.issued().ring();
    let keys: Vec<Value> = written.chain(issued.keys().map(|key| shown(gateway, key, false))).collect();
    Ok(ok(&json!({"keys": keys, "is_shared": authenticator.issued().is_shared()})))
}

/// `GET /admin/keys/{name}`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway = request.gateway;
    match gateway.authenticator.written_keys().named(request.name) {
        Some(key) => Ok(ok(&shown(gateway, key, true))),
        None => Ok(ok(&shown(gateway, &*issued(request)?, false))),
    }
}

/// `POST /admin/keys`.
pub(super) async fn create(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let written: Written = read(request)?;
    let mut key = written.read().map_err(Problem::bad_request)?;
    if !key.hashes.is_empty() {
        return Err(Problem::bad_request("`hashes` cannot be set: the gateway generates the secret"));
    }
    if key.expires.is_some_and(|expires| expires <= request.gateway.world.now()) {
        return Err(Problem::bad_request("`expires` is in the past: the key would never be valid"));
    }
    let authenticator = &request.gateway.authenticator;
    if authenticator.written_keys().named(&key.name).is_some()
        || authenticator.issued().ring().named(&key.name).is_some()
    {
        return Err(Problem::new(StatusCode::CONFLICT, format!("a key named {:?} already exists", &*key.name)));
    }
    let (secret, hash) = new_secret(request.gateway)?;
    key.hashes.push(hash);
    authenticator.issued().change(None, Some(key.clone())).await.map_err(not_changed)?;
    audit(request, "create", &key.name);
    Ok(handed_out(request.gateway, StatusCode::CREATED, &key, &secret))
}

/// `POST /admin/keys/{name}/rotate`.
pub(super) async fn rotate(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let (gateway, before) = (request.gateway, issued(request)?);
    let rotation: RotationRequest = if request.body.is_empty() { RotationRequest::default() } else { read(request)? };
    let overlap = rotation.overlap_seconds.unwrap_or(OVERLAP);
    if overlap > LONGEST_OVERLAP {
        return Err(Problem::bad_request(format!("`overlap_seconds` must be between 0 and {LONGEST_OVERLAP}")));
    }
    let now = gateway.world.now();
    let end = now.checked_add(Duration::from_secs(overlap)).unwrap_or(now);
    let (secret, hash) = new_secret(gateway)?;
    let mut after = (*before).clone();
    after.hashes.retain(|old| old.until.is_none_or(|until| until > now));
    if after.hashes.len() >= MOST_SECRETS {
        let detail = format!("this key already has {MOST_SECRETS} valid secrets: wait until one expires");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    // A secret that expires sooner than that still does.
    after.hashes.iter_mut().for_each(|old| old.until = Some(old.until.map_or(end, |until| until.min(end))));
    after.hashes.push(hash);
    gateway.authenticator.issued().change(Some(&before), Some(after.clone())).await.map_err(not_changed)?;
    audit(request, "rotate", &after.name);
    Ok(handed_out(gateway, StatusCode::OK, &after, &secret))
}

/// `DELETE /admin/keys/{name}`.
pub(super) async fn revoke(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let before = issued(request)?;
    request.gateway.authenticator.issued().change(Some(&before), None).await.map_err(not_changed)?;
    audit(request, "revoke", request.name);
    Ok(ok(&json!({"name": request.name, "is_revoked": true})))
}

/// The key that a request names, if it can be changed here.
fn issued(request: &OperatorRequest<'_>) -> Result<Arc<ApiKey>, Problem> {
    let authenticator = &request.gateway.authenticator;
    if authenticator.written_keys().named(request.name).is_some() {
        return Err(Problem::new(StatusCode::CONFLICT, "this key is defined in the configuration: change it there"));
    }
    let found = authenticator.issued().ring().named(request.name).cloned();
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no key has this name"))
}

fn read<T: DeserializeOwned>(request: &OperatorRequest<'_>) -> Result<T, Problem> {
    let wrong = |fault| Problem::bad_request(format!("invalid request body: {fault}"));
    serde_json::from_slice(&request.body).map_err(wrong)
}

/// A new secret, and what is kept of it.
fn new_secret(gateway: &Gateway) -> Result<(String, KeyHash), Problem> {
    let bits = gateway.world.secret().map_err(|detail| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))?;
    let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{digits}");
    let hash = KeyHash { digest: Digest::of(&text), until: None };
    Ok((text, hash))
}

/// A key without its hashes.
fn shown(gateway: &Gateway, key: &ApiKey, is_written: bool) -> Value {
    let mut shown = serde_json::to_value(key.written(false)).unwrap_or_default();
    let now = gateway.world.now();
    let valid = key.hashes.iter().filter(|hash| hash.until.is_none_or(|until| until > now)).count();
    let is_over = key.expires.is_some_and(|expires| now >= expires);
    shown["source"] = if is_written { "config" } else { "admin" }.into();
    // Two during a rotation.
    shown["valid_secrets"] = if is_over { 0 } else { valid }.into();
    shown
}

/// The one answer that shows the secret.
fn handed_out(gateway: &Gateway, status: StatusCode, key: &ApiKey, secret: &str) -> Answered {
    let mut shown = shown(gateway, key, false);
    shown["key"] = secret.into();
    let is_shared = gateway.authenticator.issued().is_shared();
    shown["is_shared"] = is_shared.into();
    if !is_shared {
        shown["note"] =
            "this key is in this gateway's memory only: other gateways do not know it, and a restart loses it".into();
    }
    json_answer(status, &shown)
}

fn audit(request: &OperatorRequest<'_>, action: &'static str, name: &str) {
    let by = "ADMIN_TOKEN";
    tracing::warn!(target: "tidegate::audit", action, api_key = name, by, address = %request.from, "API key changed");
}

fn not_changed(why: NotChanged) -> Problem {
    match why {
        NotChanged::Conflict => {
            let detail = "the key was changed by another request: read it again before changing it";
            Problem::new(StatusCode::CONFLICT, detail)
        }
        NotChanged::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "too many keys: revoke some first"),
        NotChanged::Store(fault) => {
            let detail = format!("the store cannot be reached ({fault}): nothing was changed; try again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }
}
