//! Responses for operators: JSON, text, and problem details (RFC 9457) for errors.
//!
//! It does not know what was requested.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::caller::{Answered, AnsweredBody};
use crate::model::fault::Fault;

const JSON: &str = "application/json";

/// An answer in JSON, which nobody may cache.
pub(in crate::server) fn json_answer(status: StatusCode, body: &Value) -> Answered {
    Answered { status, ..text_answer(JSON, body.to_string()) }
}

/// A JSON answer with status 200.
pub(in crate::server) fn ok(body: &Value) -> Answered {
    json_answer(StatusCode::OK, body)
}

/// An answer of this content type with status 200, which nobody may cache.
pub(in crate::server) fn text_answer(content_type: &'static str, body: impl Into<Bytes>) -> Answered {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    Answered { status: StatusCode::OK, headers, body: AnsweredBody::Full(body.into()) }
}

/// The same answer, of which `Accept` has chosen the form.
pub(in crate::server) fn varying(mut answered: Answered) -> Answered {
    answered.headers.insert(header::VARY, HeaderValue::from_static("accept"));
    answered
}

/// Milliseconds with three decimals.
pub(in crate::server) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// What is wrong with an operator's request, or why it cannot be fulfilled.
///
/// Boxed: errors are rare, and answers should not be as large as they are.
pub(in crate::server) struct Problem(Box<Details>);

struct Details {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
    /// What a caller is told of it in the words of its own dialect.
    fault: Option<Fault>,
}

impl Problem {
    /// A problem: what happened, and what to do.
    pub(in crate::server) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Details { status, detail: detail.into(), header: None, fault: None }))
    }

    /// A problem with what the operator has sent.
    pub(in crate::server) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Another method than those of the endpoint.
    pub(in crate::server) fn method_not_allowed(allow: &str) -> Self {
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed; allowed: {allow}"));
        match HeaderValue::from_str(allow) {
            Ok(allow) => problem.with(header::ALLOW, allow),
            Err(_) => problem,
        }
    }

    /// The same problem with a header.
    pub(in crate::server) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.0.header = Some((name, value.into()));
        self
    }

    /// The fault behind it, if it is one of the call's.
    pub(in crate::server) fn into_fault(mut self) -> Result<Fault, Self> {
        self.0.fault.take().ok_or(self)
    }

    /// Spells it.
    pub(in crate::server) fn answered(self) -> Answered {
        let Details { status, detail, header, .. } = *self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
        let mut answered = json_answer(status, &body);
        answered.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answered.headers.extend(header);
        answered
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let mut problem = Self::new(fault.status(), fault.public());
        problem.0.fault = Some(fault);
        problem
    }
}
