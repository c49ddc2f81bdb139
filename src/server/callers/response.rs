//! Response: turns an outcome into an HTTP response, with its ids, and with Retry-After where a caller may retry
//! later.
//!
//! It does not know what was requested, nor at which listener.

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};

use crate::caller::{Answered, AnsweredBody, Comeback};
use crate::gateway::{Gateway, Route};
use crate::model::fault::{DEFAULT_RETRY_AFTER, is_for_later};
use crate::model::names::is_plain_id;
use crate::policy::observe::Watch;
use crate::server::connection::response_body::ResponseBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIDEGATE_REQUEST_ID: HeaderName = HeaderName::from_static("x-tidegate-request-id");

/// When a refused caller may come back; `route` is the one that it asked, where that is known.
pub(in crate::server) fn comeback(gateway: &Gateway, route: Option<&Route>) -> Comeback {
    // After this time a provider is asked again, whatever it said: then the caller should be there.
    let of_targets = route.and_then(|route| route.plan.targets.iter().map(|it| it.provider.quota.longest).min());
    let longest = of_targets.unwrap_or(gateway.plan.longest_comeback);
    Comeback { longest, fraction: gateway.world.chance().fraction() }
}

/// Adds Retry-After to every response that asks to retry later, whichever layer made it.
pub(in crate::server) fn set_retry_after(gateway: &Gateway, answered: &mut Answered) {
    if is_for_later(answered.status) && !answered.headers.contains_key(header::RETRY_AFTER) {
        let seconds = comeback(gateway, None).seconds(DEFAULT_RETRY_AFTER);
        answered.headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

/// The response with the answer's body, which is watched to its end.
pub(in crate::server) fn respond(
    answered: Answered,
    mut watch: Watch,
    id: Option<HeaderValue>,
    was_asked: bool,
) -> Response<ResponseBody> {
    watch.answered(answered.status);
    assemble(answered, id, was_asked, |body| ResponseBody::new(body, watch))
}

/// A request's id as a value, in the memory of other values. Ids are checked to be visible ASCII, or made of hexadecimal digits.
pub(in crate::server) fn id_value(id: &str, mut text: BytesMut) -> Option<HeaderValue> {
    text.extend_from_slice(id.as_bytes());
    HeaderValue::from_maybe_shared(text.split().freeze()).ok()
}

/// The response with the body that `watched` makes of the answer's.
pub(in crate::server) fn assemble(
    answered: Answered,
    id: Option<HeaderValue>,
    was_asked: bool,
    watched: impl FnOnce(AnsweredBody) -> ResponseBody,
) -> Response<ResponseBody> {
    let Answered { status, mut headers, body } = answered;
    if let Some(id) = id {
        // Who sends an id finds it in the answer; who does not gets the provider's, which its support asks for.
        match was_asked {
            true => drop(headers.insert(REQUEST_ID, id.clone())),
            false => drop(headers.entry(REQUEST_ID).or_insert_with(|| id.clone())),
        }
        headers.insert(TIDEGATE_REQUEST_ID, id);
    }
    if matches!(body, AnsweredBody::Events(..)) {
        // A stream lasts, and its connection keeps the map. There was room for more.
        let mut tight = HeaderMap::with_capacity(headers.len());
        tight.extend(headers);
        headers = tight;
    }
    let mut response = Response::new(watched(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The id that a caller gave its request, if it may be used in logs and headers.
pub(in crate::server) fn request_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    is_plain_id(text).then(|| text.into())
}
