//! Body reader: reads a whole request body within its size limit, its timeout and the memory that all large bodies
//! share, and decompresses it within the same bounds.
//!
//! It does not know what a body contains, except for forms: they are copied on the way to a provider, so they count
//! twice.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::model::buffers;
use crate::model::buffers::{Buffers, Room};
use crate::model::fault::{Fault, RequestFault};
use crate::model::time::{later, now};
use crate::wire::concat;
use crate::wire::content_coding;
use crate::wire::content_coding::{Care, Coding, InTurns, TURN};

/// A body up to this size needs no room: as many as there are connections are no danger.
const SMALL: usize = 64 * 1024;

/// Room is taken in steps of at least this while a body grows whose size nobody said.
const STEP: usize = 256 * 1024;

/// As much is decompressed at a time.
const PIECE: usize = 16 * 1024;

/// How a body is read.
pub(in crate::server) struct BodyReader<'a> {
    /// The request's headers.
    pub(in crate::server) headers: &'a HeaderMap,
    /// The most bytes.
    pub(in crate::server) limit: usize,
    /// How far its sender may fall behind `rate`. No wait for more of it is longer.
    pub(in crate::server) within: Duration,
    /// Bytes a second that are expected. Zero: all of it is expected `within` that time.
    pub(in crate::server) rate: usize,
    /// Where room for a large one comes from, and how long that may be waited for. `None`: the limit is small.
    pub(in crate::server) room: Option<(&'a Buffers, Duration)>,
}

impl BodyReader<'_> {
    /// Reads it.
    pub(in crate::server) async fn read<B>(&self, mut body: B) -> Result<Bytes, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let mut due = ReadDeadline::new(self.within, self.rate);
        let said = body.size_hint();
        let mut held = match self.room {
            Some((buffers, wait)) if said.exact().is_none_or(|length| length > SMALL as u64) || self.is_form() => {
                Some(BufferedBody::new(buffers, wait, self.is_form()))
            }
            _ => None,
        };
        if said.lower() > self.limit as u64 {
            return Err(self.too_large());
        }
        let whole = self.pieces(&mut body, &mut due, said.exact(), &mut held).await?;
        Ok(held.map_or(whole, BufferedBody::keep))
    }

    /// Reads all pieces: into `held`, if there is one.
    async fn pieces<B>(
        &self,
        body: &mut B,
        due: &mut ReadDeadline,
        length: Option<u64>,
        held: &mut Option<BufferedBody<'_>>,
    ) -> Result<Bytes, Fault>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut whole = Bytes::new();
        if let (Some(held), Some(length)) = (&mut *held, length) {
            held.reserve(usize::try_from(length).unwrap_or(usize::MAX), self.limit).await?;
        }
        let mut count = 0;
        while let Some(frame) = next(body, due.at).await? {
            let broken =
                |_| Fault::invalid(None, "the request body is broken: it ended early or its framing is invalid");
            let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
            count += piece.len();
            let was_last = body.is_end_stream();
            if !was_last {
                due.received(piece.len());
            }
            if count > self.limit {
                return Err(self.too_large());
            }
            match held {
                None => whole = concat::join(whole, piece),
                Some(held) => {
                    held.reserve(count, self.limit).await?;
                    held.bytes.extend_from_slice(&piece);
                }
            }
            if was_last {
                break;
            }
        }
        Ok(whole)
    }

    /// Undoes the codings of a body that was read. It is read whole first: a decoder takes memory for as long as its body takes
    /// to come.
    pub(in crate::server) async fn decompress(&self, codings: &[Coding], compressed: Bytes) -> Result<Bytes, Fault> {
        if codings.is_empty() || compressed.is_empty() {
            return Ok(compressed);
        }
        let too_large = || Fault::from(RequestFault::TooLargeDecompressed { limit: self.limit });
        let mut plain =
            content_coding::undo(codings, InTurns::new(compressed), Care::Strict { most: self.limit as u64 });
        let mut held = self.room.map(|(buffers, wait)| BufferedBody::new(buffers, wait, self.is_form()));
        let (mut whole, mut piece) = (Vec::new(), Zeroizing::new(vec![0; PIECE]));
        let mut count = 0;
        loop {
            let read = match plain.read(&mut piece).await {
                Ok(0) => break,
                Ok(read) => read,
                Err(fault) if content_coding::is_too_much(&fault) => return Err(too_large()),
                Err(_) => {
                    return Err(Fault::invalid(
                        None,
                        "the request body is not what its Content-Encoding says, or is cut",
                    ));
                }
            };
            let before = count;
            count += read;
            if count > self.limit {
                return Err(too_large());
            }
            match &mut held {
                None => whole.extend_from_slice(&piece[..read]),
                Some(held) => {
                    held.reserve(count, self.limit).await?;
                    held.bytes.extend_from_slice(&piece[..read]);
                }
            }
            if before / TURN != count / TURN {
                tokio::task::yield_now().await;
            }
        }
        Ok(held.map_or(whole.into(), BufferedBody::keep))
    }

    fn too_large(&self) -> Fault {
        RequestFault::TooLarge { limit: self.limit }.into()
    }

    fn is_form(&self) -> bool {
        let value = self.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        value.len() >= 10 && value[..10].eq_ignore_ascii_case(b"multipart/")
    }
}

/// When the next piece of a body is due: a steady sender may take as long as it needs, and one that has been fast has no
/// longer than others once it stops.
struct ReadDeadline {
    at: Instant,
    within: Duration,
    rate: usize,
}

impl ReadDeadline {
    fn new(within: Duration, rate: usize) -> Self {
        Self { at: later(now(), within), within, rate }
    }

    fn received(&mut self, bytes: usize) {
        if self.rate > 0 {
            let earned = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            self.at = later(self.at, earned).min(later(now(), self.within));
        }
    }
}

/// The next frame of a body: without a timer where it is there.
async fn next<B>(body: &mut B, by: Instant) -> Result<Option<Result<Frame<Bytes>, B::Error>>, Fault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut frame = body.frame();
    match poll_fn(|cx| Poll::Ready(Pin::new(&mut frame).poll(cx))).await {
        Poll::Ready(frame) => Ok(frame),
        Poll::Pending => timeout_at(by, frame).await.map_err(|_| RequestFault::Slow.into()),
    }
}

/// A large body under way, with the room that it takes.
struct BufferedBody<'a> {
    buffers: &'a Buffers,
    wait: Duration,
    /// How often its bytes are in memory at once.
    copies: usize,
    /// A body up to this size needs no room.
    free: usize,
    room: Option<Room>,
    /// How long it may become in the room that it has.
    reserved: usize,
    bytes: Vec<u8>,
}

impl<'a> BufferedBody<'a> {
    fn new(buffers: &'a Buffers, wait: Duration, is_form: bool) -> Self {
        let (copies, free) = if is_form { (2, 0) } else { (1, SMALL) };
        Self { buffers, wait, copies, free, room: None, reserved: 0, bytes: Vec::new() }
    }

    /// Waits until there is memory for this many bytes. Nothing more is read meanwhile, so that the caller has to wait too.
    async fn reserve(&mut self, length: usize, limit: usize) -> Result<(), Fault> {
        if length <= self.free || length <= self.reserved {
            return Ok(());
        }
        let is_first = self.reserved == 0 && self.bytes.is_empty();
        let wanted = if is_first { length } else { length.max(self.reserved * 2).max(STEP).min(limit) };
        let more = (wanted - self.reserved).saturating_mul(self.copies);
        let taken = timeout(self.wait, self.buffers.take(more)).await.ok().flatten();
        let room = taken.ok_or(Fault::Overloaded)?;
        self.room = Some(match self.room.take() {
            Some(before) => before.and(room),
            None => room,
        });
        self.reserved = wanted;
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }

    fn keep(self) -> Bytes {
        buffers::keep(self.bytes, self.room)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{Stream, StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// A body of `kib` KiB that arrives one KiB at a time, `every` so often.
    fn steady(kib: usize, every: Duration) -> impl Stream<Item = Bytes> {
        stream::iter(0..kib).then(move |_| async move {
            tokio::time::sleep(every).await;
            Bytes::from_static(&[b'x'; 1024])
        })
    }

    async fn read(pieces: impl Stream<Item = Bytes>, rate: usize) -> Result<Bytes, Fault> {
        let headers = HeaderMap::new();
        let within = Duration::from_secs(30);
        let intake = BodyReader { headers: &headers, limit: 64 << 20, within, rate, room: None };
        let pieces = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        intake.read(Box::pin(StreamBody::new(pieces))).await
    }

    fn is_slow(result: Result<Bytes, Fault>) -> bool {
        matches!(result, Err(Fault::Request(fault)) if matches!(*fault, RequestFault::Slow))
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_sender_may_take_as_long_as_it_needs() {
        // 12 MiB at 3 Mbit a second take half a minute, and at 9 KiB a second 22 minutes.
        for every in [Duration::from_micros(2_700), Duration::from_millis(111)] {
            assert_eq!(read(steady(12 << 10, every), 8 << 10).await.unwrap().len(), 12 << 20);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_slower_than_the_rate_is_cut_off_when_it_has_fallen_behind_too_far() {
        let start = Instant::now();
        assert!(is_slow(read(steady(1 << 10, Duration::from_millis(250)), 8 << 10).await));
        // Half as fast as it should be: it loses half a second in each.
        assert_eq!(start.elapsed().as_secs_f64().round(), 60.0);
        let start = Instant::now();
        assert!(is_slow(read(steady(1 << 10, Duration::from_secs(29)), 8 << 10).await));
        assert!(start.elapsed() < Duration::from_secs(31), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_beginning_buys_nobody_a_longer_silence() {
        let start = Instant::now();
        let fast = stream::iter([Bytes::from(vec![b'x'; 32 << 20])]);
        assert!(is_slow(read(fast.chain(stream::pending()), 8 << 10).await));
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_all_of_it_is_due_at_once() {
        let start = Instant::now();
        assert!(is_slow(read(steady(1 << 10, Duration::from_secs(1)), 0).await));
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }
}
