//! CORS: which websites' pages may ask and read, by the rules that browsers enforce (the Fetch standard, 3.2).
//!
//! It keeps nobody out: whoever is no browser sends what it likes. It does not know what is asked.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::caller::{Answered, AnsweredBody};
use crate::config::plan::{CorsPlan, Origins};

/// The route's name in logs and metrics.
pub(super) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "preflight".into());

/// Answers a browser that asks beforehand whether a page may ask. An origin that may not gets 403, which a browser takes as
/// it would take any answer without the headers, and which people find in the log.
pub(super) fn preflight(plan: &CorsPlan, method: &Method, request: &HeaderMap) -> Option<Answered> {
    if method != Method::OPTIONS
        || plan.origins.is_empty()
        || !request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut answered =
        Answered { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: AnsweredBody::Full(Bytes::new()) };
    // `tell` says the rest.
    match allowed(plan, request) {
        None => answered.status = StatusCode::FORBIDDEN,
        Some(_) => {
            answered.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, plan.methods.clone());
            answered.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, plan.headers.clone());
            answered.headers.insert(header::ACCESS_CONTROL_MAX_AGE, plan.max_age.clone());
        }
    }
    Some(answered)
}

/// Tells a browser which pages may read the answer. To others it says nothing.
pub(super) fn tell(plan: &CorsPlan, request: &HeaderMap, headers: &mut HeaderMap) {
    if let Some(origin) = allowed(plan, request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, plan.exposed.clone());
        if plan.allows_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    // Also where there is no origin, or a cache would give that answer to a page.
    if let Origins::Of(origins) = &plan.origins
        && !origins.is_empty()
    {
        vary(headers, header::ORIGIN);
    }
}

/// The origin to allow: the one that asks, if it may.
fn allowed(plan: &CorsPlan, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN).filter(|origin| plan.origins.has(origin.as_bytes()))?;
    Some(if plan.origins == Origins::Any { HeaderValue::from_static("*") } else { origin.clone() })
}

/// Names a header of the request on which the answer depends.
pub(super) fn vary(headers: &mut HeaderMap, on: HeaderName) {
    let before = headers.get(header::VARY).and_then(|value| value.to_str().ok());
    let all = match before {
        Some(before) if before.split(',').any(|name| name.trim().eq_ignore_ascii_case(on.as_str())) => return,
        Some(before) => HeaderValue::try_from(format!("{before}, {on}")),
        None => Ok(on.into()),
    };
    if let Ok(all) = all {
        headers.insert(header::VARY, all);
    }
}
