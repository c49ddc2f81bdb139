//! A response body on its connection: it keeps the connection busy, buffers a little while the caller does not
//! read, and can be dropped if the caller never reads (write timeout).
//!
//! hyper polls a body only when there is room for more. What happens meanwhile is seen by the task that hyper runs
//! in: that of the connection in HTTP/1, and one per stream in HTTP/2.

use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use super::{Busy, Protocol};
use crate::model::time::{now, once_per_poll};
use crate::server::connection::response_body::{Aborted, ResponseBody};

/// The most that is handed over at once for a stream of HTTP/2: as much as a frame holds unless callers say otherwise (RFC
/// 9113, 4.2).
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    /// The body that this task sends.
    static SENT: RefCell<Weak<Mutex<SharedBody>>>;
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone, Copy)]
pub(in crate::server) struct Streams;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // Boxed, because each future that holds it would hold it twice.
        let mut stream = Box::pin(stream);
        let work = poll_fn(move |cx| {
            let done = stream.as_mut().poll(cx);
            if done.is_pending() {
                read_ahead(&SENT.with(|sent| sent.borrow().clone()), 0, cx);
            }
            done
        });
        TokioExecutor::new().execute(SENT.scope(RefCell::default(), once_per_poll(work)));
    }
}

/// Reads a body ahead, if there is one that is not wanted now.
pub(super) fn read_ahead(body: &Weak<Mutex<SharedBody>>, unwritten: usize, cx: &mut Context<'_>) {
    if let Some(body) = body.upgrade() {
        let mut shared = body.lock();
        let given = unwritten.max(shared.given) + shared.rest.len();
        if shared.unwanted.is_some()
            && let Some(body) = &mut shared.body
        {
            body.poll_ahead(given, cx);
        }
    }
}

/// A response's body that keeps its connection busy until it ends.
pub(in crate::server) struct Held {
    body: Arc<Mutex<SharedBody>>,
    busy: Busy,
}

/// A body, until it is taken away from a caller that does not read.
pub(super) struct SharedBody {
    body: Option<ResponseBody>,
    /// What the body has given, and nobody has asked for yet.
    rest: Bytes,
    /// How much hyper holds of a stream of HTTP/2.
    given: usize,
    /// Since when the caller wants no more of it.
    unwanted: Option<Instant>,
}

impl SharedBody {
    /// Takes the body away from a caller that has not wanted more of it since `then`. What is returned ends the call when
    /// it is dropped.
    pub(super) fn take(&mut self, then: Instant) -> Option<(ResponseBody, Bytes)> {
        self.unwanted.filter(|since| *since <= then)?;
        Some((self.body.take()?, std::mem::take(&mut self.rest)))
    }

    /// True when it was taken away.
    pub(super) fn is_taken(&self) -> bool {
        self.body.is_none()
    }

    /// What of these bytes is handed over to hyper, which buffers all that it gets as soon as the caller has room for one
    /// byte. Therefore it gets little at a time, and the last byte by itself: until the caller has room for that one, the
    /// body is known to be unread, and can be taken away.
    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        let is_last = self.body.as_ref().is_none_or(Body::is_end_stream);
        let size = match bytes.len() {
            length if length > PIECE => PIECE,
            length if length > 1 && is_last => length - 1,
            length => length,
        };
        self.rest = bytes.split_off(size);
        self.given = size;
        bytes
    }
}

impl Held {
    pub(super) fn new(body: ResponseBody, busy: Busy) -> (Self, Weak<Mutex<SharedBody>>) {
        let shared = SharedBody { body: Some(body), rest: Bytes::new(), given: 0, unwanted: Some(now()) };
        let body = Arc::new(Mutex::new(shared));
        let watched = Arc::downgrade(&body);
        let _ = SENT.try_with(|sent| sent.replace(watched.clone()));
        (Self { body, busy }, watched)
    }

    fn body(&self) -> MutexGuard<'_, SharedBody> {
        self.body.lock()
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let state = &self.busy.timer.0;
        let is_http2 = state.protocol == Protocol::Http2;
        // hyper asks twice more in the same poll. Whatever comes meanwhile wakes the task.
        let is_waiting = state.is_waiting.load(Ordering::Relaxed);
        if is_waiting || self.busy.timer.is_full(cx) {
            if is_waiting {
                self.body().unwanted = None;
            }
            return Poll::Pending;
        }
        let mut shared = self.body();
        let rest = std::mem::take(&mut shared.rest);
        let Some(body) = &mut shared.body else { return Poll::Ready(Some(Err(Aborted))) };
        let frame = match rest.is_empty() {
            true => Pin::new(&mut *body).poll_frame(cx),
            false => Poll::Ready(Some(Ok(Frame::data(rest)))),
        };
        let is_waiting = body.is_waiting();
        shared.unwanted = frame.is_ready().then(now);
        if !is_http2 {
            state.is_waiting.store(is_waiting, Ordering::Relaxed);
            if let Poll::Ready(Some(Ok(frame))) = &frame {
                let size = frame.data_ref().map_or(0, Bytes::len);
                state.unwritten.fetch_add(size, Ordering::Relaxed);
            }
            return frame;
        }
        frame.map_ok(|frame| match frame.into_data() {
            Ok(bytes) => Frame::data(shared.piece(bytes)),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.body();
        shared.rest.is_empty() && shared.body.as_ref().is_some_and(Body::is_end_stream)
    }

    /// Asked before the first piece, when nothing rests.
    fn size_hint(&self) -> SizeHint {
        self.body().body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
