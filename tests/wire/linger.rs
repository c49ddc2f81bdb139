//! Refusals of requests that are still being sent: their callers read them, because the gateway reads on for a while.
//!
//! A client that writes its whole request before it reads is the usual kind.

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::frames::{self, DATA, END_STREAM, Frames, GOAWAY, PING, RST_STREAM};
use crate::gateway::{Gateway, Setup};
use crate::http2::open;
use crate::provider::Provider;
use crate::secure::Authority;
use crate::socket::soon;
use crate::words::chunk;

/// More than the sockets between the two hold.
const MUCH: usize = 30 << 20;

/// A gateway that callers reach over TLS.
pub(crate) async fn secured(test: &str, provider: &Provider) -> (Gateway, Secured) {
    let authority = Authority::new(test);
    authority.write("gateway");
    let (certificate, key) = (authority.path_of("gateway.pem"), authority.path_of("gateway.key"));
    let tls = format!("[server.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n");
    (Setup::over(&[provider.address]).route("max_body = \"4KiB\"\n").tables(&tls).start().await, Secured(authority))
}

/// Callers of such a gateway.
pub(crate) struct Secured(Authority);

impl Secured {
    /// Connects, and agrees on one of these protocols.
    pub(crate) async fn connect(&self, gateway: &Gateway, protocols: &[&str]) -> TlsStream<TcpStream> {
        let stream = soon("a connection", TcpStream::connect(gateway.address)).await.expect("the gateway accepts");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        soon("a handshake", self.0.caller(protocols, None).connect(name, stream)).await.expect("a handshake")
    }
}

fn head(more: &str) -> Vec<u8> {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
        .into_bytes()
}

/// Requests that are refused before they have come whole, and how.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let body = vec![b'x'; MUCH];
    let mut in_chunks = head("transfer-encoding: chunked");
    in_chunks.extend(body.chunks(1 << 20).flat_map(chunk));
    let mut nobody = head(&format!("content-length: {MUCH}"));
    nobody.splice(0..4, *b"PUT");
    vec![
        ("413", [head(&format!("content-length: {MUCH}")), body.clone()].concat()),
        ("413", in_chunks),
        ("405", [nobody, body.clone()].concat()),
        // Not even a head that can be understood.
        ("400", [head("content-length: 1, 2"), body.clone()].concat()),
        ("400", [b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nno colon\r\n".to_vec(), body.clone()].concat()),
        ("400", [head("transfer-encoding: chunked"), b"not a size\r\n".to_vec(), body].concat()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_sends_everything_before_it_reads_reads_the_refusal() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).route("max_body = \"4KiB\"\n").start().await;
    for (status, request) in refused() {
        let mut caller = gateway.connect().await;
        caller.send(&request).await;
        let refusal = caller.message().await;
        assert_eq!(refusal.status().to_string(), status);
        assert_eq!(refusal.header("connection"), Some("close"), "{status}");
        assert_eq!(caller.closed().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_tls_that_sends_everything_before_it_reads_reads_the_refusal() {
    let provider = Provider::start().await;
    let (gateway, authority) = secured("linger", &provider).await;
    for (status, request) in refused() {
        let mut caller = authority.connect(&gateway, &[]).await;
        soon("a write", caller.write_all(&request)).await.expect("the gateway reads");
        let mut said = Vec::new();
        soon("an answer", caller.read_to_end(&mut said)).await.expect("an end in order");
        assert!(said.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_told_so_though_it_goes_on() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).server("body_timeout = \"100ms\"\n").start().await;
    let mut caller = gateway.connect().await;
    let length = 3 << 20;
    caller.send(head(&format!("content-length: {length}"))).await;
    caller.send(b"{").await;
    assert_eq!(caller.head().await.status(), 408);
    // It had been on its way.
    caller.send(vec![b'x'; length - 1]).await;
    let said = caller.body().await;
    assert!(String::from_utf8_lossy(&said).contains("request_timeout"), "{said:?}");
    assert_eq!(caller.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_http2_reads_the_refusal_of_what_it_is_sending_and_asks_on() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).route("max_body = \"4KiB\"\n").start().await;
    let stream = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
    let (mut requests, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    // More refusals than a connection remembers streams that it has given up.
    for _ in 0..30 {
        let pieces = (0..100).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; 1 << 16]))));
        let request = Request::post("http://gateway/v1/chat/completions").header("content-type", "application/json");
        let request = request.body(StreamBody::new(stream::iter(pieces))).expect("a request");
        let refusal = soon("an answer", requests.send_request(request)).await.expect("an answer");
        assert_eq!(refusal.status(), 413);
        let text = crate::h2c::text(refusal).await.expect("a whole answer");
        assert!(text.contains("request_too_large"), "{text}");
    }
}

/// Reads frames until one that `is_last`; none may end a stream, or the connection.
async fn until(caller: &mut Frames<TcpStream>, is_last: impl Fn(&frames::Frame) -> bool) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let frame = caller.read().await.expect("the connection goes on");
        assert!(!matches!(frame.kind, RST_STREAM | GOAWAY), "stream {} ends: {}", frame.stream, frame.reason());
        if frame.kind == DATA {
            body.extend_from_slice(&frame.payload);
        }
        if is_last(&frame) {
            return body;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_not_reset_while_its_caller_sends_what_nobody_wants() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).route("max_body = \"4KiB\"\n").start().await;
    let stream = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
    let mut caller = Frames::call(stream).await;
    let piece = [b'x'; 16 * 1024];
    for stream in [1, 3, 5] {
        caller.try_send_bytes(&open(stream)).await.expect("the gateway reads");
        caller.send(DATA, 0, stream, &piece).await;
        let body = until(&mut caller, |frame| frame.kind == DATA && frame.flags & END_STREAM != 0).await;
        assert!(String::from_utf8_lossy(&body).contains("request_too_large"));
        // It has been answered, and goes on.
        caller.send(DATA, 0, stream, &piece).await;
        caller.send(PING, 0, 0, b"are you?").await;
        until(&mut caller, |frame| frame.kind == PING).await;
        caller.send(DATA, END_STREAM, stream, b"").await;
    }
}
