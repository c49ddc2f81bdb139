//! Lingering close: after an early response, the rest of the request is still read, because a client may read
//! nothing until it has sent everything.
//!
//! A little is read before a refusal is sent. After that the connection lingers in HTTP/1 (`connection/stream`),
//! and the stream in HTTP/2: a client may discard a stream that the server resets, response included. It does not
//! know what is sent, nor why it is discarded.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::model::time::later;

/// How much is read after the answer, and for how long. nginx lingers as long.
pub(in crate::server) const LONGEST: Duration = Duration::from_secs(30);
pub(in crate::server) const SILENCE: Duration = Duration::from_secs(5);
pub(in crate::server) const MOST: usize = 256 * 1024 * 1024;

/// The same before a refusal.
const BEFORE: Bounds =
    Bounds { most: 64 * 1024, longest: Duration::from_millis(200), silence: Duration::from_millis(200) };

/// The same in HTTP/2. Some clients (Node.js) give a stream up whose answer comes while they have ten megabytes to send.
const BEFORE_HTTP2: Bounds = Bounds { most: 64 * 1024 * 1024, longest: Duration::from_secs(1), ..BEFORE };

const AFTER: Bounds = Bounds { most: MOST, longest: LONGEST, silence: SILENCE };

/// How far a body is read.
#[derive(Clone, Copy)]
struct Bounds {
    most: usize,
    longest: Duration,
    silence: Duration,
}

/// Reads a little more of a body whose request is refused. Who asked whether to send the body at all is told no by the answer
/// itself, nobody waits for what a tunnel would bring, and what was too slow has no rest worth reading.
pub(in crate::server) async fn before_refusal<B>(body: &mut B, parts: &Parts, status: StatusCode)
where
    B: Body<Data = Bytes> + Unpin,
{
    let is_refused = status.is_client_error() || status.is_server_error();
    if !is_refused || status == StatusCode::REQUEST_TIMEOUT {
        return;
    }
    let is_asked = parts.headers.contains_key(header::EXPECT);
    if !is_asked && parts.method != Method::CONNECT {
        discard(body, if parts.version == Version::HTTP_2 { BEFORE_HTTP2 } else { BEFORE }).await;
    }
}

/// Reads on after an answer.
pub(in crate::server) async fn after_answer<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    discard(&mut body, AFTER).await;
}

/// Reads and drops a body until it ends or enough is enough.
async fn discard<B>(body: &mut B, bounds: Bounds)
where
    B: Body<Data = Bytes> + Unpin,
{
    let (until, mut left) = (later(Instant::now(), bounds.longest), bounds.most);
    while left > 0 && !body.is_end_stream() {
        let by = later(Instant::now(), bounds.silence).min(until);
        let Ok(Some(Ok(frame))) = timeout_at(by, body.frame()).await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// How much is read of this many pieces of a MiB at this interval, and how long that takes.
    async fn read(pieces: usize, every: Duration, then_waits: bool) -> (usize, Duration) {
        let (start, read) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let counter = read.clone();
        let pieces = stream::iter(0..pieces).then(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(every).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1 << 20])))
            }
        });
        let waiting = stream::pending().take(usize::from(then_waits));
        after_answer(Box::pin(StreamBody::new(pieces.chain(waiting)))).await;
        (read.load(Ordering::Relaxed), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_body_and_is_bounded_in_bytes_time_and_silence() {
        let (second, none) = (Duration::from_secs(1), Duration::ZERO);
        for (pieces, every, then_waits, expected) in [
            (0, none, false, (0, none)),
            (3, second, false, (3, 3 * second)),
            (1000, none, false, (256, none)),
            (1000, 4 * second, false, (8, 30 * second)),
            (0, none, true, (0, 5 * second)),
            (2, second, true, (2, 7 * second)),
            (1, 6 * second, false, (1, 5 * second)),
        ] {
            assert_eq!(read(pieces, every, then_waits).await, expected, "{pieces} every {every:?}");
        }
    }
}
