//! The head of a reply, apart from its body: for the cache, and for one response shared by several callers.
//!
//! It does not know what the body is.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{Body, Degraded, Reply};

/// A reply without its body.
#[derive(Clone, Debug)]
pub struct ReplyHead {
    /// See [`Reply::status`].
    pub status: StatusCode,
    /// See [`Reply::headers`].
    pub headers: HeaderMap,
    /// See [`Reply::provider`].
    pub provider: Arc<str>,
    /// See [`Reply::model`].
    pub model: Option<Arc<str>>,
    /// See [`Reply::target`].
    pub target: usize,
    /// See [`Reply::degraded`].
    pub degraded: Option<Degraded>,
}

impl ReplyHead {
    /// The head of a reply.
    pub fn of(reply: &Reply) -> Self {
        Self {
            status: reply.status,
            headers: reply.headers.clone(),
            provider: reply.provider.clone(),
            model: reply.model.clone(),
            target: reply.target,
            degraded: reply.degraded,
        }
    }

    /// A reply with this head. It has no signs of life, and says nothing of a cache.
    pub fn with(self, body: Body) -> Box<Reply> {
        let Self { status, headers, provider, model, target, degraded } = self;
        Box::new(Reply { status, headers, provider, model, target, signs: None, degraded, cache: None, body })
    }
}
