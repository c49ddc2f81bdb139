//! What is wrong with a request before anybody else is asked.
//!
//! It does not know which part of the gateway found it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{Fault, NO_MODEL};

/// What is wrong with a request.
#[derive(Clone, Debug)]
pub enum RequestFault {
    /// The body or a header cannot be understood (400).
    Invalid {
        /// The field that is wrong.
        field: Option<Cow<'static, str>>,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// No such route (404).
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The route exists, with other methods (405).
    Method {
        /// The method that was used.
        method: String,
        /// The methods that are allowed, as the `Allow` header wants them.
        allow: Arc<str>,
    },
    /// The body is too large (413).
    TooLarge {
        /// The most bytes allowed.
        limit: usize,
    },
    /// None of the route's targets has the model (404).
    NoModel {
        /// The model that was asked for.
        model: Box<str>,
        /// The models that may be asked for, in words.
        known: Box<str>,
    },
    /// The body is too large once it is decompressed (413).
    TooLargeUnpacked {
        /// The most bytes allowed.
        limit: usize,
    },
    /// The body is compressed in a way that is not known (415).
    Coding {
        /// What `Content-Encoding` says.
        said: Box<str>,
        /// What is known, as `Accept-Encoding` lists it.
        known: &'static str,
    },
    /// The body's media type is not understood (415).
    MediaType {
        /// What is allowed.
        allowed: &'static str,
    },
    /// The body came too slowly (408).
    Slow,
    /// It has more headers than are read (431).
    TooManyHeaders {
        /// The most allowed.
        limit: usize,
    },
    /// It is a WebSocket and was not asked for as one (426).
    Upgrade,
    /// The same request is being executed under its idempotency key (409).
    StillRunning,
    /// Its idempotency key was used for another request (422).
    KeyReused,
    /// It came in the clear, and must not (403).
    Insecure,
    /// Another website's page may have made a browser send it (403).
    CrossSite {
        /// How that shows.
        what: &'static str,
    },
}

impl From<RequestFault> for Fault {
    fn from(fault: RequestFault) -> Self {
        Fault::Request(Box::new(fault))
    }
}

impl RequestFault {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            RequestFault::Invalid { .. } => StatusCode::BAD_REQUEST,
            RequestFault::NotFound { .. } | RequestFault::NoModel { .. } => StatusCode::NOT_FOUND,
            RequestFault::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            RequestFault::TooLarge { .. } | RequestFault::TooLargeUnpacked { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            RequestFault::MediaType { .. } | RequestFault::Coding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            RequestFault::Slow => StatusCode::REQUEST_TIMEOUT,
            RequestFault::TooManyHeaders { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestFault::Upgrade => StatusCode::UPGRADE_REQUIRED,
            RequestFault::StillRunning => StatusCode::CONFLICT,
            RequestFault::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            RequestFault::CrossSite { .. } | RequestFault::Insecure => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            RequestFault::Invalid { .. } => "invalid_request",
            RequestFault::NotFound { .. } => "not_found",
            RequestFault::NoModel { .. } => NO_MODEL,
            RequestFault::Method { .. } => "method_not_allowed",
            RequestFault::TooLarge { .. } | RequestFault::TooLargeUnpacked { .. } => "request_too_large",
            RequestFault::MediaType { .. } => "unsupported_media_type",
            RequestFault::Coding { .. } => "unsupported_content_encoding",
            RequestFault::Slow => "request_timeout",
            RequestFault::Upgrade => "upgrade_required",
            RequestFault::StillRunning => "idempotency_key_in_use",
            RequestFault::KeyReused => "idempotency_key_reused",
            RequestFault::CrossSite { .. } => "cross_site_request",
            RequestFault::Insecure => "https_required",
            RequestFault::TooManyHeaders { .. } => "too_many_headers",
        }
    }

    /// How long the caller should wait before it tries again. `None`: trying again does not help.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        matches!(self, RequestFault::StillRunning).then_some(Duration::from_secs(1))
    }

    /// The field that is wrong, if the fault is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            RequestFault::Invalid { field, .. } => field.as_deref(),
            RequestFault::NoModel { .. } => Some("model"),
            _ => None,
        }
    }

    pub(super) fn public(&self) -> Cow<'_, str> {
        match self {
            RequestFault::Invalid { message, .. } => message.as_str().into(),
            RequestFault::NotFound { path } => format!("There is nothing at {path}.").into(),
            RequestFault::NoModel { model, known } => format!("The model `{model}` is not served here. {known}").into(),
            RequestFault::Method { method, allow } => format!("{method} is not allowed here; allowed: {allow}.").into(),
            RequestFault::TooLarge { limit } => {
                format!("The request body is larger than the limit of {limit} bytes.").into()
            }
            RequestFault::TooLargeUnpacked { limit } => {
                format!("The decompressed request body is larger than the limit of {limit} bytes.").into()
            }
            RequestFault::Coding { said, known } => {
                format!("The Content-Encoding {said:?} is not supported; supported: {known}.").into()
            }
            RequestFault::MediaType { allowed } => {
                format!("The Content-Type is not supported here; allowed: {allowed}.").into()
            }
            RequestFault::Slow => "The request body did not arrive in time.".into(),
            RequestFault::TooManyHeaders { limit } => format!("The request has more than {limit} headers.").into(),
            RequestFault::Upgrade => "This is a WebSocket: ask for it with `Upgrade: websocket`, version 13.".into(),
            RequestFault::StillRunning => {
                "A request with this Idempotency-Key is still running. Repeat it later to get its answer.".into()
            }
            RequestFault::KeyReused => {
                "This Idempotency-Key was used for another request. Use a new key for a new request.".into()
            }
            RequestFault::Insecure => "This service is reached by HTTPS only.".into(),
            RequestFault::CrossSite { what } => format!("The request is refused because {what}.").into(),
        }
    }
}
