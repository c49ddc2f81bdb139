//! Caller headers: those of a caller's request, as they came, for as long as its call may be sent to a provider.
//!
//! Credentials are among them, so they are never printed. It does not know which of them may pass: `wire/headers` does.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

/// The headers of a caller's request. Cheap to clone.
#[derive(Clone, Default)]
pub struct CallerHeaders(Option<Arc<Parts>>);

impl CallerHeaders {
    /// All of them, with whatever must not leave the gateway; `None` where nobody sent a request.
    pub fn all(&self) -> Option<&HeaderMap> {
        self.0.as_ref().map(|parts| &parts.headers)
    }
}

impl From<Arc<Parts>> for CallerHeaders {
    fn from(parts: Arc<Parts>) -> Self {
        Self(Some(parts))
    }
}

impl fmt::Debug for CallerHeaders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CallerHeaders({})", self.all().map_or(0, HeaderMap::len))
    }
}
