//! Callers over TLS: both protocols by agreement, certificates that change while callers are connected, callers that must show
//! their own, and handshakes that never end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::Gateway;
use crate::program::{Folder, Program};
use crate::secure::Authority;
use crate::socket::{Socket, soon};

/// The tables that a gateway needs for a certificate of this name.
fn tls(authority: &Authority, name: &str, more: &str) -> String {
    let (certificate, key) = (authority.path_of(&format!("{name}.pem")), authority.path_of(&format!("{name}.key")));
    format!("[server]\nshow_insides = true\n{more}\n[server.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n")
}

async fn gateway(config: &str) -> Gateway {
    Gateway::start(config, BTreeMap::new()).await
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = soon("a connection", TcpStream::connect(address)).await?;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    soon("a handshake", connector.connect(name, stream)).await
}

/// The certificate that a gateway shows.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().and_then(<[_]>::first).expect("a certificate").to_vec()
}

/// A caller that keeps its connection.
struct Caller {
    requests: http1::SendRequest<Full<Bytes>>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Caller {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Self { requests, _connection: tasks }
    }

    async fn ask(&mut self, path: &str) -> Response<Incoming> {
        let request = Request::get(path).header("host", "gateway").body(Full::default()).expect("a request");
        soon("an answer", self.requests.send_request(request)).await.expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_protocols_are_spoken_by_agreement() {
    let authority = Authority::new("callers-alpn");
    authority.write("server");
    // What a browser hears only over TLS; and HTTPS is what is insisted on here.
    let gateway = gateway(&(tls(&authority, "server", "") + "[security]\nforce_https = true\n")).await;
    let stream = connect(&authority.caller(&["h2", "http/1.1"], None), gateway.address).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get("https://gateway/v1/models").body(Full::<Bytes>::default()).expect("a request");
    let answer = soon("an answer", requests.send_request(request)).await.expect("an answer");
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 503));
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    let body = soon("a body", answer.into_body().collect()).await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("no_provider"), "{body:?}");

    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(&authority.caller(protocols, None), gateway.address).await.expect("a handshake");
        let answer = Caller::over(stream).await.ask("/health").await;
        assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_11, 200));
    }
    // Who wants another protocol gets none.
    assert!(connect(&authority.caller(&["ftp"], None), gateway.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_the_clear_is_not_answered_in_the_clear() {
    let authority = Authority::new("callers-clear");
    authority.write("server");
    let gateway = gateway(&tls(&authority, "server", "")).await;
    let mut caller = gateway.connect().await;
    caller.send("GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    let said = caller.closed().await;
    // An alert (RFC 8446, 6) or nothing.
    assert!(said.is_empty() || said[0] == 21, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_ends_is_given_up_and_holds_nobody_up() {
    let authority = Authority::new("callers-stall");
    authority.write("server");
    let gateway = gateway(&tls(&authority, "server", "header_timeout = \"500ms\"")).await;
    let connector = authority.caller(&["http/1.1"], None);
    let mut silent: Vec<Socket> = Vec::new();
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut socket = gateway.connect().await;
        socket.send(said).await;
        silent.push(socket);
    }
    let stream = connect(&connector, gateway.address).await.expect("a handshake, beside those that never end");
    assert_eq!(Caller::over(stream).await.ask("/health").await.status().as_u16(), 200);
    for socket in &mut silent {
        let said = socket.closed().await;
        assert!(said.is_empty(), "{said:?}");
    }
    // Encrypted silence ends too, and half a head.
    for said in ["", "GET /health HTTP/1.1\r\n"] {
        let mut stream = connect(&connector, gateway.address).await.expect("a handshake");
        stream.write_all(said.as_bytes()).await.expect("a write");
        let mut read = Vec::new();
        let _ = soon("the end of the connection", stream.read_to_end(&mut read)).await;
        let text = String::from_utf8_lossy(&read);
        assert!(text.starts_with(if said.is_empty() { "" } else { "HTTP/1.1 408" }), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_callers_must_show_a_certificate_only_one_of_the_right_authority_will_do() {
    let (authority, clients, stranger) =
        (Authority::new("callers-server"), Authority::new("callers-clients"), Authority::new("callers-stranger"));
    authority.write("server");
    let gateway = gateway(&(tls(&authority, "server", "") + &format!("client_ca_file = {:?}\n", clients.file()))).await;
    let stream = connect(&authority.caller(&["http/1.1"], Some(&clients)), gateway.address).await.expect("a handshake");
    assert_eq!(Caller::over(stream).await.ask("/health").await.status().as_u16(), 200);
    for shows in [None, Some(&stranger)] {
        // In TLS 1.3 the caller's part of the handshake is over before it is refused.
        let Ok(mut stream) = connect(&authority.caller(&["http/1.1"], shows), gateway.address).await else { continue };
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
        let mut read = Vec::new();
        let end = soon("the end of the connection", stream.read_to_end(&mut read)).await;
        assert!(end.is_err() && read.is_empty(), "{end:?} {:?}", String::from_utf8_lossy(&read));
    }
}

/// Connects until the gateway shows another certificate than `before`.
async fn another(connector: &TlsConnector, address: SocketAddr, before: &[u8]) -> Vec<u8> {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let now = shown(&connect(connector, address).await.expect("a handshake"));
            if now != before {
                return now;
            }
        }
    };
    soon("another certificate", asking).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_renewed_is_shown_to_who_comes_next_and_a_bad_one_to_nobody() {
    let (authority, folder) = (Authority::new("callers-renewed"), Folder::new("tls-renewed"));
    authority.write("server");
    folder.write("gateway.toml", &tls(&authority, "server", "port = 0\nadmin = \"off\""));
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &[]).await;
    let connector = authority.caller(&["http/1.1"], None);
    let first = connect(&connector, program.address).await.expect("a handshake");
    let first_shown = shown(&first);
    let mut caller = Caller::over(first).await;
    assert_eq!(caller.ask("/health").await.status().as_u16(), 200);

    authority.write("server");
    let second_shown = another(&connector, program.address, &first_shown).await;
    // Whoever was connected before still is.
    assert_eq!(caller.ask("/health").await.status().as_u16(), 200);

    // The key of another certificate: noticed, said, and not used.
    authority.write("other");
    let other_key = std::fs::read_to_string(authority.path_of("other.key")).expect("a file");
    std::fs::write(authority.path_of("server.key"), other_key).expect("a file can be written");
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let answer = caller.ask("/health/status").await;
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            let status: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            if let Some(error) = status["config"]["error"].as_str() {
                return error.to_owned();
            }
        }
    };
    let error = soon("a refusal", asking).await;
    assert!(error.contains("server.tls.cert_file: the key in `key_file` is not that of this certificate"), "{error}");
    assert_eq!(shown(&connect(&connector, program.address).await.expect("a handshake")), second_shown);

    authority.write("server");
    another(&connector, program.address, &second_shown).await;
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
}
