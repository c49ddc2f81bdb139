//! Building blocks of responses: JSON bodies, passed-through bodies, and the headers of every error response
//! (429, 503 and the rest).
//!
//! It does not know the shape of any dialect's responses: each dialect passes in its own.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::{About, Answered, AnsweredBody, Comeback};
use crate::model::call::CallRequest;
use crate::model::fault::{Fault, RequestFault};
use crate::model::reply::{Body, Reply};
use crate::wire::grammar::Asked;
use crate::wire::media;

/// The media type of JSON bodies.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Tells the SDKs of OpenAI and Anthropic not to try again by themselves.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What OpenAI's SDKs read before `Retry-After`.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A JSON answer.
pub(crate) fn json(status: StatusCode, shape: &impl Serialize) -> Answered {
    #[expect(clippy::expect_used, reason = "the message states the invariant")]
    let body = serde_json::to_vec(shape).expect("the shapes of answers have text keys and no fallible parts");
    raw_json(status, body.into())
}

/// An answer whose bytes are JSON already.
pub(crate) fn raw_json(status: StatusCode, body: Bytes) -> Answered {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    Answered { status, headers, body: AnsweredBody::Full(body) }
}

/// A JSON refusal of `fault`, with `Retry-After` and `Allow` where they apply.
pub(crate) fn refusal(about: &About<'_>, status: StatusCode, fault: &Fault, shape: &impl Serialize) -> Answered {
    let mut answered = json(status, shape);
    refusal_headers(&mut answered.headers, about.comeback, status, fault);
    answered
}

/// Sets what every refusal tells in its headers: when to try again, what to show, and in what way. What a provider has said of
/// the first is replaced.
pub(crate) fn refusal_headers(headers: &mut HeaderMap, comeback: Comeback, status: StatusCode, fault: &Fault) {
    headers.remove(RETRY_AFTER_MS);
    match comeback.of(status, fault) {
        Some(seconds) => drop(headers.insert(RETRY_AFTER, seconds.into())),
        None => drop(headers.remove(RETRY_AFTER)),
    }
    if let Fault::Unauthenticated { has_credential, .. } = fault {
        headers.insert(WWW_AUTHENTICATE, challenge(*has_credential));
    }
    let Fault::Request(request) = fault else { return };
    match &**request {
        RequestFault::Method { allow, .. } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        // RFC 9110, 15.5.16.
        RequestFault::Coding { known, .. } => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(known));
        }
        // RFC 9110, 15.5.22 and 7.8; RFC 6455, 4.4.
        RequestFault::Upgrade => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        _ => {}
    }
}

/// True where nothing heals by itself: an SDK that waits and tries again only delays the bad news.
pub(crate) fn is_final(fault: &Fault) -> bool {
    match fault {
        Fault::Request(_) => fault.is_unknown_model(),
        Fault::NoProvider
        | Fault::Disabled { .. }
        | Fault::RouteDisabled
        | Fault::NotKept
        | Fault::Oversized { .. }
        | Fault::Guarded { .. }
        | Fault::Spent(_) => true,
        fault => fault.is_denied(),
    }
}

/// What a grammar has to know to write an answer that did not come in the caller's API; `id` becomes the answer's.
pub(crate) fn asked<'a>(about: &About<'a>, id: &'a str) -> Asked<'a> {
    Asked {
        body: if let Some(CallRequest::Wire(wire)) = about.request { &wire.body } else { b"" },
        id,
        created: about.now.as_second(),
        wants_text: false,
    }
}

/// Headers of a stream of events.
pub(crate) fn streaming(headers: &mut HeaderMap) {
    // A provider's own may say more: its alphabet.
    if !media::is_events(headers) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx holds events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// How to come back (RFC 6750, section 3). Who has shown nothing is told no error.
fn challenge(has_credential: bool) -> HeaderValue {
    match has_credential {
        true => HeaderValue::from_static("Bearer realm=\"tidegate\", error=\"invalid_token\""),
        false => HeaderValue::from_static("Bearer realm=\"tidegate\""),
    }
}

/// The provider's own bytes, with its content type or `otherwise`.
pub(crate) fn pass_on(reply: Reply, otherwise: HeaderValue) -> Result<Answered, Fault> {
    let content_type = reply.headers.get(CONTENT_TYPE).cloned().unwrap_or(otherwise);
    let body = match reply.body {
        Body::Whole(bytes) => AnsweredBody::Full(bytes),
        Body::Bytes(stream) => AnsweredBody::Bytes(stream),
        other => return Err(unspellable(&other)),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type);
    Ok(Answered { status: StatusCode::OK, headers, body })
}

/// The fault of a reply that a dialect has no words for: the pipeline let through what it should not have.
pub(crate) fn unspellable(body: &Body) -> Fault {
    let kind = match body {
        Body::Answer(_) => "an answer",
        Body::Transcript(_) => "a transcript",
        Body::Whole(_) => "a whole body",
        Body::Bytes(_) => "a stream of bytes",
        Body::Events(_) => "a stream of events",
        Body::Socket(_) => "a conversation",
    };
    Fault::Internal { detail: format!("{kind} cannot be encoded for this call") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let fault = RequestFault::Method { method: "PUT".into(), allow: "GET, POST".into() }.into();
        let mut headers = HeaderMap::new();
        let comeback = Comeback { longest: Duration::from_secs(60), fraction: 0.0 };
        refusal_headers(&mut headers, comeback, StatusCode::METHOD_NOT_ALLOWED, &fault);
        assert_eq!(headers[ALLOW], "GET, POST");
        assert!(!headers.contains_key(RETRY_AFTER));
    }
}
