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

/// Headers that the gateway adds to a response, about: of rate limits, security, its ids, and of who answered.
const OWN: usize = 16;

/// The headers of a caller's request that may reach a provider of the same dialect.
///
/// `Content-Type` is not among them: it belongs to the body and is set with it.
pub fn to_provider(headers: &HeaderMap) -> HeaderMap {
    let nominated = nominated(headers);
    let may_pass = |name: &HeaderName| {
        let is_of_family = match name.as_str().as_bytes() {
            [b'a' | b'u' | b't', ..] => TO_PROVIDER.contains(name),
            [b'x', ..] => name.as_str().starts_with("x-stainless-"),
            [b'o', ..] => is_of_openai(name),
            _ => false,
        };
        is_of_family && !nominated.contains(name)
    };
    // Counted first: a map that grows is made anew.
    let mut passed = HeaderMap::with_capacity(headers.iter().filter(|(name, _)| may_pass(name)).count());
    for (name, value) in headers.iter().filter(|(name, _)| may_pass(name)) {
        passed.append(name, value.clone());
    }
    passed
}

/// The headers of a provider's response that may reach the caller, and room for as many of the gateway's own.
pub fn to_caller(mut headers: HeaderMap) -> HeaderMap {
    let nominated = nominated(&headers);
    let may_pass = |name: &HeaderName| {
        let is_of_family = match name.as_str().as_bytes() {
            [b'x', ..] => name.as_str().starts_with("x-ratelimit-") || TO_CALLER.contains(name),
            [b'c' | b'r', ..] => TO_CALLER.contains(name),
            [b'o', ..] => is_of_openai(name),
            _ => false,
        };
        is_of_family && !nominated.contains(name)
    };
    // Most may pass, so what may not is taken away.
    let others: Vec<HeaderName> = headers.keys().filter(|name| !may_pass(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    headers.reserve(OWN);
    headers
}

/// True for OpenAI's own headers, but for those that name an account.
fn is_of_openai(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("openai-") && !ACCOUNT.iter().any(|account| name.starts_with(account))
}

/// The headers that `Connection` names, which makes them hop-by-hop (RFC 9110, 7.6.1). Nearly always there are none: the
/// usual options are about the connection itself.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.iter().filter(|(name, _)| **name == header::CONNECTION);
    let names = lists.filter_map(|(_, value)| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim);
    let names = names.filter(|name| !["keep-alive", "close"].iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    // What is no name is nobody's.
    names.filter_map(|name| name.parse().ok()).collect()
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
        let passed = to_caller(map(&[
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
            to_caller(headers.clone()).keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-ratelimit-remaining-requests"]
        );
        assert!(to_provider(&headers).is_empty());
    }
}
