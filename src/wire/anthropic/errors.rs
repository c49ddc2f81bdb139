//! Error responses in Anthropic's dialect: what they mean.
//!
//! The shape is `{"type":"error","error":{"type","message"},"request_id"}`
//! (<https://docs.anthropic.com/en/api/errors>). The reader of OpenAI's errors knows it among those of its many servers: what a
//! message means, and what must not be shown, is decided there. It does not know what is done about an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::model::fault::{Dialect, Fault, NO_MODEL, Refusal};
use crate::wire::openai::{errors, failures};

/// Types of errors, and the statuses that they are sent with.
const STATUSES: [(&str, u16); 10] = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// How the message begins about a model that does not exist.
const MODEL: &str = "model:";

/// An error answer, read. `key` is the one that the provider was shown.
pub(crate) fn refused(
    provider: &Arc<str>,
    key: Option<&str>,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
) -> Fault {
    let ends = limit_ends(&headers).filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
    let error = Named::of_body(&body);
    let mut fault = errors::refused(provider, key, status, headers, body);
    if let Fault::Refused { refusal, .. } = &mut fault {
        refusal.retry_after = refusal.retry_after.or(ends);
        error.name(refusal);
    }
    fault
}

/// An error event as the error answer that it stands for. `error` is the error object's JSON.
pub(crate) fn in_event(error: &str) -> Box<Refusal> {
    const OBJECT: &[u8] = b"{\"type\":\"error\",";
    let mut refusal = errors::in_event(error);
    refusal.body = [OBJECT, refusal.body.get(1..).unwrap_or_default()].concat().into();
    let error = Named::of_body(&refusal.body);
    if let Some(status) = error.status() {
        refusal.status = status;
    }
    error.name(&mut refusal);
    refusal
}

/// The status that an error inside a 200 stands for.
pub(crate) fn implied_status(body: &[u8]) -> StatusCode {
    Named::of_body(body).status().unwrap_or_else(|| errors::implied_status(body))
}

/// The error object, in JSON, of an event or a body with these fields; `None`: it reports no error.
pub(crate) fn of_object(fields: &serde_json::Map<String, Value>) -> Option<String> {
    let said = fields.get("error").filter(|error| failures::is_said(error));
    let is_called_so = fields.get("type").and_then(Value::as_str) == Some("error");
    match said {
        Some(error) => Some(error.to_string()),
        None => is_called_so.then(|| failures::UNSAID.into()),
    }
}

/// What an error calls itself.
#[derive(Default)]
struct Named {
    kind: Option<Box<str>>,
    /// True for a body that clients of this dialect can read.
    is_whole: bool,
    is_about_model: bool,
}

impl Named {
    fn of(error: &Value) -> Self {
        let kind = error.get("type").and_then(Value::as_str);
        let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
        let is_about_model = kind == Some("not_found_error") && message.trim_start().starts_with(MODEL);
        // It is logged: what a provider writes in its place must not be.
        let kind = kind.filter(|kind| STATUSES.iter().any(|(known, _)| known == kind));
        Self { kind: kind.map(Into::into), is_whole: false, is_about_model }
    }

    fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct ErrorBody {
            #[serde(default, rename = "type")]
            kind: Value,
            error: Value,
        }
        let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else { return Self::default() };
        Self { is_whole: body.kind == "error", ..Self::of(&body.error) }
    }

    /// The status that it is sent with.
    fn status(&self) -> Option<StatusCode> {
        let (_, status) = STATUSES.iter().find(|(kind, _)| self.kind.as_deref() == Some(kind))?;
        StatusCode::from_u16(*status).ok()
    }

    /// Says of a refusal who may read its body as it is, and which code programs read where it has none yet.
    fn name(self, refusal: &mut Refusal) {
        let is_anthropics = self.kind.is_some() && self.is_whole;
        refusal.dialect = refusal.dialect.and(is_anthropics.then_some(Dialect::Anthropic));
        let code = if self.is_about_model { Some(NO_MODEL.into()) } else { self.kind };
        if refusal.code.is_none() {
            refusal.code = code;
        }
    }
}

/// When a rate limit ends: that of the quantity which is used up, of several the latest; where none is, the soonest.
fn limit_ends(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let now = jiff::fmt::rfc2822::parse(text("date")?).ok()?.timestamp();
    let known = ["requests", "tokens", "input-tokens", "output-tokens"].into_iter().filter_map(|quantity| {
        let is_used_up = text(&format!("anthropic-ratelimit-{quantity}-remaining")) == Some("0");
        let reset: Timestamp = text(&format!("anthropic-ratelimit-{quantity}-reset"))?.parse().ok()?;
        // One that has passed since ends now.
        Some((is_used_up, Duration::try_from(reset.duration_since(now)).unwrap_or_default()))
    });
    let (used_up, left): (Vec<_>, Vec<_>) = known.partition(|(is_used_up, _)| *is_used_up);
    let used_up = used_up.into_iter().map(|(_, wait)| wait).max();
    used_up.or_else(|| left.into_iter().map(|(_, wait)| wait).min())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fault::{Retry, TOO_LONG};

    fn read(status: u16, headers: &[(&'static str, &str)], body: &str) -> Fault {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        refused(
            &"anthropic".into(),
            Some("sk-ant-0123456789"),
            status,
            headers,
            Bytes::copy_from_slice(body.as_bytes()),
        )
    }

    fn error(kind: &str, message: &str) -> String {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
    }

    #[test]
    fn an_error_answer_says_what_may_be_tried_next() {
        let of = |status, kind, message| match read(status, &[], &error(kind, message)) {
            Fault::Refused { refusal, .. } => refusal,
            fault => panic!("{fault}"),
        };
        for (status, kind, message, code) in [
            (400, "invalid_request_error", "max_tokens: field required", "invalid_request_error"),
            (400, "invalid_request_error", "prompt is too long: 200251 tokens > 200000 maximum", TOO_LONG),
            (404, "not_found_error", "model: claude-nope", NO_MODEL),
            (404, "not_found_error", "Not found", "not_found_error"),
            (413, "request_too_large", "Request exceeds the maximum size", "request_too_large"),
            (429, "rate_limit_error", "This request would exceed the rate limit", "rate_limit_error"),
            (500, "api_error", "Internal server error", "api_error"),
            (529, "overloaded_error", "Overloaded", "overloaded_error"),
        ] {
            let refusal = of(status, kind, message);
            assert_eq!((refusal.status.as_u16(), refusal.code.as_deref()), (status, Some(code)), "{kind}");
            assert_eq!(refusal.dialect, Some(Dialect::Anthropic));
        }
        let overload = read(529, &[], &error("overloaded_error", "Overloaded"));
        assert!(overload.is_overload() && overload.retry() == Retry::SameTarget, "{overload}");
        for (status, kind, message) in [
            (401, "authentication_error", "invalid x-api-key"),
            (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            (402, "billing_error", "There is an issue with your billing"),
            (500, "api_error", "the key sk-ant-0123456789 is broken"),
        ] {
            assert!(read(status, &[], &error(kind, message)).is_denied(), "{message}");
        }
    }

    #[test]
    fn an_error_event_stands_for_an_error_answer() {
        for (kind, status) in STATUSES {
            let refusal = in_event(&format!(r#"{{"type":"{kind}","message":"x"}}"#));
            assert_eq!((refusal.status.as_u16(), refusal.code.as_deref()), (status, Some(kind)));
            assert_eq!(implied_status(error(kind, "x").as_bytes()).as_u16(), status);
            assert_eq!(
                &*refusal.body,
                format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"x"}}}}"#).as_bytes()
            );
        }
        assert_eq!(in_event(r#"{"details":null}"#).status, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn a_limit_says_when_it_ends() {
        let after = |headers: &[(&'static str, &str)]| {
            let headers = [&[("date", "Tue, 15 Sep 2026 10:00:00 GMT")], headers].concat();
            match read(429, &headers, &error("rate_limit_error", "x")) {
                Fault::Refused { refusal, .. } => refusal.retry_after.map(|wait| wait.as_secs()),
                fault => panic!("{fault}"),
            }
        };
        let requests = [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-09-15T10:00:07Z"),
        ];
        let tokens = [
            ("anthropic-ratelimit-input-tokens-remaining", "9000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-09-15T10:00:02Z"),
        ];
        assert_eq!(after(&[requests, tokens].concat()), Some(7), "what is used up counts");
        assert_eq!(after(&tokens), Some(2));
        assert_eq!(
            after(&[requests[0], requests[1], ("retry-after", "3")]),
            Some(3),
            "what is said outright comes first"
        );
        assert_eq!(after(&[requests[0], (requests[1].0, "2026-09-15T09:00:00Z")]), Some(0));
        assert_eq!(after(&[requests[0], (requests[1].0, "soon")]), None);
    }

    proptest! {
        #[test]
        fn no_error_makes_the_reader_panic(body in "[ -~]{0,40}", status in 400u16..=999) {
            let _ = (in_event(&body), implied_status(body.as_bytes()));
            let _ = read(status, &[], &body);
        }
    }
}
