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
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Answer;
use super::token::Token;
use crate::model::names::is_plain_id;

/// Nobody waits longer for an answer about a gateway.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Of a change to which there was no answer.
const UNSURE: &str = "; the change may still have been applied: check before you retry";

/// What is asked where something else answers.
const WHERE: &str = "is it the admin address (server.admin, ADMIN_ADDR)?";

/// What is asked where nobody listens.
const RUNNING: &str = "does a gateway run at that address?";

/// A path with those parameters that have a value.
pub(super) fn with_query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    format!("{path}?{query}")
}

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

/// What the gateway at `base` answers to anybody.
pub(super) async fn ask(base: &str, path: &str) -> Result<Answer, String> {
    Remote::open(base, None)?.send(Method::GET, path, None, None).await
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
        // A redirected change is no change: its body is not sent again, and its method may become another.
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy().build();
        let client = client.map_err(|fault| fault.to_string())?;
        let scheme = if base.contains("://") { "" } else { "http://" };
        let base = format!("{scheme}{}", base.trim_end_matches('/'));
        Ok(Self { client, shown: without_password(&base), base, token })
    }

    /// What it answers to an operator, which must be JSON of this shape; as it came, and read.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Bytes, T), Refusal> {
        self.ask_if(method, path, body, None).await
    }

    /// The same, unless what it names has another version by now.
    pub(super) async fn ask_if<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Result<(Bytes, T), Refusal> {
        let unsure = unsure(&method);
        let answer = self.accepted(method, path, body, version).await?;
        let value = answer.json().map_err(|why| self.unlike(path, &why, unsure))?;
        Ok((answer.into_body(), value))
    }

    /// The text of this media type that it answers to an operator.
    pub(super) async fn ask_text(&self, path: &str, media_type: &str) -> Result<String, Refusal> {
        let answer = self.accepted(Method::GET, path, None, None).await?;
        answer.text(media_type).map_err(|why| self.unlike(path, &why, ""))
    }

    /// Of an answer that is not what its admin API says.
    fn unlike(&self, path: &str, why: &str, unsure: &str) -> Refusal {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let text = format!("{}{path} is not answered as Tidegate's admin API does: {why}{unsure}; {WHERE}", self.shown);
        Refusal { status: None, text }
    }

    async fn accepted(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let answer = self.send(method, path, body, version).await;
        let answer = answer.map_err(|text| Refusal { status: None, text })?;
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        let detail = match answer.redirection() {
            Some(location) => format!("it points to {location}, where this command does not follow; {WHERE}"),
            None => answer.detail().unwrap_or_else(|| format!("it does not answer as an admin address does; {WHERE}")),
        };
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

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<u64>,
    ) -> Result<Answer, String> {
        let unsure = unsure(&method);
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
        let response = request.send().await.map_err(|fault| match fault.is_timeout() {
            true => format!("no response from {url} within {} s{unsure}", TIMEOUT.as_secs()),
            false if fault.is_connect() => format!("cannot connect to {url}: {}; {RUNNING}", cause(&fault)),
            false if fault.is_builder() => format!("cannot ask {url}: {}", cause(&fault)),
            false => format!("no response from {url}: {}{unsure}", cause(&fault)),
        })?;
        Answer::read(response).await.map_err(|what| format!("{what} from {url}{unsure}"))
    }
}

/// What is to be said where there is no answer.
fn unsure(method: &Method) -> &'static str {
    if *method == Method::GET { "" } else { UNSURE }
}

/// An address without the name and the password that it may hold.
pub(super) fn without_password(base: &str) -> String {
    let (scheme, rest) = base.split_at(base.find("://").map_or(0, |at| at + "://".len()));
    format!("{scheme}{}", rest.rsplit_once('@').map_or(rest, |(_, after)| after))
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
        assert_eq!(without_password("me:canary@host:9901"), "host:9901");
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
