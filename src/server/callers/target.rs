//! Request target: normalizes the path of a request before anything else sees it, and rejects an ambiguous one.
//!
//! It does not know which paths the gateway has. Queries stay as they are.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};

use crate::model::fault::Fault;
use crate::wire::path;

/// What stands before the name of a model that is looked up. All that follows is the name.
const MODELS: &str = "/v1/models/";

/// Gives a request's path its normal spelling. A refused one stays as it came, for the log alone.
pub(in crate::server) fn normalize(parts: &mut Parts) -> Result<(), Fault> {
    let path = parts.uri.path();
    // `OPTIONS *` is about the server (RFC 9112, 3.2.4), and a CONNECT to a host has no path: there is nothing at either.
    if path.is_empty() || (path == "*" && parts.method == Method::OPTIONS) {
        return Ok(());
    }
    let normal = match path::normalize(path) {
        Ok(Cow::Borrowed(_)) => return Ok(()),
        Ok(Cow::Owned(normal)) => normal,
        Err(ambiguous) => match model(path) {
            Some(normal) => normal,
            None => return Err(Fault::invalid(None, ambiguous.message())),
        },
    };
    let target = match parts.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    let unreadable = || Fault::invalid(None, "the request's target cannot be read");
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| unreadable())?);
    parts.uri = Uri::from_parts(uri).map_err(|_| unreadable())?;
    Ok(())
}

/// The path of a model whose name has slashes, which SDKs encode: both spellings of them lead to the same route. `None`: it is
/// none, or the slashes would make another path of it.
fn model(path: &str) -> Option<String> {
    let plain = format!("{MODELS}{}", path.strip_prefix(MODELS)?.replace("%2F", "/").replace("%2f", "/"));
    let normal = path::normalize(&plain).ok()?;
    // Nothing was merged or resolved.
    (normal.split('/').count() == plain.split('/').count()).then(|| normal.into_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn normalized(method: Method, target: &str) -> Option<String> {
        let mut parts = Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0;
        normalize(&mut parts).ok().map(|()| parts.uri.to_string())
    }

    #[test]
    fn the_path_changes_and_all_else_stays() {
        for (target, normal) in [
            ("/v1/%63hat//completions/?a=%63&b=//../", Some("/v1/chat/completions?a=%63&b=//../")),
            ("http://gateway:1/v1/%63hat?q", Some("http://gateway:1/v1/chat?q")),
            ("http://gateway", Some("http://gateway/")),
            ("/health/", Some("/health")),
            ("/v1/chat%2Fcompletions", None),
            ("http://gateway/v1/chat%5cx", None),
            ("/v1/models/meta-llama%2FLlama-3", Some("/v1/models/meta-llama/Llama-3")),
            ("/v1/models/meta-llama%2fLlama%2D3?x=%2F", Some("/v1/models/meta-llama/Llama-3?x=%2F")),
            ("/v1/models/accounts%2Ff%2Fmodels%2Fm%3Av1", Some("/v1/models/accounts/f/models/m:v1")),
            ("/v1/models/ft:gpt-4o%2Fx%20y", Some("/v1/models/ft:gpt-4o/x%20y")),
            ("/v1/models/a/b%2Fc", Some("/v1/models/a/b/c")),
            ("/v1/models%2Fa", None),
            ("/v1/models/%2Fa", None),
            ("/v1/models/a%2F", None),
            ("/v1/models/a%2F%2Fb", None),
            ("/v1/models/..%2Ffiles", None),
            ("/v1/models/a%2F..%2f..%2ffiles", None),
            ("/v1/models/a%2F%2e%2E%2Ffiles", None),
            ("/v1/models/a%2F.%2Fb", None),
            ("/v1/models/a%252Fb", None),
            ("/v1/models/a%2Fb%3Fc", None),
            ("/v1//models/a%2Fb", None),
            ("/v1/files/a%2Fb", None),
        ] {
            assert_eq!(normalized(Method::GET, target).as_deref(), normal, "{target}");
        }
        assert_eq!(normalized(Method::OPTIONS, "*").as_deref(), Some("*"));
        assert_eq!(normalized(Method::GET, "*"), None);
        assert_eq!(normalized(Method::CONNECT, "gateway:1").as_deref(), Some("gateway:1"));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_normal(path in "/[a-z0-9%./;{}\\\\é~-]{0,24}", query in "[a-z0-9%=&/.?]{0,12}") {
            let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else { return Ok(()) };
            let mut parts = Request::new(()).into_parts().0;
            parts.uri = uri.clone();
            if normalize(&mut parts).is_ok() {
                prop_assert_eq!(path::normalize(parts.uri.path()), Ok(Cow::Borrowed(parts.uri.path())));
                prop_assert_eq!(parts.uri.query(), uri.query());
            }
        }
    }
}
