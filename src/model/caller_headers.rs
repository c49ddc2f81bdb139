//! Caller headers: those of a caller's request, as they came, for as long as its call may be sent to a provider.
//!
//! Credentials are among them, so they are never printed. It does not know which of them may pass: `wire/headers` does.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

/// The headers of a caller's request: those of the request itself, or copies of those that may be sent.
#[derive(Default)]
pub struct CallerHeaders(Source);

#[derive(Default)]
enum Source {
    #[default]
    None,
    Request(Arc<Parts>),
    Copied(Box<HeaderMap>),
}

impl CallerHeaders {
    /// All that are kept, with whatever must not leave the gateway; `None` where nobody sent a request.
    pub fn all(&self) -> Option<&HeaderMap> {
        match &self.0 {
            Source::None => None,
            Source::Request(parts) => Some(&parts.headers),
            Source::Copied(headers) => Some(headers),
        }
    }
}

impl From<Arc<Parts>> for CallerHeaders {
    fn from(parts: Arc<Parts>) -> Self {
        Self(Source::Request(parts))
    }
}

impl From<HeaderMap> for CallerHeaders {
    fn from(headers: HeaderMap) -> Self {
        Self(Source::Copied(Box::new(headers)))
    }
}

impl fmt::Debug for CallerHeaders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CallerHeaders({})", self.all().map_or(0, HeaderMap::len))
    }
}
