//! Scan: reads a JSON text in place, once, from front to back, and says nothing where it is not sure.
//!
//! It is the fast reader of texts in their usual form. What it accepts is JSON (RFC 8259) in UTF-8, nested no deeper
//! than [`MAX_DEPTH`], and no name in it is spelt with escapes. `None` means only that a slower reader has to look: it
//! is no verdict. It knows no field.

use std::borrow::Cow;

/// More nesting than this is left to slower readers. Tools with deep schemas need some thirty levels.
const MAX_DEPTH: u32 = 64;

/// An object with more names than this is left to a reader that sorts them.
const MAX_NAMES: usize = 64;

/// A place in a JSON text.
pub(crate) struct Scan<'a> {
    text: &'a str,
    /// What comes from here on.
    rest: &'a [u8],
    depth: u32,
    /// True where no object may have a name twice, and no number may exceed a double.
    is_strict: bool,
    /// The names of all objects that are open, one after the other; empty where they may repeat.
    names: Vec<&'a [u8]>,
}

/// A string of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted<'a> {
    /// As it stands in the text, without its quotation marks.
    pub(crate) raw: &'a str,
    /// What is escaped in it.
    pub(crate) escapes: Escapes,
}

/// What is escaped in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Nothing: it says what stands there.
    None,
    /// Something that every reader takes for the same text.
    Sound,
    /// One half of a surrogate pair at least: whether it is text shows when it is read.
    Halves,
}

impl<'a> Quoted<'a> {
    /// The string that a text begins with, and what follows it, of which nothing is known.
    pub(crate) fn first_of(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut scan = Scan { text: "", rest: text, depth: 0, is_strict: false, names: Vec::new() };
        let escapes = scan.string()?;
        let raw = text.get(1..text.len() - scan.rest.len() - 1)?;
        Some((Self { raw: std::str::from_utf8(raw).ok()?, escapes }, scan.rest))
    }

    /// True where it says what stands there.
    pub(crate) fn is_plain(&self) -> bool {
        self.escapes == Escapes::None
    }

    /// What it says; `None` where that is no text.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self.escapes {
            Escapes::None => Some(Cow::Borrowed(self.raw)),
            Escapes::Sound => unescaped(self.raw).map(Cow::Owned),
            Escapes::Halves => serde_json::from_str(&format!("\"{}\"", self.raw)).ok().map(Cow::Owned),
        }
    }
}

/// What the inside of a string says in which every escape stands for itself.
fn unescaped(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(rest.get(..at)?);
        let (sign, length) = match rest.as_bytes().get(at + 1)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => (char::from_u32(u32::from_str_radix(rest.get(at + 2..at + 6)?, 16).ok()?)?, 6),
            itself => (char::from(*itself), 2),
        };
        text.push(sign);
        rest = rest.get(at + length..)?;
    }
    text.push_str(rest);
    Some(text)
}

impl<'a> Scan<'a> {
    /// Reads all of a text as one value with `read`.
    pub(crate) fn whole<T>(text: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        Self::all(text, false, Vec::new(), read)
    }

    /// The same for a text that has to say the same to whoever reads it: in no object is a name twice, and each number is one
    /// that a double holds.
    pub(crate) fn whole_strictly<T>(text: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        Self::all(text, true, Vec::with_capacity(MAX_NAMES), read)
    }

    fn all<T>(
        text: &'a [u8],
        is_strict: bool,
        names: Vec<&'a [u8]>,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let text = std::str::from_utf8(text).ok()?;
        let mut scan = Self { text, rest: text.as_bytes(), depth: 0, is_strict, names };
        scan.space();
        let value = read(&mut scan)?;
        scan.space();
        scan.rest.is_empty().then_some(value)
    }

    fn space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes this byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// How much of the text comes before a place that is so far from its end.
    fn before(&self, left: usize) -> usize {
        self.text.len() - left
    }

    /// Reads an object. `member` is given each name, and has to read the value.
    pub(crate) fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.open(b'{')?;
        let (first, mut seen) = (self.names.len(), 0);
        if !self.take(b'}') {
            loop {
                let name = self.name()?;
                if self.is_strict {
                    self.note(name, first, &mut seen)?;
                }
                member(self, name)?;
                if self.is_last(b'}')? {
                    break;
                }
            }
        }
        self.names.truncate(first);
        self.depth -= 1;
        Some(())
    }

    /// Reads a list. `item` has to read each of its values.
    pub(crate) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.open(b'[')?;
        if !self.take(b']') {
            loop {
                item(self)?;
                if self.is_last(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.expect(bracket)?;
        self.depth += 1;
        self.space();
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// What stands behind a value: the end of what it is in, or a comma.
    fn is_last(&mut self, bracket: u8) -> Option<bool> {
        loop {
            match self.rest {
                [b',', rest @ ..] => {
                    self.rest = rest;
                    self.space();
                    return Some(false);
                }
                [first, rest @ ..] if *first == bracket => {
                    self.rest = rest;
                    return Some(true);
                }
                [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] => self.rest = rest,
                _ => return None,
            }
        }
    }

    /// A name and its colon.
    fn name(&mut self) -> Option<&'a [u8]> {
        let [b'"', rest @ ..] = self.rest else { return None };
        let (name, rest) = rest.split_at_checked(special(rest)?)?;
        match rest {
            [b'"', b':', rest @ ..] => self.rest = rest,
            // Anything but the closing mark is an escape, or a control character.
            [b'"', rest @ ..] => {
                self.rest = rest;
                self.space();
                self.expect(b':')?;
            }
            _ => return None,
        }
        self.space();
        Some(name)
    }

    /// Notes a name of the object whose names begin at `first`; `None`: it has it already. A bit of `seen` stands for some of all
    /// possible names: most are known to be new by it.
    fn note(&mut self, name: &'a [u8], first: usize, seen: &mut u64) -> Option<()> {
        let edge = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
        let bit = 1 << ((edge(name.first()) * 7 + edge(name.last()) + name.len() * 5) % 64);
        let own = self.names.get(first..).unwrap_or_default();
        if (*seen & bit != 0 && own.contains(&name)) || own.len() >= MAX_NAMES {
            return None;
        }
        *seen |= bit;
        self.names.push(name);
        Some(())
    }

    /// A value of any kind, as it stands in the text.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        self.value_with(&mut |_, _| {})
    }

    /// The same. `see` is told of every member of every object in it: its name, and its value as it stands in the text.
    pub(crate) fn value_with(&mut self, see: &mut impl FnMut(&'a [u8], &'a [u8])) -> Option<&'a str> {
        let start = self.before(self.rest.len());
        self.go_past(see)?;
        self.text.get(start..self.before(self.rest.len()))
    }

    /// Goes past a value of any kind.
    pub(crate) fn skip(&mut self) -> Option<()> {
        self.go_past(&mut |_, _| {})
    }

    fn go_past(&mut self, see: &mut impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(|scan, name| {
                let value = scan.rest;
                scan.go_past(see)?;
                see(name, value.get(..value.len() - scan.rest.len())?);
                Some(())
            }),
            b'[' => self.list(|scan| scan.go_past(see)),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// Takes `null`, if it comes next.
    pub(crate) fn null(&mut self) -> bool {
        self.word(b"null").is_some()
    }

    /// A string.
    pub(crate) fn quoted(&mut self) -> Option<Quoted<'a>> {
        let start = self.before(self.rest.len()) + 1;
        let escapes = self.string()?;
        let raw = self.text.get(start..self.before(self.rest.len()) - 1)?;
        Some(Quoted { raw, escapes })
    }

    /// Goes past a string, and says what is escaped in it.
    fn string(&mut self) -> Option<Escapes> {
        let [b'"', rest @ ..] = self.rest else { return None };
        self.rest = rest;
        let mut escapes = Escapes::None;
        loop {
            let rest = self.rest.get(special(self.rest)?..)?;
            match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(escapes);
                }
                [b'\\', rest @ ..] => {
                    let is_half = self.escape(rest)?;
                    escapes = if is_half || escapes == Escapes::Halves { Escapes::Halves } else { Escapes::Sound };
                }
                _ => return None,
            }
        }
    }

    /// Goes past an escape, of which `rest` has what is behind the backslash. True for one half of a surrogate pair.
    fn escape(&mut self, rest: &'a [u8]) -> Option<bool> {
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => {
                self.rest = rest;
                Some(false)
            }
            [b'u', one, two, three, four, rest @ ..] => {
                self.rest = rest;
                let is_half = matches!((one, two), (b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'));
                [one, two, three, four].iter().all(|digit| digit.is_ascii_hexdigit()).then_some(is_half)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        let start = self.rest;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        let has_exponent = self.take(b'e') || self.take(b'E');
        if has_exponent {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // Only an exponent, or more digits than any honest number has, exceeds a double.
        if self.is_strict && (has_exponent || start.len() - self.rest.len() > 300) {
            let number = self.text.get(self.before(start.len())..self.before(self.rest.len()))?;
            return number.parse::<f64>().ok().filter(|number| number.is_finite()).map(drop);
        }
        Some(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        let start = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        (self.rest.len() < start).then_some(())
    }

    /// A whole number that is not negative, has no fraction and no exponent, and is small enough to be exact in any reader.
    pub(crate) fn whole_number(&mut self) -> Option<u64> {
        const MOST: u64 = 1_000_000_000_000_000;
        let (mut number, starts_with_zero) = (0, self.rest.first() == Some(&b'0'));
        let start = self.rest.len();
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            number = number * 10 + u64::from(digit - b'0');
            self.rest = rest;
            if number > MOST {
                return None;
            }
        }
        let length = start - self.rest.len();
        let is_whole = !matches!(self.rest.first(), Some(b'.' | b'e' | b'E'));
        (is_whole && (length == 1 || (length > 1 && !starts_with_zero))).then_some(number)
    }
}

/// Where the first byte stands that means something in a string: a quotation mark, a backslash, or a control character. Nearly
/// all of a text is in its strings, and nearly none of that is special.
#[inline(always)]
fn special(text: &[u8]) -> Option<usize> {
    // Names and most strings end after a few bytes.
    let Some((word, after)) = text.split_first_chunk() else { return one_by_one(text) };
    match marks(*word) {
        0 => special_far(after).map(|at| word.len() + at),
        found => Some(found.trailing_zeros() as usize / 8),
    }
}

#[inline(never)]
fn special_far(text: &[u8]) -> Option<usize> {
    /// As much as most strings have at most.
    const SHORT: usize = 40;
    let mut rest = text;
    while let Some((word, after)) = rest.split_first_chunk() {
        let found = marks(*word);
        if found != 0 {
            return Some(text.len() - rest.len() + found.trailing_zeros() as usize / 8);
        }
        rest = after;
        if text.len() - rest.len() == SHORT {
            rest = without_plain_blocks(rest);
        }
    }
    one_by_one(rest).map(|at| text.len() - rest.len() + at)
}

#[inline(never)]
fn one_by_one(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| is_special(*byte))
}

/// A long text is read by as many bytes as the processor compares at once: this compiles to a few vector instructions for each
/// block.
#[inline(never)]
fn without_plain_blocks(mut text: &[u8]) -> &[u8] {
    while let Some((block, after)) = text.split_first_chunk::<64>() {
        // The distance of a byte from each that is special; control characters have none of the upper bits.
        let distance = |byte: u8| (byte ^ b'"').min(byte ^ b'\\').min(byte & !0x1f);
        if block.iter().fold(u8::MAX, |least, byte| least.min(distance(*byte))) == 0 {
            break;
        }
        text = after;
    }
    text
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// The highest bit of each special byte of a word, up to the first at least: what is above that may be wrong.
fn marks(word: [u8; 8]) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = EACH << 7;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, limit: u8| word.wrapping_sub(EACH * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & HIGHEST
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;
    use crate::wire::json::mutated::mutated;
    use crate::wire::json::strict;

    const TEXTS: [&str; 8] = [
        r#"{"a":[1,-2.5e3,true,false,null,"x"],"b":{"c":"d","e":{}},"f":[]}"#,
        r#" [ { "role" : "user" , "content" : "a \"word\" \u00e9\n\ud83d\ude00" } , [ ] ] "#,
        "{\"a\":\"a text of more than thirty-two bytes, so that it is read by blocks\",\"b\":\"\u{e9}\u{1f600}\"}",
        r#""a text that is longer than a block, \t with something escaped behind the first thirty-two bytes of it\\""#,
        "0",
        r#""""#,
        "{}",
        r#"{"one":1,"two":{"one":1,"two":2},"three":[{"one":1},{"one":1}]}"#,
    ];

    fn read(text: &[u8]) -> Option<&str> {
        Scan::whole(text, Scan::value)
    }

    #[test]
    fn what_is_usual_is_read() {
        for text in TEXTS {
            assert_eq!(read(text.as_bytes()), Some(text.trim()), "{text}");
            assert_eq!(Scan::whole_strictly(text.as_bytes(), Scan::value), Some(text.trim()), "{text}");
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for length in 0..80 {
            for at in 0..length {
                for byte in [b'"', b'\\', b'\n', 0, 0x1f] {
                    let mut text = vec![b'~'; length];
                    text[at] = byte;
                    text.iter_mut().skip(at + 1).for_each(|after| *after = 0x7f);
                    assert_eq!(special(&text), Some(at), "{byte} at {at} of {length}");
                    assert_eq!(special(&text[at..]), Some(0), "{byte} at {at} of {length}");
                    assert_eq!(special(&text[at + 1..]), None, "{byte} at {at} of {length}");
                }
            }
        }
        let others: Vec<u8> = (0..=255).filter(|byte| !is_special(*byte)).collect();
        assert_eq!(special(&others), None);
    }

    #[test]
    fn a_text_says_the_same_as_to_serde() {
        for quoted in
            [r#""plain""#, r#""a\n\t\r\b\f\/\\\"b""#, r#""\u0041\u00e9\u2028""#, r#""\ud83d\ude00 \n""#, r#""x\ud83d""#]
        {
            let read = Scan::whole(quoted.as_bytes(), Scan::quoted).unwrap();
            assert_eq!(read.text().map(Cow::into_owned), serde_json::from_str::<String>(quoted).ok(), "{quoted}");
        }
    }

    #[test]
    fn a_name_twice_is_left_to_others_only_where_it_matters() {
        let many =
            |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"n{n}\":1")).collect::<Vec<_>>().join(","));
        for (text, is_distinct) in [
            (r#"{"a":1,"a":2}"#.to_owned(), false),
            (r#"{"a":{"b":1,"c":{"b":2},"b":3}}"#.to_owned(), false),
            (r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#.to_owned(), true),
            (many(MAX_NAMES), true),
            (many(MAX_NAMES + 1), false),
        ] {
            assert_eq!(read(text.as_bytes()), Some(&*text), "{text}");
            assert_eq!(Scan::whole_strictly(text.as_bytes(), Scan::value).is_some(), is_distinct, "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~\n\té😀]{0,60}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let object = proptest::collection::btree_map("[a-zé ]{0,9}", inner.clone(), 0..6);
            let object = object.prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
            prop_oneof![object, proptest::collection::vec(inner, 0..6).prop_map(Value::Array)]
        })
    }

    proptest! {
        #[test]
        fn what_a_serializer_writes_is_read(value in json(), is_pretty in any::<bool>()) {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(Scan::whole_strictly(text.as_bytes(), Scan::value), Some(&*text));
            let mut members = Vec::new();
            Scan::whole(text.as_bytes(), |scan| scan.value_with(&mut |name, value| members.push((name, value))));
            for (name, member) in members {
                prop_assert!(serde_json::from_slice::<&RawValue>(member).is_ok_and(|raw| raw.get().as_bytes() == member));
                prop_assert!(memchr::memmem::find(text.as_bytes(), name).is_some());
            }
        }

        /// Whatever it accepts is JSON to `serde_json`, the same value, and nothing that the strict reader objects to.
        #[test]
        fn it_accepts_nothing_that_the_exact_readers_refuse(text in mutated(&TEXTS, &["a", "one", "role"])) {
            if let Some(value) = read(&text) {
                let exact = serde_json::from_slice::<&RawValue>(&text).map(RawValue::get);
                prop_assert_eq!(exact.ok(), Some(value));
            }
            if Scan::whole_strictly(&text, Scan::value).is_some() {
                prop_assert_eq!(strict::check(&text), Ok(()));
                prop_assert!(read(&text).is_some());
            }
            if let Some(quoted) = Scan::whole(&text, Scan::quoted) {
                let exact = serde_json::from_slice::<String>(&text).ok();
                prop_assert_eq!(quoted.text().map(Cow::into_owned), exact);
                prop_assert!(quoted.escapes == Escapes::Halves || quoted.text().is_some());
                prop_assert_eq!(Quoted::first_of(text.trim_ascii()), Some((quoted, &b""[..])));
            }
            if let Some((quoted, rest)) = Quoted::first_of(&text) {
                let string = text.strip_suffix(rest).unwrap();
                prop_assert_eq!(Scan::whole(string, Scan::quoted), Some(quoted));
            }
            if let Some(number) = Scan::whole(&text, Scan::whole_number) {
                prop_assert_eq!(serde_json::from_slice::<u64>(&text).ok(), Some(number));
            }
        }
    }
}
