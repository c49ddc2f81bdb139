//! Socket: a WebSocket that a provider has accepted; and WebSocket framing over any byte stream (RFC 6455).
//!
//! It does not know how either side was connected, nor what is said. Extensions are never negotiated, so that every
//! message is its own bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{End, Then};

/// What is read at once, and kept for each end of a conversation: a frame of speech (20 ms of PCM at 24 kHz is 1 KiB) many
/// times over, and little where nothing is said.
const READ: usize = 4 * 1024;

/// What both ends of a conversation are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of one message.
    pub max_message: usize,
    /// Bytes that are held for an end that reads slowly, besides one message.
    pub buffer: usize,
}

/// Messages in both directions. The framing layer answers pings.
pub trait Talk: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + Unpin {
    /// Bytes that the other end has taken so far: as long as they grow, it is slow and not stuck.
    fn taken(&self) -> u64;
}

/// A conversation with a provider. Dropped, it is over.
pub struct Socket {
    talk: Box<dyn Talk>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The subprotocol that the provider has chosen among those offered.
    pub protocol: Option<HeaderValue>,
    then: Vec<Then>,
}

impl Socket {
    /// A conversation with a provider.
    pub fn new(talk: impl Talk + 'static, provider: Arc<str>, protocol: Option<HeaderValue>) -> Self {
        Self { talk: Box::new(talk), provider, protocol, then: Vec::new() }
    }

    /// Has `then` told how it ends, once, after all who asked before.
    #[must_use]
    pub fn on_end(mut self, then: impl FnOnce(End<'_>) + Send + 'static) -> Self {
        self.then.push(Box::new(then));
        self
    }

    /// Tells everybody who wants to know that it is over.
    pub fn end(&mut self, end: End<'_>) {
        for then in self.then.drain(..) {
            then(end);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.end(End::Abandoned);
    }
}

impl Talk for Socket {
    fn taken(&self) -> u64 {
        self.talk.taken()
    }
}

impl Stream for Socket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.talk).poll_next(cx)
    }
}

impl Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.talk).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut *self.talk).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.talk).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.talk).poll_close(cx)
    }
}

/// A conversation in frames over a stream of bytes.
pub struct Framed<S> {
    messages: WebSocketStream<Counted<S>>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Framed<S> {
    /// Begins after the handshake, at the server's end of it or at the client's.
    pub async fn new(stream: S, role: Role, terms: Terms) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(terms.buffer)
            // Never reached: a message is taken only while no more than `buffer` waits; the rest is for heads and pongs.
            .max_write_buffer_size(terms.buffer.saturating_add(terms.max_message).saturating_add(1024))
            .max_message_size(Some(terms.max_message))
            .max_frame_size(Some(terms.max_message));
        let counted = Counted { stream, taken: 0 };
        Self { messages: WebSocketStream::from_raw_socket(counted, role, Some(config)).await }
    }

    /// The bytes beneath, once frames make no sense any more.
    pub fn into_bytes(self) -> impl AsyncRead + AsyncWrite + Send + Unpin {
        self.messages.into_inner()
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Talk for Framed<S> {
    fn taken(&self) -> u64 {
        self.messages.get_ref().taken
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Framed<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.messages).poll_next(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Framed<S> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.messages).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut self.messages).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.messages).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.messages).poll_close(cx)
    }
}

/// A stream that counts what the other end has taken.
struct Counted<S> {
    stream: S,
    taken: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.taken += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.taken += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
