//! Listed: what a key that is for certain models reads where models are listed: those and no others.
//!
//! It does not know which models there are.

use bytes::Bytes;

use crate::call::{Ask, Endpoint, Wire};
use crate::config::plan::Pattern;
use crate::reply::{Body, Reply};
use crate::wire::openai::models;

/// True for a call that is answered by a list of models.
pub(super) fn is_asked(ask: &Ask) -> bool {
    matches!(ask, Ask::Wire(Wire { endpoint: Endpoint::Models, model: None, .. }))
}

/// A list without the models that its reader may not name.
pub(super) fn only(reply: Reply, allowed: &[Pattern]) -> Reply {
    let body = match reply.body {
        Body::Whole(list) => models::only(&list, |id| allowed.iter().any(|known| known.matches(id))),
        // What is no whole list is none that could be looked through.
        _ => models::only(&Bytes::new(), |_| false),
    };
    Reply { body: Body::Whole(body), ..reply }
}
