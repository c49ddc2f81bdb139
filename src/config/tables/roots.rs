//! CA certificates to trust besides the system's: reads `ca_file`, a PEM file, for providers whose certificate no
//! public CA has signed.
//!
//! It does not know which connections use them.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::engine::problem::Report;
use crate::config::engine::reader::Section;
use crate::config::engine::{text_file, value};

/// The certificates of a section's `ca_file`; none when it has no such key.
pub(in crate::config) fn read(section: &mut Section<'_>, report: &Report) -> Vec<CertificateDer<'static>> {
    let Some(path) = section.located("ca_file", value::text) else { return Vec::new() };
    let found = certificates(&path.value).and_then(|found| store(&path.value, &found).map(|_| found));
    // A store is made only to see whether each will do; the transport makes the one that is used.
    found.unwrap_or_else(|problem| {
        report.add(&path.origin, section.path_of("ca_file"), problem);
        Vec::new()
    })
}

/// The certificates of a PEM file: at least one.
pub(super) fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = text_file::pem(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("{path:?} is not a PEM file: {error}"))?;
    match found.is_empty() {
        true => Err(format!("{path:?} holds no certificate; expected PEM, with `-----BEGIN CERTIFICATE-----`")),
        false => Ok(found),
    }
}

/// What trusts the certificates of a file.
pub(super) fn store(path: &str, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for (number, certificate) in certificates.iter().enumerate() {
        let unusable = |error| format!("certificate {} of {path:?} cannot be used: {error}", number + 1);
        store.add(certificate.clone()).map_err(unusable)?;
    }
    Ok(store)
}
