//! One end of a TCP connection, spoken by hand: what is written is what goes out, in these pieces.
//!
//! Callers and providers of the tests are both made of it. It reads HTTP/1.1 framing strictly, and judges nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// How long a test waits for what must happen. Nothing takes nearly as long; this is for a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, event).await {
        Ok(happened) => happened,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// One end of a connection. Dropped, it is closed in order.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Read from the connection and not asked for yet.
    ahead: BytesMut,
    framing: Framing,
    /// It is closed the hard way: the peer gets a reset, and what was not sent is lost.
    resets: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.resets.load(Ordering::SeqCst) {
            self.stream.set_zero_linger().expect("a TCP connection");
        }
    }
}

/// How much of the current body is still to come.
#[derive(Debug)]
enum Framing {
    Over,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A request or a response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    headers: Vec<(String, String)>,
    /// The body, chunking taken off.
    pub(crate) body: Bytes,
}

/// The connection ended where it should not have.
#[derive(Debug)]
pub(crate) struct Cut(pub(crate) String);

impl Message {
    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    /// The only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(found.next().is_none(), "{name} came twice: {:?}", self.headers);
        first.map(|(_, value)| &**value)
    }

    /// Everything but the body, as text.
    pub(crate) fn head(&self) -> String {
        format!("{}\n{:?}", self.start, self.headers)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.body))
    }
}

impl Socket {
    /// Connects to a gateway.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(soon("a connection", TcpStream::connect(address)).await.expect("the gateway accepts"))
    }

    /// Takes an end of a connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Every write leaves at once, so that the pieces of a script are the pieces on the wire.
        stream.set_nodelay(true).expect("a TCP connection");
        Self { stream, ahead: BytesMut::new(), framing: Framing::Over, resets: Arc::default() }
    }

    /// Dropped once `resets` is true, it is reset.
    pub(crate) fn dies_with(mut self, resets: Arc<AtomicBool>) -> Self {
        self.resets = resets;
        self
    }

    /// Writes all of it.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the peer still reads");
    }

    /// Writes all of it, or learns that the peer has gone.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("a write", self.stream.write_all(bytes.as_ref())).await
    }

    /// Writes as much as fits without waiting for the peer longer than `wait`; returns how much that was.
    pub(crate) async fn send_until_blocked(&mut self, bytes: &[u8], wait: Duration) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match timeout(wait, self.stream.write(&bytes[sent..])).await {
                Ok(written) => sent += written.expect("the peer is still there"),
                Err(_) => break,
            }
        }
        sent
    }

    /// Asks and reads the answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.message().await
    }

    /// The next request or response, whole.
    pub(crate) async fn message(&mut self) -> Message {
        let mut message = self.head().await;
        message.body = self.body().await;
        message
    }

    /// As [`Socket::message`], for a peer that may leave.
    pub(crate) async fn try_message(&mut self) -> Result<Message, Cut> {
        let mut message = self.try_head().await?;
        message.body = self.try_body().await?;
        Ok(message)
    }

    /// The head of the next request or response. Its body is read afterwards.
    pub(crate) async fn head(&mut self) -> Message {
        self.try_head().await.unwrap_or_else(|cut| panic!("no head: {}", cut.0))
    }

    async fn try_head(&mut self) -> Result<Message, Cut> {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let head = self.ahead.split_to(end + 4);
        let text = String::from_utf8(head[..end].to_vec()).expect("a head of text");
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let headers = lines.map(|line| header(line).expect("a header")).collect();
        let message = Message { start, headers, body: Bytes::new() };
        self.framing = framing(&message);
        Ok(message)
    }

    /// The rest of the current body.
    pub(crate) async fn body(&mut self) -> Bytes {
        self.try_body().await.unwrap_or_else(|cut| panic!("no whole body: {}", cut.0))
    }

    /// The rest of the current body, if all of it comes.
    pub(crate) async fn try_body(&mut self) -> Result<Bytes, Cut> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Reads the current body until it has given `expected`, byte for byte, and no further.
    pub(crate) async fn receive(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            match self.piece().await {
                Ok(Some(piece)) => got.extend_from_slice(&piece),
                Ok(None) => break,
                Err(cut) => panic!("{} after {:?}", cut.0, String::from_utf8_lossy(&got)),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// Some more of the current body; `None` when it has ended as it should.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Cut> {
        match self.framing {
            Framing::Over => Ok(None),
            Framing::Length(0) => {
                self.framing = Framing::Over;
                Ok(None)
            }
            Framing::Length(left) => {
                self.fill_if_empty().await?;
                let piece = self.ahead.split_to(left.min(self.ahead.len()));
                self.framing = Framing::Length(left - piece.len());
                Ok(Some(piece.freeze()))
            }
            Framing::UntilClose => match self.fill_if_empty().await {
                Ok(()) => Ok(Some(self.ahead.split().freeze())),
                Err(cut) if cut.0 == EOF => Ok(None),
                Err(cut) => Err(cut),
            },
            Framing::Chunked => self.chunk().await,
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        let end = loop {
            if let Some(end) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let size = std::str::from_utf8(&self.ahead[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.expect("the size of a chunk");
        while self.ahead.len() < end + 2 + size + 2 {
            self.fill().await?;
        }
        self.ahead.advance(end + 2);
        let piece = self.ahead.split_to(size).freeze();
        assert_eq!(&self.ahead.split_to(2)[..], b"\r\n", "a chunk ends where it said");
        if size == 0 {
            self.framing = Framing::Over;
            return Ok(None);
        }
        Ok(Some(piece))
    }

    /// Waits until the peer has closed or reset the connection, and returns what it still said before.
    pub(crate) async fn closed(&mut self) -> Bytes {
        while self.fill().await.is_ok() {}
        self.ahead.split().freeze()
    }

    /// Reads on until the connection ends; the error says how.
    async fn fill(&mut self) -> Result<(), Cut> {
        match soon("something from the peer", self.stream.read_buf(&mut self.ahead)).await {
            Ok(0) => Err(Cut(EOF.into())),
            Ok(_) => Ok(()),
            Err(fault) => Err(Cut(fault.to_string())),
        }
    }

    async fn fill_if_empty(&mut self) -> Result<(), Cut> {
        if self.ahead.is_empty() { self.fill().await } else { Ok(()) }
    }

    /// Says that nothing more will be said, and goes on listening.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the peer is still there");
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.resets.store(true, Ordering::SeqCst);
    }

    /// Sends these bytes one by one, over and over, until the peer has ended the connection; returns what it said.
    pub(crate) async fn drip(&mut self, bytes: &[u8], every: Duration) -> Bytes {
        let (mut read, mut write) = self.stream.split();
        let mut ticks = interval(every);
        let mut next = bytes.iter().cycle();
        let dripping = async {
            loop {
                ticks.tick().await;
                // A failed write is not the end: what the peer said is still to be read.
                let _ = write.write_all(&[*next.next().expect("some bytes")]).await;
            }
        };
        let listening = async {
            // Who does not stop sending may be reset rather than told that this is the end.
            while read.read_buf(&mut self.ahead).await.is_ok_and(|count| count > 0) {}
        };
        tokio::select! {
            () = dripping => {}
            () = soon("the end of the connection", listening) => {}
        }
        self.ahead.split().freeze()
    }
}

const EOF: &str = "the peer closed the connection";

fn framing(message: &Message) -> Framing {
    let is_response = message.start.starts_with("HTTP/");
    if is_response && (matches!(message.status(), 204 | 304) || message.status() < 200) {
        return Framing::Over;
    }
    match (message.header("transfer-encoding"), message.header("content-length")) {
        (Some("chunked"), None) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.parse().expect("a length")),
        (None, None) if is_response => Framing::UntilClose,
        (None, None) => Framing::Over,
        other => panic!("two ways to end a body: {other:?}"),
    }
}
