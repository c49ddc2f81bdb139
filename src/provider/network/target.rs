//! Target: the base URL of one instance, and what is sent where a request goes to it.
//!
//! Whatever a request's path holds, and however the provider reads it, it stays below the base.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use url::{Position, Url, form_urlencoded};

use crate::provider::transport::SendFault;
use crate::wire::path;

/// How many paths a target keeps joined, and how long one may be: most calls ask for the same few.
const KNOWN: usize = 4;
const LONGEST: usize = 128;

/// One instance of a provider.
pub(super) struct Target {
    base: Url,
    /// The path of the base URL, without a slash at its end.
    prefix: Box<str>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// Query parameters that every request has.
    query: Vec<(Box<str>, Box<str>)>,
    /// The first paths that were asked for, and what they are joined to the base.
    known: [OnceLock<(Box<str>, PathAndQuery)>; KNOWN],
}

impl Target {
    /// The instance at `base`, to which every request goes with the parameters of `query`.
    pub(super) fn new(base: &Url, query: &[(Box<str>, Box<str>)]) -> Result<Self, String> {
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let authority = format!("{}{port}", base.host_str().unwrap_or_default());
        let host = HeaderValue::try_from(&authority).map_err(|fault| fault.to_string())?;
        let authority = Authority::try_from(authority).map_err(|fault| fault.to_string())?;
        let scheme = if base.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP };
        let prefix = base.path().trim_end_matches('/').into();
        let query = query.to_vec();
        Ok(Self { base: base.clone(), prefix, scheme, authority, host, query, known: Default::default() })
    }

    /// The base URL's path with the request's path and query after it.
    pub(super) fn join(&self, path: &str) -> Result<PathAndQuery, SendFault> {
        for place in &self.known {
            match place.get() {
                Some((known, joined)) if **known == *path => return Ok(joined.clone()),
                Some(_) => {}
                None => {
                    let joined = self.joined(path)?;
                    if path.len() <= LONGEST {
                        // Where somebody else took the place meanwhile, it is theirs.
                        let _ = place.set((path.into(), joined.clone()));
                    }
                    return Ok(joined);
                }
            }
        }
        self.joined(path)
    }

    fn joined(&self, path: &str) -> Result<PathAndQuery, SendFault> {
        let with_query = (!self.query.is_empty()).then(|| with(path, &self.query));
        let path = with_query.as_deref().unwrap_or(path);
        let text = match is_its_own_spelling(path) {
            true => [&*self.prefix, path].concat(),
            false => {
                let url = join(&self.base, path)?;
                url[Position::BeforePath..].to_owned()
            }
        };
        PathAndQuery::from_maybe_shared(Bytes::from(text))
            .map_err(|fault| SendFault::Connect(format!("bad path: {fault}")))
    }

    /// Makes of a request what HTTP/1.1 sends.
    pub(super) fn address_http1<B>(&self, request: &mut Request<B>, path: &PathAndQuery) {
        *request.uri_mut() = Uri::from(path.clone());
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
    }

    /// Makes of a request what HTTP/2 sends.
    pub(super) fn address_http2<B>(&self, request: &mut Request<B>, path: &PathAndQuery) -> Result<(), SendFault> {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        let uri = uri.path_and_query(path.clone()).build();
        *request.uri_mut() = uri.map_err(|fault| SendFault::Connect(format!("bad path: {fault}")))?;
        request.headers_mut().remove(HOST);
        Ok(())
    }
}

/// The path with parameters in its query, which take the place of others that have their names.
fn with(path: &str, parameters: &[(Box<str>, Box<str>)]) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name_of = |pair: &str| form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned());
    let is_own = |pair: &&str| {
        let name = name_of(pair);
        !pair.is_empty() && !parameters.iter().any(|(known, _)| name.as_deref() == Some(known))
    };
    let mut text: Vec<&str> = query.split('&').filter(is_own).collect();
    let fixed = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    text.push(&fixed);
    format!("{path}?{}", text.join("&"))
}

/// True for a path, with its query, that needs no closer look: it is normal, and has nothing that a URL has another spelling for.
fn is_its_own_spelling(path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_fine = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>'".contains(&byte);
    matches!(path::normalize(path), Ok(Cow::Borrowed(_))) && query.bytes().all(is_fine)
}

/// The base URL with the request's path after it.
fn join(base: &Url, path: &str) -> Result<Url, SendFault> {
    let bad = |why: &str| SendFault::Connect(format!("bad path: {why}"));
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut text = String::with_capacity(base.as_str().len() + path.len() + query.map_or(0, str::len) + 2);
    text.push_str(base.as_str().trim_end_matches('/'));
    if !path.is_empty() {
        // What callers ask for is normal already. An endpoint that the config names may end with a slash.
        let normal = path::normalize(path).map_err(|ambiguous| bad(ambiguous.message()))?;
        text.push_str(&normal);
        if path.len() > 1 && path.ends_with('/') && !normal.ends_with('/') {
            text.push('/');
        }
    }
    let mut url = Url::parse(&text).map_err(|fault| bad(&fault.to_string()))?;
    // A `#` in a query is part of it.
    url.set_query(query);
    let below = url.path().strip_prefix(base.path().trim_end_matches('/'));
    match below.is_some_and(|below| below.is_empty() || below.starts_with('/')) && url.origin() == base.origin() {
        true => Ok(url),
        false => Err(SendFault::Connect("the path leaves the provider's base URL".into())),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fixed_parameters_are_in_every_query_and_take_the_place_of_a_callers() {
        let query = [("api-version".into(), "2024-10-21".into()), ("a b".into(), "c&d".into())];
        let target = Target::new(&Url::parse("http://h/openai").unwrap(), &query).unwrap();
        let fixed = "api-version=2024-10-21&a+b=c%26d";
        for (path, sent) in [
            ("/models", format!("/openai/models?{fixed}")),
            ("/models", format!("/openai/models?{fixed}")),
            ("/models?", format!("/openai/models?{fixed}")),
            ("/models?limit=2&api%2Dversion=1&b", format!("/openai/models?limit=2&b&{fixed}")),
            ("", format!("/openai?{fixed}")),
        ] {
            assert_eq!(target.join(path).unwrap().as_str(), sent, "{path}");
        }
    }

    #[test]
    fn a_path_cannot_leave_the_base_url() {
        let base = Url::parse("http://127.0.0.1:9/v1").unwrap();
        assert_eq!(join(&base, "/models?x=1").unwrap().as_str(), "http://127.0.0.1:9/v1/models?x=1");
        assert_eq!(join(&base, "").unwrap().as_str(), "http://127.0.0.1:9/v1");
        assert_eq!(join(&base, "/api/chat/").unwrap().as_str(), "http://127.0.0.1:9/v1/api/chat/");
        assert_eq!(join(&base, "/../admin").unwrap().as_str(), "http://127.0.0.1:9/v1/admin");
        for path in
            ["internal", "/%2e%2e%2fadmin", "/..%2fadmin", "/a\\..\\admin", "@evil", ".evil", ":1/x", "/%252e%252e/x"]
        {
            assert!(join(&base, path).is_err(), "{path}");
        }
    }

    #[test]
    fn http_1_names_the_host_beside_the_path_and_http_2_in_the_address() {
        for (base, host) in
            [("http://h:80/v1/", "h"), ("https://h:8443/v1", "h:8443"), ("http://[::1]:9/v1", "[::1]:9")]
        {
            let target = Target::new(&Url::parse(base).unwrap(), &[]).unwrap();
            let path = target.join("/models?x=1").unwrap();
            let mut request = Request::new(());
            *request.method_mut() = Method::POST;
            target.address_http1(&mut request, &path);
            assert_eq!(request.uri().to_string(), "/v1/models?x=1");
            assert_eq!(request.headers()[HOST], host);
            target.address_http2(&mut request, &path).unwrap();
            let scheme = base.split(':').next().unwrap();
            assert_eq!(request.uri().to_string(), format!("{scheme}://{host}/v1/models?x=1"));
            assert!(request.headers().is_empty());
        }
    }

    #[test]
    fn a_path_is_joined_the_same_whether_it_is_known_or_not() {
        let target = Target::new(&Url::parse("http://h/v1").unwrap(), &[]).unwrap();
        let long = format!("/models/{}", "x".repeat(LONGEST));
        let paths = ["/a", "/b?x", &long, "/b", "/../c", "/d/%2e%2e%2fe", "/f", "/g"];
        for _ in 0..3 {
            for path in paths {
                let (joined, closely) = (target.join(path).ok(), target.joined(path).ok());
                assert_eq!(joined, closely, "{path}");
            }
        }
        let known: Vec<_> = target.known.iter().filter_map(|place| Some(&*place.get()?.0)).collect();
        assert_eq!(known, ["/a", "/b?x", "/b", "/../c"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever is put into a path: an id, a model's name, what a caller asked for.
        #[test]
        fn whatever_the_path_holds_it_stays_below_the_base(
            base in proptest::sample::select(vec!["http://h", "http://h:1/", "https://h/v1", "http://h/a/b/"]),
            path in "(/?(\\.{1,3}|%2[eEfF]|%5[cC]|%25|[a-z0-9:@?#\\\\/;%&= é\t]){0,4}){0,5}",
        ) {
            let base = Url::parse(base).unwrap();
            let Ok(url) = join(&base, &path) else { return Ok(()) };
            prop_assert_eq!(url.origin(), base.origin());
            prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{}", url);
            let bottom = base.path().trim_end_matches('/');
            let below = url.path().strip_prefix(bottom).unwrap();
            prop_assert!(below.is_empty() || below.starts_with('/'), "{}", url);
            // Nor does it leave the base where it is decoded once more.
            let decoded = path::decoded(below).into_owned();
            prop_assert!(decoded.split(['/', '\\']).all(|part| !matches!(part, "." | "..")), "{}", url);
        }

        /// A path that is not looked at closely is sent as the close look would have it.
        #[test]
        fn the_short_way_and_the_long_one_lead_to_the_same_path(
            base in proptest::sample::select(vec!["http://h", "http://h:1/", "https://h/v1", "http://h/a%20b/"]),
            path in "(/[a-zA-Z0-9.!$&'()*+,=:@~_-]{0,6}){1,4}(\\?[ -~é]{0,12})?",
        ) {
            let base = Url::parse(base).unwrap();
            let target = Target::new(&base, &[]).unwrap();
            let short = [&*target.prefix, &*path].concat();
            if is_its_own_spelling(&path) {
                let url = join(&base, &path).unwrap();
                prop_assert_eq!(&url[Position::BeforePath..], &short);
                let sent = target.join(&path).unwrap();
                prop_assert_eq!(sent.as_str(), short);
            } else if let (Ok(url), Ok(sent)) = (join(&base, &path), target.join(&path)) {
                prop_assert_eq!(&url[Position::BeforePath..], sent.as_str());
            }
        }
    }
}
