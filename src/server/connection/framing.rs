//! Framing: parses the framing of an HTTP/1 connection and finds what another parser might read differently
//! (request smuggling).
//!
//! hyper accepts bare line feeds, a length beside chunks, and any number of hosts. A proxy in front of the gateway
//! may take such a request for two, and two callers' requests for one (RFC 9112, 11.2). It does not know what is
//! requested; it finds the end of each message and leaves the rest to hyper. After an upgrade there are no
//! messages, and the connection (`Busy::hand_over`) no longer uses it.

/// The longest line that is kept while its end has not come: as long as a whole head may be made.
const LONGEST_LINE: usize = 1 << 20;

/// Where in its messages a connection stands.
#[derive(Default)]
pub struct Framing {
    position: Position,
    head: Head,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Position {
    #[default]
    Head,
    /// So much of a body is left.
    Body(u64),
    ChunkSize,
    /// So much of a chunk is left.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// Nothing that comes can be understood.
    Lost,
}

/// What a head has said so far.
#[derive(Default)]
struct Head {
    has_begun: bool,
    is_old: bool,
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
}

/// Ambiguous.
struct Unclear;

/// Why [`Framing::accept`] went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There are no more bytes.
    Empty,
    /// A message has ended.
    Message,
    /// The next byte is where they become unclear. Nothing after it is accepted.
    Unclear,
}

impl Framing {
    /// How many of these bytes are fine and belong to the current message, and why it is not more.
    pub fn accept(&mut self, bytes: &[u8]) -> (usize, Stop) {
        let mut at = 0;
        while at < bytes.len() {
            match self.position {
                Position::Lost => return (at, Stop::Unclear),
                Position::Body(left) => {
                    at += skip(left, bytes.len() - at, |left| {
                        self.position = if left > 0 { Position::Body(left) } else { Position::Head }
                    });
                    if matches!(self.position, Position::Head) {
                        return (at, Stop::Message);
                    }
                }
                Position::Chunk(left) => {
                    at += skip(left, bytes.len() - at, |left| {
                        self.position = if left > 0 { Position::Chunk(left) } else { Position::ChunkEnd }
                    });
                }
                Position::Head | Position::ChunkSize | Position::ChunkEnd | Position::Trailer => {
                    let Some(length) = memchr::memchr(b'\n', &bytes[at..]) else {
                        self.line.extend_from_slice(&bytes[at..]);
                        let is_too_long = self.line.len() > LONGEST_LINE;
                        return if is_too_long { (at, Stop::Unclear) } else { (bytes.len(), Stop::Empty) };
                    };
                    let end = at + length;
                    at = end + 1;
                    if let Some(field) = self.whole_field(&bytes[end - length..end]) {
                        if self.head.read_field(field).is_err() {
                            self.position = Position::Lost;
                            return (end, Stop::Unclear);
                        }
                        continue;
                    }
                    match self.end_line(&bytes[end - length..end]) {
                        Ok(false) => {}
                        Ok(true) => return (at, Stop::Message),
                        Err(Unclear) => {
                            self.position = Position::Lost;
                            return (end, Stop::Unclear);
                        }
                    }
                }
            }
        }
        (at, Stop::Empty)
    }

    /// True between messages.
    pub fn is_between(&self) -> bool {
        matches!(self.position, Position::Head) && !self.head.has_begun && self.line.is_empty()
    }

    /// The header in a line that came whole, as nearly all do: it changes nothing but the head.
    fn whole_field<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let is_field = matches!(self.position, Position::Head) && self.head.has_begun && self.line.is_empty();
        line.strip_suffix(b"\r").filter(|line| is_field && !line.is_empty())
    }

    /// A line has ended in a line feed; these are its last bytes. True: so has its message.
    fn end_line(&mut self, rest: &[u8]) -> Result<bool, Unclear> {
        if self.line.is_empty() {
            return self.read_line(rest);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(rest);
        self.read_line(&line)
    }

    fn read_line(&mut self, line: &[u8]) -> Result<bool, Unclear> {
        let line = line.strip_suffix(b"\r").ok_or(Unclear)?;
        let is_within = self.head.has_begun || matches!(self.position, Position::Trailer);
        self.position = match self.position {
            Position::Head if line.is_empty() && !self.head.has_begun => Position::Head,
            Position::Head if line.is_empty() => std::mem::take(&mut self.head).end()?,
            Position::Head => {
                self.head.read(line)?;
                Position::Head
            }
            Position::ChunkSize => match chunk_size(line)? {
                0 => Position::Trailer,
                size => Position::Chunk(size),
            },
            Position::ChunkEnd if line.is_empty() => Position::ChunkSize,
            Position::Trailer if line.is_empty() => Position::Head,
            Position::Trailer => Position::Trailer,
            Position::ChunkEnd | Position::Body(_) | Position::Chunk(_) | Position::Lost => return Err(Unclear),
        };
        Ok(is_within && !self.head.has_begun && matches!(self.position, Position::Head))
    }
}

/// Skips what there is of `left`, and says what is left then.
fn skip(left: u64, there: usize, then: impl FnOnce(u64)) -> usize {
    let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(there);
    then(left - skipped as u64);
    skipped
}

impl Head {
    fn read(&mut self, line: &[u8]) -> Result<(), Unclear> {
        if !self.has_begun {
            self.has_begun = true;
            self.is_old = line.ends_with(b"HTTP/1.0");
            return Ok(());
        }
        self.read_field(line)
    }

    fn read_field(&mut self, line: &[u8]) -> Result<(), Unclear> {
        // Names are short: a call of `memchr` costs more than to look.
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Unclear)?;
        let (name, value) = (&line[..colon], || line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_second = self.length.replace(number(value(), 10)?).is_some();
            return if is_second { Err(Unclear) } else { Ok(()) };
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_second = std::mem::replace(&mut self.is_chunked, true);
            return if is_second || !value().eq_ignore_ascii_case(b"chunked") { Err(Unclear) } else { Ok(()) };
        }
        self.hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
        Ok(())
    }

    /// What follows the head.
    fn end(self) -> Result<Position, Unclear> {
        // RFC 9112, 3.2: one, and in HTTP/1.0 perhaps none.
        if self.hosts > 1 || (self.hosts == 0 && !self.is_old) {
            return Err(Unclear);
        }
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Unclear),
            (None, true) => Ok(Position::ChunkSize),
            (None | Some(0), false) => Ok(Position::Head),
            (Some(length), false) => Ok(Position::Body(length)),
        }
    }
}

/// The size of a chunk, in front of its extensions (RFC 9112, 7.1).
fn chunk_size(line: &[u8]) -> Result<u64, Unclear> {
    let end = memchr::memchr(b';', line).unwrap_or(line.len());
    number(line[..end].trim_ascii_end(), 16)
}

/// Digits and nothing else: `from_str_radix` would take a sign.
fn number(digits: &[u8], radix: u32) -> Result<u64, Unclear> {
    let text = std::str::from_utf8(digits).map_err(|_| Unclear)?;
    match text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => u64::from_str_radix(text, radix).map_err(|_| Unclear),
        false => Err(Unclear),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINE: &str = "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.0\r\n\r\n\
                        PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n3;a=b\r\n\n\n\n\r\n0\r\nx: y\r\n\r\n";

    /// How many bytes are accepted in all when they come in these pieces.
    fn accepted(bytes: &[u8], cuts: &[usize]) -> usize {
        let (mut framing, mut from, mut accepted) = (Framing::default(), 0, 0);
        for to in cuts.iter().copied().chain([bytes.len()]) {
            loop {
                let (count, stop) = framing.accept(&bytes[from..to]);
                accepted += count;
                from += count;
                if stop != Stop::Message {
                    break;
                }
            }
            from = to;
        }
        accepted
    }

    #[test]
    fn each_message_ends_by_itself() {
        let (mut framing, mut rest, mut ends) = (Framing::default(), FINE.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let (count, stop) = framing.accept(rest);
            ends.push((std::str::from_utf8(&rest[..count]).unwrap().len(), stop));
            rest = &rest[count..];
            assert_eq!(framing.is_between(), stop == Stop::Message);
        }
        let starts = ["GET", "PUT"].map(|start| FINE.find(start).unwrap());
        let lengths = [starts[0], starts[1] - starts[0], FINE.len() - starts[1]];
        assert_eq!(ends, lengths.map(|length| (length, Stop::Message)));
    }

    #[test]
    fn what_is_unclear_is_found_where_it_stands() {
        let bytes = format!("{FINE}GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n{FINE}");
        let feed = FINE.len() + "GET / HTTP/1.1\r\nhost: a".len();
        assert_eq!(accepted(bytes.as_bytes(), &[]), feed);
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_changes_nothing(
            unclear in prop_oneof![Just(""), Just("GET / HTTP/1.1\n"), Just("G / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n")],
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let bytes = format!("{FINE}{unclear}{FINE}");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let whole = accepted(bytes.as_bytes(), &[]);
            prop_assert_eq!(whole == bytes.len(), unclear.is_empty());
            prop_assert_eq!(accepted(bytes.as_bytes(), &cuts), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
            let mut framing = Framing::default();
            if head {
                framing.accept(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            }
            framing.accept(&bytes);
        }
    }
}
