//! Request: what is written of one. Its body is not copied.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, buf::Chain};
use http::header;
use http::request::Parts;
use tokio::io::AsyncWrite;

use crate::provider::connector::Connected;

/// Room for the first line, for a header as it mostly is, and for one that is longer: that with the key.
const FIRST_LINE: usize = 256;
const HEADER: usize = 48;

/// A request that is being written.
pub(super) struct Outgoing(Chain<Cursor<Vec<u8>>, Bytes>);

impl Outgoing {
    /// Nothing is written yet.
    pub(super) fn new(parts: &Parts, body: Bytes) -> Self {
        Self(Cursor::new(head(parts, body.len())).chain(body))
    }

    /// Writes as much as there is room for. Ready when nothing is left.
    pub(super) fn poll_write(&mut self, stream: &mut Connected, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while self.0.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = self.0.chunks_vectored(&mut slices);
            let written = ready!(stream.as_mut().poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.0.advance(written);
        }
        stream.poll_flush(cx)
    }
}

/// The head of a request whose body is as long as this.
fn head(parts: &Parts, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(FIRST_LINE + parts.headers.len() * HEADER);
    let mut put = |text: &[u8]| head.extend_from_slice(text);
    put(parts.method.as_str().as_bytes());
    put(b" ");
    put(parts.uri.path().as_bytes());
    if let Some(query) = parts.uri.query() {
        put(b"?");
        put(query.as_bytes());
    }
    put(b" HTTP/1.1\r\n");
    // Not those that would say how long the body is: it is as long as it is.
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            put(name.as_str().as_bytes());
            put(b": ");
            put(value.as_bytes());
            put(b"\r\n");
        }
    }
    if length > 0 {
        put(b"content-length: ");
        put(itoa::Buffer::new().format(length).as_bytes());
        put(b"\r\n");
    }
    put(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head_of(request: Request<&'static str>) -> String {
        let (parts, body) = request.into_parts();
        let head = head(&parts, body.len());
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_head_has_all_headers_and_the_length_that_the_body_has() {
        let request = Request::post("/v1/chat?x=1").header("b", "1").header("a", "2").header("b", "3");
        let request = request.header("content-length", "7").header("transfer-encoding", "chunked").body("{}").unwrap();
        let head = head_of(request);
        assert_eq!(head, "POST /v1/chat?x=1 HTTP/1.1\r\nb: 1\r\nb: 3\r\na: 2\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(head_of(Request::get("/").body("").unwrap()), "GET / HTTP/1.1\r\n\r\n");
    }
}
