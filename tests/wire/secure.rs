//! A private authority, what it signs, the provider's end of TLS connections, and callers that trust it.
//!
//! It does not know which HTTP is spoken inside.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::program::Folder;
use super::socket::soon;

/// Who signs certificates that no public authority would.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

/// What is right or wrong about a certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Paper {
    Good,
    Expired,
    ForAnother,
}

impl Authority {
    /// An authority for the test of this name.
    pub(crate) fn new(test: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, test);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let folder = Folder::new(test);
        folder.write("ca.pem", &issuer.pem());
        Self { issuer, folder }
    }

    /// The file with its certificate.
    pub(crate) fn file(&self) -> String {
        self.folder.path_of("ca.pem")
    }

    /// Writes a certificate for 127.0.0.1 and its key, as `NAME.pem` and `NAME.key`.
    pub(crate) fn write(&self, name: &str) {
        let (certificate, key) = self.identity();
        self.folder.write(&format!("{name}.pem"), &certificate.pem());
        self.folder.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Where a file is that was written.
    pub(crate) fn path_of(&self, name: &str) -> String {
        self.folder.path_of(name)
    }

    fn identity(&self) -> (Certificate, KeyPair) {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// What a caller needs that trusts this authority, and shows a certificate of `shows`.
    pub(crate) fn caller(&self, protocols: &[&str], shows: Option<&Self>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions of TLS").with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (certificate, key) = authority.identity();
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                builder.with_client_auth_cert(vec![certificate.der().clone()], key.into()).expect("a certificate")
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A provider with a certificate of this authority. It offers these protocols.
    pub(crate) async fn provider(&self, paper: Paper, protocols: &[&str]) -> SecureProvider {
        let name = if paper == Paper::ForAnother { "another.example" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if paper == Paper::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = builder.expect("versions of TLS").with_no_client_auth();
        let mut config =
            config.with_single_cert(vec![certificate.der().clone()], key.into()).expect("a certificate and its key");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        SecureProvider { listener, address, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

/// A provider behind TLS whose part the test plays.
pub(crate) struct SecureProvider {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    acceptor: TlsAcceptor,
}

impl SecureProvider {
    /// The next connection that the gateway makes, before a word of it.
    pub(crate) async fn accept(&self) -> TcpStream {
        soon("a connection to the provider", self.listener.accept()).await.expect("a connection").0
    }

    /// The next connection that the gateway makes, or why there is none: the gateway did not like the certificate.
    pub(crate) async fn try_connection(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.accept().await;
        stream.set_nodelay(true)?;
        soon("a handshake", self.acceptor.accept(stream)).await
    }

    /// The next connection that the gateway makes.
    pub(crate) async fn connection(&self) -> TlsStream<TcpStream> {
        self.try_connection().await.expect("a handshake")
    }
}
