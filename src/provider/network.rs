//! Network: the real transport, over TCP and TLS, with a connection pool per provider.
//!
//! It moves bytes and adds credentials. It does not know what the bytes mean.

use parking_lot::Mutex;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use url::Url;

use super::connector::{Connector, Lookup, Terms, TookTooLong};
use super::idle::{IdleTimes, LONGEST, Use};
use super::response::{MAX_HEAD, chain, received};
use super::transport::{Opened, Response, Reuse, SendFault, Transport};
use super::{Request, socket};
use crate::config::engine::secret::Secret;
use crate::config::plan::{JwksPlan, ProviderPlan};
use crate::model::call::Tunnel;
use crate::wire::path;

/// How much of a stream a provider may send in HTTP/2 before it is read: enough for an answer of megabytes from far away.
const H2_STREAM_WINDOW: u32 = 256 * 1024;

/// ... and of all streams of a connection. More than one connection has streams at once, so that none that is not read holds
/// up others.
const H2_CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The real network, through hyper with rustls. One connection pool per provider, and another when that has become old: what a
/// name means may have changed, and who is on a connection does not ask again.
pub struct Network {
    access: Access,
    lookup: Arc<dyn Lookup>,
    pool: ArcSwap<Pool>,
    renewing: Mutex<()>,
    connector: Connector,
    times: Arc<IdleTimes>,
    /// For requests that must not be sent twice: each has a new connection, which its provider cannot be closing.
    once: OnceLock<Http>,
    /// For WebSockets, which HTTP/2 needs other words for: made when the first is wanted, as most providers have none.
    upgrading: OnceLock<Result<Http, String>>,
    authorization: Option<HeaderValue>,
}

type Http = Client<Connector, Full<Bytes>>;

/// Connections of one age.
struct Pool {
    client: Http,
    since: Instant,
    /// How long they may be idle.
    idle: Duration,
}

/// What a transport knows of its provider, and all of it: two that are equal here can share one, and its connections.
#[derive(Clone, PartialEq)]
pub struct Access {
    name: Arc<str>,
    urls: Vec<Url>,
    key: Option<Secret>,
    roots: Vec<CertificateDer<'static>>,
    connect: Duration,
    connection_age: Duration,
    denies_private: bool,
}

impl Access {
    /// How a plan's provider is reached.
    pub fn of(plan: &ProviderPlan) -> Self {
        Self {
            name: plan.name.clone(),
            urls: plan.urls.clone(),
            key: plan.key.clone(),
            roots: plan.roots.clone(),
            connect: plan.connect,
            connection_age: plan.connection_age,
            denies_private: plan.denies_private,
        }
    }
}

/// How long making a connection to a publisher of keys may take.
const CONNECT_TO_PUBLISHER: Duration = Duration::from_secs(2);

/// How old a connection to one may be. It is idle for longer than that as a rule, and closed.
const PUBLISHERS_CONNECTION_AGE: Duration = Duration::from_secs(300);

impl Access {
    /// How a publisher of keys is reached: without credentials, like any page.
    pub fn to_publisher(plan: &JwksPlan) -> Self {
        Self {
            name: "jwks".into(),
            urls: vec![plan.url.clone()],
            key: None,
            roots: plan.roots.clone(),
            connect: CONNECT_TO_PUBLISHER,
            connection_age: PUBLISHERS_CONNECTION_AGE,
            denies_private: plan.denies_private,
        }
    }
}

impl Network {
    /// A transport for one provider, whose addresses `lookup` knows.
    pub fn new(provider: &Access, lookup: Arc<dyn Lookup>) -> Result<Arc<Self>, String> {
        let authorization = match &provider.key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| {
                    format!("the key of provider {} has characters that a header cannot carry", provider.name)
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let times = Arc::default();
        let connector = connector(provider, &lookup, &times, true)?;
        let pool = ArcSwap::from_pointee(Pool::new(&connector, LONGEST));
        Ok(Arc::new(Self {
            access: provider.clone(),
            lookup,
            pool,
            renewing: Mutex::new(()),
            connector,
            times,
            once: OnceLock::new(),
            upgrading: OnceLock::new(),
            authorization,
        }))
    }

    /// The connections to use now. Those of an old pool serve what runs on them, and are closed.
    fn client(&self) -> Http {
        let pool = self.pool.load();
        let is_old = |pool: &Pool| pool.since.elapsed() >= self.access.connection_age;
        let is_over = |pool: &Pool| is_old(pool) || pool.idle > self.times.usable();
        if is_over(&pool)
            && let Some(_only_one) = self.renewing.try_lock()
            && is_over(&self.pool.load())
        {
            if is_old(&pool) {
                // It shows again, if it is still true.
                self.times.forget();
            }
            let new = Pool::new(&self.connector, self.times.usable());
            let client = new.client.clone();
            self.pool.store(Arc::new(new));
            return client;
        }
        pool.client.clone()
    }

    /// The client of requests that must not be sent twice.
    fn once(&self) -> &Http {
        self.once.get_or_init(|| client(self.connector.clone(), None))
    }

    /// The client for WebSockets. Their connections are never kept for another request.
    fn upgrading(&self) -> Result<&Http, SendFault> {
        let make = || Ok(client(connector(&self.access, &self.lookup, &self.times, false)?, None));
        self.upgrading.get_or_init(make).as_ref().map_err(|fault: &String| SendFault::Connect(fault.clone()))
    }

    /// The request as it is sent to one instance.
    fn address(&self, instance: usize, request: Request) -> Result<http::Request<Full<Bytes>>, SendFault> {
        let urls = &self.access.urls;
        let mut outgoing = http::Request::new(Full::new(request.body));
        let url = join(&urls[instance % urls.len()], &request.path)?;
        *outgoing.uri_mut() =
            Uri::try_from(url.as_str()).map_err(|fault| SendFault::Connect(format!("bad path: {fault}")))?;
        *outgoing.method_mut() = request.method;
        let headers = outgoing.headers_mut();
        *headers = request.headers;
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        // Asked for plainly: compressing short JSON costs both sides more than it saves, and a compressed event
        // stream tends to be held back. The response of a provider that compresses anyway is decompressed.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(outgoing)
    }

    /// Notes for how long the provider keeps idle connections, where it says so.
    fn note_idle(&self, response: &http::Response<Incoming>) {
        let headers = response.headers();
        if let Some(kept) = headers.get(KEEP_ALIVE).and_then(idle_time) {
            self.times.said(kept);
        }
        let is_last = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
        let is_last = response.version() == Version::HTTP_10 || headers.get_all(header::CONNECTION).iter().any(is_last);
        if is_last && let Some(usage) = response.extensions().get::<Use>() {
            usage.is_last();
        }
    }
}

/// The `timeout` of a `Keep-Alive` header.
fn idle_time(value: &HeaderValue) -> Option<Duration> {
    let mut parameters = value.to_str().ok()?.split(',').filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

impl Pool {
    fn new(connector: &Connector, idle: Duration) -> Self {
        Self { client: client(connector.clone(), Some(idle)), since: Instant::now(), idle }
    }
}

fn connector(
    provider: &Access,
    lookup: &Arc<dyn Lookup>,
    times: &Arc<IdleTimes>,
    is_h2_offered: bool,
) -> Result<Connector, String> {
    let connector = Connector::new(&Terms {
        lookup,
        denies_private: provider.denies_private,
        roots: &provider.roots,
        within: provider.connect,
        times,
        is_h2_offered,
    });
    connector.map_err(|fault| format!("no HTTP client for provider {}: {fault}", provider.name))
}

/// A client that keeps idle connections this long, or not at all. Redirects are not followed (a provider's answer must not
/// choose where the caller's prompt goes next), and proxies of the environment are not used: what the config names is where
/// bytes go. Nothing is sent again but what never left.
fn client(connector: Connector, idle: Option<Duration>) -> Http {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle.unwrap_or(LONGEST))
        .pool_max_idle_per_host(if idle.is_some() { 1024 } else { 0 })
        .http1_max_buf_size(MAX_HEAD)
        .http2_initial_stream_window_size(H2_STREAM_WINDOW)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW);
    builder.build(connector)
}

impl Transport for Network {
    fn send(
        &self,
        instance: usize,
        request: Request,
        reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(async move {
            let outgoing = self.address(instance, request)?;
            let sent = match reuse {
                Reuse::Allowed => self.client().request(outgoing),
                Reuse::Never => self.once().request(outgoing),
            };
            let response = sent.await.map_err(|fault| send_fault(&fault))?;
            self.note_idle(&response);
            received(response)
        })
    }

    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>> {
        Box::pin(async move {
            let mut outgoing = self.address(instance, request)?;
            let key = socket::ask(tunnel, outgoing.headers_mut());
            let response = self.upgrading()?.request(outgoing).await.map_err(|fault| send_fault(&fault))?;
            socket::take(response, tunnel, &key, &self.access.name, self.access.key.as_ref()).await
        })
    }
}

/// The base URL with the request's path after it. Whatever the path holds, and however the provider reads it, it stays below
/// the base.
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

/// What a failed request means: above all whether its provider may have executed it.
pub(super) fn send_fault(fault: &legacy::Error) -> SendFault {
    if causes(fault).any(|cause| cause.is::<TookTooLong>()) {
        return SendFault::ConnectTimeout;
    }
    let text = chain(fault);
    if fault.is_connect() || causes(fault).any(is_not_taken) {
        return SendFault::Connect(text);
    }
    // Whatever it was, nothing of an answer has come.
    let is_nonsense =
        causes(fault).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse);
    if is_nonsense { SendFault::Broken(text) } else { SendFault::Closed(text) }
}

/// A fault and what it comes from.
fn causes<'f>(fault: &'f (dyn Error + 'static)) -> impl Iterator<Item = &'f (dyn Error + 'static)> {
    std::iter::successors(Some(fault), |fault| {
        let fault: &'f (dyn Error + 'static) = *fault;
        fault.source()
    })
}

/// True where the request never left, or the provider says that it has not looked at it (RFC 9113, 8.7).
fn is_not_taken(cause: &(dyn Error + 'static)) -> bool {
    if let Some(fault) = cause.downcast_ref::<hyper::Error>() {
        return fault.is_canceled();
    }
    cause.downcast_ref::<h2::Error>().is_some_and(|fault| {
        let is_leaving = fault.is_go_away() && fault.reason() == Some(h2::Reason::NO_ERROR);
        let is_refused = fault.is_reset() && fault.reason() == Some(h2::Reason::REFUSED_STREAM);
        fault.is_remote() && (is_leaving || is_refused)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_provider_says_how_long_it_keeps_idle_connections() {
        let time = |value: &'static str| idle_time(&HeaderValue::from_static(value)).map(|time| time.as_secs());
        assert_eq!(time("timeout=5"), Some(5));
        assert_eq!(time("max=100, Timeout = 15"), Some(15));
        assert_eq!(time("timeout=\"7\""), Some(7));
        assert_eq!([time("5"), time("timeout=soon"), time("max=3"), time("")], [None; 4]);
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
    }
}
