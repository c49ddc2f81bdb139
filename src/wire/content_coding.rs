//! Content codings: the compression of bodies (RFC 9110, 8.4) in requests and in responses of providers, and
//! decompression.
//!
//! It knows neither who sends a body nor its size limit: the reader passes that in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};

/// The codings that are known, as `Accept-Encoding` lists them.
pub const KNOWN: &str = "gzip, deflate, br, zstd";

/// More codings on top of each other have no use, and take memory each.
const MOST: usize = 4;

/// The largest window of zstd, as a power of two: 8 MiB, which is as much as senders may expect (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// One content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, also as `x-gzip`.
    Gzip,
    /// `deflate`: zlib's format, or without the frame of that, as some senders have it.
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

impl Coding {
    /// The coding of this name, in any case.
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            "br" => Some(Coding::Brotli),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        }
    }
}

/// A body has a coding that is not known, or too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What `Content-Encoding` says, shortened.
    pub said: Box<str>,
}

/// The codings of a body in the order in which they were applied (RFC 9110, 8.4). `identity` is none.
pub fn of(headers: &HeaderMap) -> Result<Vec<Coding>, Unknown> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let unknown = |name: &str| Unknown { said: name.chars().take(40).collect() };
        let list = value.to_str().map_err(|_| unknown("?"))?;
        for name in list.split(',').map(str::trim) {
            match Coding::named(name) {
                Some(_) if codings.len() == MOST => return Err(unknown(list)),
                Some(coding) => codings.push(coding),
                None if name.is_empty() || name.eq_ignore_ascii_case("identity") => {}
                None => return Err(unknown(name)),
            }
        }
    }
    Ok(codings)
}

/// A body that is read without its compression.
pub type Plain = Pin<Box<dyn AsyncRead + Send>>;

/// How strictly a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nothing may follow what was compressed, and in between no coding may come to more than these bytes: a few bytes can
    /// stand for very many that come to nothing in the end.
    Strict {
        /// The most bytes.
        most: u64,
    },
    /// Whatever can be read is read.
    Lenient,
}

/// Undoes codings, the last one first.
pub fn undo(codings: &[Coding], body: impl AsyncBufRead + Unpin + Send + 'static, care: Care) -> Plain {
    let mut codings = codings.iter().rev();
    let Some(outermost) = codings.next() else { return Box::pin(body) };
    codings.fold(decoder(*outermost, body, care), |plain, coding| match care {
        Care::Strict { most } => decoder(*coding, BufReader::new(Bounded { plain, left: most }), care),
        Care::Lenient => decoder(*coding, BufReader::new(plain), care),
    })
}

fn decoder(coding: Coding, body: impl AsyncBufRead + Unpin + Send + 'static, care: Care) -> Plain {
    let is_strict = care != Care::Lenient;
    match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(body);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Coding::Deflate => Box::pin(Deflate::New(Some(body), is_strict)),
        Coding::Brotli => {
            Box::pin(Single { decoder: BrotliDecoder::new(body), rest: BrotliDecoder::get_mut, is_strict })
        }
        Coding::Zstd => {
            let mut decoder = ZstdDecoder::with_params(body, &[DParameter::window_log_max(ZSTD_WINDOW)]);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    }
}

/// Which of the two formats that are called `deflate` a body has shows in its first byte.
enum Deflate<R> {
    New(Option<R>, bool),
    Zlib(Single<ZlibDecoder<R>, R>),
    Raw(Single<DeflateDecoder<R>, R>),
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Deflate<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Deflate::New(body, is_strict) = this {
            let Some(reader) = body.as_mut() else { return Poll::Ready(Ok(())) };
            let first = ready!(Pin::new(reader).poll_fill_buf(cx))?.first().copied();
            let (Some(body), is_strict) = (body.take(), *is_strict) else { return Poll::Ready(Ok(())) };
            // RFC 1950, 2.2: method 8 with a window of up to 32 KiB. Without the frame it would be a stored block with odd padding.
            *this = match first.is_some_and(|first| first & 0x8f == 0x08) {
                true => {
                    Deflate::Zlib(Single { decoder: ZlibDecoder::new(body), rest: ZlibDecoder::get_mut, is_strict })
                }
                false => Deflate::Raw(Single {
                    decoder: DeflateDecoder::new(body),
                    rest: DeflateDecoder::get_mut,
                    is_strict,
                }),
            };
        }
        match this {
            Deflate::New(..) => Poll::Ready(Ok(())),
            Deflate::Zlib(decoder) => Pin::new(decoder).poll_read(cx, buffer),
            Deflate::Raw(decoder) => Pin::new(decoder).poll_read(cx, buffer),
        }
    }
}

/// A format that ends by itself, whatever follows.
struct Single<D, R> {
    decoder: D,
    /// Where what follows would be.
    rest: fn(&mut D) -> &mut R,
    is_strict: bool,
}

impl<D: AsyncRead + Unpin, R: AsyncBufRead + Unpin> AsyncRead for Single<D, R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buffer.filled().len());
        ready!(Pin::new(&mut this.decoder).poll_read(cx, buffer))?;
        let has_ended = buffer.filled().len() == before && buffer.remaining() > 0;
        if has_ended
            && this.is_strict
            && !ready!(Pin::new((this.rest)(&mut this.decoder)).poll_fill_buf(cx))?.is_empty()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "more follows")));
        }
        Poll::Ready(Ok(()))
    }
}

/// What comes of one of several codings, as far as it may.
struct Bounded {
    plain: Plain,
    left: u64,
}

/// A body becomes larger than it may before all its codings are undone.
#[derive(Debug)]
pub struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("it becomes too large")
    }
}

impl std::error::Error for TooMuch {}

/// True when it is not the body that is wrong, but its size.
pub fn is_too_much(fault: &io::Error) -> bool {
    fault.get_ref().is_some_and(|inner| inner.is::<TooMuch>())
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.plain.as_mut().poll_read(cx, buffer))?;
        let came = (buffer.filled().len() - before) as u64;
        match self.left.checked_sub(came) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other(TooMuch))),
        }
        Poll::Ready(Ok(()))
    }
}

/// How much is read before other calls get their turn, also where nothing comes of it yet.
pub const TURN: usize = 64 * 1024;

/// Bytes that are read in turns with what others do.
pub struct InTurns {
    bytes: Bytes,
    left: usize,
}

impl InTurns {
    /// Reads these.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, left: TURN }
    }
}

impl AsyncRead for InTurns {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut *this).poll_fill_buf(cx))?;
        let length = read.len().min(buffer.remaining());
        buffer.put_slice(&read[..length]);
        Pin::new(this).consume(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for InTurns {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.left == 0 && !this.bytes.is_empty() {
            this.left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(&this.bytes[..this.bytes.len().min(this.left)]))
    }

    fn consume(self: Pin<&mut Self>, length: usize) {
        let this = self.get_mut();
        this.bytes.advance(length);
        this.left -= length;
    }
}

#[cfg(test)]
mod tests {
    use async_compression::Level;
    use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use async_compression::zstd::CParameter;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn named(values: &[&'static str]) -> Result<Vec<Coding>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
        }
        of(&headers).map_err(|unknown| unknown.said.into())
    }

    #[test]
    fn codings_are_found_however_they_are_written() {
        use Coding::{Brotli, Deflate, Gzip, Zstd};
        for (values, codings) in [
            (&[][..], &[][..]),
            (&["gzip"], &[Gzip]),
            (&["X-GZip"], &[Gzip]),
            (&["identity"], &[]),
            (&[""], &[]),
            (&[" Deflate ,identity,, BR"], &[Deflate, Brotli]),
            (&["zstd", "gzip, gzip"], &[Zstd, Gzip, Gzip]),
        ] {
            assert_eq!(named(values), Ok(codings.to_vec()), "{values:?}");
        }
        for (values, said) in [
            (&["compress"][..], "compress"),
            (&["gzip, x-compress"], "x-compress"),
            (&["gzip;q=1"], "gzip;q=1"),
            (&["aws-chunked"], "aws-chunked"),
            (&["gzip, gzip, gzip", "gzip, gzip"], "gzip, gzip"),
        ] {
            assert_eq!(named(values), Err(said.to_owned()), "{values:?}");
        }
    }

    async fn all(mut reader: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    async fn compressed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let compressed = match coding {
            Coding::Gzip => all(GzipEncoder::with_quality(bytes, Level::Fastest)).await,
            Coding::Deflate => all(ZlibEncoder::with_quality(bytes, Level::Fastest)).await,
            Coding::Brotli => all(BrotliEncoder::with_quality(bytes, Level::Fastest)).await,
            Coding::Zstd => all(ZstdEncoder::with_quality(bytes, Level::Fastest)).await,
        };
        compressed.unwrap()
    }

    async fn decompressed(codings: &[Coding], compressed: Vec<u8>) -> io::Result<Vec<u8>> {
        all(undo(codings, InTurns::new(compressed.into()), Care::Strict { most: 1 << 20 })).await
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    fn text() -> Vec<u8> {
        (0..12_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect()
    }

    #[tokio::test]
    async fn what_was_compressed_is_decompressed_alone_and_on_top_of_each_other() {
        for bytes in [text(), b"x".to_vec(), vec![0; 300_000]] {
            for inner in ALL {
                assert_eq!(decompressed(&[inner], compressed(inner, &bytes).await).await.unwrap(), bytes, "{inner:?}");
                for outer in ALL {
                    let twice = compressed(outer, &compressed(inner, &bytes).await).await;
                    assert_eq!(decompressed(&[inner, outer], twice).await.unwrap(), bytes, "{inner:?} in {outer:?}");
                }
            }
        }
        assert_eq!(decompressed(&[], b"plain".to_vec()).await.unwrap(), b"plain");
    }

    #[tokio::test]
    async fn a_body_in_several_members_is_read_to_its_end() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let both = [compressed(coding, b"one ").await, compressed(coding, b"two").await].concat();
            assert_eq!(decompressed(&[coding], both).await.unwrap(), b"one two", "{coding:?}");
        }
    }

    #[tokio::test]
    async fn deflate_is_read_with_its_frame_and_without() {
        for (level, bytes) in [(0, text()), (1, text()), (9, text()), (0, b"y".to_vec()), (6, b"y".to_vec())] {
            let level = Level::Precise(level);
            for compressed in [
                all(ZlibEncoder::with_quality(&bytes[..], level)).await.unwrap(),
                all(DeflateEncoder::with_quality(&bytes[..], level)).await.unwrap(),
            ] {
                assert_eq!(decompressed(&[Coding::Deflate], compressed).await.unwrap(), bytes, "{level:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_cut_or_is_none_is_an_error() {
        for coding in ALL {
            let whole = compressed(coding, &text()).await;
            for end in [1, 2, 5, 11, whole.len() / 2, whole.len() - 1] {
                assert!(decompressed(&[coding], whole[..end].to_vec()).await.is_err(), "{coding:?} cut at {end}");
            }
            for nonsense in [&b"{\"model\":\"m\"}"[..], b"\x1f\x8b\x08nonsense", &[0xff; 100]] {
                assert!(decompressed(&[coding], nonsense.to_vec()).await.is_err(), "{coding:?}");
            }
            let more = [&whole[..], b"x"].concat();
            assert!(decompressed(&[coding], more).await.is_err(), "{coding:?} and more");
        }
    }

    #[tokio::test]
    async fn a_window_larger_than_senders_may_expect_is_an_error() {
        for (window, is_fine) in [(23, true), (24, false), (27, false)] {
            let encoder = ZstdEncoder::with_quality_and_params(
                &b"the same again"[..],
                Level::Default,
                &[CParameter::window_log(window), CParameter::content_size_flag(false)],
            );
            let compressed = all(encoder).await.unwrap();
            assert_eq!(decompressed(&[Coding::Zstd], compressed).await.is_ok(), is_fine, "{window}");
        }
    }

    #[tokio::test]
    async fn bytes_that_come_to_nothing_in_the_end_are_bounded_in_between() {
        // Frames that are skipped: megabytes of them are a few bytes of zstd, and stand for none.
        let mut skipped = vec![0x50, 0x2a, 0x4d, 0x18];
        skipped.extend(4_000_000_u32.to_le_bytes());
        skipped.extend(vec![0; 4_000_000]);
        let twice = compressed(Coding::Zstd, &skipped).await;
        assert!(twice.len() < 2_000);
        assert!(is_too_much(&decompressed(&[Coding::Zstd, Coding::Zstd], twice).await.unwrap_err()));
    }

    #[tokio::test]
    async fn others_get_their_turn_while_nothing_comes_of_many_bytes() {
        let empty = compressed(Coding::Gzip, b"").await;
        let many = empty.repeat(2 * TURN / empty.len() + 1);
        let mut plain = undo(&[Coding::Gzip], InTurns::new(many.into()), Care::Lenient);
        let (mut byte, mut turns) = ([0; 1], 0);
        let read = std::future::poll_fn(|cx| {
            let read = plain.as_mut().poll_read(cx, &mut ReadBuf::new(&mut byte));
            turns += 1;
            read
        });
        read.await.unwrap();
        assert_eq!(turns, 3);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), which in 0..ALL.len()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(decompressed(&[ALL[which]], bytes.clone()));
            let _ = runtime.block_on(decompressed(&[ALL[which], Coding::Zstd], bytes));
        }
    }
}
