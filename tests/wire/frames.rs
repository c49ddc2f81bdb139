//! One end of an HTTP/2 connection, spoken by hand: one frame at a time, so that a test can do what no library does. Mostly it
//! is the provider's.
//!
//! It knows as much of RFC 9113 as a polite server needs for short answers: no flow control, and no reading of headers.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::socket::soon;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Why a stream or a connection ends.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// An HTTP/2 connection. Dropped, it is gone.
pub(crate) struct Frames<S> {
    socket: S,
    ahead: BytesMut,
    /// The bodies of requests that are not whole yet.
    bodies: BTreeMap<u32, BytesMut>,
}

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// The number in a GOAWAY, which names a stream first, or in an RST_STREAM.
    pub(crate) fn reason(&self) -> u32 {
        let before = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload.slice(before..).get_u32()
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(&[kind, flags]);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame
}

/// What the gateway does on a connection, as far as a test cares.
#[derive(Debug, PartialEq)]
pub(crate) enum Happened {
    /// A whole request, with its body.
    Request(u32, Bytes),
    /// It gave a stream up.
    Reset(u32, u32),
    /// It closed the connection.
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Greets the gateway.
    pub(crate) async fn greet(mut socket: S) -> Self {
        let mut preface = [0; 24];
        soon("a preface", socket.read_exact(&mut preface)).await.expect("the gateway speaks HTTP/2");
        assert_eq!(preface, PREFACE);
        let mut frames = Self { socket, ahead: BytesMut::new(), bodies: BTreeMap::new() };
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }

    /// Greets the gateway as a caller does.
    pub(crate) async fn call(socket: S) -> Self {
        let mut frames = Self::silent(socket);
        frames.try_send_bytes(PREFACE).await.expect("the gateway reads");
        frames.send(SETTINGS, 0, 0, b"").await;
        frames
    }

    /// Says nothing yet.
    pub(crate) fn silent(socket: S) -> Self {
        Self { socket, ahead: BytesMut::new(), bodies: BTreeMap::new() }
    }

    /// Reads until the gateway says why the connection ends; `None`: it just ended.
    pub(crate) async fn gone(&mut self) -> Option<u32> {
        while let Some(frame) = self.read().await {
            if frame.kind == GOAWAY {
                return Some(frame.reason());
            }
        }
        None
    }

    /// The next thing that the gateway does.
    pub(crate) async fn next(&mut self) -> Happened {
        loop {
            let Some(frame) = self.read().await else { return Happened::Closed };
            match (frame.kind, frame.flags) {
                (SETTINGS, flags) if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, b"").await,
                (PING, flags) if flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                (RST_STREAM, _) => return Happened::Reset(frame.stream, frame.reason()),
                (HEADERS | DATA, flags) => {
                    let body = self.bodies.entry(frame.stream).or_default();
                    if frame.kind == DATA {
                        body.extend_from_slice(&frame.payload);
                    }
                    if flags & END_STREAM != 0 {
                        let body = self.bodies.remove(&frame.stream).unwrap_or_default();
                        return Happened::Request(frame.stream, body.freeze());
                    }
                }
                _ => {}
            }
        }
    }

    /// The next request: its stream and its body.
    pub(crate) async fn request(&mut self) -> (u32, Bytes) {
        match self.next().await {
            Happened::Request(stream, body) => (stream, body),
            other => panic!("{other:?} instead of a request"),
        }
    }

    /// The next frame that the gateway sends; `None`: the connection has ended.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        self.fill(9).await?;
        let length = self.ahead.get_uint(3) as usize;
        let (kind, flags, stream) = (self.ahead.get_u8(), self.ahead.get_u8(), self.ahead.get_u32() & 0x7FFF_FFFF);
        self.fill(length).await?;
        Some(Frame { kind, flags, stream, payload: self.ahead.split_to(length).freeze() })
    }

    async fn fill(&mut self, length: usize) -> Option<()> {
        while self.ahead.len() < length {
            match soon("a frame", self.socket.read_buf(&mut self.ahead)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        Some(())
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.try_send(kind, flags, stream, payload).await.expect("the gateway still reads");
    }

    /// Sends a frame, or learns that the gateway has gone.
    pub(crate) async fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.try_send_bytes(&frame(kind, flags, stream, payload)).await
    }

    /// Sends frames, or whatever it is, or learns that the gateway has gone.
    pub(crate) async fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        soon("a write", self.socket.write_all(bytes)).await?;
        soon("a write", self.socket.flush()).await
    }

    /// The head of a 200 with this content type.
    pub(crate) async fn head(&mut self, stream: u32, content_type: &str) {
        // RFC 7541: `:status: 200` is entry 8 of the static table, `content-type` 31; its value is a plain literal.
        let mut block = vec![0x88, 0x0F, 31 - 15, content_type.len() as u8];
        block.extend_from_slice(content_type.as_bytes());
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// Some of a body.
    pub(crate) async fn data(&mut self, stream: u32, bytes: impl AsRef<[u8]>) {
        self.send(DATA, 0, stream, bytes.as_ref()).await;
    }

    /// The last of a body.
    pub(crate) async fn last_data(&mut self, stream: u32, bytes: impl AsRef<[u8]>) {
        self.send(DATA, END_STREAM, stream, bytes.as_ref()).await;
    }

    /// A whole JSON answer.
    pub(crate) async fn answer(&mut self, stream: u32, body: &str) {
        self.head(stream, "application/json").await;
        self.last_data(stream, body).await;
    }

    /// Gives a stream up.
    pub(crate) async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Says that streams after `last` were not looked at, and that no more are wanted.
    pub(crate) async fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}
