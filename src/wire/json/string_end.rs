//! String end: finds the closing quote of a string in a JSON text.
//!
//! It does not know what the string says, nor whether the text is JSON.

/// Where the string ends that begins before `at`: after its closing quote, or with the text.
#[must_use]
pub fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at = (at + 1).min(text.len());
    }
    text.len()
}
