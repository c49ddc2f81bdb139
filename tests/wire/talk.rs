//! Both ends of a WebSocket through the gateway: the caller near, the provider far. It speaks the protocol by the library's
//! book; what is against the book is written to the bare connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::gateway::{CANARY, Gateway};
use crate::socket::soon;

/// One end of a WebSocket.
pub(crate) type Ws<S = TcpStream> = WebSocketStream<S>;

/// A restaurant's caller.
pub(crate) const VOICE: &str = "/voice-stream";

/// A provider that agrees to WebSockets when the test says so.
pub(crate) struct Far {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Far {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        Self { listener, address }
    }

    /// The next connection with the head of the request on it, which is not answered.
    pub(crate) async fn asked(&self) -> (TcpStream, String) {
        let (mut stream, _) = soon("a connection to the provider", self.listener.accept()).await.expect("a connection");
        let head = head_of(&mut stream).await;
        (stream, head)
    }

    /// Agrees to the next WebSocket that is asked for, with these header lines.
    pub(crate) async fn agrees_with(&self, lines: &str) -> (Ws, String) {
        let (mut stream, head) = self.asked().await;
        stream.write_all(agreement(&head, lines).as_bytes()).await.expect("the gateway listens");
        (WebSocketStream::from_raw_socket(stream, Role::Server, None).await, head)
    }

    /// Agrees to the next WebSocket that is asked for.
    pub(crate) async fn agrees(&self) -> (Ws, String) {
        self.agrees_with("").await
    }
}

/// The head of the request on a connection.
pub(crate) async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8(head).expect("a head of text")
}

/// The answer that agrees to a WebSocket.
pub(crate) fn agreement(head: &str, lines: &str) -> String {
    let proof = derive_accept_key(header(head, "sec-websocket-key").expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {proof}\r\n{lines}\r\n"
    )
}

/// A provider that says what it hears, to as many as ask, and lets probes be.
pub(crate) async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let mut running = JoinSet::new();
    running.spawn(async move {
        let mut talking = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a TCP connection");
            talking.spawn(async move {
                let head = head_of(&mut stream).await;
                if !head.starts_with("GET /voice-stream") {
                    return;
                }
                stream.write_all(agreement(&head, "").as_bytes()).await.expect("somebody listens");
                let mut there = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                while let Some(Ok(message)) = there.next().await {
                    let is_said = message.is_text() || message.is_binary();
                    if is_said && there.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, running)
}

/// The only header of this name in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = pairs.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let first = found.next();
    assert!(found.next().is_none(), "{name} came twice in {head}");
    first
}

/// A gateway whose voice route leads to providers at these addresses, in this order, and whose realtime route to the first.
/// `keys` are those of `[tunnel]`, `more` are whole tables.
pub(crate) async fn gateway(addresses: &[SocketAddr], keys: &str, more: &str) -> Gateway {
    let key = |name: &str| (format!("{}_KEY", name.to_uppercase()), format!("sk-{name}{CANARY}"));
    Gateway::start(&config(addresses, keys, more), BTreeMap::from([key("voice"), key("realtime")])).await
}

/// The configuration of such a gateway.
pub(crate) fn config(addresses: &[SocketAddr], keys: &str, more: &str) -> String {
    let mut text = format!("defaults = false\n[tunnel]\n{keys}\n[breaker]\nconsecutive = 1000\nmin_calls = 1000\n");
    for (number, address) in addresses.iter().enumerate() {
        text += &format!(
            "[provider.bp{number}]\nkind = \"buildpanel\"\nenabled = true\nurl = \"http://{address}\"\n\
             key_env = \"VOICE_KEY\"\nretry.max_attempts = 1\n"
        );
    }
    let names: Vec<String> = (0..addresses.len()).map(|number| format!("bp{number}")).collect();
    text + &format!(
        "[provider.rt]\nkind = \"openai\"\nurl = \"http://{}/v1\"\nkey_env = \"REALTIME_KEY\"\n\
         [route.voice]\npaths = [\"{VOICE}\"]\nmethods = [\"GET\"]\ncaller = \"restaurant\"\ncall = \"voice-stream\"\n\
         targets = {names:?}\n\
         [route.realtime]\npaths = [\"/v1/realtime\"]\nmethods = [\"GET\"]\ncaller = \"openai\"\ncall = \"realtime\"\n\
         targets = [\"rt\"]\n\
         [route.models]\npaths = [\"/v1/models\"]\nmethods = [\"GET\"]\ncaller = \"openai\"\ncall = \"models\"\n\
         targets = [\"rt\"]\n{more}\n",
        addresses[0]
    )
}

/// Asks a gateway for a WebSocket.
pub(crate) async fn ask(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Ws, Response), Error> {
    let mut request = format!("ws://gateway{path}").into_client_request().expect("an address");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a header");
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    let stream = TcpStream::connect(address).await.expect("the gateway accepts");
    stream.set_nodelay(true).expect("a TCP connection");
    soon("an answer", client_async(request, stream)).await
}

/// The status with which a gateway refuses a WebSocket.
pub(crate) async fn refused(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match ask(address, path, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?} is no refusal"),
    }
}

/// A WebSocket through a gateway: its near and its far end.
pub(crate) async fn open(gateway: &Gateway, far: &Far) -> (Ws, Ws) {
    let (near, there) = tokio::join!(ask(gateway.address, VOICE, &[]), far.agrees());
    (near.expect("the gateway agrees").0, there.0)
}

/// The next message that is not about the connection itself.
pub(crate) async fn heard<S: AsyncRead + AsyncWrite + Unpin>(end: &mut Ws<S>) -> Message {
    loop {
        match soon("a message", end.next()).await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return message,
            other => panic!("{other:?} instead of a message"),
        }
    }
}

/// Says something at one end and hears it at the other.
pub(crate) async fn carry<A, B>(from: &mut Ws<A>, to: &mut Ws<B>, message: impl Into<Message>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let message = message.into();
    from.send(message.clone()).await.expect("the gateway listens");
    assert_eq!(heard(to).await, message);
}

/// How an end is closed: its code and reason. Messages before that are skipped.
pub(crate) async fn closed<S: AsyncRead + AsyncWrite + Unpin>(end: &mut Ws<S>) -> Option<(u16, String)> {
    loop {
        match soon("a close", end.next()).await {
            Some(Ok(Message::Close(frame))) => {
                return frame.map(|CloseFrame { code, reason }| (code.into(), reason.as_str().to_owned()));
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?} instead of a close"),
        }
    }
}

/// The code with which an end is closed.
pub(crate) async fn code<S: AsyncRead + AsyncWrite + Unpin>(end: &mut Ws<S>) -> u16 {
    closed(end).await.expect("a code").0
}

/// Waits until an end's connection is over.
pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin>(end: &mut Ws<S>) {
    let ending = async { while let Some(Ok(_)) = end.next().await {} };
    soon("the end of a connection", ending).await;
}

/// A frame with a code and a reason.
pub(crate) fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

/// Has a connection reset when it is dropped.
pub(crate) fn reset(end: Ws) {
    end.get_ref().set_zero_linger().expect("a TCP connection");
}

/// A configuration for the test's own end, for much larger messages than the gateway takes.
pub(crate) fn roomy() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

/// The value of a series in the gateway's metrics; zero while there is none.
pub(crate) fn metric(gateway: &Gateway, series: &str) -> u64 {
    let page = gateway.current.gateway().metrics_text(false);
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(str::to_owned);
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// Waits until a series has this value.
pub(crate) async fn until_metric(gateway: &Gateway, series: &str, wanted: u64) {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while metric(gateway, series) != wanted {
            ticks.tick().await;
        }
    };
    soon(&format!("{series} {wanted}"), asking).await;
}

/// One HTTP/2 connection of a caller, which may open WebSockets (RFC 8441).
pub(crate) struct Http2 {
    requests: SendRequest<Empty<Bytes>>,
    _connection: JoinSet<hyper::Result<()>>,
    /// The same connection: a WebSocket would keep it open for itself.
    pub(crate) cord: std::net::TcpStream,
}

impl Http2 {
    /// A connection that may open them.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let cord = TcpStream::connect(gateway.address).await.expect("the gateway accepts").into_std().unwrap();
        let stream = TcpStream::from_std(cord.try_clone().unwrap()).unwrap();
        let (requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        let mut this = Self { requests, _connection: connection, cord };
        // Whether the gateway allows it is known once it has said anything.
        this.send(Request::get("http://gateway/health/live")).await;
        this
    }

    /// Asks something.
    pub(crate) async fn send(&mut self, request: http::request::Builder) -> http::Response<Incoming> {
        let request = request.body(Empty::new()).expect("a request");
        soon("an answer", self.requests.send_request(request)).await.expect("an answer")
    }

    /// Asks for a WebSocket.
    pub(crate) async fn ask(&mut self, path: &str) -> http::Response<Incoming> {
        let request = Request::connect(format!("http://gateway{path}"));
        let request = request.header("sec-websocket-version", "13").header("x-restaurant-id", "r2");
        self.send(request.extension(Protocol::from_static("websocket"))).await
    }

    /// A WebSocket: its near and its far end, and how the provider was asked.
    pub(crate) async fn open(&mut self, far: &Far) -> (Ws<TokioIo<Upgraded>>, Ws, String) {
        let (response, (there, head)) = tokio::join!(self.ask("/voice-stream?token=canary"), far.agrees());
        assert_eq!(response.status(), StatusCode::OK);
        let stream = soon("the stream", hyper::upgrade::on(response)).await.expect("an open stream");
        (WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None).await, there, head)
    }
}
