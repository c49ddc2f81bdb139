//! Transport: the one seam through which the gateway reaches a provider's network, and its real implementation.
//!
//! It moves bytes and adds credentials. It does not know what the bytes mean.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderMap, HeaderValue, header};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use url::Url;

use super::resolver::{Lookup, Resolver};
use super::{Request, ResponseHead, socket};
use crate::call::Tunnel;
use crate::config::plan::{JwksPlan, ProviderPlan};
use crate::config::secret::Secret;
use crate::path;
use crate::reply::Socket;

/// The most that is accepted of a response's head: twice what Node.js accepts, ten times what OpenAI's edge sends.
const MAX_HEAD: usize = 32 * 1024;

/// How requests reach a provider.
pub trait Transport: Send + Sync {
    /// Sends a request to one instance of the provider (an index into its URLs) and returns when the response's head has
    /// come. Dropping the future or the body cancels the request.
    fn send(
        &self,
        instance: usize,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>>;

    /// Asks one instance for a conversation both ways (WebSocket), and returns when it has agreed or refused. Dropping the
    /// future, or what it returns, ends it.
    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>>;
}

/// What became of a wish for a conversation.
pub enum Opened {
    /// It may begin.
    Socket(Socket),
    /// An answer came instead, whatever its status.
    Refused(Response),
}

/// A response whose body is still to come.
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body; an error means that it was cut.
    pub body: ResponseBody,
}

/// The bytes of a response as they come.
pub type ResponseBody = Pin<Box<dyn Stream<Item = Result<Bytes, SendFault>> + Send>>;

/// Why bytes did not get through. The texts are for the log and name no URL.
#[derive(Clone, Debug)]
pub enum SendFault {
    /// No connection: nothing was sent.
    Connect(String),
    /// No connection in time: nothing was sent.
    ConnectTimeout,
    /// The connection broke, or what came is not HTTP.
    Broken(String),
}

/// The real network, through `reqwest` with rustls. One connection pool per provider, and another when that has become old:
/// what a name means may have changed, and who is on a connection does not ask again.
pub struct Network {
    access: Access,
    lookup: Arc<dyn Lookup>,
    pool: ArcSwap<Pool>,
    renewing: Mutex<()>,
    /// For WebSockets, which HTTP/2 needs other words for: made when the first is wanted, as most providers have none.
    upgrading: OnceLock<Result<reqwest::Client, String>>,
    authorization: Option<HeaderValue>,
}

/// Connections of one age.
struct Pool {
    client: reqwest::Client,
    since: Instant,
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
        let pool = ArcSwap::from_pointee(Pool::new(provider, &lookup)?);
        Ok(Arc::new(Self {
            access: provider.clone(),
            lookup,
            pool,
            renewing: Mutex::new(()),
            upgrading: OnceLock::new(),
            authorization,
        }))
    }

    /// The connections to use now. Those of an old pool serve what runs on them, and are closed.
    fn client(&self) -> reqwest::Client {
        let pool = self.pool.load();
        let is_old = || self.pool.load().since.elapsed() >= self.access.connection_age;
        if is_old()
            && let Ok(_only_one) = self.renewing.try_lock()
            && is_old()
        {
            // It could be made before, with the same settings; if it cannot now, the old one goes on.
            if let Ok(new) = Pool::new(&self.access, &self.lookup) {
                let client = new.client.clone();
                self.pool.store(Arc::new(new));
                return client;
            }
        }
        pool.client.clone()
    }

    /// The client for WebSockets. Their connections are never kept for another request.
    fn upgrading(&self) -> Result<&reqwest::Client, SendFault> {
        let make = || client(&self.access, &self.lookup, |builder| builder.http1_only().pool_max_idle_per_host(0));
        self.upgrading.get_or_init(make).as_ref().map_err(|fault| SendFault::Connect(fault.clone()))
    }

    /// The request as it is sent to one instance.
    fn address(&self, instance: usize, request: Request) -> Result<reqwest::Request, SendFault> {
        let urls = &self.access.urls;
        let url = join(&urls[instance % urls.len()], &request.path)?;
        let mut outgoing = reqwest::Request::new(request.method, url);
        let headers = outgoing.headers_mut();
        *headers = request.headers;
        // Asked for plainly: compressing short JSON costs both sides more than it saves, and a compressed event
        // stream tends to be held back. A provider that compresses all the same is decoded by reqwest.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.into());
        }
        Ok(outgoing)
    }
}

impl Pool {
    fn new(provider: &Access, lookup: &Arc<dyn Lookup>) -> Result<Self, String> {
        Ok(Self { client: client(provider, lookup, |builder| builder)?, since: Instant::now() })
    }
}

/// The provider's connection pool. Redirects are not followed (a provider's answer must not choose where the caller's
/// prompt goes next), and proxies of the environment are not used: what the config names is where bytes go.
fn client(
    provider: &Access,
    lookup: &Arc<dyn Lookup>,
    kind: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, String> {
    // Another part of the process may have chosen already; either choice is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cannot = |fault: reqwest::Error| format!("no HTTP client for provider {}: {}", provider.name, chain(&fault));
    let trusted = provider.roots.iter().map(|root| reqwest::Certificate::from_der(root));
    let builder = reqwest::Client::builder()
        .tls_certs_merge(trusted.collect::<Result<Vec<_>, _>>().map_err(cannot)?)
        .connect_timeout(provider.connect)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Resolver { lookup: lookup.clone(), denies_private: provider.denies_private })
        .tcp_nodelay(true)
        // Below the 60 s after which most load balancers close: a connection that the other side is about to close
        // should not be picked for the next request.
        .pool_idle_timeout(Duration::from_secs(50))
        .pool_max_idle_per_host(1024)
        // Resilience is the gateway's own business: nothing below it repeats a request behind its back.
        .retry(reqwest::retry::never());
    kind(builder).build().map_err(cannot)
}

impl Transport for Network {
    fn send(
        &self,
        instance: usize,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(async move {
            let outgoing = self.address(instance, request)?;
            received(self.client().execute(outgoing).await.map_err(send_fault)?)
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
            let response = self.upgrading()?.execute(outgoing).await.map_err(send_fault)?;
            socket::take(response, tunnel, &key, &self.access.name, self.access.key.as_ref()).await
        })
    }
}

/// A response as its head has come.
pub(super) fn received(mut response: reqwest::Response) -> Result<Response, SendFault> {
    check(response.headers())?;
    let head = ResponseHead { status: response.status(), headers: std::mem::take(response.headers_mut()) };
    Ok(Response { head, body: Box::pin(response.bytes_stream().map_err(send_fault)) })
}

/// Refuses heads that no provider sends who means well. What two lengths of one body mean depends on who reads them
/// (RFC 9112, 6.3), and a caller must not be sent a head without bounds.
fn check(headers: &HeaderMap) -> Result<(), SendFault> {
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return Err(SendFault::Broken("both Transfer-Encoding and Content-Length in the response".into()));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    match size > MAX_HEAD {
        true => Err(SendFault::Broken(format!("a response head larger than {MAX_HEAD} bytes"))),
        false => Ok(()),
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

pub(super) fn send_fault(fault: reqwest::Error) -> SendFault {
    let is_connect = fault.is_connect();
    if is_connect && fault.is_timeout() {
        return SendFault::ConnectTimeout;
    }
    let text = chain(&fault.without_url());
    if is_connect { SendFault::Connect(text) } else { SendFault::Broken(text) }
}

/// An error with its causes, on one line.
fn chain(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        let part = inner.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
