//! Remote: HTTP requests to a running gateway, for the commands that need them.
//!
//! It does not know what is requested.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::model::names::is_plain_id;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a wrong address is told.
const WHERE: &str = "--url takes the admin address (server.admin, ADMIN_ADDR)";

/// Which gateway a command asks, and how it prints the answer.
#[derive(Args)]
pub(super) struct Options {
    /// The admin address of the gateway.
    #[arg(long, value_name = "URL", default_value_t = default_url(), global = true)]
    pub(super) url: String,
    /// Print JSON, for scripts. Problems are still text, on standard error.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// This machine, at the admin address that the gateway would use here.
fn default_url() -> String {
    let address = std::env::var("ADMIN_ADDR").ok().filter(|address| !matches!(&**address, "" | "off"));
    let address = address.unwrap_or_else(|| "127.0.0.1:9901".into());
    // A gateway that listens everywhere is reached at this machine too.
    let local = |mut address: SocketAddr| {
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        address.to_string()
    };
    format!("http://{}", address.parse().map_or(address, local))
}

/// The JSON at a path of the gateway at `base`; `None` where it answers something that is not JSON.
pub(super) async fn ask(base: &str, path: &str) -> Result<Option<Value>, String> {
    let remote = Remote { token: None, ..Remote::new(base)? };
    let (_, body) = remote.send(Method::GET, path, None, None).await?;
    Ok(serde_json::from_slice(&body).ok())
}

/// What is at a path of the admin address at `base`, asked with ADMIN_TOKEN where that is set. The error says what the
/// gateway says.
pub(super) async fn ask_as_operator(base: &str, path: &str) -> Result<Bytes, String> {
    Ok(Remote::new(base)?.ask(Method::GET, path, None).await?)
}

/// The admin address of a gateway, to which connections are kept.
pub(super) struct Remote {
    client: reqwest::Client,
    base: String,
    /// ADMIN_TOKEN, where that is set.
    token: Option<String>,
}

impl Remote {
    /// The gateway at `base`; without a scheme it is `http`.
    pub(super) fn new(base: &str) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let client = client.map_err(|fault| fault.to_string())?;
        let scheme = if base.contains("://") { "" } else { "http://" };
        let base = format!("{scheme}{}", base.trim_end_matches('/'));
        let token = std::env::var("ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Self { client, base, token })
    }

    /// What it answers to an operator.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Refusal> {
        self.ask_if(method, path, body, None).await
    }

    /// The same, unless what it names has another version by now.
    pub(super) async fn ask_if(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Result<Bytes, Refusal> {
        let answer = self.send(method, path, body, version).await;
        let (status, body) = answer.map_err(|text| Refusal { status: None, text })?;
        if status.is_success() {
            return Ok(body);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        // Faults of the query have the shape of OpenAI's errors.
        let detail = problem["detail"].as_str().or(problem["error"]["message"].as_str().filter(|_| status != 404));
        let detail =
            detail.map_or_else(|| format!("it does not answer as an admin address does; {WHERE}"), String::from);
        let hint = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => " (this command sends ADMIN_TOKEN, which is not set here)",
            (StatusCode::UNAUTHORIZED, Some(_)) => " (ADMIN_TOKEN as it is set here is not the gateway's)",
            _ => "",
        };
        let text = format!("{} responded with status {}: {detail}{hint}", self.base, status.as_u16());
        Err(Refusal { status: Some(status), text })
    }

    /// The JSON that it answers to an operator, as it came and read.
    pub(super) async fn ask_json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Bytes, Value), Refusal> {
        self.read(self.ask(method, path, body).await?)
    }

    /// JSON of its answer, as it came and read.
    pub(super) fn read(&self, body: Bytes) -> Result<(Bytes, Value), Refusal> {
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((body, value)),
            Err(_) => {
                let text = format!("{} answered something that is not JSON; {WHERE}", self.base);
                Err(Refusal { status: None, text })
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Result<(StatusCode, Bytes), String> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(version) = version {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        let response = request.send().await.map_err(|fault| match fault.is_timeout() {
            true => format!("no response from {url} within {} s", TIMEOUT.as_secs()),
            false => format!("cannot connect to {url}: {}", cause(&fault)),
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| format!("an invalid response from {url}"))?;
        Ok((status, body))
    }
}

/// True for a name that stays one segment of a path.
pub(super) fn is_segment(name: &str) -> bool {
    is_plain_id(name) && name.bytes().any(|byte| byte != b'.')
}

/// The innermost cause: the outer ones repeat the address.
fn cause(fault: &reqwest::Error) -> String {
    let mut cause: &dyn Error = fault;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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
