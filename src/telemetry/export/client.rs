//! The HTTP client of telemetry, for collectors; they are not providers and get no content of calls.
//!
//! It does not know what is sent.

use std::error::Error;
use std::time::Duration;

use http::HeaderMap;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client that sends these headers with every request. `is_h2` for servers that speak HTTP/2 without saying so.
pub(in crate::telemetry) fn client(headers: HeaderMap, is_h2: bool) -> Result<reqwest::Client, String> {
    // Another part of the process may have chosen already; either choice is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(CONNECT)
        // What is configured is where it goes: credentials must not follow a redirect.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never());
    let builder = if is_h2 { builder.http2_prior_knowledge() } else { builder };
    builder.build().map_err(|fault| text(&fault))
}

/// An error with its causes, without the address, which may hold a secret.
pub(in crate::telemetry) fn fault(fault: reqwest::Error) -> String {
    text(&fault.without_url())
}

fn text(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
