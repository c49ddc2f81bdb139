//! `X-Tidegate-Structured`: whether an answer to OpenAI's callers was held to its JSON Schema, on routes that see to it.
//!
//! It does not know how: that is the policy of the same name.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::plan::RoutePlan;
use crate::model::call::CallRequest;
use crate::model::reply::Degraded;
use crate::model::trail::Trail;
use crate::policy::structured::{REFUSED, SKIPPED, Structured, VALID};
use crate::stack::Policy;

const STRUCTURED: HeaderName = HeaderName::from_static("x-tidegate-structured");

/// Tells the caller: `valid` as the model wrote it, `enforced` by the gateway, or `skipped`. Nothing where nothing was asked for,
/// and of a text that the operator has written.
pub(in crate::server) fn tell(
    route: &RoutePlan,
    request: &CallRequest,
    degraded: Option<Degraded>,
    trail: &Trail,
    headers: &mut HeaderMap,
) {
    if !route.structured || degraded == Some(Degraded::Canned) {
        return;
    }
    let word = match trail.facts().word(Structured::NAME) {
        Some(SKIPPED | REFUSED) => "skipped",
        Some(VALID) => "valid",
        Some(_) => "enforced",
        // It was checked when it was cached.
        None if request.schema().is_some() => "valid",
        None if matches!(request, CallRequest::Wire(wire) if wire.contents.leaves_schema) => "skipped",
        None => return,
    };
    headers.insert(STRUCTURED, HeaderValue::from_static(word));
}
