//! Remote: asks a running gateway something over HTTP, for the commands that do.
//!
//! It does not know what is asked.

use std::time::Duration;

use serde_json::Value;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The JSON at a path of the gateway at `base`; `None` where it answers something that is not JSON.
pub(super) async fn ask(base: &str, path: &str) -> Result<Option<Value>, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().map_err(|fault| fault.to_string())?;
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let response = client.get(&url).send().await.map_err(|fault| match fault.is_timeout() {
        true => format!("no answer from {url} within {} s", TIMEOUT.as_secs()),
        false => format!("no connection to {url}"),
    })?;
    let body = response.bytes().await.map_err(|_| format!("a broken answer from {url}"))?;
    Ok(serde_json::from_slice(&body).ok())
}
