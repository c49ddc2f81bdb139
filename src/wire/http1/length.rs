//! Length: how a response says where its body ends (RFC 9112, 6.3), and what of the bytes that come is its content.

use std::ops::Range;

use super::{MAX_HEAD, MAX_HEADERS};

/// How long the rest of a body is.
#[derive(Debug)]
pub enum Length {
    /// This number of bytes.
    Known(u64),
    /// As long as its chunks say.
    Chunked(Chunks),
    /// It goes on until the connection ends.
    UntilEnd,
}

/// What bytes are of a body.
#[derive(Debug)]
pub struct Piece {
    /// Where its content lies in them now: that of several chunks has been moved together.
    pub content: Range<usize>,
    /// How many of them are the body's.
    pub used: usize,
    /// Why the byte after these cannot be.
    pub wrong: Option<&'static str>,
}

const CUT: &str = "end of file before message length reached";

impl Length {
    /// The body is in chunks, of which nothing has come yet.
    pub fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// True when the whole body has come.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Known(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Over,
            Self::UntilEnd => false,
        }
    }

    /// Reads the bytes that come next.
    pub fn read(&mut self, bytes: &mut [u8]) -> Piece {
        let used = match self {
            Self::Chunked(chunks) => return chunks.read(bytes),
            Self::UntilEnd => bytes.len(),
            Self::Known(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                used
            }
        };
        Piece { content: 0..used, used, wrong: None }
    }

    /// What is wrong when the connection ends here.
    pub fn end(&self) -> Result<(), &'static str> {
        match self {
            Self::UntilEnd => Ok(()),
            _ if self.is_over() => Ok(()),
            Self::Chunked(chunks) if chunks.state != State::Content => Err("unexpected EOF during chunk size line"),
            _ => Err(CUT),
        }
    }
}

/// A body in chunks, as far as it has come.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// How much of a chunk is to come.
    left: u64,
    /// How many zeros and blanks have come in the line of this size.
    padding: usize,
    /// How long the extensions of all chunks are.
    extensions: usize,
    trailers: Vec<u8>,
    trailer_lines: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    FirstDigit,
    Size,
    Blank,
    Extension,
    SizeLf,
    Content,
    ContentCr,
    ContentLf,
    /// A trailer, or the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    Over,
}

impl Chunks {
    fn read(&mut self, bytes: &mut [u8]) -> Piece {
        let (mut content, mut used) = (0..0, 0);
        while used < bytes.len() && self.state != State::Over {
            if self.state == State::Content {
                let size = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - used);
                let here = used..used + size;
                used = here.end;
                self.left -= size as u64;
                if self.left == 0 {
                    self.state = State::ContentCr;
                }
                if content.is_empty() {
                    content = here;
                } else {
                    bytes.copy_within(here, content.end);
                    content.end += size;
                }
                continue;
            }
            match self.step(bytes[used]) {
                Ok(state) => self.state = state,
                Err(wrong) => return Piece { content, used, wrong: Some(wrong) },
            }
            used += 1;
        }
        Piece { content, used, wrong: None }
    }

    /// What follows a byte that is no content.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        match (self.state, byte) {
            (State::FirstDigit | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (State::FirstDigit, _) => Err("Invalid chunk size line: missing size digit"),
            (State::Size | State::Blank, b'\t' | b' ') => self.pad(State::Blank),
            (State::Size | State::Blank, b';') => Ok(State::Extension),
            (State::Size | State::Blank | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size, _) => Err("Invalid chunk size line: Invalid Size"),
            (State::Blank, _) => Err("Invalid chunk size linear white space"),
            // Who takes that for the end of the line sees other chunks.
            (State::Extension, b'\n') => Err("invalid chunk extension contains newline"),
            (State::Extension, _) => {
                self.extensions += 1;
                if self.extensions < MAX_HEAD { Ok(State::Extension) } else { Err("chunk extensions over limit") }
            }
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::Line),
            (State::SizeLf, b'\n') => Ok(State::Content),
            (State::SizeLf, _) => Err("Invalid chunk size LF"),
            (State::ContentCr, b'\r') => Ok(State::ContentLf),
            (State::ContentCr, _) => Err("Invalid chunk body CR"),
            (State::ContentLf, b'\n') => {
                self.padding = 0;
                Ok(State::FirstDigit)
            }
            (State::ContentLf, _) => Err("Invalid chunk body LF"),
            (State::Line, b'\r') if self.trailers.is_empty() => Ok(State::EndLf),
            (State::Line, b'\r') => self.trailer(byte, State::EndLf),
            (State::Line, _) => self.trailer(byte, State::Trailer),
            (State::Trailer, b'\r') => self.trailer(byte, State::TrailerLf),
            (State::Trailer, _) => self.trailer(byte, State::Trailer),
            (State::TrailerLf, b'\n') => {
                self.trailer_lines += 1;
                match self.trailer_lines > MAX_HEADERS {
                    true => Err("chunk trailers count overflow"),
                    false => self.trailer(byte, State::Line),
                }
            }
            (State::TrailerLf, _) => Err("Invalid trailer end LF"),
            (State::EndLf, b'\n') if self.trailers.is_empty() => Ok(State::Over),
            (State::EndLf, b'\n') => {
                self.trailer(byte, State::Over).and_then(|over| self.check_trailers().map(|()| over))
            }
            (State::EndLf, _) => Err("Invalid chunk end LF"),
            (State::Content | State::Over, _) => Ok(self.state),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, &'static str> {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        let size = self.left.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
        self.left = size.ok_or("invalid chunk size: overflow")?;
        if self.left == 0 { self.pad(State::Size) } else { Ok(State::Size) }
    }

    fn pad(&mut self, next: State) -> Result<State, &'static str> {
        self.padding += 1;
        if self.padding < MAX_HEAD { Ok(next) } else { Err("a chunk size line without an end") }
    }

    /// Trailers say nothing that is passed on. They are kept until it is seen that they are some.
    fn trailer(&mut self, byte: u8, next: State) -> Result<State, &'static str> {
        self.trailers.push(byte);
        if self.trailers.len() < MAX_HEAD { Ok(next) } else { Err("chunk trailers bytes over limit") }
    }

    fn check_trailers(&mut self) -> Result<(), &'static str> {
        let trailers = std::mem::take(&mut self.trailers);
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match httparse::parse_headers(&trailers, &mut fields) {
            Ok(httparse::Status::Complete(_)) => Ok(()),
            _ => Err("invalid trailers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a body in chunks and how many bytes it takes, or what is wrong with it.
    fn chunks(text: &str) -> Result<(String, usize), &'static str> {
        let mut bytes = text.as_bytes().to_vec();
        let mut length = Length::chunked();
        let Piece { content, used, wrong } = length.read(&mut bytes);
        wrong.map_or_else(|| length.end(), Err)?;
        Ok((String::from_utf8(bytes[content].to_vec()).unwrap(), used))
    }

    #[test]
    fn a_body_is_as_long_as_it_says() {
        let mut bytes = *b"hello world";
        let mut length = Length::Known(5);
        let Piece { content, used, wrong } = length.read(&mut bytes);
        assert_eq!((content, used, wrong), (0..5, 5, None));
        assert!(length.is_over());
        assert_eq!(length.read(&mut bytes).used, 0);
        let mut length = Length::Known(12);
        length.read(&mut bytes);
        assert_eq!(length.end(), Err(CUT));
        assert_eq!(Length::UntilEnd.read(&mut bytes).content, 0..11);
        assert_eq!(Length::UntilEnd.end(), Ok(()));
    }

    #[test]
    fn chunks_are_put_together_and_what_follows_the_last_one_is_not_theirs() {
        assert_eq!(chunks("5\r\nhello\r\n0\r\n\r\nHTTP/1.1"), Ok(("hello".into(), 15)));
        let all = "1;x=y\r\na\r\n00A \r\nbcdefghijk\r\n2\r\nlm\r\n0\r\na: b\r\nc: d\r\n\r\n";
        assert_eq!(chunks(all), Ok(("abcdefghijklm".into(), all.len())));
        assert_eq!(chunks("5\r\nhel"), Err(CUT));
        assert_eq!(chunks("5\r\nhello\r\n"), Err("unexpected EOF during chunk size line"));
        assert_eq!(chunks("5\r\nhello!\r\n"), Err("Invalid chunk body CR"));
        assert_eq!(chunks("10000000000000000\r\n"), Err("invalid chunk size: overflow"));
    }

    #[test]
    fn what_says_nothing_is_bounded() {
        let body = |size: usize, before: &str, after: &str| [before, &" ".repeat(size), after].concat();
        let extension = |size| chunks(&body(size, "1;", "\r\na\r\n0\r\n\r\n"));
        assert!(extension(MAX_HEAD - 1).is_ok());
        assert_eq!(extension(MAX_HEAD), Err("chunk extensions over limit"));
        let blank = |size| chunks(&body(size, "1", "\r\na\r\n0\r\n\r\n"));
        assert!(blank(MAX_HEAD - 1).is_ok());
        assert_eq!(blank(MAX_HEAD), Err("a chunk size line without an end"));
        // "a: " and the ends of two lines are some of it.
        let trailer = |size| chunks(&body(size, "0\r\na: ", "\r\n\r\n"));
        assert!(trailer(MAX_HEAD - 8).is_ok());
        assert_eq!(trailer(MAX_HEAD - 7), Err("chunk trailers bytes over limit"));
        let trailers = |count| chunks(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(count)));
        assert!(trailers(MAX_HEADERS).is_ok());
        assert_eq!(trailers(MAX_HEADERS + 1), Err("chunk trailers count overflow"));
    }

    #[test]
    fn padding_that_each_chunk_has_is_no_excess() {
        let many = ["0000001  \r\na\r\n".repeat(MAX_HEAD), "0\r\n\r\n".into()].concat();
        assert_eq!(chunks(&many).map(|(content, _)| content.len()), Ok(MAX_HEAD));
    }
}
