//! HTTP/2 without TLS, by prior knowledge: the same gateway over many streams of one connection.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::gateway::{Gateway, Setup};
use crate::provider::Provider;
use crate::socket::{PATIENCE, Socket, soon};
use crate::words::{DONE, LAST_CHUNK, STREAM, chunk, completion, event, plain};

/// One HTTP/2 connection of a caller. Dropped, it is gone.
pub(crate) struct Http2 {
    requests: SendRequest<Full<Bytes>>,
    connection: JoinSet<hyper::Result<()>>,
}

impl Http2 {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
        let (requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        Self { requests, connection }
    }

    /// Sends a chat call; the answer is awaited by whoever wants it.
    pub(crate) fn chat(&mut self, stream: bool) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.chat_with("m", stream)
    }

    /// Sends a chat call to a model.
    pub(crate) fn chat_with(
        &mut self,
        model: &str,
        stream: bool,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let request = Request::post("http://gateway/v1/chat/completions").header("content-type", "application/json");
        self.requests.send_request(request.body(Full::from(body)).expect("a request"))
    }

    /// Asks for the health with so many headers; the status is the answer.
    pub(crate) async fn health(&mut self, headers: usize) -> u16 {
        let named = |request: http::request::Builder, number| request.header(format!("x-{number}"), "1");
        let request = (0..headers).fold(Request::get("http://gateway/health"), named);
        let answer = self.requests.send_request(request.body(Full::default()).expect("a request"));
        soon("an answer", answer).await.expect("an answer").status().as_u16()
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&mut self) {
        let _ = soon("the end of the connection", self.connection.join_next()).await;
    }
}

/// The rest of a body as text, or why there is none.
pub(crate) async fn text(response: Response<Incoming>) -> Result<String, String> {
    let body = soon("a body", response.into_body().collect()).await.map_err(|fault| fault.to_string())?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// Reads until the stream has given `expected`, and no further.
pub(crate) async fn receive(body: &mut Incoming, expected: &str) {
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let frame = soon("an event", body.frame()).await.expect("more of the stream").expect("an unbroken stream");
        got.extend_from_slice(&frame.into_data().expect("data"));
    }
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

async fn gateway_and_provider() -> (Gateway, Provider) {
    let provider = Provider::start().await;
    (Setup::over(&[provider.address]).start().await, provider)
}

async fn send_event(there: &mut Socket, event: &str) {
    there.send(chunk(event)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_call_is_answered() {
    let (gateway, provider) = gateway_and_provider().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(false));
    let (mut there, request) = provider.request().await;
    assert_eq!(request.start, "POST /v1/chat/completions HTTP/1.1");
    there.send(plain(&completion("ok"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await.unwrap(), completion("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_streams_of_one_connection_do_not_wait_for_each_other() {
    let (gateway, provider) = gateway_and_provider().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut there, _) = provider.request().await;
    calls.spawn(caller.chat(true));
    let (mut other_there, _) = provider.request().await;
    for (there, name) in [(&mut there, "one"), (&mut other_there, "other")] {
        there.send(STREAM).await;
        send_event(there, &event(name)).await;
    }
    let mut bodies = Vec::new();
    while let Some(response) = soon("an answer", calls.join_next()).await {
        let mut body = response.unwrap().unwrap().into_body();
        let first = soon("an event", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        bodies.push((first, body));
    }
    bodies.sort_by_key(|(first, _)| first.clone());
    let [(first, mut body), (other_first, mut other_body)] = <[_; 2]>::try_from(bodies).unwrap();
    assert_eq!((first, other_first), (event("one").into(), event("other").into()));
    for number in 0..5 {
        let event = event(&format!("number {number}"));
        send_event(&mut there, &event).await;
        receive(&mut body, &event).await;
        send_event(&mut other_there, &event).await;
        receive(&mut other_body, &event).await;
    }
    for (there, body) in [(&mut there, &mut body), (&mut other_there, &mut other_body)] {
        send_event(there, DONE).await;
        receive(body, DONE).await;
        there.send(LAST_CHUNK).await;
        assert_eq!(soon("the end", body.collect()).await.unwrap().to_bytes(), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_its_caller_resets_cancels_its_provider_and_no_other() {
    let (gateway, provider) = gateway_and_provider().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut cancelled, _) = provider.request().await;
    cancelled.send(STREAM).await;
    send_event(&mut cancelled, &event("first")).await;
    let body = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap().into_body();
    calls.spawn(caller.chat(false));
    let (mut there, _) = provider.request().await;
    drop(body);
    assert_eq!(cancelled.closed().await, "");
    there.send(plain(&completion("ok"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await.unwrap(), completion("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_ends_in_an_error_event_and_leaves_the_connection_alone() {
    let (gateway, provider) = gateway_and_provider().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    send_event(&mut there, &event("first")).await;
    there.reset();
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    let said = text(response).await.unwrap();
    assert!(said.starts_with(&event("first")) && said.contains(r#""code":"stream_incomplete""#), "{said}");
    assert!(!said.contains("[DONE]"), "{said}");
    calls.spawn(caller.chat(false));
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await.unwrap(), completion("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_at_its_deadline_and_not_at_that_of_a_head() {
    const IDLE: Duration = Duration::from_millis(600);
    let provider = Provider::start().await;
    let keys = "header_timeout = \"200ms\"\nidle_timeout = \"600ms\"\n";
    let gateway = Setup::over(&[provider.address]).server(keys).start().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    let start = Instant::now();
    calls.spawn(caller.chat(false));
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    // Reading the body makes the caller's side send a WINDOW_UPDATE or two: bytes, but not the head of a request.
    assert_eq!(text(response).await.unwrap(), completion("ok"));
    caller.closed().await;
    assert!(start.elapsed() >= IDLE, "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_nothing_after_its_preface_is_closed() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).server("idle_timeout = \"200ms\"\n").start().await;
    Http2::connect(&gateway).await.closed().await;
}
