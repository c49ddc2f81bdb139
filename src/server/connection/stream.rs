//! A caller's byte stream as hyper reads and writes it: it replays the first bytes, hands over one HTTP/1 request
//! at a time, enforces timeouts, and lingers when closed.
//!
//! hyper stops reading while pipelined bytes wait in its own buffer, and then a caller that leaves goes unnoticed.
//! Therefore they wait here, and the connection is always read to its end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{ConnectionTimer, Protocol};
use crate::config::plan::ServerPlan;
use crate::model::time::later;
use crate::server::connection::caller_stream::CallerStream;
use crate::server::connection::framing::{Framing, Stop};
use crate::server::connection::h2_heads::Heads;
use crate::server::connection::linger;

/// The beginning of HTTP/2's connection preface. No method of HTTP/1.1 begins like it.
const HTTP2: &[u8] = b"PRI ";

/// Put in the place of what is unclear: wherever it stands in a head, hyper answers 400 and closes. What came before is
/// served.
const NONSENSE: &[u8] = b"\0\r\n\r\n";

/// The most that is kept of what a caller sends while it is answered. Beyond that bytes are dropped, and the connection
/// ends once the requests that were kept are answered: a caller that sends requests in advance has to expect that (RFC
/// 9112, 9.3.2), and its leaving is noticed all the same.
const MAX_AHEAD: usize = 64 * 1024;

/// How much is read of a connection of HTTP/2 after the server has closed its side: a refusal ends its stream only, and a
/// connection that the server ends is mostly a flood.
const HTTP2_MOST: usize = 128 * 1024;

/// Shakes hands, where that is to be done, and reads a connection's first bytes, all within the header timeout. `None`: it
/// said nothing, or left, or there was no agreement.
pub(in crate::server) async fn greet(stream: TcpStream, plan: &ServerPlan) -> Option<(Protocol, TimedStream)> {
    let by = later(Instant::now(), plan.header_timeout);
    let opened = timeout_at(by, CallerStream::open(stream, plan.tls.as_ref())).await.ok()?;
    let mut stream = opened.inspect_err(|fault| tracing::debug!(error = %fault, "a TLS handshake failed")).ok()?;
    let mut first = BytesMut::with_capacity(HTTP2.len());
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
    let timer = ConnectionTimer::new(plan, protocol);
    let paced = TimedStream {
        stream,
        ahead: first,
        is_overfull: false,
        framing,
        messages: 0,
        is_unclear: false,
        has_ended: false,
        heads,
        head: None,
        linger: None,
        timer,
    };
    Some((protocol, paced))
}

/// A connection's stream.
pub(in crate::server) struct TimedStream {
    stream: CallerStream,
    /// Read, and not handed over yet.
    ahead: BytesMut,
    /// More came than is kept: nothing follows what is kept.
    is_overfull: bool,
    /// In HTTP/1 only: HTTP/2 has frames.
    framing: Option<Framing>,
    /// Messages that were handed over whole.
    messages: u64,
    /// What came cannot be understood, and nothing more is read.
    is_unclear: bool,
    /// The caller has ended its side.
    has_ended: bool,
    /// In HTTP/2 only.
    heads: Option<Heads>,
    /// The number of the head that is on its way.
    head: Option<u64>,
    linger: Option<Linger>,
    timer: ConnectionTimer,
}

impl TimedStream {
    /// The pace that this connection keeps.
    pub(in crate::server) fn timer(&self) -> ConnectionTimer {
        self.timer.clone()
    }

    /// True when it is encrypted.
    pub(in crate::server) fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    /// Tells a slow sender why it is cut off (RFC 9110, 15.5.9), as far as it still listens.
    pub(in crate::server) async fn refuse_slow_head(mut self) {
        const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let by = later(Instant::now(), Duration::from_secs(1));
        if let Ok(Ok(())) = timeout_at(by, self.stream.write_all(ANSWER)).await {
            let _ = self.shutdown().await;
        }
    }

    /// Reads from the caller. No bytes: it has ended its side.
    fn poll_stream(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let came = buffer.filled().len() - before;
        self.has_ended |= came == 0 && buffer.remaining() > 0;
        Poll::Ready(Ok(came))
    }

    /// The next bytes, kept ones first.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return match self.is_unclear || self.is_overfull {
                true => Poll::Ready(Ok(())),
                false => self.poll_stream(cx, buffer).map_ok(|_| ()),
            };
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    /// While a request is answered: keeps what comes, and notices when the caller leaves.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let Poll::Ready(came) = self.poll_stream(cx, buffer)? else {
                if self.is_overfull || !self.ahead.is_empty() {
                    self.timer.wake_when_answered(cx.waker());
                }
                return Poll::Pending;
            };
            if came == 0 {
                return Poll::Ready(Ok(()));
            }
            let kept = came.min(MAX_AHEAD.saturating_sub(self.ahead.len()));
            self.is_overfull |= kept < came;
            if !self.is_overfull {
                self.ahead.extend_from_slice(&buffer.filled()[before..]);
            }
            buffer.set_filled(before);
        }
    }

    /// The next bytes of HTTP/1, and none beyond the end of their message: the rest is kept.
    fn poll_message(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_fresh = self.ahead.is_empty() && !self.is_overfull;
        if !is_fresh {
            let (fine, stop) = self.hand_over_kept(buffer);
            // The first bytes of a connection were read to tell its protocol. hyper doubles its buffer for the rest of a head
            // that comes in two reads, so the rest comes with them.
            let goes_on = stop == Stop::Empty && fine > 0 && self.ahead.is_empty() && !self.is_overfull;
            if !goes_on || buffer.remaining() == 0 {
                return self.stopped(stop, fine, cx, buffer);
            }
        }
        let before = buffer.filled().len();
        match self.poll_stream(cx, buffer)? {
            Poll::Pending if is_fresh => return Poll::Pending,
            Poll::Pending => return Poll::Ready(Ok(())),
            Poll::Ready(_) => {}
        }
        let Some(framing) = &mut self.framing else { return Poll::Ready(Ok(())) };
        let (fine, stop) = framing.accept(&buffer.filled()[before..]);
        self.ahead.extend_from_slice(&buffer.filled()[before + fine..]);
        buffer.set_filled(before + fine);
        self.stopped(stop, fine, cx, buffer)
    }

    /// Hands over kept bytes, up to the end of their message. How many, and why no more.
    fn hand_over_kept(&mut self, buffer: &mut ReadBuf<'_>) -> (usize, Stop) {
        let Some(framing) = &mut self.framing else { return (0, Stop::Empty) };
        let count = self.ahead.len().min(buffer.remaining());
        let (fine, stop) = framing.accept(&self.ahead[..count]);
        buffer.put_slice(&self.ahead[..fine]);
        self.ahead.advance(fine);
        (fine, stop)
    }

    /// Notes why no more bytes were handed over.
    fn stopped(
        &mut self,
        stop: Stop,
        fine: usize,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match stop {
            Stop::Empty => {}
            Stop::Message => {
                self.messages += 1;
                self.timer.0.messages.store(self.messages, Ordering::Relaxed);
            }
            Stop::Unclear => {
                self.ahead = NONSENSE.into();
                self.framing = None;
                self.is_unclear = true;
                if fine == 0 {
                    return self.poll_bytes(cx, buffer);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// True when the caller may still be sending what nobody will read.
    fn owes_linger(&self) -> bool {
        let is_between = self.framing.as_ref().is_some_and(|framing| framing.is_between() && self.ahead.is_empty());
        !self.has_ended && !self.timer.0.is_tunnel.load(Ordering::Relaxed) && (!is_between || self.is_overfull)
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.timer.0.is_tunnel.load(Ordering::Relaxed) {
            self.framing = None;
        }
        if self.framing.is_some() && self.messages > self.timer.0.answered.load(Ordering::Relaxed) {
            return self.poll_ahead(cx, buffer);
        }
        let before = buffer.filled().len();
        match self.framing.is_some() {
            true => ready!(self.poll_message(cx, buffer))?,
            false => ready!(self.poll_bytes(cx, buffer))?,
        }
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            self.timer.received();
        }
        if let Some(heads) = &mut self.heads {
            let head = heads.accept(came);
            if head != self.head {
                self.head = head;
                self.timer.head_is(head.is_some());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timer.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timer.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        // TLS has a buffer of its own, which takes what the caller does not.
        if self.stream.is_secure() {
            self.timer.is_blocked(result.is_pending());
        }
        if result.is_ready() {
            self.timer.0.unwritten.store(0, Ordering::Relaxed);
        }
        result
    }

    /// Ends this side, and lingers where the caller may still be sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.owes_linger() {
                return Poll::Ready(Ok(()));
            }
            this.timer.0.is_closing.store(true, Ordering::Relaxed);
            this.linger = Some(Linger::new(match this.heads {
                None => linger::MOST,
                Some(_) => HTTP2_MOST,
            }));
        }
        match &mut this.linger {
            Some(linger) => linger.poll(&mut this.stream, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Reads and drops what a caller still sends, until it has ended its side or enough is enough: a connection that is closed with
/// unread bytes is reset, and the caller may lose the answer.
struct Linger {
    until: Instant,
    silence: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    fn new(left: usize) -> Self {
        let now = Instant::now();
        let silence = Box::pin(sleep_until(later(now, linger::SILENCE)));
        Self { until: later(now, linger::LONGEST), silence, left }
    }

    fn poll(&mut self, stream: &mut CallerStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        loop {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let now = Instant::now();
            self.left = self.left.saturating_sub(buffer.filled().len());
            if self.left == 0 || now >= self.until {
                return Poll::Ready(());
            }
            let silence = later(now, linger::SILENCE).min(self.until);
            // Moved now and then, and not for each of many reads.
            if silence.saturating_duration_since(self.silence.deadline()) > linger::SILENCE / 50 {
                self.silence.as_mut().reset(silence);
            }
        }
    }
}
