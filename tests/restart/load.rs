//! Callers without mercy: they check every answer, plain or streamed, byte for byte, over connections that they keep, and
//! nothing that fails is tried again.
//!
//! They know what HTTP allows a server: to say that an answer is a connection's last one, and in HTTP/2 to send a request
//! elsewhere that it has not looked at. They do not know what is done to the gateway meanwhile.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::socket::{PATIENCE, Socket};
use crate::words::{DONE, FINISH, chat, chat_stream, completion, event};

/// What the provider answers.
pub(crate) const ANSWER: &str = "an answer";

/// Callers that keep a connection of HTTP/1.1, and those that share one of HTTP/2.
const HTTP1: usize = 24;
const HTTP2: usize = 4;
const STREAMS: usize = 6;

/// How many calls of each caller must be answered before the next thing is done to the gateway.
const BETWEEN: usize = 3;

/// Running callers.
pub(crate) struct Load {
    tally: Arc<Tally>,
    over: CancellationToken,
    callers: JoinSet<()>,
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    plain: AtomicUsize,
    streams: AtomicUsize,
    connections: AtomicUsize,
    turned_away: AtomicUsize,
    lost: parking_lot::Mutex<Vec<String>>,
}

/// What has happened in all.
pub(crate) struct Counts {
    plain: usize,
    streams: usize,
    connections: usize,
    turned_away: usize,
    /// Why calls were lost, one line each.
    pub(crate) lost: Vec<String>,
}

impl Counts {
    /// Calls that were answered.
    pub(crate) fn all(&self) -> usize {
        self.plain + self.streams
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plain, streams, connections, turned_away, lost } = self;
        let lost = lost.len();
        write!(
            out,
            "{plain} answers and {streams} streams over {connections} connections, {turned_away} sent elsewhere by GOAWAY, \
             {lost} lost"
        )
    }
}

impl Load {
    /// Starts the callers of a gateway.
    pub(crate) fn start(gateway: SocketAddr) -> Self {
        let (tally, over) = (Arc::<Tally>::default(), CancellationToken::new());
        let mut callers = JoinSet::new();
        for number in 0..HTTP1 {
            callers.spawn(http1(gateway, number, tally.clone(), over.clone()));
        }
        for number in 0..HTTP2 {
            callers.spawn(http2(gateway, number, tally.clone(), over.clone()));
        }
        Self { tally, over, callers }
    }

    /// Waits until each caller, on average, has been answered a few times more, or one was not.
    pub(crate) async fn goes_on(&self) {
        let enough = self.tally.answered() + BETWEEN * (HTTP1 + HTTP2 * STREAMS);
        let answered = async {
            while self.tally.answered() < enough && self.tally.lost().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(3 * PATIENCE, answered).await.is_ok(), "nobody is answered any more");
    }

    /// Lets every caller finish its call.
    pub(crate) async fn stop(self) -> Counts {
        self.over.cancel();
        self.callers.join_all().await;
        let lost = self.tally.lost().clone();
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let Tally { plain, streams, connections, turned_away, .. } = &*self.tally;
        Counts {
            plain: read(plain),
            streams: read(streams),
            connections: read(connections),
            turned_away: read(turned_away),
            lost,
        }
    }
}

impl Tally {
    fn answered(&self) -> usize {
        self.plain.load(Ordering::SeqCst) + self.streams.load(Ordering::SeqCst)
    }

    fn lost(&self) -> parking_lot::MutexGuard<'_, Vec<String>> {
        self.lost.lock()
    }

    /// Notes what became of a call.
    fn note(&self, is_stream: bool, who: &str, outcome: Result<String, String>) {
        let wanted = if is_stream { stream() } else { completion(ANSWER) };
        let kind = if is_stream { &self.streams } else { &self.plain };
        match outcome {
            Ok(text) if text == wanted => _ = kind.fetch_add(1, Ordering::SeqCst),
            Ok(text) => self.lost().push(format!("{who}: a wrong answer: {text:?}")),
            Err(why) => self.lost().push(format!("{who}: {why}")),
        }
    }
}

fn stream() -> String {
    event(ANSWER) + &event(ANSWER) + FINISH + DONE
}

/// One call after the other on one connection, until an answer says that it is the last.
async fn http1(gateway: SocketAddr, number: usize, tally: Arc<Tally>, over: CancellationToken) {
    let mut kept: Option<Socket> = None;
    let mut calls = number;
    while !over.is_cancelled() {
        calls += 1;
        let is_stream = calls.is_multiple_of(2);
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => {
                tally.connections.fetch_add(1, Ordering::SeqCst);
                match TcpStream::connect(gateway).await {
                    Ok(stream) => Socket::new(stream),
                    Err(fault) => {
                        tally.note(is_stream, "HTTP/1.1", Err(fault.to_string()));
                        continue;
                    }
                }
            }
        };
        let request = if is_stream { chat_stream() } else { chat() };
        let answer = match socket.try_send(request).await {
            Ok(()) => socket.try_message().await.map_err(|cut| cut.0),
            Err(fault) => Err(fault.to_string()),
        };
        if let Ok(message) = &answer
            && message.header("connection") != Some("close")
        {
            kept = Some(socket);
        }
        tally.note(is_stream, "HTTP/1.1", answer.map(|message| message.text().to_owned()));
        // Some connections are idle most of the time: those are the ones that a leaving server is tempted to close.
        tokio::time::sleep(Duration::from_millis(13 * (number % 4) as u64)).await;
    }
}

/// Several calls at once on one connection, until it takes no more.
async fn http2(gateway: SocketAddr, number: usize, tally: Arc<Tally>, over: CancellationToken) {
    while !over.is_cancelled() {
        tally.connections.fetch_add(1, Ordering::SeqCst);
        let (requests, driver) = match TcpStream::connect(gateway).await {
            Ok(stream) => handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake"),
            Err(fault) => {
                tally.note(false, "HTTP/2", Err(fault.to_string()));
                continue;
            }
        };
        let mut tasks = JoinSet::new();
        for stream in 0..STREAMS {
            tasks.spawn(h2_calls(requests.clone(), number + stream, tally.clone(), over.clone()));
        }
        drop(requests);
        tasks.spawn(async move {
            let _ = driver.await;
        });
        tasks.join_all().await;
    }
}

/// True when the server had said that it takes no more here before the request came: then it has not looked at it, and every
/// client asks again on another connection (RFC 9113, 6.8).
fn is_turned_away(fault: &hyper::Error) -> bool {
    let fault = std::error::Error::source(fault).and_then(|source| source.downcast_ref::<h2::Error>());
    fault.is_some_and(|it| it.is_go_away() && it.is_remote() && it.reason() == Some(h2::Reason::NO_ERROR))
}

async fn h2_calls(mut requests: SendRequest<Full<Bytes>>, start: usize, tally: Arc<Tally>, over: CancellationToken) {
    let mut calls = start;
    while !over.is_cancelled() && requests.ready().await.is_ok() {
        calls += 1;
        let is_stream = calls.is_multiple_of(2);
        let body = format!(r#"{{"model":"m","stream":{is_stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let request = Request::post("http://gateway/v1/chat/completions").header("content-type", "application/json");
        let request = request.body(Full::from(body)).expect("a request");
        let response = match requests.try_send_request(request).await {
            Ok(response) => response,
            Err(fault) if fault.message().is_some() || is_turned_away(fault.error()) => {
                tally.turned_away.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Err(fault) => return tally.note(is_stream, "HTTP/2", Err(format!("{:?}", fault.into_error()))),
        };
        let body = timeout(PATIENCE, response.into_body().collect()).await;
        let text = match body {
            Ok(Ok(body)) => Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned()),
            Ok(Err(fault)) => Err(format!("{fault:?}")),
            Err(_) => Err("no end of the answer".to_owned()),
        };
        tally.note(is_stream, "HTTP/2", text);
        tokio::time::sleep(Duration::from_millis(7 * (start % 3) as u64)).await;
    }
}
