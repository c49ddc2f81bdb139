//! Error answers in OpenAI's dialect: what they mean, whoever of its many speakers wrote them.
//!
//! It does not know what is done about them; `Fault::retry` says what may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::fault::{self, Fault, Refusal};
use crate::time::span;
use crate::wire::headers;

/// An error answer, read. Whatever it says about keys stays here; `key` is the one that the provider was shown.
pub(crate) fn refused(
    provider: &Arc<str>,
    key: Option<&str>,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
) -> Fault {
    let body = without_accounts(body);
    let said = Said::read(&body);
    if matches!(status.as_u16(), 401 | 403) && said.is_about_model() {
        return withheld(provider, body, &said);
    }
    let about_keys = said.code.as_deref() == Some("invalid_api_key")
        || said.kind.as_deref() == Some("authentication_error")
        || key.is_some_and(|key| memchr::memmem::find(&body, key.as_bytes()).is_some());
    if about_keys || matches!(status.as_u16(), 401 | 403) {
        return Fault::Credential { provider: provider.clone() };
    }
    let code = said.meaning(status);
    let message = match said.message {
        Some(message) => message,
        None => format!("The AI provider {} answered with status {}.", provider, status.as_u16()),
    };
    let limit_ends = || (status == StatusCode::TOO_MANY_REQUESTS).then(|| limit_ends(&headers)).flatten();
    let refusal = Refusal {
        status: known(status),
        headers: headers::to_caller(&headers),
        is_openai: said.is_object,
        body,
        message,
        code,
        retry_after: retry_after(&headers).or_else(limit_ends),
    };
    Fault::Refused { provider: provider.clone(), refusal: Box::new(refusal) }
}

/// A status beyond all classes is one that the provider must not send (RFC 9110, 15): callers' libraries know none of them.
fn known(status: StatusCode) -> StatusCode {
    if status.as_u16() < 600 { status } else { StatusCode::BAD_GATEWAY }
}

/// The account may not use this model. That is no word about the key: all other models are answered with it as before.
fn withheld(provider: &Arc<str>, body: Bytes, said: &Said) -> Fault {
    let message = format!("The AI provider {} does not offer this model to the gateway.", provider);
    let refusal = Refusal {
        status: StatusCode::FORBIDDEN,
        headers: HeaderMap::new(),
        is_openai: said.is_object,
        body,
        message: said.message.clone().unwrap_or(message),
        code: Some(fault::NO_MODEL.into()),
        retry_after: None,
    };
    Fault::Refused { provider: provider.clone(), refusal: Box::new(refusal) }
}

/// How OpenAI names its customers' accounts, organisations and projects; and how short a name may be after the prefix: what
/// is shorter is a word.
const ACCOUNTS: [(&[u8], usize); 2] = [(b"org-", 8), (b"proj_", 1)];

/// A provider's words without the names of the operator's accounts, which "Rate limit reached for gpt-4 in organization
/// org-..." tells: they are none of a caller's business. Other bytes stay as they came.
fn without_accounts(body: Bytes) -> Bytes {
    if ACCOUNTS.iter().all(|(prefix, _)| memchr::memmem::find(&body, prefix).is_none()) {
        return body;
    }
    let (mut kept, mut rest) = (Vec::with_capacity(body.len()), &body[..]);
    while let Some((&first, after)) = rest.split_first() {
        let is_word_before = kept.last().is_some_and(u8::is_ascii_alphanumeric);
        let account = ACCOUNTS.iter().find(|(prefix, _)| !is_word_before && rest.starts_with(prefix));
        let name = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        match account.map(|(prefix, shortest)| (*prefix, *shortest, name(&rest[prefix.len()..]))) {
            Some((prefix, shortest, length)) if length >= shortest => {
                kept.extend_from_slice(prefix);
                kept.extend_from_slice(b"***");
                rest = &rest[prefix.len() + length..];
            }
            _ => {
                kept.push(first);
                rest = after;
            }
        }
    }
    kept.into()
}

/// An error event as the error answer that it stands for. `error` is the error object's JSON.
pub(crate) fn in_event(error: &str) -> Box<Refusal> {
    let body = without_accounts(Bytes::from(format!("{{\"error\":{error}}}")));
    let (status, said) = (implied_status(&body), Said::read(&body));
    let code = said.meaning(status);
    Box::new(Refusal {
        status,
        headers: HeaderMap::new(),
        message: said.message.unwrap_or_else(|| "The AI provider reported an error.".into()),
        code,
        retry_after: None,
        is_openai: said.is_object,
        body,
    })
}

/// What an error body says.
#[derive(Default)]
struct Said {
    message: Option<String>,
    code: Option<Box<str>>,
    kind: Option<Box<str>>,
    is_object: bool,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let text = |value: &Value| match value {
            Value::String(text) => word(text),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        };
        match &value["error"] {
            error @ Value::Object(_) => Self {
                message: error["message"].as_str().map(str::to_owned),
                code: text(&error["code"]),
                kind: text(&error["type"]),
                is_object: true,
            },
            Value::String(message) => Self { message: Some(message.clone()), ..Self::default() },
            _ => Self { message: value["message"].as_str().map(str::to_owned), ..Self::default() },
        }
    }

    /// The code, or that of a conversation that is too long where the provider says so in other words.
    fn meaning(&self, status: StatusCode) -> Option<Box<str>> {
        match matches!(status.as_u16(), 400 | 413 | 422) && self.is_about_length() {
            true => Some(fault::TOO_LONG.into()),
            false => self.code.clone(),
        }
    }

    /// True for words about a model that the account may not use.
    fn is_about_model(&self) -> bool {
        let is_named = [&self.code, &self.kind]
            .into_iter()
            .flatten()
            .any(|word| MODEL_WORDS.contains(&&**word) || MODEL_PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
        is_named
            || self.message.as_ref().is_some_and(|message| {
                let message = message.replace('`', "").to_ascii_lowercase();
                MODEL_TEXTS.iter().any(|text| message.contains(text))
            })
    }

    fn is_about_length(&self) -> bool {
        let is_named = [&self.code, &self.kind].into_iter().flatten().any(|word| TOO_LONG_WORDS.contains(&&**word));
        is_named
            || self.message.as_ref().is_some_and(|message| {
                let message = message.replace('`', "").to_ascii_lowercase();
                TOO_LONG_TEXTS.iter().any(|text| message.contains(text))
            })
    }
}

/// Codes and types of errors about a conversation that is too long for the model: OpenAI's, and llama.cpp's
/// (ggml-org/llama.cpp#15780).
const TOO_LONG_WORDS: [&str; 2] = [fault::TOO_LONG, "exceed_context_size_error"];

/// What servers without such codes write instead, in lower case and without backticks.
const TOO_LONG_TEXTS: [&str; 6] = [
    // vLLM (vllm-project/vllm#20409), DeepSeek, and OpenAI's own words.
    "maximum context length",
    // vLLM, for prompts that no setting of `max_tokens` could save.
    "longer than the maximum model length",
    // SGLang (QwenLM/Qwen3#1321).
    "longer than the model's context length",
    // Together.ai (stanford-crfm/helm#2079) and Hugging Face's TGI (text-generation-inference#628).
    "inputs tokens + max_new_tokens must be <=",
    // TGI (text-generation-inference#695).
    "inputs must have less than",
    // llama.cpp before it had a type for it.
    "exceeds the available context size",
];

/// Codes of models that are there, and not for this account: OpenAI's, Together.ai's, and Groq's for organisations and
/// projects.
const MODEL_WORDS: [&str; 2] = [fault::NO_MODEL, "model_not_available"];
const MODEL_PREFIXES: [&str; 1] = ["model_permission_blocked"];

/// What says the same without such a code, in lower case and without backticks.
const MODEL_TEXTS: [&str; 5] = [
    "missing scopes",
    "have access to model",
    "do not have access to it",
    "not allowed to sample from this model",
    "must be verified to use the model",
];

/// A code or a type, if it looks like one: it is logged, and what a provider repeats in its place must not be.
fn word(text: &str) -> Option<Box<str>> {
    let is_word = text.len() <= 48 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word.then(|| text.into())
}

/// The status that an error inside a 200 stands for.
pub(crate) fn implied_status(body: &[u8]) -> StatusCode {
    let said = Said::read(body);
    let words = [said.code.as_deref().unwrap_or_default(), said.kind.as_deref().unwrap_or_default()];
    let is = |word: &str| words.contains(&word);
    if let Some(status) =
        words[0].parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).filter(|status| status.as_u16() >= 400)
    {
        return status;
    }
    if is("rate_limit_exceeded") || is("rate_limit_error") || is("insufficient_quota") || is("tokens") || is("requests")
    {
        StatusCode::TOO_MANY_REQUESTS
    } else if is("invalid_api_key") || is("authentication_error") {
        StatusCode::UNAUTHORIZED
    } else if is(fault::NO_MODEL) {
        StatusCode::NOT_FOUND
    } else if is("overloaded_error") || is("service_unavailable") {
        StatusCode::SERVICE_UNAVAILABLE
    } else if is("invalid_request_error") || is("content_filter") || said.is_about_length() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::BAD_GATEWAY
    }
}

/// How long a provider asks to wait: `retry-after-ms`, else `Retry-After` in seconds (RFC 9110, 10.2.3) or as a date
/// relative to the response's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(wait) = text(headers, "retry-after-ms").and_then(seconds) {
        return Some(wait / 1000);
    }
    let after = text(headers, "retry-after")?;
    seconds(after).or_else(|| {
        let parse = |text| jiff::fmt::rfc2822::parse(text).ok().map(|moment| moment.timestamp());
        let wait = parse(after)?.duration_since(parse(text(headers, "date")?)?);
        Duration::try_from(wait).ok()
    })
}

/// When a rate limit ends, by OpenAI's `x-ratelimit-*` headers: that of the quantity which is used up, of both the later
/// one. Where none is (the call alone would have been too much): the sooner one.
fn limit_ends(headers: &HeaderMap) -> Option<Duration> {
    let quantities = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let known = quantities.into_iter().filter_map(|(remaining, reset)| {
        let is_used_up = text(headers, remaining) == Some("0");
        Some((is_used_up, span(text(headers, reset)?)?))
    });
    let (used_up, left): (Vec<_>, Vec<_>) = known.partition(|(is_used_up, _)| *is_used_up);
    let used_up = used_up.into_iter().map(|(_, wait)| wait).max();
    used_up.or_else(|| left.into_iter().map(|(_, wait)| wait).min())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_limit_that_is_used_up_says_when_it_ends() {
        let ends = |requests: Option<(&str, &str)>, tokens: Option<(&str, &str)>| {
            let mut pairs = Vec::new();
            if let Some((remaining, reset)) = requests {
                pairs.extend([("x-ratelimit-remaining-requests", remaining), ("x-ratelimit-reset-requests", reset)]);
            }
            if let Some((remaining, reset)) = tokens {
                pairs.extend([("x-ratelimit-remaining-tokens", remaining), ("x-ratelimit-reset-tokens", reset)]);
            }
            limit_ends(&headers(&pairs)).map(|wait| wait.as_millis())
        };
        assert_eq!(ends(Some(("0", "2s")), Some(("17", "20ms"))), Some(2000));
        assert_eq!(ends(Some(("9", "2s")), Some(("0", "6m0s"))), Some(360_000));
        assert_eq!(ends(Some(("0", "2s")), Some(("0", "3s"))), Some(3000), "both are used up: the later");
        assert_eq!(ends(Some(("9", "2s")), Some(("17", "20ms"))), Some(20), "none is: the sooner");
        assert_eq!(ends(Some(("0", "soon")), Some(("17", "1.5s"))), Some(1500), "what cannot be read does not count");
        assert_eq!(ends(Some(("0", "soon")), None), None);
        assert_eq!(ends(None, None), None);
    }

    #[test]
    fn spans_are_read_as_they_are_spelt() {
        for (text, wanted) in [
            ("1s", Some(1000)),
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("1.5s", Some(1500)),
            ("1h0m1s", Some(3_601_000)),
            ("7", Some(7000)),
            ("0.25", Some(250)),
            ("", None),
            ("s", None),
            ("1x", None),
            ("-1s", None),
            ("-1", None),
            ("1s2", None),
            ("1..2s", None),
            ("9e999", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(span(text).map(|wait| wait.as_millis()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_conversation_that_is_too_long_is_recognised_in_every_servers_words() {
        for body in [
            r#"{"error":{"message":"x","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 122946 tokens","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2019 `inputs` tokens and 30 `max_new_tokens`","type":"invalid_request_error","param":"max_tokens","code":null}}"#,
            r#"{"error":"Input validation error: `inputs` must have less than 1024 tokens. Given: 1168","error_type":"validation"}"#,
            r#"{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":4390,"n_ctx":4096}}"#,
        ] {
            let said = Said::read(body.as_bytes());
            assert_eq!(said.meaning(StatusCode::BAD_REQUEST).as_deref(), Some(fault::TOO_LONG), "{body}");
        }
        let other = Said::read(br#"{"error":{"message":"`n` must be less than 5","code":"invalid_value"}}"#);
        assert_eq!(other.meaning(StatusCode::BAD_REQUEST).as_deref(), Some("invalid_value"));
    }

    #[test]
    fn a_model_that_the_account_may_not_use_says_nothing_about_the_key() {
        let read = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            refused(&"openai".into(), Some("sk-1"), status, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()))
        };
        for body in [
            r#"{"error":{"message":"Project `proj_abcdefgh1234` does not have access to model `gpt-5-pro`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            r#"{"error":{"message":"The model `o9` does not exist or you do not have access to it.","type":"invalid_request_error","code":null}}"#,
            r#"{"error":{"message":"x","type":"permissions_error","code":"model_permission_blocked_project"}}"#,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.images.request.","code":null}}"#,
            r#"{"error":{"message":"Unable to access model. Please visit the pricing page.","type":"invalid_request_error","code":"model_not_available"}}"#,
        ] {
            let fault = read(403, body);
            let Fault::Refused { refusal, .. } = &fault else { panic!("{body}: {fault}") };
            assert_eq!((fault.status().as_u16(), refusal.code.as_deref()), (403, Some(fault::NO_MODEL)), "{body}");
            assert_eq!((fault.blame(), fault.is_illness()), (fault::Blame::Caller, false), "{body}");
            assert!(!refusal.message.contains("abcdefgh") && !refusal.body.windows(8).any(|it| it == b"abcdefgh"));
        }
        for (status, body) in [
            (
                403,
                r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
            ),
            (401, r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#),
            (403, "<html>"),
        ] {
            assert!(matches!(read(status, body), Fault::Credential { .. }), "{body}");
        }
    }

    #[test]
    fn a_status_beyond_all_classes_is_a_broken_gateways() {
        for (sent, passed_on) in [(599, 599), (600, 502), (999, 502), (429, 429)] {
            assert_eq!(known(StatusCode::from_u16(sent).unwrap()).as_u16(), passed_on);
        }
    }

    #[test]
    fn names_of_accounts_are_cut_out_and_words_are_not() {
        let cut =
            |text: &str| String::from_utf8(without_accounts(Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap();
        assert_eq!(
            cut("Rate limit reached for gpt-4 in organization org-AbCd1234efgh on tokens; project proj_1234567890."),
            "Rate limit reached for gpt-4 in organization org-*** on tokens; project proj_***."
        );
        for same in ["org-mode", "the forg-abcdefghijk", "proj_", "org-", "é org-é"] {
            assert_eq!(cut(same), same);
        }
    }

    proptest! {
        /// Whatever the parts, the whole is their sum; and nothing makes the reader panic.
        #[test]
        fn a_span_is_the_sum_of_its_parts(hours in 0u64..100, minutes in 0u64..100, millis in 0u64..100_000) {
            let text = format!("{hours}h{minutes}m{}.{:03}s", millis / 1000, millis % 1000);
            let got = span(&text).unwrap();
            let wanted = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(millis);
            prop_assert!(got.abs_diff(wanted) < Duration::from_micros(1), "{text}: {got:?}");
        }

        #[test]
        fn no_header_makes_the_reader_panic(text in "[0-9a-z.eE+:µ -]{0,30}", body in "[ -~]{0,40}") {
            let _ = span(&text);
            let _ = in_event(&body);
        }
    }
}
