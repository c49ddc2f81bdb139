//! Recognition: whether a caller has sent the very same request before, so that it need not be parsed again, and
//! whether it is to be remembered.
//!
//! It does not know how requests are compared: that is `policy/cache/known`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::gateway::{Gateway, Route};
use crate::model::call::{CallRequest, Head};
use crate::model::reply::CacheResult;
use crate::policy::cache::known::{KnownRequests, RawRequest, Sighting};

/// A request on a route that caches responses.
pub(in crate::server) struct Recognition<'a> {
    requests: &'a KnownRequests,
    generation: u64,
    parts: &'a Parts,
    body: Bytes,
    /// `None`: it is known.
    sighting: Option<Sighting>,
}

/// Looks whether a request is known; `None` on a route that caches nothing.
pub(in crate::server) fn recognise<'a>(
    gateway: &'a Gateway,
    route: &Route,
    parts: &'a Parts,
    head: &mut Head,
    body: &Bytes,
) -> Option<Recognition<'a>> {
    route.plan.cache.as_ref()?;
    let requests = gateway.caches.entries.known();
    let mut recognition =
        Recognition { requests, generation: gateway.generation, parts, body: body.clone(), sighting: None };
    match requests.find(&recognition.raw(head)) {
        Ok(known) => head.known = Some(known),
        Err(sighting) => recognition.sighting = Some(sighting),
    }
    Some(recognition)
}

impl Recognition<'_> {
    /// Remembers the request if it was answered from the cache, and forgets it if that has no response for it any more.
    pub(in crate::server) fn settle(&self, result: CacheResult, head: &Head, request: &Arc<CallRequest>) {
        match self.sighting {
            Some(sighting) if result.is_kept() => self.requests.keep(&self.raw(head), sighting, request),
            None if result == CacheResult::Miss => self.requests.forget(&self.raw(head)),
            _ => {}
        }
    }

    fn raw<'b>(&'b self, head: &'b Head) -> RawRequest<'b> {
        RawRequest {
            generation: self.generation,
            method: &self.parts.method,
            path_and_query: self.parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            content_type: self.parts.headers.get(CONTENT_TYPE),
            head,
            body: &self.body,
        }
    }
}
