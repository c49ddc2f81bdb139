//! Error responses in OpenAI's dialect: what they mean, whichever of its many servers wrote them.
//!
//! It does not know what is done about them; `Fault::retry` says what may be. The body is read in `said`, its text
//! in `words` and its wait times in `waits`; the class is in `meaning`; what must not be shown in `secrets`.

mod lists;
mod secrets;
mod waits;
mod words;

mod said;

mod meaning;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use self::meaning::Meaning;
use self::said::ErrorBody;
pub(crate) use self::secrets::{repeats_key, without_key};
use crate::model::fault;
use crate::model::fault::{Denial, Dialect, Fault, Refusal};
use crate::wire::headers;

/// An error answer, read. Whatever it says about keys and accounts stays here; `key` is the one that the provider was shown.
pub(crate) fn refused(
    provider: &Arc<str>,
    key: Option<&str>,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
) -> Fault {
    let denied = |denial| Fault::Credential { provider: provider.clone(), denial };
    if key.is_some_and(|key| repeats_key(&body, key)) {
        return denied(Denial::Key);
    }
    let body = secrets::without_accounts(without_key(body, key.unwrap_or_default()));
    let said = ErrorBody::read(&body);
    let meaning = said.means(status);
    let is_limit = status == StatusCode::TOO_MANY_REQUESTS;
    let tells_account = (is_limit || status.is_server_error()) && said.speaks_of_account();
    let mut refusal = Refusal {
        status: known(status),
        headers: headers::to_caller(headers.clone()),
        dialect: said.is_openai.then_some(Dialect::OpenAi),
        body,
        message: format!("The AI provider {provider} returned status {}.", status.as_u16()),
        code: said.code.clone(),
        retry_after: None,
    };
    match meaning {
        Meaning::Account => return denied(Denial::Account),
        Meaning::Key => return denied(Denial::Key),
        // That is no word about the key: all other models are answered with it as before.
        Meaning::Model => {
            refusal.message = format!("The AI provider {provider} does not offer this model to the gateway.");
            (refusal.status, refusal.headers) = (StatusCode::FORBIDDEN, HeaderMap::new());
            refusal.code = Some(fault::NO_MODEL.into());
        }
        Meaning::Length => {
            // Together.ai's 403 is what all others call a 400, and what callers take for one.
            let status = if status == StatusCode::FORBIDDEN { StatusCode::BAD_REQUEST } else { status };
            (refusal.status, refusal.code) = (status, Some(fault::TOO_LONG.into()));
        }
        Meaning::Flagged => refusal.code = Some(fault::FLAGGED.into()),
        Meaning::UnknownField => refusal.code = Some(fault::UNKNOWN_FIELD.into()),
        Meaning::Other => {
            let asked = waits::retry_after(&headers).or(said.wait);
            refusal.retry_after = asked.or_else(|| waits::limit_ends(&headers).filter(|_| is_limit));
        }
    }
    match said.message {
        // A limit or a failure that is told with the operator's plan or bills: the status says all that a caller needs.
        Some(_) if tells_account => refusal.dialect = None,
        Some(message) => refusal.message = message,
        None => {}
    }
    Fault::Refused { provider: provider.clone(), refusal: Box::new(refusal) }
}

/// A status beyond all classes is one that the provider must not send (RFC 9110, 15): callers' libraries know none of them.
/// Groq's for a lack of capacity is one of its own (https://console.groq.com/docs/errors).
fn known(status: StatusCode) -> StatusCode {
    match status.as_u16() {
        498 => StatusCode::SERVICE_UNAVAILABLE,
        ..600 => status,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// An error event as the error answer that it stands for. `error` is the error object's JSON.
pub(crate) fn in_event(error: &str) -> Box<Refusal> {
    let body = secrets::without_accounts(Bytes::from(format!("{{\"error\":{error}}}")));
    let said = ErrorBody::read(&body);
    let status = implied(&said);
    let code = if said.means(status) == Meaning::Length { Some(fault::TOO_LONG.into()) } else { said.code };
    Box::new(Refusal {
        status,
        headers: HeaderMap::new(),
        message: said.message.unwrap_or_else(|| "The AI provider reported an error.".into()),
        code,
        retry_after: said.wait,
        dialect: said.is_openai.then_some(Dialect::OpenAi),
        body,
    })
}

/// The status that an error inside a 200 stands for.
pub(crate) fn implied_status(body: &[u8]) -> StatusCode {
    implied(&ErrorBody::read(body))
}

/// Codes and types, and the statuses that they are sent with.
const STATUSES: [(u16, &[&str]); 9] = [
    (429, &["rate_limit_exceeded", "rate_limit_error", "tokens", "requests", "RESOURCE_EXHAUSTED"]),
    (401, &["invalid_api_key", "authentication_error", "UNAUTHENTICATED"]),
    (403, &["permission_error", "permission_denied"]),
    (404, &[fault::NO_MODEL, "not_found_error", "NOT_FOUND"]),
    (503, &["overloaded_error", "service_unavailable", "UNAVAILABLE"]),
    (504, &["timeout_error", "DEADLINE_EXCEEDED"]),
    (413, &["request_too_large"]),
    (400, &["invalid_request_error", "content_filter", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"]),
    (400, &[fault::TOO_LONG, fault::FLAGGED]),
];

fn implied(said: &ErrorBody) -> StatusCode {
    if let Some(status) = said.number {
        return status;
    }
    // One that no caller's words can lead to.
    if said.means(StatusCode::OK) == Meaning::Account {
        return StatusCode::PAYMENT_REQUIRED;
    }
    let is_named = |words: &[&str]| said.names().any(|name| words.iter().any(|word| word.eq_ignore_ascii_case(name)));
    let named = STATUSES.iter().find(|(_, words)| is_named(words));
    match named.and_then(|(status, _)| StatusCode::from_u16(*status).ok()) {
        Some(status) => status,
        None if said.is_about_length() => StatusCode::BAD_REQUEST,
        None => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_with(key: &str, status: u16, body: &str) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        refused(&"openai".into(), Some(key), status, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()))
    }

    fn read(status: u16, body: &str) -> Fault {
        read_with("sk-0123456789abcdef", status, body)
    }

    #[test]
    fn a_model_that_the_account_may_not_use_is_the_callers_to_read_about() {
        let body = r#"{"error":{"message":"Project `proj_abcdefgh1234` does not have access to model `gpt-5-pro`","code":"model_not_found"}}"#;
        let fault = read(403, body);
        let Fault::Refused { refusal, .. } = &fault else { panic!("{fault}") };
        assert_eq!((fault.status().as_u16(), refusal.code.as_deref()), (403, Some(fault::NO_MODEL)));
        assert_eq!((fault.blame(), fault.is_illness()), (fault::Blame::Caller, false));
        assert!(!refusal.message.contains("abcdefgh") && !refusal.body.windows(8).any(|it| it == b"abcdefgh"));
    }

    #[test]
    fn what_a_403_means_decides_what_follows() {
        let retry = |body: &str| {
            let fault = read(403, body);
            (fault.status().as_u16(), fault.retry(), fault.is_illness())
        };
        let long = r#"{"error":{"message":"Prompt and max_tokens together exceed the context length","code":null}}"#;
        assert_eq!(retry(long), (400, fault::Retry::LargerContext, false));
        let flagged = r#"{"error":{"message":"Your input was flagged","metadata":{"flagged_input":"x"}}}"#;
        assert_eq!(retry(flagged), (403, fault::Retry::Never, false));
        let region = r#"{"error":{"message":"Not in your country","code":"unsupported_country_region_territory"}}"#;
        assert_eq!(retry(region), (403, fault::Retry::NextTarget, false));
    }

    #[test]
    fn a_key_is_recognised_from_sixteen_characters_on_and_none_is_passed_on() {
        let body = r#"{"error":{"message":"x is not a test; the key test is wrong"}}"#;
        for key in ["", "x", "test", "te", "not"] {
            let fault = read_with(key, 400, body);
            let Fault::Refused { refusal, .. } = &fault else { panic!("{key}: {fault}") };
            let is_told = !key.is_empty() && refusal.message.split([' ', ';']).any(|word| word == key);
            assert!(!is_told, "{key}: {}", refusal.message);
        }
        assert!(read_with("test-test-test-1", 400, r#"{"detail":"test-test-test-1 is bad"}"#).is_denied());
    }

    #[test]
    fn a_limit_that_is_told_with_the_operators_bills_is_told_without_them() {
        let body = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17s"}]}}"#;
        let fault = read(429, body);
        let Fault::Refused { refusal, .. } = &fault else { panic!("{fault}") };
        assert_eq!(fault.retry(), fault::Retry::After(std::time::Duration::from_secs(17)));
        assert!(refusal.dialect.is_none() && !refusal.message.contains("billing"), "{}", refusal.message);
        assert_eq!(refusal.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
    }

    #[test]
    fn an_error_without_a_status_stands_for_one() {
        for (error, wanted) in [
            (r#"{"code":"insufficient_quota"}"#, 402),
            (r#"{"code":402,"message":"Insufficient credits"}"#, 402),
            (r#"{"code":"rate_limit_exceeded"}"#, 429),
            (r#"{"status":"RESOURCE_EXHAUSTED"}"#, 429),
            (r#"{"type":"invalid_request_error"}"#, 400),
            (r#"{"message":"This model's maximum context length is 7 tokens"}"#, 400),
            (r#"{"type":"overloaded_error"}"#, 503),
            (r#"{"code":"503"}"#, 503),
            (r#"{"message":"insufficient balance"}"#, 502),
            (r#""something broke""#, 502),
        ] {
            assert_eq!(in_event(error).status.as_u16(), wanted, "{error}");
        }
    }

    #[test]
    fn only_what_openais_clients_can_read_passes_as_it_is() {
        for (body, is_openai) in [
            (r#"{"error":{"message":"no","type":"x","code":null}}"#, true),
            (r#"{"error":{"message":"no","error":{"message":"inside"}}}"#, true),
            (r#"{"error":{"error":{"message":"no"}}}"#, false),
            (r#"{"error":{"detail":"no"}}"#, false),
            (r#"{"error":{"message":" ","detail":"no"}}"#, false),
            (r#"[{"error":{"message":"no"}}]"#, false),
        ] {
            let fault = read(400, body);
            let Fault::Refused { refusal, .. } = &fault else { panic!("{body}: {fault}") };
            assert_eq!((&*refusal.message, refusal.dialect.is_some()), ("no", is_openai), "{body}");
        }
    }

    #[test]
    fn a_status_beyond_all_classes_is_a_broken_gateways() {
        for (sent, passed_on) in [(599, 599), (600, 502), (999, 502), (429, 429), (498, 503)] {
            assert_eq!(known(StatusCode::from_u16(sent).unwrap()).as_u16(), passed_on);
        }
    }

    proptest! {
        #[test]
        fn no_error_makes_the_reader_panic(body in "[ -~]{0,40}", status in 400u16..=999) {
            let _ = in_event(&body);
            let _ = read(status, &body);
        }
    }
}
