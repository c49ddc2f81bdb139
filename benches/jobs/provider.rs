//! The provider: once it is open it answers each chat call at once with a text of 1 KB, and notes how many there were and
//! when the newcomer's came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Fault;

/// What the newcomer's prompt begins with, and no other.
pub(crate) const NEWCOMER: &str = "newcomer";

/// A running provider. Dropped, it accepts no more connections.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// What it has been asked.
struct Seen {
    calls: AtomicUsize,
    newcomer: OnceLock<Instant>,
    is_open: watch::Sender<bool>,
}

impl Provider {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Seen { calls: AtomicUsize::new(0), newcomer: OnceLock::new(), is_open: watch::Sender::new(false) };
        let seen = Arc::new(seen);
        let noted = seen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, noted.clone()));
            }
        });
        Ok(Self { address, seen, accepting })
    }

    /// From now on calls are answered; those that came before wait, and with them the slots that asked.
    pub(crate) fn open(&self) {
        self.seen.is_open.send_replace(true);
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::Relaxed)
    }

    /// When the newcomer's call came.
    pub(crate) fn newcomer(&self) -> Option<Instant> {
        self.seen.newcomer.get().copied()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            // Whoever breaks off in the middle reads no answer either.
            let asked = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            if memchr::memmem::find(&asked, NEWCOMER.as_bytes()).is_some() {
                let _ = seen.newcomer.set(Instant::now());
            }
            seen.calls.fetch_add(1, Ordering::Relaxed);
            let _ = seen.is_open.subscribe().wait_for(|is_open| *is_open).await;
            let mut response = Response::new(Full::new(answer()));
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    });
    // A connection that breaks off has lost its gateway: whoever asked notices.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn answer() -> Bytes {
    let text = "a".repeat(1000);
    let answer = serde_json::json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 250, "completion_tokens": 250, "total_tokens": 500},
    });
    answer.to_string().into()
}
