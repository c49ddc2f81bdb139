//! One connection of a caller: HTTP/1.1 or HTTP/2, in the clear or by TLS, and closed when it is silent, too slow, idle for too long, or draining.
//!
//! hyper's own header timeout does not cover a connection that sends nothing, and cannot tell a slow head from an idle
//! connection, so the pace is kept here. It does not know what is asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::body::{Aborted, ResponseBody};
use super::framing::Framing;
use super::heads::Heads;
use super::line::Line;
use crate::config::plan::ServerPlan;
use crate::time::later;

/// The beginning of HTTP/2's connection preface. No method of HTTP/1.1 begins like it.
const HTTP2: &[u8] = b"PRI ";

/// Put in the place of what is unclear: wherever it stands in a head, hyper answers 400 and closes. What came before is
/// served.
const NONSENSE: &[u8] = b"\0\r\n\r\n";

/// The most that is handed over at once for a stream of HTTP/2: as much as a frame holds unless callers say otherwise (RFC
/// 9113, 4.2).
const PIECE: usize = 16 * 1024;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, agreed on in the handshake or by prior knowledge.
    Http2,
}

/// Shakes hands, where that is to be done, and reads a connection's first bytes, all within the header timeout. `None`: it
/// said nothing, or left, or there was no agreement.
pub(super) async fn greet(stream: TcpStream, plan: &ServerPlan) -> Option<(Protocol, Paced)> {
    let by = later(Instant::now(), plan.header_timeout);
    let opened = timeout_at(by, Line::open(stream, plan.tls.as_ref())).await.ok()?;
    let mut stream = opened.inspect_err(|fault| tracing::debug!(error = %fault, "a TLS handshake failed")).ok()?;
    let mut first = Vec::with_capacity(HTTP2.len());
    while first.len() < HTTP2.len() && HTTP2.starts_with(&first) {
        let mut buffer = [0; HTTP2.len()];
        let room = HTTP2.len() - first.len();
        let read = timeout_at(by, stream.read(&mut buffer[..room])).await.ok()?.ok()?;
        if read == 0 {
            return None;
        }
        first.extend_from_slice(&buffer[..read]);
    }
    let protocol = if first == HTTP2 { Protocol::Http2 } else { Protocol::Http1 };
    let framing = (protocol == Protocol::Http1).then(Framing::default);
    let heads = (protocol == Protocol::Http2).then(Heads::default);
    let pace = Pace::new(plan, protocol);
    Some((protocol, Paced { stream, first, framing, is_unclear: false, heads, head: None, pace }))
}

/// A connection's stream, which gives back its first bytes and keeps the pace.
pub(super) struct Paced {
    stream: Line,
    first: Vec<u8>,
    /// In HTTP/1 only: HTTP/2 has frames.
    framing: Option<Framing>,
    /// What came cannot be understood, and nothing more is read.
    is_unclear: bool,
    /// In HTTP/2 only.
    heads: Option<Heads>,
    /// The number of the head that is on its way.
    head: Option<u64>,
    pace: Pace,
}

impl Paced {
    /// The pace that this connection keeps.
    pub(super) fn pace(&self) -> Pace {
        self.pace.clone()
    }

    /// True when it is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// Tells a slow sender why it is cut off (RFC 9110, 15.5.9), as far as it still listens.
    pub(super) async fn refuse_slow_head(mut self) {
        const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let by = later(Instant::now(), Duration::from_secs(1));
        let _ = timeout_at(by, async {
            self.stream.write_all(ANSWER).await?;
            self.stream.shutdown().await
        })
        .await;
    }
}

/// Where a connection stands between requests; shared between its stream, its service and its driver.
#[derive(Clone)]
pub(super) struct Pace(Arc<PaceState>);

struct PaceState {
    protocol: Protocol,
    running: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    /// Requests that are answered, the last one included.
    most: u64,
    /// The last one has come, and the connection's driver knows.
    is_spent: AtomicBool,
    /// The bodies being sent, by the number of their request; in HTTP/2 only.
    bodies: Mutex<BTreeMap<u64, Arc<Mutex<Wanted>>>>,
    is_blocked: AtomicBool,
    /// Its bytes are no messages of HTTP/1 any more.
    is_tunnel: AtomicBool,
    since: Mutex<Since>,
    header: Duration,
    idle: Duration,
    write: Duration,
}

/// What the connection has been doing, and since when.
#[derive(Clone, Copy)]
struct Since {
    /// A request's head has begun to arrive.
    head: Option<Instant>,
    /// Nothing is being asked.
    idle: Instant,
    /// The caller does not read.
    blocked: Option<Instant>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A head did not end.
    Head,
    /// Nothing was asked for too long.
    Idle,
    /// The caller did not read.
    Write,
    /// It has asked as often as it may. Said once, and in HTTP/2 only: in HTTP/1 the last answer says so itself.
    Spent,
}

impl Pace {
    fn new(plan: &ServerPlan, protocol: Protocol) -> Self {
        let now = Instant::now();
        let head = (protocol == Protocol::Http1).then_some(now);
        Self(Arc::new(PaceState {
            protocol,
            running: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            most: plan.max_requests_per_connection as u64,
            is_spent: AtomicBool::new(false),
            bodies: Mutex::default(),
            is_blocked: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            since: Mutex::new(Since { head, idle: now, blocked: None }),
            header: plan.header_timeout,
            idle: plan.idle_timeout,
            write: plan.write_timeout,
        }))
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        lock(&self.0.since)
    }

    /// A request's head has arrived. The guard belongs to its answer.
    pub(super) fn begin(&self) -> Busy {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        // In HTTP/2 the next head may have begun already.
        if self.0.protocol == Protocol::Http1 {
            self.since().head = None;
        }
        Busy { pace: self.clone(), number: self.0.requests.fetch_add(1, Ordering::Relaxed) }
    }

    fn has_just_been_spent(&self) -> bool {
        let state = &self.0;
        let is_spent = state.protocol == Protocol::Http2 && state.requests.load(Ordering::Relaxed) >= state.most;
        is_spent && !state.is_spent.swap(true, Ordering::Relaxed)
    }

    /// How often [`Pace::cut_unread`] is worth a look.
    pub(super) fn patience(&self) -> Duration {
        (self.0.write / 4).max(Duration::from_millis(10))
    }

    /// Ends the streams that their caller has not read for too long: HTTP/2 lets it close the window of one of them, and
    /// then the body is never asked again, so that no deadline of its own can end it. True when no other is left.
    pub(super) fn cut_unread(&self) -> bool {
        let now = Instant::now();
        let mut cut = Vec::new();
        let unread = {
            let bodies = lock(&self.0.bodies);
            for body in bodies.values() {
                let mut wanted = lock(body);
                if wanted.unwanted.is_some_and(|since| now >= later(since, self.0.write)) {
                    cut.push((wanted.body.take(), std::mem::take(&mut wanted.rest)));
                }
            }
            bodies.values().filter(|body| lock(body).body.is_none()).count()
        };
        // Dropped here, and not under a lock: with its body a call is cancelled.
        drop(cut);
        unread > 0 && unread == self.0.running.load(Ordering::Relaxed)
    }

    /// Bytes came. In HTTP/2 they need not belong to a request (settings, windows, pings): see [`Pace::head_is`].
    fn received(&self) {
        if self.0.protocol == Protocol::Http1 && self.0.running.load(Ordering::Relaxed) == 0 {
            self.since().head.get_or_insert_with(Instant::now);
        }
    }

    /// In HTTP/2 another head is on its way, or none is any more.
    fn head_is(&self, on_its_way: bool) {
        self.since().head = on_its_way.then(Instant::now);
    }

    fn wrote(&self, is_blocked: bool) {
        if self.0.is_blocked.swap(is_blocked, Ordering::Relaxed) != is_blocked {
            self.since().blocked = is_blocked.then(Instant::now);
        }
    }

    /// When the connection is overdue if nothing changes, and for what. `None`: it is busy and its caller reads.
    fn due(&self) -> Option<(Instant, Overdue)> {
        let since = *self.since();
        let asked = match (self.0.running.load(Ordering::Relaxed), since.head) {
            // Also while others are answered: in HTTP/2 nothing else may come before the head has ended.
            (_, Some(head)) => Some((later(head, self.0.header), Overdue::Head)),
            (0, None) => Some((later(since.idle, self.0.idle), Overdue::Idle)),
            _ => None,
        };
        let blocked = since.blocked.map(|blocked| (later(blocked, self.0.write), Overdue::Write));
        asked.into_iter().chain(blocked).min_by_key(|(due, _)| *due)
    }

    /// Resolves when the connection is overdue. To be polled after the connection, in the same task: whatever changes the
    /// pace happens there.
    pub(super) fn overdue(&self) -> OverdueWait {
        OverdueWait { pace: self.clone(), sleep: Box::pin(sleep_until(later(Instant::now(), self.0.header))) }
    }
}

/// See [`Pace::overdue`].
pub(super) struct OverdueWait {
    pace: Pace,
    sleep: Pin<Box<Sleep>>,
}

impl Future for OverdueWait {
    type Output = Overdue;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Overdue> {
        if self.pace.has_just_been_spent() {
            return Poll::Ready(Overdue::Spent);
        }
        loop {
            let due = self.pace.due();
            if let Some((at, why)) = due
                && Instant::now() >= at
            {
                return Poll::Ready(why);
            }
            // A timer that fires too early only causes another look, so it is moved only when it would be too late: a
            // busy connection does not touch it.
            if let Some((at, _)) = due
                && self.sleep.deadline() > at
            {
                self.sleep.as_mut().reset(at);
            }
            std::task::ready!(self.sleep.as_mut().poll(cx));
            let next = self.pace.due().map_or_else(|| later(Instant::now(), self.pace.0.idle), |(at, _)| at);
            self.sleep.as_mut().reset(next);
        }
    }
}

/// A response's body that keeps its connection busy until it ends.
pub(super) struct Held {
    body: Arc<Mutex<Wanted>>,
    busy: Busy,
}

/// A body, until it is taken away from a caller that does not read.
struct Wanted {
    body: Option<ResponseBody>,
    /// What the body has given, and nobody has asked for yet.
    rest: Bytes,
    /// Since when the caller wants no more of it.
    unwanted: Option<Instant>,
}

impl Wanted {
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
        bytes
    }
}

impl Held {
    fn body(&self) -> MutexGuard<'_, Wanted> {
        lock(&self.body)
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let is_http2 = self.busy.pace.0.protocol == Protocol::Http2;
        let mut wanted = self.body();
        let rest = std::mem::take(&mut wanted.rest);
        let Some(body) = &mut wanted.body else { return Poll::Ready(Some(Err(Aborted))) };
        let frame = match rest.is_empty() {
            true => Pin::new(body).poll_frame(cx),
            false => Poll::Ready(Some(Ok(Frame::data(rest)))),
        };
        if !is_http2 {
            return frame;
        }
        wanted.unwanted = frame.is_ready().then(Instant::now);
        frame.map_ok(|frame| match frame.into_data() {
            Ok(bytes) => Frame::data(wanted.piece(bytes)),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        let wanted = self.body();
        wanted.rest.is_empty() && wanted.body.as_ref().is_some_and(Body::is_end_stream)
    }

    /// Asked before the first piece, when nothing rests.
    fn size_hint(&self) -> SizeHint {
        self.body().body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// A request is being answered. When the last one ends, the connection is idle.
pub(super) struct Busy {
    pace: Pace,
    number: u64,
}

impl Busy {
    /// True for the last request that an HTTP/1 connection is allowed: it has had its share, or the server leaves.
    pub(super) fn is_last(&self, is_leaving: bool) -> bool {
        let state = &self.pace.0;
        state.protocol == Protocol::Http1 && (is_leaving || self.number + 1 >= state.most)
    }

    /// Nothing that follows the answer is framed as HTTP/1 is; HTTP/2 goes on framing it. Said before the answer is sent, so
    /// that nothing that it allows can come before.
    pub(super) fn hand_over(&self) {
        self.pace.0.is_tunnel.store(self.pace.0.protocol == Protocol::Http1, Ordering::Relaxed);
    }

    /// The same once more, for what goes on after the answer: no request of its own.
    pub(super) fn again(&self) -> Self {
        self.pace.0.running.fetch_add(1, Ordering::Relaxed);
        Self { pace: self.pace.clone(), number: self.number }
    }

    /// Lets the connection be busy for as long as the body lasts.
    pub(super) fn hold(self, body: ResponseBody) -> Held {
        let body =
            Arc::new(Mutex::new(Wanted { body: Some(body), rest: Bytes::new(), unwanted: Some(Instant::now()) }));
        if self.pace.0.protocol == Protocol::Http2 {
            lock(&self.pace.0.bodies).insert(self.number, body.clone());
        }
        Held { body, busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let state = &self.pace.0;
        let body = match state.protocol {
            Protocol::Http1 => None,
            Protocol::Http2 => lock(&state.bodies).remove(&self.number),
        };
        if state.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut since = self.pace.since();
            if state.protocol == Protocol::Http1 {
                since.head = None;
            }
            since.idle = Instant::now();
        }
        // Here, and not under a lock: it has a lot to end.
        drop(body);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each of these holds plain values, or a body that ends with the panic of its task: nothing is left half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Paced {
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return match self.is_unclear {
                true => Poll::Ready(Ok(())),
                false => Pin::new(&mut self.stream).poll_read(cx, buffer),
            };
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..count]);
        self.first.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = self.poll_bytes(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.pace.received();
        }
        if let Some(heads) = &mut self.heads {
            let head = heads.accept(&buffer.filled()[before..]);
            if head != self.head {
                self.head = head;
                self.pace.head_is(head.is_some());
            }
        }
        if self.pace.0.is_tunnel.load(Ordering::Relaxed) {
            self.framing = None;
        }
        let fine = self.framing.as_mut().map_or(came, |framing| framing.accept(&buffer.filled()[before..]));
        if fine == came {
            return result;
        }
        buffer.set_filled(before + fine);
        self.first = NONSENSE.to_vec();
        self.framing = None;
        self.is_unclear = true;
        self.poll_bytes(cx, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pace.wrote(result.is_pending());
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pace.wrote(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        // TLS has a buffer of its own, which takes what the caller does not.
        if self.stream.is_secure() {
            self.pace.wrote(result.is_pending());
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
