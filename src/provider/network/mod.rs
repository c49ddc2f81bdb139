//! Network: the real transport, over TCP and TLS, with connection pools per provider.
//!
//! It moves bytes and adds credentials. It does not know what the bytes mean.

mod faults;
mod idle;
mod target;

mod http1;

mod http2;

mod pool;

mod post;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use rustls::pki_types::CertificateDer;
use url::Url;

use self::http1::Lost;
use self::idle::IdleTimes;
use self::pool::{Line, Pool};
pub use self::post::Post;
use self::target::Target;
use super::connector::{Connector, Lookup, Origin, Terms};
use super::response::received;
use super::transport::{Opened, Response, Reuse, SendFault, Transport};
use super::{Request, socket};
use crate::config::engine::secret::Secret;
use crate::config::plan::{JwksPlan, ProviderPlan, RequestPlan};
use crate::model::call::Tunnel;

/// The real network, over rustls.
pub struct Network {
    access: Access,
    instances: Vec<Instance>,
    connector: Arc<Connector>,
    times: Arc<IdleTimes>,
    /// What every request carries, the key among it.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One URL of a provider, and the connections to where it leads.
struct Instance {
    target: Target,
    pool: Arc<Pool>,
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What a transport knows of its provider, and all of it: two that are equal here can share one, and its connections.
#[derive(Clone, PartialEq)]
pub struct Access {
    name: Arc<str>,
    urls: Vec<Url>,
    key: Option<Secret>,
    request: Option<RequestPlan>,
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
            request: Some(plan.request.clone()),
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
            request: None,
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
        let headers = headers(provider)?;
        let no_client = |fault: String| format!("no HTTP client for provider {}: {fault}", provider.name);
        let origins: Result<Vec<_>, _> = provider.urls.iter().map(Origin::of).collect();
        let origins = origins.map_err(no_client)?;
        let connector = Connector::new(&Terms {
            lookup: &lookup,
            denies_private: provider.denies_private,
            roots: &provider.roots,
            within: provider.connect,
            is_secure: origins.iter().any(Origin::is_secure),
        });
        let connector = Arc::new(connector.map_err(|fault| no_client(fault.to_string()))?);
        let times = Arc::new(IdleTimes::new(provider.connection_age));
        let mut instances: Vec<Instance> = Vec::with_capacity(origins.len());
        for (url, origin) in provider.urls.iter().zip(origins) {
            let known = instances.iter().find(|instance| instance.pool.is_of(&origin)).map(|known| known.pool.clone());
            let pool =
                known.unwrap_or_else(|| Pool::new(origin, connector.clone(), times.clone(), provider.connection_age));
            let query = provider.request.as_ref().map_or(&[][..], |request| &request.query);
            instances.push(Instance { target: Target::new(url, query).map_err(no_client)?, pool });
        }
        Ok(Arc::new(Self { access: provider.clone(), instances, connector, times, headers }))
    }

    fn instance(&self, index: usize) -> Result<&Instance, SendFault> {
        let instance = index.checked_rem(self.instances.len()).and_then(|index| self.instances.get(index));
        instance.ok_or_else(|| SendFault::Connect("the provider has no URL".into()))
    }

    /// The request as every instance gets it.
    fn outgoing(&self, request: Request) -> http::Request<Bytes> {
        let mut outgoing = http::Request::new(request.body);
        *outgoing.method_mut() = request.method;
        let headers = outgoing.headers_mut();
        *headers = request.headers;
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        // Asked for plainly: compressing short JSON costs both sides more than it saves, and a compressed event
        // stream tends to be held back. The response of a provider that compresses anyway is decompressed.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        outgoing
    }

    /// Sends a request, again only if it never left. Redirects are not followed (a provider's answer must not choose where the
    /// caller's prompt goes next), and proxies of the environment are not used: what the config names is where bytes go.
    async fn exchange(&self, instance: usize, request: Request, reuse: Reuse) -> Result<Response, SendFault> {
        let Instance { target, pool } = self.instance(instance)?;
        let path = target.join(&request.path)?;
        let mut outgoing = self.outgoing(request);
        loop {
            // A provider may be closing a connection that was used before.
            let line = match reuse {
                Reuse::Allowed => pool.line().await?,
                // In a box, as most calls have no need of it.
                Reuse::Never => Box::pin(pool.fresh()).await?,
            };
            let (sent, is_new) = match line {
                Line::Http1(connection, rested) => {
                    target.address_http1(&mut outgoing, &path);
                    let sent = http1::send(connection, outgoing).await;
                    self.note_times(&sent, rested);
                    (sent.map(|response| received(response, http1::Body::is_over)), rested.is_none())
                }
                Line::Http2(room, is_new) => {
                    target.address_http2(&mut outgoing, &path)?;
                    // In a box, as HTTP/1.1 needs far less.
                    let sent = Box::pin(room.send(outgoing)).await;
                    (sent.map(|response| received(response, http2::Body::is_over)), is_new)
                }
            };
            outgoing = match sent {
                Ok(response) => return response,
                Err(Lost::Unsent(unsent)) if !is_new => *unsent,
                Err(Lost::Unsent(_)) => {
                    return Err(SendFault::Connect("the connection was closed before it was used".into()));
                }
                Err(Lost::Fault(fault)) => return Err(fault),
            };
        }
    }

    /// Notes for how long the provider keeps idle connections, as far as a request shows it whose connection had been idle.
    fn note_times<B>(&self, sent: &Result<http::Response<B>, Lost>, rested: Option<Duration>) {
        match (sent, rested) {
            (Ok(response), rested) => {
                rested.into_iter().for_each(|rested| self.times.used(rested));
                if let Some(kept) = response.headers().get(KEEP_ALIVE).and_then(idle_time) {
                    self.times.said(kept);
                }
            }
            // It was closed before, or in this moment.
            (Err(Lost::Unsent(_) | Lost::Fault(SendFault::Closed(_))), Some(rested)) => self.times.closed(rested),
            _ => {}
        }
    }
}

/// What every request to a provider carries: its fixed headers, and the key in the one that is for it.
fn headers(provider: &Access) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let Some(plan) = &provider.request else { return Ok(Vec::new()) };
    let mut headers = plan.headers.clone();
    if let Some(key) = &provider.key {
        let blank = if plan.key_scheme.is_empty() { "" } else { " " };
        let value = HeaderValue::try_from(format!("{}{blank}{}", plan.key_scheme, key.expose()));
        let mut value = value
            .map_err(|_| format!("the key of provider {} has characters that a header cannot carry", provider.name))?;
        value.set_sensitive(true);
        headers.push((plan.key_header.clone(), value));
    }
    Ok(headers)
}

/// The `timeout` of a `Keep-Alive` header.
fn idle_time(value: &HeaderValue) -> Option<Duration> {
    let mut parameters = value.to_str().ok()?.split(',').filter_map(|parameter| parameter.split_once('='));
    let (_, seconds) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

impl Transport for Network {
    fn send(
        &self,
        instance: usize,
        request: Request,
        reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>> {
        Box::pin(self.exchange(instance, request, reuse))
    }

    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>> {
        Box::pin(async move {
            let Instance { target, pool } = self.instance(instance)?;
            let path = target.join(&request.path)?;
            let mut outgoing = self.outgoing(request);
            let key = socket::ask(tunnel, outgoing.headers_mut());
            target.address_http1(&mut outgoing, &path);
            // HTTP/2 needs other words for it.
            let (stream, _) = self.connector.connect(pool.origin(), false).await?;
            let response = http1::upgrade(stream, outgoing).await?;
            socket::take(response, tunnel, &key, &self.access.name, self.access.key.as_ref()).await
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    /// It is moved to where it is awaited, and held for as long as a provider takes.
    #[tokio::test]
    async fn what_waits_for_a_response_is_small() {
        let access = Access {
            name: "p".into(),
            urls: vec![Url::parse("http://127.0.0.1:1/v1").unwrap()],
            key: None,
            request: None,
            roots: Vec::new(),
            connect: Duration::from_secs(1),
            connection_age: Duration::from_secs(1),
            denies_private: false,
        };
        let network = Network::new(&access, Arc::new(crate::provider::connector::System)).unwrap();
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        let request = Request { method: Method::GET, path: "/models".into(), headers, body, degraded: None };
        let size = size_of_val(&network.exchange(0, request, Reuse::Allowed));
        assert!(size <= 1280, "{size}");
        assert!(size_of::<http1::Connection>() <= 192);
        assert!(size_of::<http1::Body>() <= 192);
    }

    #[test]
    fn a_provider_says_how_long_it_keeps_idle_connections() {
        let time = |value: &'static str| idle_time(&HeaderValue::from_static(value)).map(|time| time.as_secs());
        assert_eq!(time("timeout=5"), Some(5));
        assert_eq!(time("max=100, Timeout = 15"), Some(15));
        assert_eq!(time("timeout=\"7\""), Some(7));
        assert_eq!([time("5"), time("timeout=soon"), time("max=3"), time("")], [None; 4]);
    }
}
