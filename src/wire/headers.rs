//! Headers: which headers cross the gateway, in either direction.
//!
//! Both are allow lists: every other header stays behind, credentials, cookies and hop-by-hop headers included.
//! Nothing here knows a dialect.

use http::{HeaderMap, HeaderName, header};

/// Request headers that may reach a provider of the caller's own dialect, besides the families below.
const TO_PROVIDER: [HeaderName; 4] =
    [header::ACCEPT, header::USER_AGENT, HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// The headers that name an account: a caller's must not decide whose account is used, as the gateway's key does that, and
/// the operator's is none of a caller's business.
const ACCOUNT: [&str; 2] = ["openai-organization", "openai-project"];

/// Response headers that may reach the caller, besides the families below.
const TO_CALLER: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-request-id"),
];

/// The headers of a caller's request that may reach a provider of the same dialect.
///
/// `Content-Type` is not among them: it belongs to the body and is set with it.
pub fn to_provider(headers: &HeaderMap) -> HeaderMap {
    pass(headers, |name| TO_PROVIDER.contains(name) || name.as_str().starts_with("x-stainless-") || is_of_openai(name))
}

/// The headers of a provider's response that may reach the caller.
pub fn to_caller(headers: &HeaderMap) -> HeaderMap {
    pass(headers, |name| TO_CALLER.contains(name) || name.as_str().starts_with("x-ratelimit-") || is_of_openai(name))
}

/// True for OpenAI's own headers, but for those that name an account.
fn is_of_openai(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("openai-") && !ACCOUNT.iter().any(|account| name.starts_with(account))
}

fn pass(headers: &HeaderMap, may_pass: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let nominated = nominated(headers);
    let mut passed = HeaderMap::with_capacity(8);
    for (name, value) in headers {
        if may_pass(name) && !nominated.iter().any(|item| item.eq_ignore_ascii_case(name.as_str())) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

/// The headers that `Connection` names, which makes them hop-by-hop (RFC 9110, 7.6.1). Nearly always there are none: the
/// usual options are about the connection itself.
fn nominated(headers: &HeaderMap) -> Vec<&str> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).map(str::trim);
    names.filter(|name| !name.eq_ignore_ascii_case("keep-alive") && !name.eq_ignore_ascii_case("close")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn credentials_cookies_and_hop_by_hop_headers_stay_behind() {
        let passed = to_provider(&map(&[
            ("authorization", "Bearer canary"),
            ("cookie", "canary"),
            ("x-api-key", "canary"),
            ("proxy-authorization", "canary"),
            ("openai-organization", "org-canary"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("accept-encoding", "gzip"),
            ("x-stainless-lang", "python"),
            ("openai-beta", "assistants=v2"),
            ("user-agent", "sdk"),
        ]));
        let names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-stainless-lang", "openai-beta", "user-agent"]);
    }

    #[test]
    fn what_openai_says_of_its_answer_passes_and_whose_account_it_was_does_not() {
        let passed = to_caller(&map(&[
            ("openai-processing-ms", "7"),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "canary"),
            ("openai-project", "canary"),
            ("set-cookie", "canary"),
        ]));
        let names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["openai-processing-ms", "openai-version"]);
    }

    #[test]
    fn a_header_that_connection_names_is_stripped_in_both_directions() {
        let headers = map(&[
            ("connection", "close, X-Ratelimit-Secret"),
            ("connection", "x-stainless-hop"),
            ("x-ratelimit-secret", "1"),
            ("x-stainless-hop", "1"),
            ("x-ratelimit-remaining-requests", "9"),
            ("set-cookie", "canary"),
        ]);
        assert_eq!(
            to_caller(&headers).keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-ratelimit-remaining-requests"]
        );
        assert!(to_provider(&headers).is_empty());
    }
}
