//! Idle timeouts of providers: how long a provider keeps unused keep-alive connections open, as far as it shows. A
//! request sent on a connection that is just being closed is lost, and may have been executed.
//!
//! A provider states it (`Keep-Alive`), or it is observed: a connection that has been idle for longer than any that
//! was reused successfully is closed. It knows no more of HTTP.

use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long an idle connection is kept at most: below the 60 s after which most load balancers close.
pub(super) const LONGEST: Duration = Duration::from_secs(50);

/// How long before the end of a provider's own idle time a connection is not used any more. A request needs that long to get
/// there.
const MARGIN: Duration = Duration::from_secs(1);

/// What is seen is noted when it is less than this share of what is known: each note costs the connections of a pool.
const LESS: f64 = 0.8;

/// What is known of one provider, in microseconds.
pub(super) struct IdleTimes {
    /// The shortest time after which it closes.
    kept: AtomicU64,
    /// The longest after which a connection was used again with success.
    proven: AtomicU64,
}

impl Default for IdleTimes {
    fn default() -> Self {
        Self { kept: AtomicU64::new(u64::MAX), proven: AtomicU64::new(0) }
    }
}

impl IdleTimes {
    /// How long a connection may be idle and still be used.
    pub(super) fn usable(&self) -> Duration {
        let kept = Duration::from_micros(self.kept.load(Ordering::Relaxed));
        LONGEST.min(kept.saturating_sub(MARGIN.min(kept / 2)))
    }

    /// The provider has said it.
    pub(super) fn said(&self, kept: Duration) {
        self.kept.fetch_min(micros(kept), Ordering::Relaxed);
    }

    /// What was known may not be true any more.
    pub(super) fn forget(&self) {
        self.kept.store(u64::MAX, Ordering::Relaxed);
        self.proven.store(0, Ordering::Relaxed);
    }

    fn used(&self, after: Duration) {
        self.proven.fetch_max(micros(after), Ordering::Relaxed);
    }

    /// Closed by the provider. One that has been used after longer times closes for another reason.
    fn closed(&self, after: Duration) {
        let (after, kept) = (micros(after), self.kept.load(Ordering::Relaxed));
        if after >= self.proven.load(Ordering::Relaxed) && (after as f64) < kept as f64 * LESS {
            self.kept.fetch_min(after, Ordering::Relaxed);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What is known of one connection; a response has it among its extensions.
#[derive(Clone, Default)]
pub(super) struct Use(Arc<UseState>);

#[derive(Default)]
struct UseState {
    /// The provider has said that it will close it.
    is_last: AtomicBool,
    at: Mutex<Option<At>>,
}

/// Where a connection is between requests.
#[derive(Clone, Copy)]
enum At {
    /// The last bytes of an answer came then.
    Answered(Instant),
    /// It was used again after this idle time, and no byte has come yet.
    Asked(Duration),
}

impl Use {
    /// The provider will close it: that it does says nothing.
    pub(super) fn is_last(&self) {
        self.0.is_last.store(true, Ordering::Relaxed);
    }

    fn swap(&self, next: impl FnOnce(Option<At>) -> Option<At>) -> Option<At> {
        // One value, which nobody leaves half-written.
        let mut at = self.0.at.lock();
        let before = *at;
        *at = next(before);
        before
    }
}

/// A connection whose idle times are watched.
pub(super) struct WatchedConnection<S> {
    stream: S,
    usage: Use,
    /// `None`: it speaks HTTP/2, where a provider says which requests it has taken.
    times: Option<Arc<IdleTimes>>,
}

impl<S> WatchedConnection<S> {
    pub(super) fn new(stream: S, times: Option<Arc<IdleTimes>>) -> Self {
        Self { stream, usage: Use::default(), times }
    }

    fn read(&self, is_over: bool) {
        let Some(times) = &self.times else { return };
        if !is_over {
            if let Some(At::Asked(after)) = self.usage.swap(|_| Some(At::Answered(Instant::now()))) {
                times.used(after);
            }
        } else if !self.usage.0.is_last.load(Ordering::Relaxed) {
            match self.usage.swap(|_| None) {
                Some(At::Answered(since)) => times.closed(since.elapsed()),
                Some(At::Asked(after)) => times.closed(after),
                None => {}
            }
        }
    }

    fn wrote(&self) {
        if self.times.is_some() {
            self.usage.swap(|at| match at {
                Some(At::Answered(since)) => Some(At::Asked(since.elapsed())),
                at => at,
            });
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.read(result.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0));
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl<S: Connection> Connection for WatchedConnection<TokioIo<S>> {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.usage.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;

    fn connection(times: &Arc<IdleTimes>) -> (WatchedConnection<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64);
        (WatchedConnection::new(near, Some(times.clone())), far)
    }

    async fn asked(near: &mut WatchedConnection<DuplexStream>, far: &mut DuplexStream, after: u64) {
        advance(Duration::from_millis(after)).await;
        near.write_all(b"?").await.unwrap();
        far.write_all(b"!").await.unwrap();
        near.read_u8().await.unwrap();
    }

    /// The provider closes a connection that has been idle for `after`.
    async fn closed(near: &mut WatchedConnection<DuplexStream>, far: DuplexStream, after: u64) {
        advance(Duration::from_millis(after)).await;
        drop(far);
        assert!(near.read_u8().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_provider_closes_is_not_used_for_half_as_long() {
        let times = Arc::default();
        let (mut near, mut far) = connection(&times);
        asked(&mut near, &mut far, 0).await;
        asked(&mut near, &mut far, 5).await;
        closed(&mut near, far, 10).await;
        assert_eq!(times.usable(), Duration::from_millis(5));
        times.forget();
        assert_eq!(times.usable(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_closes_under_a_request_counts_as_well() {
        let times = Arc::default();
        let (mut near, mut far) = connection(&times);
        asked(&mut near, &mut far, 0).await;
        advance(Duration::from_secs(5)).await;
        near.write_all(b"?").await.unwrap();
        closed(&mut near, far, 1).await;
        assert_eq!(times.usable(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_after_longer_or_was_to_be_closed_says_nothing() {
        let times = Arc::default();
        let (mut near, mut far) = connection(&times);
        asked(&mut near, &mut far, 0).await;
        asked(&mut near, &mut far, 2_000).await;
        closed(&mut near, far, 100).await;
        assert_eq!(times.usable(), LONGEST);
        let (mut near, mut far) = connection(&times);
        asked(&mut near, &mut far, 0).await;
        near.usage.is_last();
        closed(&mut near, far, 3_000).await;
        assert_eq!(times.usable(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_says_counts_with_a_margin() {
        let usable = [0, 1, 5, 75].map(|kept| {
            let times = IdleTimes::default();
            times.said(Duration::from_secs(kept));
            times.usable().as_millis()
        });
        assert_eq!(usable, [0, 500, 4_000, 50_000]);
    }
}
