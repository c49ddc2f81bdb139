//! A gateway in front of simulated providers, asked directly: what came back, and what the log would say of it.
//!
//! It does not know which credentials are good.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Behaviour, FaultKind, Seen, Simulation};
use tidegate::server::connection::response_body::ResponseBody;
use tidegate::server::dispatch;
use tokio::time::Instant;

use crate::tokens;

/// When every test begins: 2026-01-01, in seconds of Unix time.
pub(crate) const START: i64 = 1_767_225_600;

/// A gateway and its world, and all that is logged meanwhile.
pub(crate) struct Bench {
    gateway: Gateway,
    log: Log,
    _logging: tracing::subscriber::DefaultGuard,
    simulation: Arc<Simulation>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) took: Duration,
    /// What the log gives as the reason, if the call was refused.
    pub(crate) reason: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {}", self.body))
    }

    /// All that a caller sees, without what is new each time.
    pub(crate) fn shape(&self) -> String {
        let mut body = self.json();
        body["error"]["timestamp"] = Value::Null;
        let names: Vec<_> = self.headers.iter().filter(|(name, _)| !name.as_str().ends_with("request-id")).collect();
        format!("{} {names:?} {body}", self.status)
    }
}

impl Bench {
    /// A gateway with this configuration, without limits.
    pub(crate) fn new(text: &str, variables: &[(&str, &str)]) -> Self {
        let variables = [variables, &[("DISABLE_RATE_LIMITING", "true")]].concat();
        Self::limited(text, &variables)
    }

    /// A gateway with this configuration.
    pub(crate) fn limited(text: &str, variables: &[(&str, &str)]) -> Self {
        let usual =
            [("OPENAI_API_KEY", "key-of-openai"), ("TOGETHER_API_KEY", "key-of-together"), ("USE_BUILDPANEL", "true")];
        let all: BTreeMap<String, String> =
            usual.iter().chain(variables).map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let plan = config::load(Some(("auth.toml", text)), &Variables::new(all, BTreeMap::new()))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let simulation = Arc::new(Simulation::default());
        let start = jiff::Timestamp::from_second(START).unwrap();
        let world = World::simulated(simulation.clone(), start, 11);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let log = Log::default();
        let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let (written, gateway) = (log.clone(), Gateway::new(plan, state, Arc::new(world)).unwrap());
        let logging = tracing::subscriber::set_default(lines.with_writer(move || written.clone()).finish());
        Self { gateway, log, _logging: logging, simulation }
    }

    /// All that was logged so far, at level `trace`.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.log.0.lock().clone()).unwrap()
    }

    /// Publishes these keys from now on; they are read at once and again and again, as `serve` does it.
    pub(crate) fn publish(&self, keys: &[&str]) {
        self.simulation.find("jwks").unwrap().publish(tokens::jwks(keys).to_string().into());
        if self.asked("jwks") == 0
            && let Some(published) = self.gateway.authenticator.published()
        {
            self.gateway.state.tasks().spawn(published.clone().run());
        }
    }

    pub(crate) fn fail(&self, name: &str) {
        let behaviour = Behaviour { fault: FaultKind::Refuse, ..Behaviour::default() };
        self.simulation.find(name).unwrap().behave(behaviour);
    }

    pub(crate) fn heal(&self, name: &str) {
        self.simulation.find(name).unwrap().behave(Behaviour::default());
    }

    /// How many requests a provider has seen.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.seen(name).len()
    }

    pub(crate) fn seen(&self, name: &str) -> Vec<Seen> {
        self.simulation.find(name).map(|provider| provider.requests()).unwrap_or_default()
    }

    /// A chat of the restaurant's backend with this bearer.
    pub(crate) async fn chat(&self, bearer: &str) -> Answer {
        self.chat_as(bearer, &[]).await
    }

    pub(crate) async fn chat_text(&self, bearer: String) -> Answer {
        self.chat(&bearer).await
    }

    pub(crate) async fn chat_as(&self, bearer: &str, headers: &[(&str, &str)]) -> Answer {
        let authorization = format!("Bearer {bearer}");
        let headers = [headers, &[("authorization", authorization.as_str())]].concat();
        self.ask(Ipv4Addr::LOCALHOST.into(), "/api/v1/ai/chat", &headers, json!({"message": "hello"})).await
    }

    pub(crate) async fn chat_from(&self, address: &str, bearer: &str) -> Answer {
        let authorization = format!("Bearer {bearer}");
        let headers = [("authorization", authorization.as_str())];
        self.ask(address.parse().unwrap(), "/api/v1/ai/chat", &headers, json!({"message": "hello"})).await
    }

    /// A chat of an OpenAI client with this key.
    pub(crate) async fn openai(&self, key: &str, model: &str) -> Answer {
        let authorization = format!("Bearer {key}");
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        self.ask(Ipv4Addr::LOCALHOST.into(), "/v1/chat/completions", &[("authorization", &authorization)], body).await
    }

    /// A chat with anything at all in `Authorization`.
    pub(crate) async fn shown(&self, value: HeaderValue) -> Answer {
        let request = Request::post("/api/v1/ai/chat").header("content-type", "application/json");
        let request = request.header("authorization", value).body(Full::new(Bytes::from(r#"{"message":"hello"}"#)));
        self.happen(Ipv4Addr::LOCALHOST.into(), request.unwrap()).await
    }

    /// An upload whose body never comes.
    pub(crate) async fn upload(&self, bearer: Option<&str>) -> Answer {
        let mut request = Request::post("/api/v1/ai/transcribe")
            .header("content-type", "multipart/form-data; boundary=x")
            .header("content-length", "10000000");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.happen(Ipv4Addr::LOCALHOST.into(), request.body(Endless).unwrap()).await
    }

    /// A request at the operators' door; an empty token shows nothing.
    pub(crate) async fn admin(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let started = Instant::now();
        let request = request.body(Full::new(Bytes::from(text))).unwrap();
        let response = dispatch::operate(&self.gateway, Ipv4Addr::LOCALHOST.into(), request).await;
        self.read(response, started).await
    }

    async fn ask(&self, from: IpAddr, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.happen(from, request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await
    }

    async fn happen<B: Body<Data = Bytes> + Unpin>(&self, from: IpAddr, request: Request<B>) -> Answer {
        let started = Instant::now();
        let response = dispatch::handle(&self.gateway, from, request).await;
        self.read(response, started).await
    }

    async fn read(&self, response: http::Response<ResponseBody>, started: Instant) -> Answer {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(bytes.into()).unwrap();
        let log = self.log();
        let last = log.lines().rfind(|line| line.contains("tidegate::access")).unwrap_or_default();
        let reason = last.split_once(" detail=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let (status, reason) = (parts.status.as_u16(), reason.to_owned());
        Answer { status, headers: parts.headers, body, took: started.elapsed(), reason }
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of which nothing ever comes.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
