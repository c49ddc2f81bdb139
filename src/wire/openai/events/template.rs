//! Template: what the chunks of one stream have in common. Nearly all of them differ in their text alone, and in the random letters
//! with which OpenAI hides how long it is.
//!
//! A chunk that has the same bytes around a string in the same place says the same, but for that string. It does not know what that
//! is; the reader of whole chunks has found out.

use std::ops::Range;

use crate::wire::json::scan::Quoted;
use crate::wire::span::span;

/// The most that is kept of a chunk. Those with nothing but text have some 300 bytes.
const MOST: usize = 1024;

/// The bytes of the last chunk with nothing but text, without that text and what pads it.
#[derive(Default)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the text is missing; zero where no chunk is known.
    text: usize,
    /// Where the padding is missing: behind the text, or at the end where there is none.
    padding: usize,
    is_padded: bool,
}

impl Template {
    /// Learns from a chunk in which this text is all that it adds to an answer. Both are strings of it, in which nothing has been
    /// replaced; that of the padding means nothing to anybody.
    pub(super) fn learn(&mut self, chunk: &[u8], text: &str, padding: Option<&str>) {
        self.text = 0;
        if chunk.len() > MOST {
            return;
        }
        let Some(text) = quoted(text, chunk) else { return };
        let padding = padding.and_then(|padding| quoted(padding, chunk)).filter(|padding| padding.start >= text.end);
        let padding_or_end = padding.clone().unwrap_or(chunk.len()..chunk.len());
        self.bytes.clear();
        self.bytes.reserve_exact(chunk.len() - text.len());
        self.bytes.extend_from_slice(&chunk[..text.start]);
        self.bytes.extend_from_slice(&chunk[text.end..padding_or_end.start]);
        self.padding = self.bytes.len();
        self.bytes.extend_from_slice(&chunk[padding_or_end.end..]);
        (self.text, self.is_padded) = (text.start, padding.is_some());
    }

    /// The text of a chunk that differs from the known one in nothing else. `None` says nothing about it.
    pub(super) fn text_of<'a>(&self, chunk: &'a [u8]) -> Option<Quoted<'a>> {
        if self.text == 0 {
            return None;
        }
        let rest = chunk.strip_prefix(self.bytes.get(..self.text)?)?;
        let (text, rest) = Quoted::first_of(rest)?;
        let rest = rest.strip_prefix(self.bytes.get(self.text..self.padding)?)?;
        let rest = if self.is_padded { Quoted::first_of(rest)?.1 } else { rest };
        (rest == self.bytes.get(self.padding..)?).then_some(text)
    }
}

/// Where a string of these bytes stands in them, with its quotation marks.
fn quoted(string: &str, bytes: &[u8]) -> Option<Range<usize>> {
    let inner = span(string.as_bytes(), bytes)?;
    let range = inner.start.checked_sub(1)?..inner.end + 1;
    let inside = bytes.get(range.clone())?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (inside == string.as_bytes()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"{"id":"a","choices":[{"delta":{"content":"#;
    const AFTER: &str = r#"},"index":0}],"pad":"#;

    fn learned(chunk: &str, text: &str, padding: Option<&str>) -> Template {
        let mut template = Template::default();
        let find =
            |part: &str| chunk.find(&format!("\"{part}\"")).and_then(|at| chunk.get(at + 1..at + 1 + part.len()));
        template.learn(chunk.as_bytes(), find(text).unwrap(), padding.and_then(find));
        template
    }

    #[test]
    fn a_chunk_that_differs_in_its_strings_alone_is_known() {
        let template = learned(&format!("{BEFORE}\"one\"{AFTER}\"xyz\"}}"), "one", Some("xyz"));
        for (text, padding) in [("two", ""), ("", "abcdef"), (r"\n\u00e9\\", r"\ud83d"), (AFTER.trim_matches('"'), "é")]
        {
            let text = text.replace('"', "\\\"");
            let chunk = format!("{BEFORE}\"{text}\"{AFTER}\"{padding}\"}}");
            assert_eq!(template.text_of(chunk.as_bytes()).map(|text| text.raw), Some(&*text), "{chunk}");
        }
    }

    #[test]
    fn any_other_chunk_is_unknown() {
        let chunk = format!("{BEFORE}\"one\"{AFTER}\"xyz\"}}");
        for template in [Template::default(), learned(&chunk, "one", Some("xyz")), learned(&chunk, "one", None)] {
            for other in [
                String::new(),
                format!("{BEFORE}\"one\"{AFTER}\"xyz\"}} "),
                format!("{BEFORE} \"one\"{AFTER}\"xyz\"}}"),
                format!("{BEFORE}\"one\", \"a\":1{AFTER}\"xyz\"}}"),
                format!("{BEFORE}\"on\\e\"{AFTER}\"xyz\"}}"),
                format!("{BEFORE}\"on\ne\"{AFTER}\"xyz\"}}"),
                format!("{BEFORE}\"one{AFTER}\"xyz\"}}"),
                format!("{BEFORE}null{AFTER}\"xyz\"}}"),
                format!("{BEFORE}\"one\"{AFTER}7}}"),
                format!("{BEFORE}\"one\"{AFTER}\"xyz\""),
            ] {
                assert_eq!(template.text_of(other.as_bytes()), None, "{other}");
            }
        }
        let unpadded = learned(&chunk, "one", None);
        assert_eq!(unpadded.text_of(format!("{BEFORE}\"one\"{AFTER}\"abc\"}}").as_bytes()), None);
        assert!(unpadded.text_of(chunk.as_bytes()).is_some());
    }

    #[test]
    fn a_large_chunk_is_not_kept() {
        let template = learned(&format!("{BEFORE}\"one\"{AFTER}\"{}\"}}", "x".repeat(MOST)), "one", None);
        assert_eq!((template.text, template.bytes.capacity()), (0, 0));
    }
}
