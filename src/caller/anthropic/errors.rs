//! Faults in Anthropic's words: a type of error and a status for each, so that an SDK raises the right class.
//!
//! It does not know what an error does to a caller, nor which headers go with it.
//! Source: <https://docs.claude.com/en/api/errors>.

use http::StatusCode;
use serde_json::{Value, json};

use crate::model::fault::{Dialect, Fault, Refusal, TOO_LONG};

/// Anthropic's own status for a service that has more to do than it can; HTTP has no name for it.
const OVERLOADED: u16 = 529;

/// The status that makes the SDKs raise the right class. That of credentials stops them from trying again, which a 5xx would not;
/// the message says whose credentials they are.
pub(super) fn status(fault: &Fault) -> StatusCode {
    match fault {
        fault if fault.is_denied() => StatusCode::UNAUTHORIZED,
        fault if is_overloaded(fault) => StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        fault => fault.status(),
    }
}

/// True where whoever would answer has too much to do, and nothing is broken: the gateway, or the provider that is spoken of.
fn is_overloaded(fault: &Fault) -> bool {
    match fault {
        Fault::Overloaded | Fault::Saturated { .. } => true,
        Fault::Exhausted { last, .. } => is_overloaded(last),
        fault => fault.is_overload(),
    }
}

/// Anthropic's type of errors with this status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The body of a refusal; `id` is the request's.
pub(super) fn body(fault: &Fault, id: &str) -> Value {
    json!({"type": "error", "error": error(fault), "request_id": id})
}

/// The data of an error event.
pub(super) fn event(fault: &Fault) -> Value {
    let error = match fault {
        // The provider's own words, as those of any refusal.
        Fault::ErrorEvent { refusal, .. } => own(refusal).unwrap_or_else(|| error(fault)),
        fault => error(fault),
    };
    json!({"type": "error", "error": error})
}

/// The error object of a provider that speaks this dialect.
fn own(refusal: &Refusal) -> Option<Value> {
    let body = Some(&refusal.body).filter(|_| refusal.dialect == Some(Dialect::Anthropic))?;
    let mut body = serde_json::from_slice::<Value>(body).ok()?;
    Some(body["error"].take()).filter(Value::is_object)
}

fn error(fault: &Fault) -> Value {
    let refusal = match fault {
        Fault::Refused { refusal, .. } | Fault::Mistranslated { refusal, .. } | Fault::ErrorEvent { refusal, .. } => {
            Some(refusal)
        }
        _ => None,
    };
    let kind = match (fault, refusal) {
        // It breaks an answer off, whose own status was a success: what counts is what the provider says.
        (Fault::ErrorEvent { .. }, Some(refusal)) if refusal.is_own_trouble() => match refusal.status.as_u16() {
            503 | OVERLOADED => "overloaded_error",
            _ => kind(refusal.status),
        },
        _ => kind(status(fault)),
    };
    let message = match refusal {
        // Agents look for these words, and then summarize what was said so far.
        Some(refusal) if refusal.code.as_deref() == Some(TOO_LONG) => {
            format!("prompt is too long: {}", refusal.message)
        }
        _ => fault.public().into_owned(),
    };
    json!({"type": kind, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Phase;

    #[test]
    fn every_status_has_a_type_of_its_own() {
        for (status, wanted) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (408, "invalid_request_error"),
            (409, "invalid_request_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "api_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), wanted, "{status}");
        }
    }

    #[test]
    fn only_an_overload_is_told_as_one() {
        let told = |fault: &Fault| status(fault).as_u16();
        let retry_in = std::time::Duration::from_secs(1);
        let saturated = || Fault::Saturated { provider: "p".into(), retry_in };
        assert_eq!(told(&Fault::Overloaded), 529);
        assert_eq!(told(&saturated()), 529);
        assert_eq!(told(&Fault::Exhausted { last: Box::new(saturated()), retry_after: retry_in }), 529);
        assert_eq!(told(&Fault::NoProvider), 503);
        assert_eq!(told(&Fault::Open { provider: "p".into(), retry_in, denial: None }), 503);
        let late = Fault::Timeout { provider: "p".into(), phase: Phase::FirstByte };
        assert_eq!(told(&Fault::Exhausted { last: Box::new(late), retry_after: retry_in }), 504);
    }
}
