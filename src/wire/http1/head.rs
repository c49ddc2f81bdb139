//! Head: the status and the headers of a response, and what they say of its body and its connection.

use std::mem::{MaybeUninit, take};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{ParserConfig, Status};

use super::{Length, MAX_HEAD, MAX_HEADERS};
use crate::wire::span::span;

/// The most that interim responses may say before the response comes.
const MAX_INTERIM: usize = 16 * MAX_HEAD;

const INVALID: &str = "invalid HTTP header parsed";
const NO_STATUS: &str = "invalid HTTP status-code parsed";
const TOO_LARGE: &str = "message head is too large";

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// How long the body is.
    pub body: Length,
    /// Another request may follow on the connection, once the body has come.
    pub is_kept: bool,
}

/// Reads the head of one response, and skips the interim responses (1xx) before it.
#[derive(Debug)]
pub struct Heads {
    /// The request was one for a head alone.
    is_alone: bool,
    /// An empty map, for its room.
    room: HeaderMap,
    /// A head whose end has not come.
    begun: Vec<u8>,
    /// How much interim responses have said.
    interim: usize,
}

impl Heads {
    /// For the response to a request with this method. The headers get the room of an old map.
    pub fn new(method: &Method, mut room: HeaderMap) -> Self {
        room.clear();
        Self { is_alone: *method == Method::HEAD, room, begun: Vec::new(), interim: 0 }
    }

    /// Reads the bytes that come next. Returns the head when it is whole, and where in these bytes its body begins.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
        if self.begun.is_empty() {
            let (head, used) = self.find(bytes)?;
            if head.is_none() {
                self.begun.extend_from_slice(&bytes[used..]);
            }
            return Ok(head.map(|head| (head, used)));
        }
        let before = self.begun.len();
        self.begun.extend_from_slice(bytes);
        // One that comes byte by byte is not read from its beginning as often.
        if self.begun.len() < MAX_HEAD && !has_empty_line(&self.begun[before.saturating_sub(3)..]) {
            return Ok(None);
        }
        let mut begun = take(&mut self.begun);
        let (head, used) = self.find(&begun)?;
        if head.is_none() {
            begun.drain(..used);
            self.begun = begun;
        }
        Ok(head.map(|head| (head, used.saturating_sub(before))))
    }

    /// What is wrong with what has come, now that nothing more comes; `None`: it is only cut.
    pub fn end(&mut self) -> Option<&'static str> {
        let begun = take(&mut self.begun);
        self.find(&begun).err()
    }

    /// The head that ends within these bytes, and how many of them belong to it and to interim responses before it.
    fn find(&mut self, bytes: &[u8]) -> Result<(Option<Head>, usize), &'static str> {
        let mut used = 0;
        loop {
            let Some((head, length)) = self.parse(&bytes[used..])? else { return Ok((None, used)) };
            used += length;
            if head.is_some() {
                return Ok((head, used));
            }
            self.interim += length;
            if self.interim > MAX_INTERIM {
                return Err("interim responses without an end");
            }
        }
    }

    /// The head at the beginning of these bytes, and its length. It is none if it is that of an interim response.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Option<Head>, usize)>, &'static str> {
        let bytes = &bytes[..bytes.len().min(MAX_HEAD)];
        let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
        let length = match parsed.map_err(text)? {
            Status::Complete(length) => length,
            Status::Partial if bytes.len() == MAX_HEAD => return Err(TOO_LARGE),
            Status::Partial => return Ok(None),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(NO_STATUS)?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some((None, length)));
        }
        let is_old = response.version == Some(0);
        let mut headers = take(&mut self.room);
        headers.reserve(response.headers.len());
        // One block for all values.
        let block = Bytes::copy_from_slice(&bytes[..length]);
        let mut says = Says::default();
        for field in &*response.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| INVALID)?;
            says.coding |= name == TRANSFER_ENCODING;
            says.length |= name == CONTENT_LENGTH;
            says.connection |= name == CONNECTION;
            // An empty one may lie anywhere.
            let value = block.slice(span(field.value, &bytes[..length]).unwrap_or_default());
            headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| INVALID)?);
        }
        let body = self.length(status, is_old, says, &headers)?;
        // What two lengths mean depends on who reads them: what follows may be a part of the body (RFC 9112, 6.3).
        let is_clear = !(says.coding && says.length) && status != StatusCode::SWITCHING_PROTOCOLS;
        let is_kept = is_clear && if says.connection { is_kept(is_old, &headers) } else { !is_old };
        Ok(Some((Some(Head { status, headers, body, is_kept }), length)))
    }

    /// How long the body is (RFC 9112, 6.3).
    fn length(
        &self,
        status: StatusCode,
        is_old: bool,
        says: Says,
        headers: &HeaderMap,
    ) -> Result<Length, &'static str> {
        let is_empty =
            matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_empty || self.is_alone {
            return Ok(Length::Known(0));
        }
        if says.coding {
            // There are no chunks in HTTP/1.0: who reads it may not know them.
            if is_old {
                return Err("unexpected transfer-encoding parsed");
            }
            let last = headers.get_all(TRANSFER_ENCODING).iter().next_back().and_then(|last| last.to_str().ok());
            let last = last.and_then(|codings| codings.rsplit(',').next());
            return Ok(if last.is_some_and(is_chunked) { Length::chunked() } else { Length::UntilEnd });
        }
        if !says.length {
            return Ok(Length::UntilEnd);
        }
        let mut length = None;
        for part in
            headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        {
            let part = number(part).ok_or("invalid content-length parsed")?;
            if length.is_some_and(|length| length != part) {
                return Err("invalid content-length parsed");
            }
            length = Some(part);
        }
        Ok(length.map_or(Length::UntilEnd, Length::Known))
    }
}

/// Which headers there are of those that are about more than the content.
#[derive(Clone, Copy, Default)]
struct Says {
    coding: bool,
    length: bool,
    connection: bool,
}

/// True where a line ends and the next one is empty.
fn has_empty_line(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

fn text(fault: httparse::Error) -> &'static str {
    match fault {
        httparse::Error::Status => NO_STATUS,
        httparse::Error::Version => "invalid HTTP version parsed",
        httparse::Error::TooManyHeaders => TOO_LARGE,
        _ => INVALID,
    }
}

fn is_chunked(coding: &str) -> bool {
    coding.trim().eq_ignore_ascii_case("chunked")
}

/// Digits alone: signs are none.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// Whether the connection stays open (RFC 9112, 9.3).
fn is_kept(is_old: bool, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(word)))
    };
    !says("close") && (!is_old || says("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        Heads::new(&Method::POST, HeaderMap::new())
    }

    fn head(bytes: &str) -> Result<Option<(Head, usize)>, &'static str> {
        heads().read(bytes.as_bytes())
    }

    /// What a head with these headers says of its body: a length, chunks, or neither.
    fn body(first: &str, headers: &str) -> Result<Option<u64>, &'static str> {
        let (head, _) = head(&format!("{first}\r\n{headers}\r\n"))?.ok_or("a part")?;
        match head.body {
            Length::Known(length) => Ok(Some(length)),
            Length::Chunked(_) => Ok(None),
            Length::UntilEnd => Err("until the end"),
        }
    }

    #[test]
    fn a_head_says_how_long_its_body_is() {
        const OK: &str = "HTTP/1.1 200 OK";
        assert_eq!(body(OK, "content-length: 7\r\n"), Ok(Some(7)));
        assert_eq!(body(OK, "content-length: 7\r\nContent-Length: 7, 7\r\n"), Ok(Some(7)));
        assert_eq!(body(OK, ""), Err("until the end"));
        for wrong in ["7, 8", "+7", "", "7 7", "0x7", "18446744073709551616"] {
            assert_eq!(
                body(OK, &format!("content-length: {wrong}\r\n")),
                Err("invalid content-length parsed"),
                "{wrong}"
            );
        }
        assert_eq!(body(OK, "content-length: 7\r\ncontent-length: 8\r\n"), Err("invalid content-length parsed"));
        assert_eq!(body(OK, "transfer-encoding: gzip, Chunked\r\n"), Ok(None));
        assert_eq!(body(OK, "content-length: 7\r\ntransfer-encoding: chunked\r\n"), Ok(None));
        assert_eq!(body(OK, "transfer-encoding: chunked, gzip\r\n"), Err("until the end"));
        assert_eq!(
            body("HTTP/1.0 200 OK", "transfer-encoding: chunked\r\n"),
            Err("unexpected transfer-encoding parsed")
        );
        for empty in ["HTTP/1.1 204 None", "HTTP/1.1 304 Same", "HTTP/1.1 101 Other"] {
            assert_eq!(body(empty, "content-length: 7\r\n"), Ok(Some(0)), "{empty}");
        }
        let alone = Heads::new(&Method::HEAD, HeaderMap::new()).read(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
        assert!(alone.unwrap().unwrap().0.body.is_over());
    }

    #[test]
    fn a_head_says_whether_its_connection_stays() {
        let is_kept = |first: &str, headers: &str| {
            head(&format!("{first}\r\ncontent-length: 0\r\n{headers}\r\n")).unwrap().unwrap().0.is_kept
        };
        assert!(is_kept("HTTP/1.1 200 OK", ""));
        assert!(is_kept("HTTP/1.0 200 OK", "Connection: Keep-Alive\r\n"));
        assert!(!is_kept("HTTP/1.0 200 OK", ""));
        assert!(!is_kept("HTTP/1.1 200 OK", "connection: x, Close\r\nconnection: keep-alive\r\n"));
        assert!(!is_kept("HTTP/1.1 200 OK", "transfer-encoding: chunked\r\n"));
        assert!(!is_kept("HTTP/1.1 101 Other", ""));
    }

    #[test]
    fn interim_responses_are_skipped_as_far_as_they_are_few() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n";
        let all = format!("{interim}HTTP/1.1 200 OK\r\na: b\r\n\r\nbody");
        let (found, from) = head(&all).unwrap().unwrap();
        assert_eq!(
            (found.status, &all[from..], &found.headers["a"]),
            (StatusCode::OK, "body", &HeaderValue::from_static("b"))
        );
        assert_eq!(found.headers.len(), 1);
        let mut endless = heads();
        let reads = (0..).find(|_| endless.read(interim.as_bytes()).is_err()).unwrap();
        assert_eq!(reads, MAX_INTERIM / interim.len());
    }

    #[test]
    fn a_head_is_bounded() {
        let sized = |size: usize| {
            let start = "HTTP/1.1 200 OK\r\na: ";
            [start, &"b".repeat(size - start.len() - 4), "\r\n\r\n"].concat()
        };
        for piece in [1, 1000, MAX_HEAD] {
            let read = |text: &str| {
                let mut heads = heads();
                let mut found = text.as_bytes().chunks(piece).map(|piece| heads.read(piece).map(|head| head.is_some()));
                found.find(|found| *found != Ok(false)).unwrap()
            };
            assert_eq!(read(&sized(MAX_HEAD)), Ok(true), "{piece}");
            assert_eq!(read(&sized(MAX_HEAD + 1)), Err(TOO_LARGE), "{piece}");
        }
        let many = |count| head(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count)));
        assert_eq!(many(MAX_HEADERS).unwrap().unwrap().0.headers.len(), MAX_HEADERS);
        assert_eq!(many(MAX_HEADERS + 1).unwrap_err(), TOO_LARGE);
    }

    #[test]
    fn what_is_no_head_is_known_from_one_that_is_cut() {
        for (begun, wrong) in [
            ("HTTP/1.1 200 OK\r\na", None),
            ("", None),
            ("\r\n", None),
            ("a: b\r\n", Some("invalid HTTP version parsed")),
        ] {
            let mut heads = heads();
            let at_once = heads.read(begun.as_bytes()).err();
            assert_eq!(at_once.or_else(|| heads.end()), wrong, "{begun:?}");
        }
        let mut heads = heads();
        for piece in ["HTTP/1.", "2 200 OK\r\n"] {
            assert!(matches!(heads.read(piece.as_bytes()), Ok(None)), "{piece:?}");
        }
        assert_eq!(heads.end(), Some("invalid HTTP version parsed"));
    }
}
