//! One connection that speaks HTTP/2, on which many requests run at once. It has a task of its own.
//!
//! Dropping what waits for a response, or a response's body, cancels that stream. It does not know who else has streams.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::faults::send_fault;
use super::http1::Lost;
use crate::provider::connector::Connected;
use crate::provider::response::chain;
use crate::provider::transport::SendFault;

/// How much of a stream a provider may send before it is read: enough for an answer of megabytes from far away.
const STREAM_WINDOW: u32 = 256 * 1024;

/// ... and of all streams of a connection. More than one connection has streams at once, so that none that is not read holds
/// up others.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// How many streams a provider takes until it has said so: as many as most say, and what the library supposes.
pub(super) const USUAL_STREAMS: usize = 100;

/// Is told when another stream fits on a connection.
pub(super) trait Waiting: Send + Sync {
    /// One does.
    fn has_room(&self);
}

/// A connection. Dropped, it ends when its streams have.
pub(super) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    load: Arc<Load>,
    since: Instant,
}

/// What runs on a connection.
struct Load {
    streams: AtomicUsize,
    /// How many streams the provider takes.
    most: AtomicUsize,
    idle_since: Mutex<Instant>,
    waiting: Weak<dyn Waiting>,
}

impl Connection {
    /// Begins to speak HTTP/2.
    pub(super) async fn begin(stream: Connected, waiting: Weak<dyn Waiting>) -> Result<Self, SendFault> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let begun = builder.handshake(TokioIo::new(stream)).await;
        let (sender, mut driver) = begun.map_err(|fault| send_fault(&fault))?;
        let since = Instant::now();
        let (streams, most) = (AtomicUsize::new(0), AtomicUsize::new(USUAL_STREAMS));
        let load = Arc::new(Load { streams, most, idle_since: Mutex::new(since), waiting });
        let seen = load.clone();
        TokioExecutor::new().execute(std::future::poll_fn(move |cx| {
            // How it ended is told to those who wait for a response.
            let is_over = Pin::new(&mut driver).poll(cx).is_ready();
            seen.takes(driver.current_max_send_streams());
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        }));
        Ok(Self { sender, load, since })
    }

    /// When it was made.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// False once it takes no more requests.
    pub(super) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    /// How many streams run on it, and how many could.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.load.streams.load(Ordering::Relaxed), self.load.most.load(Ordering::Relaxed))
    }

    /// Since when no stream runs on it; `None` while one does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.load.streams.load(Ordering::Relaxed) == 0).then(|| *self.load.idle_since.lock())
    }

    /// Room for one request.
    pub(super) fn stream(&self) -> Room {
        self.load.streams.fetch_add(1, Ordering::Relaxed);
        Room { sender: self.sender.clone(), place: Place(self.load.clone()) }
    }
}

impl Load {
    fn takes(&self, most: usize) {
        if self.most.swap(most, Ordering::Relaxed) < most {
            self.tell();
        }
    }

    fn tell(&self) {
        if let Some(waiting) = self.waiting.upgrade() {
            waiting.has_room();
        }
    }
}

/// The place of one stream.
struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        let Self(load) = self;
        if load.streams.load(Ordering::Relaxed) == 1 {
            *load.idle_since.lock() = Instant::now();
        }
        load.streams.fetch_sub(1, Ordering::Relaxed);
        load.tell();
    }
}

/// Room for one request on a connection.
pub(super) struct Room {
    sender: http2::SendRequest<Full<Bytes>>,
    place: Place,
}

impl Room {
    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(mut self, request: Request<Bytes>) -> Result<Response<Body>, Lost> {
        let body = request.body().clone();
        match self.sender.try_send_request(request.map(Full::new)).await {
            Ok(response) => Ok(response.map(|incoming| Body { incoming, place: Some(self.place) })),
            Err(mut fault) => Err(match fault.take_message() {
                Some(request) => Lost::Unsent(Box::new(request.map(|_| body))),
                None => Lost::Fault(send_fault(&fault.into_error())),
            }),
        }
    }
}

/// The body of a response.
pub(super) struct Body {
    incoming: Incoming,
    /// `None` once the body has ended.
    place: Option<Place>,
}

impl Body {
    /// True when nothing is left to read.
    pub(super) fn is_over(&self) -> bool {
        self.incoming.is_end_stream()
    }
}

impl Stream for Body {
    type Item = Result<Bytes, SendFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let end = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                // Trailers say nothing that is passed on.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                    Err(_) => continue,
                },
                Some(Err(fault)) => Some(Err(SendFault::Broken(chain(&fault)))),
                None => None,
            };
            self.place = None;
            return Poll::Ready(end);
        }
    }
}
