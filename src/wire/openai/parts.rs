//! The text of a message: a string, or a list of parts of which some are text.
//!
//! It is lenient: unpaired surrogates and invalid UTF-8 become replacement characters.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// The text of a message, as far as it is text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The text.
    pub(crate) text: String,
    /// True when there is more than text in it: thoughts, pictures.
    pub(crate) is_more_than_text: bool,
}

/// The text of a `content`; `None` for one that is neither text nor a list of parts.
pub(crate) fn text(content: &Value) -> Option<Content> {
    match content {
        Value::String(text) => Some(Content { text: text.clone(), is_more_than_text: false }),
        Value::Array(parts) => {
            let mut read = Content { text: String::new(), is_more_than_text: false };
            for part in parts {
                match part {
                    Value::String(text) => read.text.push_str(text),
                    Value::Object(part) => {
                        let kind = part.get("type").and_then(Value::as_str);
                        match part.get("text") {
                            Some(Value::String(text)) if matches!(kind, None | Some("text" | "output_text")) => {
                                read.text.push_str(text);
                            }
                            _ => read.is_more_than_text = true,
                        }
                    }
                    _ => return None,
                }
            }
            Some(read)
        }
        _ => None,
    }
}

/// The same without the byte order mark that a text may begin with.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

/// A JSON text that every reader reads: without a mark, with U+FFFD in the place of bytes that are no UTF-8 and of halves of
/// surrogate pairs.
pub(crate) fn readable(json: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(without_mark(json)) {
        Cow::Borrowed(text) => mended(text),
        Cow::Owned(text) => match mended(&text) {
            Cow::Owned(mended) => Cow::Owned(mended),
            Cow::Borrowed(_) => Cow::Owned(text),
        },
    }
}

/// What `read` finds in a JSON text: as it stands there, else with the last of names that come twice.
pub(crate) fn leniently<T>(json: &[u8], read: impl Fn(&str) -> Option<T>) -> Option<T> {
    read(&readable(json)).or_else(|| read(&value(json).ok()?.to_string()))
}

/// Reads an object. A list would be read as the fields in their order.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    json.trim_start().starts_with('{').then(|| serde_json::from_str(json).ok())?
}

/// A JSON text that may have halves of surrogate pairs and bytes that are no UTF-8 in it, as a value.
pub(crate) fn value(json: &[u8]) -> serde_json::Result<Value> {
    let json = without_mark(json);
    let text = String::from_utf8_lossy(json);
    serde_json::from_str(&text).or_else(|fault| match mended(&text) {
        Cow::Owned(text) => serde_json::from_str(&text),
        Cow::Borrowed(_) => Err(fault),
    })
}

/// The same JSON with U+FFFD for each escape that is half of a surrogate pair (RFC 8259, 8.2).
fn mended(json: &str) -> Cow<'_, str> {
    const HIGH: std::ops::RangeInclusive<u16> = 0xD800..=0xDBFF;
    const LOW: std::ops::RangeInclusive<u16> = 0xDC00..=0xDFFF;
    // The unit that an escape of six bytes stands for.
    let unit = |at: usize| -> Option<u16> {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        let start = at + found;
        at = (start + 2).min(json.len());
        match unit(start) {
            Some(high) if HIGH.contains(&high) && unit(start + 6).is_some_and(|low| LOW.contains(&low)) => {
                at = start + 12
            }
            Some(half) if HIGH.contains(&half) || LOW.contains(&half) => {
                mended.push_str(&json[copied..start]);
                mended.push_str("\\uFFFD");
                at = start + 6;
                copied = at;
            }
            _ => {}
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[copied..]);
    Cow::Owned(mended)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_found_among_parts() {
        let said = |content: Value| text(&content).map(|read| (read.text, read.is_more_than_text));
        let found = |text: &str, is_more| Some((text.to_owned(), is_more));
        assert_eq!(said(json!("a")), found("a", false));
        assert_eq!(said(json!([])), found("", false));
        assert_eq!(said(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])), found("ab", false));
        assert_eq!(said(json!([{"text": "a"}, "b", {"type": "output_text", "text": "c"}])), found("abc", false));
        let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]});
        assert_eq!(said(json!([thought, {"type": "text", "text": "a"}])), found("a", true));
        assert_eq!(said(json!([{"type": "text", "text": null}])), found("", true));
        for odd in [json!(5), json!({}), json!(null), json!([7])] {
            assert_eq!(said(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn halves_of_pairs_are_read_as_a_sign_for_that() {
        let read = |json: &str| value(json.as_bytes()).unwrap();
        assert_eq!(read(r#""a\ud83d""#), "a\u{FFFD}");
        assert_eq!(read(r#""\udE00b""#), "\u{FFFD}b");
        assert_eq!(read(r#""\ud83d\ude00\ud83d""#), "\u{1F600}\u{FFFD}");
        assert_eq!(read(r#"["\ud83d\ud83d","\\ud83d"]"#), json!(["\u{FFFD}\u{FFFD}", "\\ud83d"]));
        assert_eq!(value(b"\xEF\xBB\xBF {\"a\":\"\xFF\"}").unwrap(), json!({"a": "\u{FFFD}"}));
        assert!(value(b"{").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(json in "(\\\\|u|d83d|de00|\"|é|x){0,20}") {
            let _ = (mended(&json), value(json.as_bytes()));
        }
    }
}
