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

use crate::config::engine::secret::Secret;
use crate::model::names::is_plain_id;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Of a change to which there was no answer.
const UNSURE: &str = "; the change may still have been applied: check before you retry";

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
    let remote = Remote::open(base, None)?;
    let (_, body) = remote.send(Method::GET, path, None, None).await?;
    Ok(serde_json::from_slice(&body).ok())
}

/// What is at a path of the admin address at `base`, asked with the admin token where there is one. The error says what the
/// gateway says.
pub(super) async fn ask_as_operator(base: &str, path: &str) -> Result<Bytes, String> {
    Ok(Remote::new(base)?.ask(Method::GET, path, None).await?)
}

/// The admin address of a gateway, to which connections are kept.
pub(super) struct Remote {
    client: reqwest::Client,
    base: String,
    /// The same without a password, to be printed.
    shown: String,
    /// The admin token, where there is one.
    token: Option<Token>,
}

/// The admin token, and where it comes from.
struct Token {
    secret: Secret,
    from: &'static str,
}

impl Token {
    /// That of ADMIN_TOKEN, else the content of the file that ADMIN_TOKEN_FILE names.
    fn of_environment() -> Result<Option<Self>, String> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(token) = set("ADMIN_TOKEN") {
            return Ok(Some(Self { secret: Secret::new(&token), from: "ADMIN_TOKEN" }));
        }
        let Some(path) = set("ADMIN_TOKEN_FILE") else { return Ok(None) };
        let text = std::fs::read_to_string(&path)
            .map_err(|fault| format!("ADMIN_TOKEN_FILE: cannot read {path:?}: {fault}"))?;
        match text.trim() {
            "" => Err(format!("ADMIN_TOKEN_FILE: {path:?} is empty: it must hold the admin token")),
            token => Ok(Some(Self { secret: Secret::new(token), from: "ADMIN_TOKEN_FILE" })),
        }
    }
}

impl Remote {
    /// The gateway at `base`; without a scheme it is `http`.
    pub(super) fn new(base: &str) -> Result<Self, String> {
        let remote = Self::open(base, Token::of_environment()?)?;
        if remote.token.is_some() && is_readable_on_the_way(&remote.base) {
            eprintln!(
                "tidegate: warning: the admin token goes to {} unencrypted: use https, or a tunnel to a port of this machine",
                remote.shown
            );
        }
        Ok(remote)
    }

    fn open(base: &str, token: Option<Token>) -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let client = client.map_err(|fault| fault.to_string())?;
        let scheme = if base.contains("://") { "" } else { "http://" };
        let base = format!("{scheme}{}", base.trim_end_matches('/'));
        Ok(Self { client, shown: without_password(&base), base, token })
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
        let detail = detail.map_or_else(|| format!("this is not an admin address; {WHERE}"), String::from);
        let hint = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                " (this command sends ADMIN_TOKEN, which is not set here, nor is ADMIN_TOKEN_FILE)".into()
            }
            (StatusCode::UNAUTHORIZED, Some(token)) => {
                format!(" ({} as it is set here is not the gateway's)", token.from)
            }
            _ => String::new(),
        };
        let text = format!("{} responded with status {}: {detail}{hint}", self.shown, status.as_u16());
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
                let text = format!("{} answered something that is not JSON; {WHERE}", self.shown);
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
        let may_change = method != Method::GET;
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.secret.expose());
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(version) = version {
            request = request.header(IF_MATCH, format!("\"{version}\""));
        }
        let url = format!("{}{path}", self.shown);
        let unsure = if may_change { UNSURE } else { "" };
        let response = request.send().await.map_err(|fault| match fault.is_timeout() {
            true => format!("no response from {url} within {} s{unsure}", TIMEOUT.as_secs()),
            false if fault.is_connect() => format!("cannot connect to {url}: {}", cause(&fault)),
            false if fault.is_builder() => format!("cannot ask {url}: {}", cause(&fault)),
            false => format!("no response from {url}: {}{unsure}", cause(&fault)),
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| format!("an invalid response from {url}{unsure}"))?;
        Ok((status, body))
    }
}

/// An address without the name and the password that it may hold.
fn without_password(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.into() };
    format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, after)| after))
}

/// True where others can read what goes there.
fn is_readable_on_the_way(base: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(base) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme() == "http" && !is_here
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for base in ["http://me:canary@host:9901", "http://me:ca/na@canary@host:9901", "http://canary@host:9901"] {
            assert_eq!(without_password(base), "http://host:9901");
        }
        assert_eq!(without_password("https://host/below"), "https://host/below");
    }

    #[test]
    fn only_https_and_this_machine_keep_a_token_from_others() {
        for base in ["http://127.0.0.1:9901", "http://[::1]:9901", "http://localhost:9901", "https://gateway.example"] {
            assert!(!is_readable_on_the_way(base), "{base}");
        }
        for base in ["http://10.0.0.5:9901", "http://gateway.example:9901", "http://me:secret@192.0.2.1"] {
            assert!(is_readable_on_the_way(base), "{base}");
        }
    }
}
