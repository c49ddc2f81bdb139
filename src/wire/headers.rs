//! Headers: which headers cross the gateway, in either direction.
//!
//! Both are allow lists: every other header stays behind, credentials, cookies and hop-by-hop headers included.
//! Nothing here knows a dialect.

use std::sync::LazyLock;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

/// The headers that name an account: a caller's must not decide whose account is used, as the gateway's key does that, and
/// the operator's is none of a caller's business.
const ACCOUNT: [&str; 2] = ["openai-organization", "openai-project"];

/// What callers of Anthropic's dialect ask for: a version of its API, and betas.
const VERSION: &str = "anthropic-version";
const BETA: &str = "anthropic-beta";

/// Headers that the gateway adds to a response, about: of rate limits, security, its ids, and of who answered.
const OWN: usize = 16;

/// Room in the map of a request to a provider. The same map takes the response's headers, and the gateway's own.
const ROOM: usize = 32;

/// What OpenAI's SDKs say of themselves, and what OpenAI says that stays behind.
const OFTEN: [&str; 10] = [
    "x-stainless-lang",
    "x-stainless-package-version",
    "x-stainless-os",
    "x-stainless-arch",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-async",
    "x-stainless-retry-count",
    "x-stainless-read-timeout",
    "openai-organization",
];

/// The same as names that are shared: any other copy of a name that HTTP's standards do not have takes memory.
static SHARED: LazyLock<[HeaderName; OFTEN.len()]> = LazyLock::new(|| OFTEN.map(HeaderName::from_static));

/// True for a request header that may reach a provider of the caller's own dialect.
fn may_reach_provider(name: &str) -> bool {
    match name.as_bytes() {
        [b'a', ..] => matches!(name, "accept" | VERSION | BETA),
        [b'u', ..] => name == "user-agent",
        [b't', ..] => matches!(name, "traceparent" | "tracestate"),
        [b'x', ..] => name.starts_with("x-stainless-"),
        [b'o', ..] => is_of_openai(name),
        _ => false,
    }
}

/// True for a response header that may reach the caller.
fn may_reach_caller(name: &str) -> bool {
    match name.as_bytes() {
        [b'c', ..] => matches!(name, "content-type" | "content-disposition"),
        [b'a', ..] => name.starts_with("anthropic-ratelimit-"),
        [b'r', ..] => matches!(name, "retry-after" | "retry-after-ms" | "request-id"),
        [b'x', ..] => name.starts_with("x-ratelimit-") || name == "x-request-id",
        [b'o', ..] => is_of_openai(name),
        _ => false,
    }
}

/// The headers of a caller's request that may reach a provider of the same dialect, and room for as many of the gateway's own.
///
/// `Content-Type` is not among them: it belongs to the body and is set with it.
pub fn to_provider(headers: &HeaderMap) -> HeaderMap {
    // A map that grows is made anew.
    let mut passed = HeaderMap::with_capacity(ROOM.max(headers.len()));
    for (name, value) in reaching_provider(headers) {
        passed.append(shared(name), value.clone());
    }
    passed
}

/// The same headers, to be kept for long: they have memory of their own, and do not keep all that their connection has read with
/// them.
pub fn detached(headers: &HeaderMap) -> HeaderMap {
    let (count, bytes) =
        reaching_provider(headers).fold((0, 0), |(count, bytes), (_, value)| (count + 1, bytes + value.len()));
    let (mut kept, mut text) = (HeaderMap::with_capacity(count), BytesMut::with_capacity(bytes));
    for (name, value) in reaching_provider(headers) {
        text.extend_from_slice(value.as_bytes());
        // A copy of a value is one.
        if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
            kept.append(shared(name), value);
        }
    }
    kept
}

/// Those that may pass.
fn reaching_provider(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let nominated = nominated(headers);
    headers.iter().filter(move |(name, _)| may_reach_provider(name.as_str()) && !nominated.contains(name))
}

/// The same name, whose clone needs no memory where it is known.
fn shared(name: &HeaderName) -> &HeaderName {
    let text = name.as_str();
    OFTEN.iter().position(|known| *known == text).map_or(name, |place| &SHARED[place])
}

/// True where a header of a caller's may make a provider give another response to the same body: those ask for a beta of its
/// API, say.
pub fn may_change_response(headers: &HeaderMap) -> bool {
    let asks_for_beta = |name: &&HeaderName| name.as_str().starts_with("openai-") || name.as_str() == BETA;
    headers
        .keys()
        .filter(asks_for_beta)
        .any(|name| may_reach_provider(name.as_str()) && !nominated(headers).contains(name))
}

/// The headers of a provider's response that may reach the caller, and room for as many of the gateway's own. Most may, so
/// what may not is taken away.
pub fn to_caller(mut headers: HeaderMap) -> HeaderMap {
    let others = headers.keys().filter(|name| !may_reach_caller(name.as_str())).map(shared).cloned();
    let others: SmallVec<[HeaderName; 8]> = others.collect();
    // `Connection` is one of them, so it is read before.
    for name in nominated(&headers).into_iter().chain(others) {
        headers.remove(name);
    }
    headers.reserve(OWN);
    headers
}

/// A number as a header's value. Most are small, and these need no memory.
pub fn number(number: u64) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
    small.map_or_else(|| number.into(), |digit| HeaderValue::from_static(digit))
}

/// True for OpenAI's own headers, but for those that name an account.
fn is_of_openai(name: &str) -> bool {
    name.starts_with("openai-") && !ACCOUNT.iter().any(|account| name.starts_with(account))
}

/// The headers that `Connection` names, which makes them hop-by-hop (RFC 9110, 7.6.1). Nearly always there are none: the
/// usual options are about the connection itself.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).map(str::trim);
    let names = names.filter(|name| !["keep-alive", "close"].iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    // What is no name is nobody's.
    names.filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names of headers, some of which may pass in a direction, and some nearly.
    const NAMES: [&str; 29] = [
        "accept",
        "accept-encoding",
        "user-agent",
        "upgrade",
        "traceparent",
        "tracestate",
        "te",
        "x-stainless-lang",
        "x-stainles",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-ratelimit-requests-limit",
        "anthropic-organization-id",
        "request-id",
        "openai-beta",
        "openai-organization",
        "openai-project-name",
        "openai",
        "content-type",
        "content-length",
        "content-disposition",
        "connection",
        "retry-after",
        "retry-after-ms",
        "retry-after-s",
        "x-ratelimit-limit-requests",
        "x-request-id",
        "x-request-ids",
    ];

    /// What passes, header by header.
    fn passed(headers: &HeaderMap, may_pass: &[&str]) -> HeaderMap {
        let nominated = nominated(headers);
        let may = |name: &HeaderName| may_pass.contains(&name.as_str()) && !nominated.contains(name);
        let mut passed = HeaderMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| may(name)) {
            passed.append(name, value.clone());
        }
        passed
    }

    proptest! {
        #[test]
        fn exactly_what_may_pass_does(
            pairs in prop::collection::vec((0..NAMES.len(), 0..NAMES.len()), 0..30), nominates in any::<bool>(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                if NAMES[name] != "connection" || nominates {
                    headers.append(NAMES[name], HeaderValue::from_static(NAMES[value]));
                }
            }
            let requests = [
                "accept", "user-agent", "traceparent", "tracestate", "x-stainless-lang", "openai-beta",
                "anthropic-version", "anthropic-beta",
            ];
            let reaching = passed(&headers, &requests);
            let asks = ["openai-beta", "anthropic-beta"].into_iter().any(|name| reaching.contains_key(name));
            prop_assert_eq!(may_change_response(&headers), asks);
            prop_assert_eq!(&to_provider(&headers), &reaching);
            let kept = detached(&headers);
            prop_assert_eq!(&kept, &reaching);
            prop_assert_eq!(to_provider(&kept), reaching);
            let responses = [
                "content-type", "content-disposition", "retry-after", "retry-after-ms", "x-ratelimit-limit-requests",
                "x-request-id", "openai-beta", "anthropic-ratelimit-requests-limit", "request-id",
            ];
            let wanted = passed(&headers, &responses);
            prop_assert_eq!(to_caller(headers), wanted);
        }
    }

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
