//! Laws of readers that get their bytes in pieces: where the network cuts must not matter.

use bytes::Bytes;
use http::{HeaderMap, Method};
use tidegate::server::connection::framing::{Framing, Stop};
use tidegate::wire::http1::Heads;
use tidegate::wire::sse::{Decoder, Frame};

use super::choose;

/// The largest event, small enough that inputs reach it.
const LIMIT: usize = 200;

/// An event as the gateway sees it.
type Seen = (Bytes, Option<String>, Option<Vec<u8>>);

fn seen(frame: &Frame) -> Seen {
    (frame.raw.clone(), frame.name().map(str::to_owned), frame.data().map(<[u8]>::to_vec))
}

/// Every event until the end, or until one is too long; and whether one was.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Seen>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(seen(&frame)),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Bytes cut anywhere give the same events; no byte is lost, added or changed but for those of an event that has no end.
pub(super) fn sse(data: &[u8]) {
    let (size, data) = choose(data);
    let (whole, was_too_long) = events(std::iter::once(data));
    let (cut, was_cut_too_long) = events(data.chunks(size.max(1)));
    if !was_too_long && !was_cut_too_long {
        assert_eq!(whole, cut, "in pieces of {} bytes", size.max(1));
        let passed: Vec<u8> = whole.iter().flat_map(|(raw, ..)| raw.to_vec()).collect();
        assert!(data.starts_with(&passed), "bytes were lost, changed or added");
        let rest = &data[passed.len()..];
        assert!(!rest.windows(2).any(|pair| pair == b"\n\n"), "a whole event was lost");
    }
    // Once it is known to be over, what ends in a blank line is an event, whatever the line ends in.
    if !was_too_long && [&b"\n\n"[..], b"\r\r", b"\r\n\r\n", b"\r\n\r"].iter().any(|end| data.ends_with(end)) {
        let mut decoder = Decoder::new(data.len());
        decoder.push(Bytes::copy_from_slice(data));
        decoder.end();
        let mut rest = data.len();
        while let Ok(Some(frame)) = decoder.next_frame() {
            rest -= frame.raw.len();
        }
        assert_eq!(rest, 0, "the last event was lost");
    }
    // In pieces, what is too long is noticed at the latest one piece after the limit, and not before it.
    let longest = cut.iter().map(|(raw, ..)| raw.len()).max().unwrap_or(0);
    assert!(longest <= LIMIT + size.max(1) + 2, "an event of {longest} bytes passed");
    assert!(!was_cut_too_long || data.len() > LIMIT);
}

/// How many bytes are fine, through all messages in them, and whether that is all of them.
fn accepted(framing: &mut Framing, bytes: &[u8]) -> (usize, bool) {
    let mut fine = 0;
    loop {
        let (count, stop) = framing.accept(&bytes[fine..]);
        fine += count;
        assert!(fine <= bytes.len());
        assert!(count > 0 || stop != Stop::Message, "a message of no bytes");
        if stop != Stop::Message {
            return (fine, stop == Stop::Empty);
        }
        assert!(framing.is_between());
    }
}

/// Bytes cut anywhere are fine up to the same byte, and after an unclear one nothing is.
pub(super) fn framing(data: &[u8]) {
    let (size, data) = choose(data);
    let (fine, _) = accepted(&mut Framing::default(), data);
    let mut in_pieces = Framing::default();
    let mut passed = 0;
    for piece in data.chunks(size.max(1)) {
        let (count, is_fine) = accepted(&mut in_pieces, piece);
        passed += count;
        if !is_fine {
            let more = in_pieces.accept(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(more, (0, Stop::Unclear), "it went on after something unclear");
            break;
        }
    }
    assert_eq!(fine, passed, "in pieces of {} bytes", size.max(1));
}

/// What a response is, however it came.
#[derive(Debug, PartialEq)]
struct Answer {
    /// Its status, headers, content, and whether another may follow it.
    read: Option<(u16, HeaderMap, Vec<u8>, bool)>,
    wrong: Option<&'static str>,
    /// How many bytes are its own.
    used: usize,
}

fn answer<'a>(method: &Method, pieces: impl Iterator<Item = &'a [u8]>) -> Answer {
    let mut heads = Heads::new(method, HeaderMap::new());
    let (mut head, mut content, mut wrong, mut used) = (None, Vec::new(), None, 0);
    for piece in pieces {
        let mut bytes = piece.to_vec();
        if head.is_none() {
            match heads.read(&bytes) {
                Ok(None) => used += bytes.len(),
                Ok(Some((found, from))) => {
                    head = Some(found);
                    used += from;
                    bytes.drain(..from);
                }
                Err(wrong) => return Answer { read: None, wrong: Some(wrong), used: 0 },
            }
        }
        if let Some(head) = head.as_mut().filter(|_| wrong.is_none()) {
            let piece = head.body.read(&mut bytes);
            content.extend_from_slice(&bytes[piece.content]);
            used += piece.used;
            wrong = piece.wrong;
        }
    }
    let Some(head) = head else { return Answer { read: None, wrong: heads.end(), used: 0 } };
    let wrong = wrong.or(head.body.end().err());
    Answer { read: Some((head.status.as_u16(), head.headers, content, head.is_kept)), wrong, used }
}

/// Bytes cut anywhere are the same response, and what follows it is not a part of it.
pub(super) fn response(data: &[u8]) {
    let (size, data) = choose(data);
    let method = if size % 8 == 7 { Method::HEAD } else { Method::POST };
    let whole = answer(&method, std::iter::once(data));
    assert_eq!(whole, answer(&method, data.chunks(size.max(1))), "in pieces of {} bytes", size.max(1));
    let content = whole.read.as_ref().map_or(0, |(_, _, content, _)| content.len());
    assert!(content <= whole.used && whole.used <= data.len(), "{content} of {}", whole.used);
    if whole.wrong.is_none() && whole.used < data.len() && whole.read.is_some() {
        assert_eq!(whole, answer(&method, std::iter::once(&data[..whole.used])), "what follows changes it");
    }
}
