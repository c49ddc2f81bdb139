//! Connector: connects to a provider's URL, with TLS if the URL says so.
//!
//! It caches no DNS results: their lifetime is the system resolver's business. The address that is checked is the
//! one that is connected to, so that a name cannot resolve to something else between the two (DNS rebinding).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::Url;

use super::transport::SendFault;
use crate::model::ip_ranges::is_public;

/// How long one address has to itself before the next one is tried beside it (RFC 8305, 5, says 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(300);

/// TLS sessions that are kept to be resumed.
const SESSIONS: usize = 256;

/// Where addresses come from: the system, or a test's own list.
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub struct System;

impl Lookup for System {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What is read from and written to.
pub(super) type Connected = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Where one URL leads: what two URLs share that share connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    host: Box<str>,
    /// The host, where it is an address and no name.
    address: Option<IpAddr>,
    port: u16,
    /// Whose certificate is wanted; `None` without TLS.
    certified: Option<ServerName<'static>>,
}

impl Origin {
    /// That of a URL with the scheme `http` or `https`.
    pub(super) fn of(url: &Url) -> Result<Self, String> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let certified = match url.scheme() {
            "https" => Some(ServerName::try_from(host.to_owned()).map_err(|fault| format!("{host}: {fault}"))?),
            _ => None,
        };
        Ok(Self { host: host.into(), address: host.parse().ok(), port, certified })
    }

    /// The host's name or address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// True where connections are encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.certified.is_some()
    }
}

/// Makes connections.
pub(super) struct Connector {
    lookup: Arc<dyn Lookup>,
    denies_private: bool,
    within: Duration,
    tls: Option<Tls>,
}

struct Tls {
    /// Offers HTTP/2 and HTTP/1.1.
    any: TlsConnector,
    /// For HTTP/1.1 only.
    http1: TlsConnector,
}

/// How connections are made.
pub(super) struct Terms<'a> {
    /// Who knows the addresses.
    pub(super) lookup: &'a Arc<dyn Lookup>,
    /// Addresses that are not public are skipped.
    pub(super) denies_private: bool,
    /// Authorities that are trusted beside those of the platform.
    pub(super) roots: &'a [CertificateDer<'static>],
    /// The time for name, connection and handshake together.
    pub(super) within: Duration,
    /// Whether any URL wants TLS: the platform's authorities take time to load.
    pub(super) is_secure: bool,
}

impl Connector {
    pub(super) fn new(terms: &Terms<'_>) -> Result<Self, rustls::Error> {
        let tls = if terms.is_secure { Some(Tls::new(terms.roots)?) } else { None };
        let Terms { denies_private, within, .. } = *terms;
        Ok(Self { lookup: terms.lookup.clone(), denies_private, within, tls })
    }

    /// How long it may take to connect.
    pub(super) fn within(&self) -> Duration {
        self.within
    }

    /// Connects, and returns whether HTTP/2 was agreed on. Dropping the future gives the attempt up.
    pub(super) async fn connect(&self, origin: &Origin, offers_http2: bool) -> Result<(Connected, bool), SendFault> {
        let connecting = timeout(self.within, self.attempt(origin, offers_http2)).await;
        connecting.unwrap_or(Err(SendFault::ConnectTimeout))
    }

    async fn attempt(&self, origin: &Origin, offers_http2: bool) -> Result<(Connected, bool), SendFault> {
        let found = self.addresses(origin).await.map_err(|fault| failed("dns error", &fault))?;
        let addresses = found.into_iter().map(|address| SocketAddr::new(address, origin.port)).collect();
        let stream = first(addresses).await.map_err(|fault| failed("tcp connect error", &fault))?;
        // Small writes leave at once. Who cannot is slower, and nothing else.
        let _ = stream.set_nodelay(true);
        let (Some(name), Some(tls)) = (&origin.certified, &self.tls) else { return Ok((Either::Left(stream), false)) };
        let tls = if offers_http2 { &tls.any } else { &tls.http1 };
        let stream = tls.connect(name.clone(), stream).await.map_err(|fault| failed("TLS handshake", &fault))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Either::Right(Box::new(stream)), is_http2))
    }

    /// Finds addresses, without those that are not public where the config wants that. One that the config names was
    /// checked when it was read.
    async fn addresses(&self, origin: &Origin) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = origin.address {
            return Ok(vec![address]);
        }
        let mut found = self.lookup.addresses(&origin.host).await?;
        if self.denies_private {
            found.retain(|address| is_public(*address));
            if found.is_empty() {
                return Err(io::Error::other("the name has no public address, and others are denied"));
            }
        }
        Ok(found)
    }
}

impl Tls {
    fn new(roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(roots.iter().cloned(), crypto.clone())?;
        let http1 = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let mut any = http1.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A session is resumed only with the protocol that it was begun with.
        any.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self { any: TlsConnector::from(Arc::new(any)), http1: TlsConnector::from(Arc::new(http1)) })
    }
}

fn failed(what: &str, fault: &io::Error) -> SendFault {
    SendFault::Connect(format!("{what}: {fault}"))
}

/// The first connection that stands. Both families of addresses take turns, beginning with that of the first address; each
/// has a little time, or until it fails, before the next one is tried beside it (RFC 8305).
async fn first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = in_turns(addresses);
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::other("the name has no address");
    loop {
        if let Some(address) = left.pop_front() {
            attempts.push(TcpStream::connect(address));
        }
        tokio::select! {
            ended = attempts.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(fault)) => last = fault,
                None => return Err(last),
            },
            () = sleep(ATTEMPT_DELAY), if !left.is_empty() => {}
        }
    }
}

fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_like_first =
        |address: &SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_like_first);
    let mut seconds = second.into_iter();
    let mut all: VecDeque<_> = first.into_iter().flat_map(|first| [Some(first), seconds.next()]).flatten().collect();
    all.extend(seconds);
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_addresses_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let [a, b, c] = ["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"].map(address);
        let [x, y] = ["[::1]:1", "[::2]:1"].map(address);
        assert_eq!(in_turns(vec![a, b, x, c, y]), [a, x, b, y, c]);
        assert_eq!(in_turns(vec![x, a, b, c]), [x, a, b, c]);
        assert_eq!(in_turns(vec![a]), [a]);
        assert!(in_turns(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next_one_at_once() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let there = listener.local_addr().unwrap();
        let gone = {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            listener.local_addr().unwrap()
        };
        assert_eq!(first(vec![gone, there]).await.unwrap().peer_addr().unwrap(), there);
        assert_eq!(first(vec![gone]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(first(Vec::new()).await.is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |url: &str| Origin::of(&Url::parse(url).unwrap()).unwrap();
        assert_eq!(of("https://h/a"), of("https://h:443/b"));
        assert_ne!(of("https://h"), of("http://h:443"));
        assert_ne!(of("http://h"), of("http://h:81"));
        assert_eq!(of("http://[::1]:9/v1").address, Some("::1".parse().unwrap()));
        assert!(of("https://[::1]").is_secure());
    }
}
