//! Finds the texts of a JSON document in one scan from quote to quote: nothing is decoded, however large it is.
//!
//! The document's grammar was checked before; in any other some places are found, or none.

use std::borrow::Cow;
use std::ops::Range;

use super::fields::{LOGPROBS, depends_on_type, is_for_programs, is_no_text, is_setting};
use crate::wire::json::members::{end_of_value, name};
use crate::wire::json::string_end::end_of_string;

/// How far a document is read before others should get their turn.
const PAUSE: usize = 128 * 1024;

/// Fields behind a string that are asked for the type of its object.
const ASKED_FOR_TYPE: usize = 8;

/// What is found in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A string that may hold a text, without its quotes.
    Text(Range<usize>),
    /// The text again, token by token: a list or an object.
    Tokens(Range<usize>),
    /// Nothing yet, and others should get their turn.
    Pause,
}

/// The search through a document, or through one value of it.
pub(crate) struct Strings<'a> {
    document: &'a str,
    at: usize,
    end: usize,
    open: Vec<Open<'a>>,
    /// How deep the value stands.
    depth: usize,
    /// The name of the field that is being read.
    field: Cow<'a, str>,
    expects_name: bool,
    /// From here on it pauses.
    pause_at: usize,
    /// True where thoughts are left out.
    leaves_thoughts: bool,
}

/// An object or a list that has not ended.
struct Open<'a> {
    is_object: bool,
    /// The field in which it stands.
    field: Cow<'a, str>,
    /// The type that it has said so far.
    kind: &'a str,
    is_skipped: bool,
}

impl<'a> Strings<'a> {
    /// Begins with a whole document.
    pub(crate) fn new(document: &'a str) -> Self {
        Self::of_value(document, 0..document.len(), "".into(), 0)
    }

    /// Leaves out thoughts that a model has had before: they are signed, and whoever signed them takes no others.
    pub(crate) fn without_thoughts(self) -> Self {
        Self { leaves_thoughts: true, ..self }
    }

    /// Begins with the value of a field, which stands `depth` objects and lists deep.
    pub(super) fn of_value(document: &'a str, value: Range<usize>, field: Cow<'a, str>, depth: usize) -> Self {
        let Range { start: at, end } = value;
        Self {
            document,
            at,
            end,
            open: Vec::new(),
            depth,
            field,
            expects_name: false,
            pause_at: at + PAUSE,
            leaves_thoughts: false,
        }
    }

    /// The field to which the next value belongs: that of a list is that of its items.
    fn field(&self) -> Cow<'a, str> {
        match self.open.last() {
            Some(list) if !list.is_object => list.field.clone(),
            _ => self.field.clone(),
        }
    }

    fn is_skipped(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_skipped)
    }

    /// A string has been read as the value of a field.
    fn is_text(&mut self, inside: Range<usize>) -> bool {
        let value = &self.document[inside];
        let field = self.field();
        if field == "type"
            && let Some(open) = self.open.last_mut()
        {
            open.kind = value;
        }
        if self.is_skipped() || (self.leaves_thoughts && field == "thinking") {
            return false;
        }
        let (parent, mut kind) = self.open.last().map_or(("", ""), |open| (&*open.field, open.kind));
        if kind.is_empty() && depends_on_type(&field) {
            kind = self.type_behind();
        }
        !is_no_text(parent, kind, &field, value)
    }

    /// The type that the object will say soon.
    fn type_behind(&self) -> &'a str {
        let mut at = self.at;
        for _ in 0..ASKED_FOR_TYPE {
            let text = self.document.as_bytes();
            let passed = |at: usize, marks: &[u8]| at + text[at..].iter().take_while(|it| marks.contains(it)).count();
            let start = passed(at, b", \t\r\n");
            if text.get(start) != Some(&b'"') {
                break;
            }
            let name_end = end_of_string(text, start + 1);
            let value = passed(name_end, b": \t\r\n");
            if matches!(text.get(value), None | Some(b'{' | b'[')) {
                break;
            }
            at = end_of_value(text, value);
            if name(&self.document[start..name_end]) == "type" {
                return self.document[value..at].trim_matches('"');
            }
        }
        ""
    }
}

impl Iterator for Strings<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let bytes = self.document.as_bytes();
        while self.at < self.end {
            if self.at >= self.pause_at {
                self.pause_at = self.at + PAUSE;
                return Some(Item::Pause);
            }
            let start = self.at;
            self.at += 1;
            match bytes[start] {
                byte @ (b'{' | b'[') => {
                    let field = self.field();
                    if field == LOGPROBS && !self.is_skipped() {
                        self.at = end_of_value(bytes, start);
                        return Some(Item::Tokens(start..self.at));
                    }
                    let depth = self.depth + self.open.len();
                    let is_settings = (1..=2).contains(&depth) && is_setting(&field);
                    let is_skipped = self.is_skipped() || is_settings || is_for_programs(&field);
                    self.open.push(Open { is_object: byte == b'{', field, kind: "", is_skipped });
                    self.expects_name = byte == b'{';
                }
                b'}' | b']' => {
                    self.open.pop();
                }
                b',' => self.expects_name = self.open.last().is_some_and(|open| open.is_object),
                b'"' => {
                    self.at = end_of_string(bytes, self.at);
                    let is_closed = self.at > start + 1 && bytes[self.at - 1] == b'"';
                    let inside = start + 1..self.at - usize::from(is_closed);
                    if std::mem::take(&mut self.expects_name) {
                        self.field = name(&self.document[start..self.at]);
                    } else if self.is_text(inside.clone()) {
                        return Some(Item::Text(inside));
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> String {
        let shown = Strings::new(document).map(|item| match item {
            Item::Text(place) => document[place].to_owned(),
            Item::Tokens(place) => format!("<{}>", &document[place]),
            Item::Pause => String::new(),
        });
        shown.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn texts_are_found_and_what_is_for_programs_is_not() {
        for (document, wanted) in [
            (r#"{"id":"a","messages":[{"role":"user","content":"b","name":"c"}],"model":"m"}"#, "b|c"),
            (r#"{"output":[{"type":"image_generation_call","result":"AA"},{"result":"text"}]}"#, "text"),
            (r#"{"output":[{"result":"AA","status":"x","n":1,"type":"image_generation_call"}]}"#, ""),
            (r#"{"output":[{"result":"AA","x":{},"type":"image_generation_call"}]}"#, "AA"),
            (r#"{"choices":[{"logprobs":{"content":["a"]},"text":"b"}]}"#, r#"<{"content":["a"]}>|b"#),
            (r#"{"content_filter_results":{"hate":{"severity":"safe"}},"x":["a","b"]}"#, "a|b"),
            (r#"{"tools":[{"description":"a"}],"input":[{"tools":"b"}]}"#, "b"),
            (r#"{"data":[{"b64_json":"AA","revised_prompt":"a"}]}"#, "a"),
            (r#"{"input_audio":{"data":"AA","format":"wav"},"source":{"type":"base64","data":"AA"}}"#, ""),
            (r#"{"annotations":[{"url_citation":{"url":"https://a.example/x","title":"t"}}]}"#, "t"),
            (r#""a""#, "a"),
            (r#"["a",1,["b"]]"#, "a|b"),
        ] {
            assert_eq!(found(document), wanted, "{document}");
        }
    }
}
