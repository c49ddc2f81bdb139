//! Connector: connects to a provider's URL, with TLS if the URL says so.
//!
//! It caches no DNS results: their lifetime is the system resolver's business. The address that is checked is the
//! one that is connected to, so that a name cannot resolve to something else between the two (DNS rebinding).

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use super::idle::{IdleTimes, WatchedConnection};
use crate::model::ip_ranges::is_public;

type BoxError = Box<dyn Error + Send + Sync>;

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

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    within: Duration,
    times: Arc<IdleTimes>,
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
    /// Where it is noted how long the provider keeps idle connections.
    pub(super) times: &'a Arc<IdleTimes>,
    /// False: HTTP/1.1 only.
    pub(super) is_h2_offered: bool,
}

impl Connector {
    pub(super) fn new(terms: &Terms<'_>) -> Result<Self, rustls::Error> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(terms.roots.iter().cloned(), crypto.clone())?;
        let config = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let resolver = Resolver { lookup: terms.lookup.clone(), denies_private: terms.denies_private };
        let mut plain = HttpConnector::new_with_resolver(resolver);
        plain.set_nodelay(true);
        // The URL's scheme is the next one's business.
        plain.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        let inner = match terms.is_h2_offered {
            true => builder.enable_http2().wrap_connector(plain),
            false => builder.wrap_connector(plain),
        };
        Ok(Self { inner, within: terms.within, times: terms.times.clone() })
    }
}

/// There was no connection in time.
#[derive(Debug)]
pub(super) struct TookTooLong;

impl fmt::Display for TookTooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no connection in time")
    }
}

impl Error for TookTooLong {}

impl Service<Uri> for Connector {
    type Response = TokioIo<WatchedConnection<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.within, self.inner.call(uri));
        let times = self.times.clone();
        Box::pin(async move {
            let stream = connecting.await.unwrap_or_else(|_| Err(TookTooLong.into()))?;
            let times = (!stream.connected().is_negotiated_h2()).then_some(times);
            Ok(TokioIo::new(WatchedConnection::new(TokioIo::new(stream), times)))
        })
    }
}

/// Finds addresses, without those that are not public where the config wants that.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: Arc<dyn Lookup>,
    denies_private: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (looking, denies_private) = (self.lookup.addresses(name.as_str()), self.denies_private);
        Box::pin(async move {
            let mut found = looking.await?;
            if denies_private {
                found.retain(|address| is_public(*address));
                if found.is_empty() {
                    return Err("the name has no public address, and deny_private is set".into());
                }
            }
            // The port is that of the URL.
            let found: Vec<_> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(found.into_iter())
        })
    }
}
