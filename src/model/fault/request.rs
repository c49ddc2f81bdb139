//! Request faults: what is wrong with a request before anyone else is called (400, 404, 413 and others).
//!
//! It does not know which part of the gateway found it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode as Status;

use super::table::{Row, row, say};
use super::{Blame, Fault, NO_MODEL, Nature};

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
    TooLargeDecompressed {
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
    /// There is no such job, or it is another tenant's (404).
    UnknownJob,
    /// A job has no result yet (409).
    JobNotOver {
        /// Where it is.
        state: &'static str,
    },
    /// A job has no result and will have none (409).
    JobFailed {
        /// Why, in words.
        why: Box<str>,
    },
    /// A job has ended and cannot be cancelled any more (409).
    JobOver {
        /// How it has ended.
        state: &'static str,
    },
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

/// Spells the table as one match for each column.
macro_rules! table {
    ($($fault:pat => $code:expr, $status:expr, $public:expr;)+) => {
        #[allow(unused_variables, reason = "a row names what any of its columns needs")]
        fn said(&self) -> (&'static str, Status) {
            match self { $($fault => ($code, $status),)+ }
        }

        #[allow(unused_variables, reason = "a row names what any of its columns needs")]
        pub(super) fn public(&self) -> Cow<'_, str> {
            match self { $($fault => $public,)+ }
        }
    };
}

#[rustfmt::skip]
impl RequestFault {
    table! {
        Self::Invalid { message, .. } => "invalid_request", Status::BAD_REQUEST,
            message.as_str().into();
        Self::NotFound { path } => "not_found", Status::NOT_FOUND,
            say!("There is no endpoint at {path}.");
        Self::NoModel { model, known } => NO_MODEL, Status::NOT_FOUND,
            say!("This route does not serve the model `{model}`. {known}");
        Self::Method { method, allow } => "method_not_allowed", Status::METHOD_NOT_ALLOWED,
            say!("The method {method} is not allowed here; allowed: {allow}.");
        Self::TooLarge { limit } => "request_too_large", Status::PAYLOAD_TOO_LARGE,
            say!("The request body is larger than the limit of {limit} bytes.");
        Self::TooLargeDecompressed { limit } => "request_too_large", Status::PAYLOAD_TOO_LARGE,
            say!("The decompressed request body is larger than the limit of {limit} bytes.");
        Self::Coding { said, known } => "unsupported_content_encoding", Status::UNSUPPORTED_MEDIA_TYPE,
            say!("The Content-Encoding {said:?} is not supported; supported: {known}.");
        Self::MediaType { allowed } => "unsupported_media_type", Status::UNSUPPORTED_MEDIA_TYPE,
            say!("The Content-Type is not supported here; allowed: {allowed}.");
        Self::Slow => "request_timeout", Status::REQUEST_TIMEOUT,
            say!("The request body did not arrive in time.");
        Self::TooManyHeaders { limit } => "too_many_headers", Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            say!("The request has more than {limit} headers.");
        Self::Upgrade => "upgrade_required", Status::UPGRADE_REQUIRED,
            say!("This endpoint is a WebSocket: connect with `Upgrade: websocket`, version 13.");
        Self::StillRunning => "idempotency_key_in_use", Status::CONFLICT,
            say!("A request with this Idempotency-Key is still running. Repeat it later to get its response.");
        Self::KeyReused => "idempotency_key_reused", Status::UNPROCESSABLE_ENTITY,
            say!("This Idempotency-Key was used for another request. Use a new key for a new request.");
        Self::UnknownJob => "unknown_job", Status::NOT_FOUND,
            say!("There is no job with this id, or it has expired.");
        Self::JobNotOver { state } => "job_not_over", Status::CONFLICT,
            say!("The job is {state}. It has a result once it is completed.");
        Self::JobFailed { why } => "job_failed", Status::CONFLICT,
            say!("The job has failed, so it has no result: {why}");
        Self::JobOver { state } => "job_over", Status::CONFLICT,
            say!("The job is {state} already, so it cannot be cancelled.");
        Self::Insecure => "https_required", Status::FORBIDDEN,
            say!("This service requires HTTPS.");
        Self::CrossSite { what } => "cross_site_request", Status::FORBIDDEN,
            say!("The request was rejected because {what}.");
    }
}

impl RequestFault {
    pub(super) fn row(&self) -> Row<'static> {
        let (code, status) = self.said();
        let row = row(code, status, Blame::Caller);
        match self {
            RequestFault::StillRunning | RequestFault::JobNotOver { .. } => row.after(Duration::from_secs(1)),
            RequestFault::NoModel { .. } => row.is(&[Nature::UnknownModel]),
            _ => row,
        }
    }

    /// The field that is wrong, if the fault is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            RequestFault::Invalid { field, .. } => field.as_deref(),
            RequestFault::NoModel { .. } => Some("model"),
            _ => None,
        }
    }
}
