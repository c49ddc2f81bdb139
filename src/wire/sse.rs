//! Server-sent events: from chunks of bytes, split anywhere, to whole events that keep their own bytes.
//!
//! Framing follows the WHATWG HTML standard, section 9.2.6. It does not know what an event's data means.

use std::ops::Range;

use bytes::Bytes;

use crate::model::reply::{Event, EventData, EventKind};
use crate::wire::concat;
use crate::wire::json::fields::compact;

/// Cuts a byte stream into events. An event's bytes are never copied unless a chunk boundary runs through it, and each of its
/// lines is looked at once.
pub struct Decoder {
    pending: Bytes,
    /// Where the first line that may still be incomplete starts in `pending`, and what the lines before it say.
    line: usize,
    fields: Fields,
    is_start: bool,
    /// True once no more bytes come.
    is_over: bool,
    limit: usize,
}

/// One event, as it stood on the wire.
#[derive(Debug)]
pub struct Frame {
    /// All its bytes, the blank line that ends it included.
    pub raw: Bytes,
    name: Option<Range<usize>>,
    data: EventData,
}

/// What the lines of one event say.
#[derive(Debug, Default)]
struct Fields {
    name: Option<Range<usize>>,
    data: Data,
}

/// The data of an event whose lines are still coming.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    At(Range<usize>),
    Joined(Vec<u8>),
}

/// An event grew beyond the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Decoder {
    /// A decoder that accepts events of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { pending: Bytes::new(), line: 0, fields: Fields::default(), is_start: true, is_over: false, limit }
    }

    /// Adds what came from the network.
    pub fn push(&mut self, chunk: Bytes) {
        self.pending = concat::join(std::mem::take(&mut self.pending), chunk);
    }

    /// Notes that no more bytes come: a carriage return at the very end is no half of a CRLF.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// The line that the last byte ends, where that is a carriage return.
    fn last_line(&self) -> Option<(Range<usize>, usize)> {
        let last = self.pending.len().checked_sub(1).filter(|last| self.is_over && *last >= self.line)?;
        (self.pending[last] == b'\r').then_some((self.line..last, last + 1))
    }

    /// The next whole event, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some((text, next)) = line_at(&self.pending, self.line).or_else(|| self.last_line()) {
            if text.is_empty() {
                (self.line, self.is_start) = (0, false);
                return Ok(Some(std::mem::take(&mut self.fields).of(self.pending.split_to(next))));
            }
            let is_marked = self.is_start && self.line == 0;
            self.line = next;
            self.fields.note(&self.pending, if is_marked { unmarked(&self.pending, text) } else { text });
        }
        if self.pending.len() > self.limit { Err(TooLong) } else { Ok(None) }
    }
}

impl Frame {
    fn parse(raw: Bytes) -> Self {
        let mut at = if raw.starts_with(BOM) { BOM.len() } else { 0 };
        let mut fields = Fields::default();
        while let Some((text, next)) = line_at(&raw, at) {
            at = next;
            fields.note(&raw, text);
        }
        fields.of(raw)
    }

    /// The `event:` name.
    pub fn name(&self) -> Option<&str> {
        self.name.clone().and_then(|range| std::str::from_utf8(&self.raw[range]).ok())
    }

    /// The `data:` lines joined; `None` for an event that has none (comments, a bare `id:`).
    pub fn data(&self) -> Option<&[u8]> {
        self.data.of(&self.raw)
    }

    /// The event that these bytes are.
    pub fn into_event(self, kind: EventKind) -> Event {
        Event { raw: self.raw, data: self.data, kind, rest: None }
    }
}

impl Fields {
    /// Notes what one more line says.
    fn note(&mut self, raw: &[u8], line: Range<usize>) {
        let (field, value) = split_field(raw, line);
        match &raw[field.clone()] {
            b"data" => self.data.add(raw, value),
            b"event" => self.name = Some(value),
            // llama.cpp before 2025 told what went wrong in a field of this name.
            b"error" => {
                self.data.add(raw, value);
                self.name = Some(field);
            }
            _ => {}
        }
    }

    /// The event with these bytes.
    fn of(self, raw: Bytes) -> Frame {
        let data = match self.data {
            Data::None => EventData::None,
            Data::At(range) => EventData::At(range),
            Data::Joined(bytes) => EventData::Joined(bytes.into()),
        };
        Frame { raw, name: self.name, data }
    }
}

impl Data {
    /// Adds one more line.
    fn add(&mut self, raw: &[u8], value: Range<usize>) {
        let mut joined = match std::mem::take(self) {
            Data::None => {
                *self = Data::At(value);
                return;
            }
            Data::At(first) => raw[first].to_vec(),
            Data::Joined(bytes) => bytes,
        };
        joined.push(b'\n');
        joined.extend_from_slice(&raw[value]);
        *self = Data::Joined(joined);
    }
}

/// The event that these bytes are: one whole event, as it stood on the wire.
pub fn event(raw: Bytes, kind: EventKind) -> Event {
    Frame::parse(raw).into_event(kind)
}

/// An event whose data `write` adds, on one line of about `size` bytes; without a name where that is empty.
pub(crate) fn compose(name: &str, size: usize, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) -> Event {
    let mut raw = Vec::with_capacity(name.len() + size + 17);
    if !name.is_empty() {
        raw.extend_from_slice(b"event: ");
        raw.extend_from_slice(name.as_bytes());
        raw.push(b'\n');
    }
    raw.extend_from_slice(b"data: ");
    let start = raw.len();
    write(&mut raw);
    let data = EventData::At(start..raw.len());
    raw.extend_from_slice(b"\n\n");
    Event { raw: raw.into(), data, kind, rest: None }
}

/// The event that ends a stream with these bytes; `None` where there are none.
pub fn terminator(bytes: &'static [u8]) -> Option<Event> {
    (!bytes.is_empty()).then(|| event(Bytes::from_static(bytes), EventKind::Done))
}

/// The `event:` name of an event.
pub fn name(event: &Event) -> Option<String> {
    Frame::parse(event.raw.clone()).name().map(str::to_owned)
}

/// True when a body begins like a stream of events: with a field's name, or a comment.
pub fn looks_like_events(start: &[u8]) -> bool {
    let start = start.strip_prefix(BOM).unwrap_or(start).trim_ascii_start();
    [&b":"[..], b"data:", b"event:", b"id:", b"retry:"].iter().any(|field| start.starts_with(field))
}

/// The same event with other data, which is JSON. All else of it stays: its other lines, and how they end.
pub fn with_data(event: &Event, data: &str, kind: EventKind) -> Event {
    let data = compact(data);
    let (before, after) = match &event.data {
        EventData::At(range) => (event.raw[..range.start].to_vec(), event.raw.slice(range.end..)),
        EventData::None | EventData::Joined(_) => (other_lines(&event.raw), Bytes::from_static(b"\n\n")),
    };
    let at = before.len()..before.len() + data.len();
    Event { raw: [&before, data.as_bytes(), &after].concat().into(), data: EventData::At(at), kind, rest: event.rest }
}

/// The lines of an event that hold no data, and the beginning of one that will.
fn other_lines(event: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(event.len() + 16);
    let mut at = if event.starts_with(BOM) { BOM.len() } else { 0 };
    while let Some((line, next)) = line_at(event, at) {
        at = next;
        let (field, _) = split_field(event, line.clone());
        if !line.is_empty() && &event[field] != b"data" {
            raw.extend_from_slice(&event[line]);
            raw.push(b'\n');
        }
    }
    raw.extend_from_slice(b"data: ");
    raw
}

/// The mark that a text in UTF-8 may begin with.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A text's first line without that mark.
fn unmarked(raw: &[u8], line: Range<usize>) -> Range<usize> {
    if raw.starts_with(BOM) { line.start + BOM.len()..line.end } else { line }
}

/// The line that begins at `start` and where the next one begins; `None` while its end has not come.
///
/// A carriage return at the very end may be half of a CRLF, so it does not count as an end yet: otherwise the line feed
/// to come would look like a blank line.
fn line_at(bytes: &[u8], start: usize) -> Option<(Range<usize>, usize)> {
    if bytes.get(start) == Some(&b'\n') {
        return Some((start..start, start + 1));
    }
    let end = start + memchr::memchr2(b'\n', b'\r', bytes.get(start..)?)?;
    match (bytes[end], bytes.get(end + 1)) {
        (b'\n', _) => Some((start..end, end + 1)),
        (_, Some(b'\n')) => Some((start..end, end + 2)),
        (_, Some(_)) => Some((start..end, end + 1)),
        (_, None) => None,
    }
}

/// `field: value`, without one space after the colon; a line without a colon is a field without a value.
fn split_field(raw: &[u8], line: Range<usize>) -> (Range<usize>, Range<usize>) {
    let text = &raw[line.clone()];
    // Nearly all lines are data.
    if text.starts_with(b"data: ") {
        return (line.start..line.start + 4, line.start + 6..line.end);
    }
    let Some(colon) = memchr::memchr(b':', text) else { return (line.clone(), line.end..line.end) };
    let space = usize::from(text.get(colon + 1) == Some(&b' '));
    (line.start..line.start + colon, line.start + colon + 1 + space..line.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_in_a_field_of_that_name_is_an_event_of_that_name() {
        let mut decoder = Decoder::new(1024);
        decoder.push(Bytes::from_static(b"error: {\"code\":500,\"message\":\"no slot\"}\n\ndata: x\n\n"));
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(frame.name(), Some("error"));
        assert_eq!(frame.data(), Some(&b"{\"code\":500,\"message\":\"no slot\"}"[..]));
        assert_eq!(decoder.next_frame().unwrap().unwrap().name(), None);
    }

    fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = Decoder::new(1 << 20);
        let mut all = Vec::new();
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = decoder.next_frame().unwrap() {
                all.push(frame);
            }
        }
        all
    }

    fn texts(frames: &[Frame]) -> Vec<(Option<String>, Option<String>)> {
        frames
            .iter()
            .map(|frame| {
                (frame.name().map(str::to_owned), frame.data().map(|data| String::from_utf8_lossy(data).into_owned()))
            })
            .collect()
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        let got = frames(&[
            b"\xEF\xBB\xBFevent: a\ndata:x\ndata:  y\nid: 7\n\n: note\n\ndata\n\nretry: 1\r\ndata: z\r\n\r\n",
        ]);
        let data = |text: &str| Some(text.to_owned());
        assert_eq!(texts(&got), [(data("a"), data("x\n y")), (None, None), (None, data("")), (None, data("z"))]);
    }

    #[test]
    fn an_event_that_was_cut_before_its_blank_line_is_none() {
        for cut in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r\n", "data: x\ndata: y\n", "\u{feff}data: x\r"] {
            assert!(frames(&[cut.as_bytes()]).is_empty(), "{cut:?}");
        }
    }

    #[test]
    fn the_last_line_may_end_in_a_carriage_return() {
        for (text, is_event) in [
            ("data: x\r\r", true),
            ("event: a\rdata: x\r\r", true),
            ("data: x\r\n\r", true),
            ("data: x\n\r", true),
            ("data: y\r\rdata: x\r\r", true),
            ("data: x\r", false),
            ("data: x", false),
            ("data: x\r\n", false),
        ] {
            let mut decoder = Decoder::new(100);
            decoder.push(Bytes::copy_from_slice(text.as_bytes()));
            let mut before = Vec::new();
            while let Some(frame) = decoder.next_frame().unwrap() {
                before.extend_from_slice(&frame.raw);
            }
            decoder.end();
            let last = decoder.next_frame().unwrap();
            assert_eq!(last.as_ref().map(|frame| frame.data()), is_event.then_some(Some(&b"x"[..])), "{text:?}");
            before.extend(last.into_iter().flat_map(|frame| frame.raw));
            assert_eq!(before == text.as_bytes(), is_event, "{text:?}");
            assert!(decoder.next_frame().unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = Decoder::new(10);
        decoder.push(Bytes::from_static(b"data: 0123456789"));
        assert_eq!(decoder.next_frame().unwrap_err(), TooLong);
    }

    proptest! {
        /// Wherever the network cuts, the events are the same and no byte is lost: in the middle of a character, of
        /// `data:`, of CRLF.
        #[test]
        fn events_do_not_depend_on_chunk_boundaries(
            events in proptest::collection::vec(("(data|event|id|:)", "[a-zé€😀: ]{0,12}"), 1..8),
            ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let mut text = String::new();
            for (field, value) in &events {
                text.push_str(&format!("{field}: {value}{ending}data: {value}{ending}{ending}"));
            }
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut chunks, mut from) = (Vec::new(), 0);
            for cut in cuts {
                chunks.push(&bytes[from..cut]);
                from = cut;
            }
            chunks.push(&bytes[from..]);

            let (whole, cut) = (frames(&[bytes]), frames(&chunks));
            prop_assert_eq!(texts(&whole), texts(&cut));
            let joined: Vec<u8> = cut.iter().flat_map(|frame| frame.raw.to_vec()).collect();
            prop_assert!(bytes.starts_with(&joined), "{:?} became {:?}", text, String::from_utf8_lossy(&joined));
        }

        /// However an event comes, its lines say what they say to whoever reads it as a whole.
        #[test]
        fn an_event_says_the_same_as_when_it_is_read_again(
            pieces in proptest::collection::vec("(data|event|id|\u{feff}|:| |x|\n|\r|\r\n|\n\n|\r\r){1,6}", 0..12),
        ) {
            let chunks: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            for (index, frame) in frames(&chunks).into_iter().enumerate() {
                if index == 0 || !frame.raw.starts_with(BOM) {
                    let again = Frame::parse(frame.raw.clone());
                    prop_assert_eq!((frame.name(), frame.data()), (again.name(), again.data()));
                    prop_assert_eq!(frame.data, again.data);
                }
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let slices: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = frames(&slices);
        }
    }
}
