//! Remote: HTTP requests to a running gateway, for the commands that need them.
//!
//! It does not know what is requested.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::Value;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The JSON at a path of the gateway at `base`; `None` where it answers something that is not JSON.
pub(super) async fn ask(base: &str, path: &str) -> Result<Option<Value>, String> {
    let remote = Remote { token: None, ..Remote::new(base)? };
    let (_, body) = remote.send(Method::GET, path, None).await?;
    Ok(serde_json::from_slice(&body).ok())
}

/// What is at a path of the admin address at `base`, asked with ADMIN_TOKEN where that is set. The error says what the
/// gateway says.
pub(super) async fn ask_as_operator(base: &str, path: &str) -> Result<Bytes, String> {
    Ok(Remote::new(base)?.ask(Method::GET, path, None).await?)
}

/// The admin address of a gateway, to which connections are kept.
pub(super) struct Remote<'b> {
    client: reqwest::Client,
    base: &'b str,
    /// ADMIN_TOKEN, where that is set.
    token: Option<String>,
}

impl<'b> Remote<'b> {
    /// The gateway at `base`.
    pub(super) fn new(base: &'b str) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let client = client.map_err(|fault| fault.to_string())?;
        Ok(Self { client, base, token: std::env::var("ADMIN_TOKEN").ok() })
    }

    /// What it answers to an operator.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Refusal> {
        let (status, body) = self.send(method, path, body).await.map_err(|text| Refusal { status: None, text })?;
        if status.is_success() {
            return Ok(body);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("is it the admin address (server.admin)?");
        let hint = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => " (this command sends ADMIN_TOKEN, which is not set here)",
            (StatusCode::UNAUTHORIZED, Some(_)) => " (ADMIN_TOKEN as it is set here is not the gateway's)",
            _ => "",
        };
        let text = format!("{} responded with status {}: {detail}{hint}", self.base, status.as_u16());
        Err(Refusal { status: Some(status), text })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), String> {
        let url = format!("{}{path}", self.base.trim_end_matches('/'));
        let mut request = self.client.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|fault| match fault.is_timeout() {
            true => format!("no response from {url} within {} s", TIMEOUT.as_secs()),
            false => format!("cannot connect to {url}"),
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| format!("an invalid response from {url}"))?;
        Ok((status, body))
    }
}

/// Why a gateway did not do what an operator asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status of its answer; `None`: there was none.
    pub(super) status: Option<StatusCode>,
    /// What it says, with where it was asked.
    pub(super) text: String,
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.text
    }
}
