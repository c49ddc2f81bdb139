//! Security headers of every response (HSTS, CSP and others), and the redirect to HTTPS.
//!
//! It does not know what is requested, nor how a connection is encrypted.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use crate::caller::{Answered, AnsweredBody};
use crate::config::plan::{Plan, SecurityPlan};
use crate::model::fault::{Fault, RequestFault};
use crate::server::callers::address;
use crate::server::callers::address::Peer;

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "to-https".into());

/// Said of every answer: it is what its type says, no page may frame it, and no link tells where it was.
const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Said of what is no page: should a browser show it all the same, nothing in it acts.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Tells browsers what they must not do with an answer.
pub(in crate::server) fn tell(plan: &SecurityPlan, is_secure: bool, headers: &mut HeaderMap) {
    let is_page = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= 9 && value[..9].eq_ignore_ascii_case(b"text/html")
    });
    headers.insert(header::CONTENT_SECURITY_POLICY, if is_page { plan.csp.clone() } else { NO_PAGE });
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    // RFC 6797, 7.2: not in the clear, where anybody on the way could say it.
    if let Some(hsts) = plan.hsts.as_ref().filter(|_| is_secure) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

/// Where HTTPS is a must, sends what came in the clear there, if nothing is lost by it, and refuses the rest: a body that was
/// read on the way must not be sent a second time as if nothing had happened. Paths that monitors read are exempt: orchestrators
/// and Prometheus come from nearby.
pub(in crate::server) fn insist(
    plan: &Plan,
    peer: Peer,
    parts: &Parts,
    is_monitored: bool,
) -> Result<Option<Answered>, Fault> {
    if !plan.edge.security.is_https_forced || is_monitored || address::is_secure(peer, &parts.headers, &plan.server) {
        return Ok(None);
    }
    let location = https(parts).filter(|_| matches!(parts.method, Method::GET | Method::HEAD));
    let location = location.ok_or(RequestFault::Insecure)?;
    let headers = HeaderMap::from_iter([
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    let body = AnsweredBody::Full(Bytes::new());
    Ok(Some(Answered { status: StatusCode::PERMANENT_REDIRECT, headers, body }))
}

/// The same address by HTTPS, at its usual port: the one that was asked at speaks HTTP.
fn https(parts: &Parts) -> Option<HeaderValue> {
    let asked = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = asked.and_then(|host| host.parse::<Authority>().ok()).or_else(|| parts.uri.authority().cloned())?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // `//host` after a host would be another one's path.
    let is_plain = !authority.host().is_empty() && !authority.as_str().contains('@') && path.starts_with('/');
    is_plain.then(|| HeaderValue::try_from(format!("https://{}{path}", authority.host())).ok()).flatten()
}
