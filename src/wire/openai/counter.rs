//! Counter: finds the usage in a JSON body that is streamed through, however large it is.
//!
//! It tracks brackets and quotes, and keeps only the one field that it looks for. It does not validate the text.

use memchr::memchr2;

use super::usage::Counted;
use crate::model::reply::Usage;
use crate::wire::stream::ByteReader;

/// The field, at the top of the answer.
const FIELD: &[u8] = b"usage";

/// The longest value of the field.
const LONGEST: usize = 16 * 1024;

/// The bytes of the mark that a text in UTF-8 may begin with.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Finds the tokens of one answer.
#[derive(Default)]
pub(crate) struct Counter {
    depth: usize,
    place: Position,
    is_escaped: bool,
    expects_name: bool,
    name: Vec<u8>,
    /// The field's value, as far as it has come.
    value: Option<Vec<u8>>,
    usage: Option<Usage>,
    has_begun: bool,
    /// True for what does not begin like an object: sound, pictures, files. Nothing of it is read.
    is_other: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Position {
    #[default]
    Between,
    /// Inside a string.
    Text,
    /// Inside the name of a field at the top.
    Name,
}

impl ByteReader for Counter {
    fn read(&mut self, mut piece: &[u8]) {
        while let Some(byte) = piece.first().filter(|_| !self.is_other) {
            // Inside a string only its end is of interest, and what keeps from being one.
            if self.place == Position::Text && !self.is_escaped {
                let length = memchr2(b'"', b'\\', piece).unwrap_or(piece.len());
                self.keep(&piece[..length]);
                piece = &piece[length..];
                if length > 0 {
                    continue;
                }
            }
            self.keep(std::slice::from_ref(byte));
            self.step(*byte);
            piece = &piece[1..];
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Counter {
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(value) = &mut self.value {
            value.extend_from_slice(bytes);
            if value.len() > LONGEST {
                self.value = None;
            }
        }
    }

    fn step(&mut self, byte: u8) {
        if !self.has_begun && !byte.is_ascii_whitespace() && !BOM.contains(&byte) {
            self.has_begun = true;
            self.is_other = byte != b'{';
        }
        match (self.place, byte) {
            (Position::Text | Position::Name, _) if self.is_escaped => self.is_escaped = false,
            (Position::Text | Position::Name, b'\\') => self.is_escaped = true,
            (Position::Text | Position::Name, b'"') => self.place = Position::Between,
            (Position::Name, byte) if self.name.len() <= FIELD.len() => self.name.push(byte),
            (Position::Text | Position::Name, _) => {}
            (Position::Between, b'"') if std::mem::take(&mut self.expects_name) => {
                self.name.clear();
                self.place = Position::Name;
            }
            (Position::Between, b'"') => self.place = Position::Text,
            (Position::Between, b':') if self.depth == 1 && self.name == FIELD => self.value = Some(Vec::new()),
            (Position::Between, b'{' | b'[') => {
                self.depth += 1;
                self.expects_name = self.depth == 1 && byte == b'{';
            }
            (Position::Between, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1 {
                    self.end();
                }
            }
            (Position::Between, b',') if self.depth == 1 => {
                self.value = None;
                self.expects_name = true;
            }
            (Position::Between, _) => {}
        }
    }

    /// A value that is an object or a list has ended.
    fn end(&mut self) {
        if let Some(value) = self.value.take()
            && let Ok(usage) = serde_json::from_slice::<Counted>(&value)
        {
            // Who counts pictures has counted nothing that is known here.
            self.usage = usage.read().filter(|usage| !usage.is_nothing());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(pieces: &[&[u8]]) -> Option<(u64, u64)> {
        let mut counter = Counter::default();
        pieces.iter().for_each(|piece| counter.read(piece));
        counter.usage().map(|usage| (usage.input, usage.output))
    }

    #[test]
    fn the_field_is_found_at_the_top_and_only_there() {
        for (body, found) in [
            (r#"{"data":[{"b64_json":"AA"}],"usage":{"input_tokens":3,"output_tokens":4}}"#, Some((3, 4))),
            (r#" { "usage" : {"prompt_tokens":3,"completion_tokens":4,"x":{"y":[1]}} , "z":1}"#, Some((3, 4))),
            (r#"{"usage":null,"a":{"usage":{"prompt_tokens":3}}}"#, None),
            (r#"{"a":"\"usage\":{\"prompt_tokens\":3}","b\"usage":{"prompt_tokens":3}}"#, None),
            (r#"{"usages":{"prompt_tokens":3},"usag":{"prompt_tokens":3}}"#, None),
            (r#"[{"usage":{"prompt_tokens":3}}]"#, None),
            (r#"{"usage":{"type":"duration","seconds":3}}"#, Some((0, 0))),
            (r#"{"usage":{"type":"pictures","pictures":3}}"#, None),
            (r#"{"usage":"}","a":{"prompt_tokens":3}}"#, None),
            ("no JSON", None),
            (r#"ID3 {"usage":{"prompt_tokens":3,"completion_tokens":4}}"#, None),
            ("\u{feff}\r\n {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}", Some((3, 4))),
        ] {
            assert_eq!(count(&[body.as_bytes()]), found, "{body}");
        }
        let long = format!(r#"{{"usage":{{"x":"{}","prompt_tokens":3}}}}"#, "y".repeat(LONGEST));
        assert_eq!(count(&[long.as_bytes()]), None);
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_changes_nothing(cuts in proptest::collection::vec(0usize..90, 0..8)) {
            let body = br#"{"a":["x\\\"y{",{"usage":1}],"u\u0073age":2,"usage":{"input_tokens":3,"output_tokens":4,"d":"}"}}"#;
            let mut cuts: Vec<usize> = cuts.into_iter().chain([0, body.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            prop_assert_eq!(count(&pieces), Some((3, 4)));
        }

        #[test]
        fn no_bytes_make_it_panic(body in "(\\{|\\}|\\[|\\]|\"|\"usage\"|:|,|\\\\|1){0,40}") {
            let _ = count(&[body.as_bytes()]);
        }
    }
}
