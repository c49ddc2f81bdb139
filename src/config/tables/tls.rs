//! TLS: reads `[server.tls]`: the server certificate, and the CAs of client certificates. It parses the PEM files,
//! so that a bad file is a problem of the configuration.
//!
//! It does not know who connects. The files are watched like every file that a key ending in `_file` names.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::engine::problem::Report;
use crate::config::engine::reader::{At, Section};
use crate::config::engine::{text_file, value};
use crate::config::plan::server::TlsPlan;
use crate::config::tables::roots;

/// What a handshake may agree on (RFC 7301), the liked one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The table of `[server]`; `None` when there is none.
pub(in crate::config) fn read(server: &mut Section<'_>, report: &Report) -> Option<TlsPlan> {
    if !server.has("tls") {
        return None;
    }
    let mut section = server.section("tls");
    let mut file = |key, is_required: bool| {
        if is_required && !section.has(key) {
            section.problem(key, "this key is missing");
        }
        section.located(key, value::text)
    };
    let (certificate, key, clients) = (file("cert_file", true), file("key_file", true), file("client_ca_file", false));
    let problem =
        |at: &At<String>, key: &'static str, message: String| report.add(&at.origin, section.path_of(key), message);
    let plan = certificate.zip(key).and_then(|(certificate, key)| {
        let chain = roots::certificates(&certificate.value).map_err(|it| problem(&certificate, "cert_file", it)).ok();
        let secret = secret(&key.value).map_err(|it| problem(&key, "key_file", it)).ok();
        let trusted = |at: At<String>| {
            let found = roots::certificates(&at.value).and_then(|found| roots::store(&at.value, &found));
            found.map_err(|it| problem(&at, "client_ca_file", it))
        };
        let roots = clients.map(trusted).transpose().ok();
        let (chain, secret, roots) = (chain?, secret?, roots?);
        config(chain, secret, roots).map_err(|it| problem(&certificate, "cert_file", it)).ok()
    });
    section.close();
    plan.map(|config| TlsPlan { config: Arc::new(config) })
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<RootCertStore>,
) -> Result<ServerConfig, String> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(crypto.clone());
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|fault| format!("TLS cannot be set up: {fault}"))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto).build();
            builder
                .with_client_cert_verifier(verifier.map_err(|fault| format!("client_ca_file cannot be used: {fault}"))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|fault| match fault {
        rustls::Error::InconsistentKeys(_) => "the key in `key_file` is not that of this certificate".to_owned(),
        fault => format!("the certificate cannot be used: {fault}"),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn secret(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = text_file::pem(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{path:?} holds no private key; expected PEM, with `-----BEGIN PRIVATE KEY-----`"))
}
