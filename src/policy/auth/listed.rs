//! Filters model lists for an API key that is restricted to certain models: it sees only those.
//!
//! It does not know which models exist.

use bytes::Bytes;

use crate::config::plan::Pattern;
use crate::model::call::{CallRequest, Endpoint, WireRequest};
use crate::model::reply::{Body, Reply};
use crate::wire::openai::models;

/// True for a call that is answered by a list of models.
pub(super) fn is_asked(request: &CallRequest) -> bool {
    matches!(request, CallRequest::Wire(WireRequest { endpoint: Endpoint::Models, model: None, .. }))
}

/// A list without the models that its reader may not name.
pub(super) fn only(mut reply: Box<Reply>, allowed: &[Pattern]) -> Box<Reply> {
    let body = match reply.body {
        Body::Whole(list) => models::only(&list, |id| allowed.iter().any(|known| known.matches(id))),
        // What is no whole list is none that could be looked through.
        _ => models::only(&Bytes::new(), |_| false),
    };
    reply.body = Body::Whole(body);
    reply
}
