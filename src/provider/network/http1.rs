//! One connection that speaks HTTP/1.1, driven by the task that waits for its response: there is no other task, and nothing is
//! passed between tasks. While nobody waits for it, nobody reads from it.
//!
//! Dropping what waits for the response, or the response's body, closes it. A body that was read to its end hands it back.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::faults::send_fault;
use crate::provider::connector::Connected;
use crate::provider::response::{MAX_HEAD, chain, has_two_lengths};
use crate::provider::transport::SendFault;

/// Takes back connections that can be used again.
pub(super) trait Home: Send + Sync {
    /// Takes one.
    fn take_back(&self, connection: Box<Connection>);
}

/// A connection that is idle, or that one request has.
pub(super) struct Connection {
    /// `None` once the connection is over.
    driver: Option<http1::Connection<TokioIo<Connected>, Full<Bytes>>>,
    sender: http1::SendRequest<Full<Bytes>>,
    relay: Arc<Relay>,
    /// Of the relay.
    waker: Waker,
    since: Instant,
    home: Weak<dyn Home>,
    /// The provider has said how long its response is in two ways: what follows may be a part of it.
    is_ambiguous: bool,
}

/// Why there is no response.
pub(super) enum Lost {
    /// The connection had ended: nothing was sent.
    Unsent(Box<Request<Full<Bytes>>>),
    /// The request may have got there.
    Fault(SendFault),
}

impl Connection {
    /// Begins to speak HTTP/1.1. What can be used again goes to `home`.
    pub(super) async fn begin(stream: Connected, home: Weak<dyn Home>) -> Result<Box<Self>, SendFault> {
        let begun = builder().handshake(TokioIo::new(stream)).await;
        let (sender, driver) = begun.map_err(|fault| send_fault(&fault))?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(relay.clone());
        Ok(Box::new(Self {
            driver: Some(driver),
            sender,
            relay,
            waker,
            since: Instant::now(),
            home,
            is_ambiguous: false,
        }))
    }

    /// When it was made.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// True while it is open. `cx` is told when that changes, or if the provider speaks without being asked.
    pub(super) fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_pending())
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(mut self: Box<Self>, request: Request<Full<Bytes>>) -> Result<Response<Body>, Lost> {
        // Driver and response are polled together, so the response need not wake anybody. Without constraint, because a poll
        // that only asks for another turn would go unheard.
        let mut sent = std::pin::pin!(unconstrained(self.sender.try_send_request(request)));
        let answer = std::future::poll_fn(|cx| {
            self.drive(cx);
            sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        match answer.await {
            Ok(response) => {
                self.is_ambiguous = has_two_lengths(response.headers());
                Ok(response.map(|incoming| Body::new(self, incoming)))
            }
            Err(mut fault) => Err(match fault.take_message() {
                Some(request) => Lost::Unsent(Box::new(request)),
                None => Lost::Fault(send_fault(&fault.into_error())),
            }),
        }
    }

    /// Lets the connection read and write; the task of `cx` goes on when it can do more.
    fn drive(&mut self, cx: &Context<'_>) {
        self.relay.listen(cx.waker());
        if !self.is_going_on() {
            // What waits for a response, or for a body, is told only then.
            self.driver = None;
        }
    }

    fn is_going_on(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        self.driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(&mut cx).is_pending())
    }

    /// The response has been read to its end: the connection goes home, if another request can follow.
    fn finish(mut self: Box<Self>) {
        // Nobody waits, and a task that has ended is freed.
        drop(self.relay.task.take());
        if self.is_ambiguous || self.driver.is_none() {
            return;
        }
        let is_ready = self.sender.is_ready() || (self.is_going_on() && self.sender.is_ready());
        if is_ready && let Some(home) = self.home.upgrade() {
            home.take_back(self);
        }
    }
}

/// Sends one request on a connection that becomes something else when the provider agrees. It has a task of its own, as what
/// it becomes is used by several; dropping the response closes it.
pub(super) async fn upgrade(stream: Connected, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendFault> {
    let begun = builder().handshake(TokioIo::new(stream)).await;
    let (mut sender, driver) = begun.map_err(|fault| send_fault(&fault))?;
    hyper::rt::Executor::execute(&TokioExecutor::new(), driver.with_upgrades());
    sender.send_request(request).await.map_err(|fault| send_fault(&fault))
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    builder
}

/// The body of a response, with the connection that brings it.
pub(super) struct Body {
    /// `None` once the body has ended.
    connection: Option<Box<Connection>>,
    incoming: Incoming,
}

impl Body {
    fn new(connection: Box<Connection>, incoming: Incoming) -> Self {
        let mut body = Self { connection: Some(connection), incoming };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// True when nothing is left to read.
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.finish();
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, SendFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let body = &mut *self;
        let mut is_driven = false;
        while let Some(connection) = &mut body.connection {
            // The connection is told by a wake that there is room again. It is driven before the task waits anyway.
            connection.relay.ignore();
            match Pin::new(&mut body.incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing that is passed on.
                    let Ok(bytes) = frame.into_data() else { continue };
                    if body.incoming.is_end_stream() {
                        body.finish();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Ready(None) => body.finish(),
                Poll::Ready(Some(Err(fault))) => {
                    body.connection = None;
                    return Poll::Ready(Some(Err(SendFault::Broken(chain(&fault)))));
                }
                // Driven, and nothing happened since: the task may wait.
                Poll::Pending if is_driven && connection.relay.listen(cx.waker()) => return Poll::Pending,
                Poll::Pending => {
                    connection.drive(cx);
                    is_driven = true;
                }
            }
        }
        Poll::Ready(None)
    }
}

/// Passes on to a task that something has happened on a connection. A connection keeps the same waker for life, whichever task
/// drives it.
#[derive(Default)]
struct Relay {
    task: AtomicWaker,
    state: AtomicU8,
}

/// The task is woken.
const LISTENING: u8 = 0;

/// The task is not woken: it looks by itself before it waits.
const IGNORING: u8 = 1;

/// It is not woken, and something has happened.
const MISSED: u8 = 2;

impl Relay {
    /// From now on `task` is woken. Returns false when it has missed something, and has to look first.
    fn listen(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.state.swap(LISTENING, Ordering::SeqCst) != MISSED
    }

    /// From now on nobody is woken.
    fn ignore(&self) {
        self.state.store(IGNORING, Ordering::SeqCst);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let ignored = self.state.compare_exchange(IGNORING, MISSED, Ordering::SeqCst, Ordering::SeqCst);
        if ignored == Err(LISTENING) {
            self.task.wake();
        }
    }
}
