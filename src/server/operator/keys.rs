//! The API key endpoints: `/admin/keys` at the admin address, with ADMIN_TOKEN. They create, list, rotate and
//! revoke API keys; each change is logged with who made it, and never with a key.
//!
//! It does not know what a key permits. Errors are problem details (RFC 9457).

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::{Answered, AnsweredBody};
use crate::gateway::Gateway;
use crate::model::api_key::{ApiKey, Digest, KeyHash, Written};
use crate::state::issued_keys::NotChanged;

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "admin".into());

/// The largest body that is read.
pub(in crate::server) const MAX_BODY: usize = 16 * 1024;

/// Where keys are.
const KEYS: &str = "/admin/keys";

/// How long the old key stays valid beside the new one, unless the request says.
const OVERLAP: u64 = 3600;

/// The longest that it may: who needs a month has two keys.
const LONGEST_OVERLAP: u64 = 30 * 24 * 3600;

/// How many secrets of one key may be valid at once.
const MOST_SECRETS: usize = 8;

/// What a new key begins with, so that it is known for one wherever it turns up.
const PREFIX: &str = "tg_";

/// Answers who was let in; nothing when there is nothing at the path.
pub(in crate::server) async fn answer(
    gateway: &Gateway,
    from: IpAddr,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Option<Answered> {
    let desk = Desk { gateway, from };
    let rest = path.strip_prefix(KEYS)?;
    let mut parts = rest.strip_prefix('/').unwrap_or_default().split('/');
    let (name, action) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let outcome = match (method, name, action) {
        (&Method::GET, "", None) => Ok(desk.list()),
        (&Method::POST, "", None) => desk.create(body).await,
        (&Method::GET, name, None) => desk.show(name),
        (&Method::DELETE, name, None) if !name.is_empty() => desk.revoke(name).await,
        (&Method::POST, name, Some("rotate")) if !name.is_empty() => desk.rotate(name, body).await,
        (_, _, None | Some("rotate")) => Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "allowed: GET, POST /admin/keys; GET, DELETE /admin/keys/NAME; POST /admin/keys/NAME/rotate",
        )),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(Problem::answered))
}

/// One operator's request.
struct Desk<'a> {
    gateway: &'a Gateway,
    from: IpAddr,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    overlap_seconds: Option<u64>,
}

impl Desk<'_> {
    fn list(&self) -> Answered {
        let door = &self.gateway.door;
        let written = door.written_keys().keys().map(|key| self.shown(key, true));
        let issued = door.issued().ring();
        let keys: Vec<Value> = written.chain(issued.keys().map(|key| self.shown(key, false))).collect();
        json_answer(StatusCode::OK, &json!({"keys": keys, "is_shared": door.issued().is_shared()}))
    }

    fn show(&self, name: &str) -> Result<Answered, Problem> {
        let door = &self.gateway.door;
        if let Some(key) = door.written_keys().named(name) {
            return Ok(json_answer(StatusCode::OK, &self.shown(key, true)));
        }
        Ok(json_answer(StatusCode::OK, &self.shown(&*self.issued(name)?, false)))
    }

    async fn create(&self, body: &Bytes) -> Result<Answered, Problem> {
        let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let written: Written = serde_json::from_slice(body).map_err(|fault| wrong(format!("the body: {fault}")))?;
        let mut key = written.read().map_err(wrong)?;
        if !key.hashes.is_empty() {
            return Err(wrong("`hashes` cannot be given: the key is made here".into()));
        }
        let door = &self.gateway.door;
        if door.written_keys().named(&key.name).is_some() || door.issued().ring().named(&key.name).is_some() {
            return Err(Problem::new(StatusCode::CONFLICT, format!("there is a key named {:?} already", &*key.name)));
        }
        let (text, hash) = self.new_key()?;
        key.hashes.push(hash);
        door.issued().change(None, Some(key.clone())).await.map_err(not_changed)?;
        self.note("create", &key.name);
        Ok(self.handed_out(StatusCode::CREATED, &key, &text))
    }

    async fn rotate(&self, name: &str, body: &Bytes) -> Result<Answered, Problem> {
        let before = self.issued(name)?;
        let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let wanted: Rotation = match body.is_empty() {
            true => Rotation::default(),
            false => serde_json::from_slice(body).map_err(|fault| wrong(format!("the body: {fault}")))?,
        };
        let overlap = wanted.overlap_seconds.unwrap_or(OVERLAP);
        if overlap > LONGEST_OVERLAP {
            return Err(wrong(format!("`overlap_seconds` must be 0 to {LONGEST_OVERLAP}")));
        }
        let now = self.gateway.world.now();
        let end = now.checked_add(Duration::from_secs(overlap)).unwrap_or(now);
        let (text, hash) = self.new_key()?;
        let mut after = (*before).clone();
        after.hashes.retain(|old| old.until.is_none_or(|until| until > now));
        if after.hashes.len() >= MOST_SECRETS {
            let detail = format!("{MOST_SECRETS} secrets of this key are valid already: wait until some have ended");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        // One that ends sooner already still does.
        after.hashes.iter_mut().for_each(|old| old.until = Some(old.until.map_or(end, |until| until.min(end))));
        after.hashes.push(hash);
        self.gateway.door.issued().change(Some(&before), Some(after.clone())).await.map_err(not_changed)?;
        self.note("rotate", name);
        Ok(self.handed_out(StatusCode::OK, &after, &text))
    }

    async fn revoke(&self, name: &str) -> Result<Answered, Problem> {
        let before = self.issued(name)?;
        self.gateway.door.issued().change(Some(&before), None).await.map_err(not_changed)?;
        self.note("revoke", name);
        Ok(json_answer(StatusCode::OK, &json!({"name": name, "is_revoked": true})))
    }

    /// A key that can be changed here.
    fn issued(&self, name: &str) -> Result<Arc<ApiKey>, Problem> {
        let door = &self.gateway.door;
        if door.written_keys().named(name).is_some() {
            return Err(Problem::new(StatusCode::CONFLICT, "this key is in the configuration: change it there"));
        }
        let found = door.issued().ring().named(name).cloned();
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no key of this name"))
    }

    fn new_key(&self) -> Result<(String, KeyHash), Problem> {
        let bits =
            self.gateway.world.secret().map_err(|detail| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))?;
        let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{PREFIX}{digits}");
        let hash = KeyHash { digest: Digest::of(&text), until: None };
        Ok((text, hash))
    }

    /// A key without its hashes.
    fn shown(&self, key: &ApiKey, is_written: bool) -> Value {
        let mut shown = serde_json::to_value(key.written(false)).unwrap_or_default();
        let now = self.gateway.world.now();
        let valid = key.hashes.iter().filter(|hash| hash.until.is_none_or(|until| until > now)).count();
        let is_over = key.expires.is_some_and(|expires| now >= expires);
        shown["source"] = if is_written { "config" } else { "admin" }.into();
        // Two while one takes the other's place.
        shown["valid_secrets"] = if is_over { 0 } else { valid }.into();
        shown
    }

    /// The one time that a key is shown.
    fn handed_out(&self, status: StatusCode, key: &ApiKey, text: &str) -> Answered {
        let mut shown = self.shown(key, false);
        shown["key"] = text.into();
        let is_shared = self.gateway.door.issued().is_shared();
        shown["is_shared"] = is_shared.into();
        if !is_shared {
            shown["note"] = "kept in this gateway's memory only, until it ends: other gateways do not know it".into();
        }
        json_answer(status, &shown)
    }

    fn note(&self, action: &'static str, name: &str) {
        let by = "ADMIN_TOKEN";
        tracing::warn!(target: "tidegate::audit", action, api_key = name, by, address = %self.from, "an API key was changed");
    }
}

fn not_changed(why: NotChanged) -> Problem {
    match why {
        NotChanged::Conflict => {
            Problem::new(StatusCode::CONFLICT, "the key was changed by somebody else: look at it again")
        }
        NotChanged::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "there are too many keys: revoke some"),
        NotChanged::Store(fault) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the store is out ({fault}): nothing was changed"))
        }
    }
}

pub(in crate::server) fn json_answer(status: StatusCode, body: &Value) -> Answered {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Answered { status, headers, body: AnsweredBody::Full(body.to_string().into()) }
}

/// What is wrong, told as problem details (RFC 9457).
pub(in crate::server) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(in crate::server) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    pub(in crate::server) fn with(self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    pub(in crate::server) fn answered(self) -> Answered {
        let Self { status, detail, header } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
        let mut answered = json_answer(status, &body);
        answered.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answered.headers.extend(header);
        answered
    }
}
