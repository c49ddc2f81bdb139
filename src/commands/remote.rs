//! Remote: HTTP requests to a running gateway, for the commands that need them.
//!
//! It does not know what is requested.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The JSON at a path of the gateway at `base`; `None` where it answers something that is not JSON.
pub(super) async fn ask(base: &str, path: &str) -> Result<Option<Value>, String> {
    let (_, body) = fetch(base, path, None).await?;
    Ok(serde_json::from_slice(&body).ok())
}

/// What is at a path of the admin address at `base`, asked with ADMIN_TOKEN where that is set. The error says what the
/// gateway says.
pub(super) async fn ask_as_operator(base: &str, path: &str) -> Result<Bytes, String> {
    let token = std::env::var("ADMIN_TOKEN").ok();
    let (status, body) = fetch(base, path, token.as_deref()).await?;
    if status.is_success() {
        return Ok(body);
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("is it the admin address (server.admin)?");
    Err(format!("{base} responded with status {}: {detail}", status.as_u16()))
}

async fn fetch(base: &str, path: &str, token: Option<&str>) -> Result<(StatusCode, Bytes), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().map_err(|fault| fault.to_string())?;
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let request = match token {
        Some(token) => client.get(&url).bearer_auth(token),
        None => client.get(&url),
    };
    let response = request.send().await.map_err(|fault| match fault.is_timeout() {
        true => format!("no response from {url} within {} s", TIMEOUT.as_secs()),
        false => format!("cannot connect to {url}"),
    })?;
    let status = response.status();
    let body = response.bytes().await.map_err(|_| format!("an invalid response from {url}"))?;
    Ok((status, body))
}
