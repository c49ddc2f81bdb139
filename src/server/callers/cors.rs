//! CORS: which websites may send requests and read responses, by the rules that browsers enforce (the Fetch
//! standard, 3.2).
//!
//! It is no access control: other clients send what they like. It does not know what is requested.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::caller::{Answered, AnsweredBody};
use crate::config::plan::{CorsPlan, Origins};

/// The route's name in logs and metrics.
pub(in crate::server) static ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "preflight".into());

/// Answers a browser that asks beforehand whether a page may ask. An origin that may not gets 403, which a browser takes as
/// it would take any answer without the headers, and which people find in the log.
pub(in crate::server) fn preflight(plan: &CorsPlan, method: &Method, request: &HeaderMap) -> Option<Answered> {
    if method != Method::OPTIONS
        || plan.origins.is_empty()
        || !request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut answered =
        Answered { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: AnsweredBody::Full(Bytes::new()) };
    vary(&mut answered.headers, header::ACCESS_CONTROL_REQUEST_HEADERS);
    // `tell` says the rest.
    match allowed(plan, request) {
        None => answered.status = StatusCode::FORBIDDEN,
        Some(_) => {
            answered.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, plan.methods.clone());
            let asked = listed(asked_headers(request).filter(|name| plan.headers.has(name)));
            answered.headers.extend(asked.map(|names| (header::ACCESS_CONTROL_ALLOW_HEADERS, names)));
            answered.headers.insert(header::ACCESS_CONTROL_MAX_AGE, plan.max_age.clone());
        }
    }
    Some(answered)
}

/// The headers that a page asks with. What is no name is none.
fn asked_headers(request: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lists = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok())
}

/// Names as one header; `None` where there is none.
fn listed(names: impl Iterator<Item = impl AsRef<str>>) -> Option<HeaderValue> {
    let mut list = String::new();
    for name in names {
        list.push_str(if list.is_empty() { "" } else { ", " });
        list.push_str(name.as_ref());
    }
    HeaderValue::try_from(list).ok().filter(|list| !list.is_empty())
}

/// Tells a browser which pages may read the answer, and what of its headers. To others it says nothing.
pub(in crate::server) fn tell(plan: &CorsPlan, request: &HeaderMap, headers: &mut HeaderMap) {
    if let Some(origin) = allowed(plan, request) {
        // `*` would be no wildcard where credentials count: names are told one by one.
        let named = plan.exposed.names.iter().map(|name| &**name);
        let of_families = headers.keys().filter(|name| {
            let is_named = plan.exposed.names.iter().any(|other| other.eq_ignore_ascii_case(name.as_str()));
            !is_named && plan.exposed.has_family_of(name)
        });
        let exposed = listed(named.chain(of_families.map(HeaderName::as_str)));
        headers.extend(exposed.map(|names| (header::ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if plan.allows_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    // Also where there is no origin, or a cache would give that answer to a page.
    if let Origins::Of(origins) = &plan.origins
        && !origins.is_empty()
    {
        vary(headers, header::ORIGIN);
    }
}

/// The origin to allow: the one that asks, if it may.
fn allowed(plan: &CorsPlan, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN).filter(|origin| plan.origins.has(origin.as_bytes()))?;
    Some(if plan.origins == Origins::Any { HeaderValue::from_static("*") } else { origin.clone() })
}

/// Names a header of the request on which the answer depends.
pub(in crate::server) fn vary(headers: &mut HeaderMap, on: HeaderName) {
    let before = headers.get(header::VARY).and_then(|value| value.to_str().ok());
    let all = match before {
        Some(before) if before.split(',').any(|name| name.trim().eq_ignore_ascii_case(on.as_str())) => return,
        Some(before) => HeaderValue::try_from(format!("{before}, {on}")),
        None => Ok(on.into()),
    };
    if let Ok(all) = all {
        headers.insert(header::VARY, all);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::plan::HeaderNames;

    fn plan() -> CorsPlan {
        CorsPlan {
            origins: Origins::Of(vec!["https://app.example".into()]),
            allows_credentials: true,
            methods: HeaderValue::from_static("GET, POST"),
            headers: HeaderNames {
                names: vec!["Content-Type".into(), "Authorization".into()],
                families: vec!["x-stainless-".into(), "openai-".into()],
            },
            exposed: HeaderNames { names: vec!["X-Request-Id".into()], families: vec!["x-ratelimit-".into()] },
            max_age: Duration::from_secs(600).as_secs().into(),
            csrf_cookie: "c".into(),
        }
    }

    fn of(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_preflight_is_told_which_of_its_headers_are_allowed() {
        for (asked, allowed) in [
            (&["authorization,content-type"][..], Some("authorization, content-type")),
            (&["AUTHORIZATION , x-stainless-Retry-Count"], Some("authorization, x-stainless-retry-count")),
            (&["openai-organization", "x-stainless-os"], Some("openai-organization, x-stainless-os")),
            (&["x-stainles", "openai", "xx-stainless-os", "cookie"], None),
            (&["content-type, x-evil"], Some("content-type")),
            (&["*", "x-\u{1}", ",,"], None),
            (&[], None),
        ] {
            let mut request = of(&[("origin", "https://app.example"), ("access-control-request-method", "POST")]);
            for line in asked {
                request.extend(line.parse().ok().map(|line| (header::ACCESS_CONTROL_REQUEST_HEADERS, line)));
            }
            let answered = preflight(&plan(), &Method::OPTIONS, &request).expect("a preflight");
            let told = answered.headers.get(header::ACCESS_CONTROL_ALLOW_HEADERS).map(|it| it.to_str().unwrap());
            assert_eq!((answered.status, told), (StatusCode::NO_CONTENT, allowed), "{asked:?}");
        }
    }

    #[test]
    fn a_page_may_read_what_an_answer_has_of_a_family() {
        let exposed = |pairs: &[(&'static str, &'static str)], origin| {
            let mut headers = of(pairs);
            tell(&plan(), &of(&[("origin", origin)]), &mut headers);
            headers.get(header::ACCESS_CONTROL_EXPOSE_HEADERS).map(|it| it.to_str().unwrap().to_owned())
        };
        let ours = "https://app.example";
        let limits = [("x-ratelimit-reset-tokens", "1s"), ("set-cookie", "a=b"), ("x-request-id", "r")];
        assert_eq!(exposed(&limits, ours).as_deref(), Some("X-Request-Id, x-ratelimit-reset-tokens"));
        assert_eq!(exposed(&[], ours).as_deref(), Some("X-Request-Id"));
        assert_eq!(exposed(&limits, "https://other.example"), None);
    }
}
