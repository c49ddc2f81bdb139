//! Unescape: decodes the JSON escapes of a text, and maps each decoded part to its place in the original.
//!
//! `\u0040` becomes an `@` for the final reader, so it is one here. A string in a JSON document has these escapes,
//! and has them twice if its text is JSON itself, like a tool's arguments.

/// What stands at a place.
enum Unit {
    Letter(char, usize),
    /// The text ends before it is clear.
    Cut,
}

/// Reads a text piece by piece. Offsets are counted from the beginning of the text, and of what it says.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// How many times escapes are read.
    levels: u8,
    /// How far the text was read.
    read: usize,
    /// What it says from `from` on.
    pub(super) said: Vec<u8>,
    from: usize,
    /// Where both offsets are known: (in what it says, in the text). Between two of them both go on alike. The first is not
    /// after `from`.
    known: Vec<(usize, usize)>,
}

impl Reader {
    pub(super) fn new(levels: u8) -> Self {
        Self { levels, read: 0, said: Vec::new(), from: 0, known: vec![(0, 0)] }
    }

    /// Goes on with the text: `window` is what of it stands from `base` on. What is cut short waits, unless it is the last.
    pub(super) fn read(&mut self, window: &str, base: usize, is_last: bool) {
        let bytes = window.as_bytes();
        let mut at = self.read - base;
        while let Some(distance) = memchr::memchr(b'\\', &bytes[at..]) {
            self.said.extend_from_slice(&bytes[at..at + distance]);
            at += distance;
            let (letter, next) = match unit(window, at, self.levels) {
                Unit::Letter(letter, next) => (letter, next),
                Unit::Cut if is_last => ('\\', at + 1),
                Unit::Cut => {
                    self.read = base + at;
                    return;
                }
            };
            self.said.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            at = next;
            self.known.push((self.from + self.said.len(), base + at));
        }
        self.said.extend_from_slice(&bytes[at..]);
        self.read = base + bytes.len();
    }

    /// Where in the text stands what is said at `said`.
    pub(super) fn place(&self, said: usize) -> usize {
        let after = self.known.partition_point(|(known, _)| *known <= said);
        let (known, place) = self.known[after.saturating_sub(1)];
        place + (said - known)
    }

    /// What is said from `said` on.
    pub(super) fn rest(&self, said: usize) -> &[u8] {
        &self.said[said - self.from..]
    }

    /// Lets go of what was said before.
    pub(super) fn forget_until(&mut self, said: usize) {
        let place = self.place(said);
        self.said.drain(..said - self.from);
        self.from = said;
        let after = self.known.partition_point(|(known, _)| *known <= said);
        self.known.drain(..after - 1);
        self.known[0] = (said, place);
    }
}

/// The letter at `at`, after decoding escapes this many times.
fn unit(text: &str, at: usize, levels: u8) -> Unit {
    if levels == 0 {
        return match text[at..].chars().next() {
            Some(letter) => Unit::Letter(letter, at + letter.len_utf8()),
            None => Unit::Cut,
        };
    }
    match unit(text, at, levels - 1) {
        Unit::Letter('\\', next) => escape(text, next, levels - 1),
        other => other,
    }
}

/// The letter that stands behind a backslash. What is no escape is just a backslash.
fn escape(text: &str, after: usize, levels: u8) -> Unit {
    let Unit::Letter(word, next) = unit(text, after, levels) else { return Unit::Cut };
    let letter = match word {
        '"' | '\\' | '/' => word,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return code(text, after, next, levels),
        _ => return Unit::Letter('\\', after),
    };
    Unit::Letter(letter, next)
}

/// The letter of a number behind `\u`, of two where it takes two.
fn code(text: &str, after: usize, at: usize, levels: u8) -> Unit {
    let (high, next) = match number(text, at, levels) {
        Some(Ok(found)) => found,
        Some(Err(())) => return Unit::Letter('\\', after),
        None => return Unit::Cut,
    };
    if let Some(letter) = char::from_u32(high) {
        return Unit::Letter(letter, next);
    }
    // Half of a letter: the other half has to follow.
    let lone = Unit::Letter(char::REPLACEMENT_CHARACTER, next);
    let mut at = next;
    for wanted in ['\\', 'u'] {
        match unit(text, at, levels) {
            Unit::Letter(letter, next) if letter == wanted => at = next,
            Unit::Letter(..) => return lone,
            Unit::Cut => return Unit::Cut,
        }
    }
    match number(text, at, levels) {
        None => Unit::Cut,
        Some(Ok((low @ 0xDC00..=0xDFFF, end))) if high < 0xDC00 => {
            let letter = char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            Unit::Letter(letter.unwrap_or(char::REPLACEMENT_CHARACTER), end)
        }
        Some(_) => lone,
    }
}

/// Four hexadecimal digits. `None`: the text ends before them.
fn number(text: &str, mut at: usize, levels: u8) -> Option<Result<(u32, usize), ()>> {
    let mut number = 0;
    for _ in 0..4 {
        let Unit::Letter(letter, next) = unit(text, at, levels) else { return None };
        let Some(digit) = letter.to_digit(16) else { return Some(Err(())) };
        (number, at) = (number * 16 + digit, next);
    }
    Some(Ok((number, at)))
}
