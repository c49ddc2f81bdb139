//! Escape: any text as the text of HTML or SVG, or as an attribute's value.
//!
//! It does not know where the text comes from.

use crate::model::text::is_hidden;

/// The text with nothing in it that ends a text or an attribute, and without what XML forbids, or what turns the direction of
/// the words around it.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            hidden if is_hidden(hidden) => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// The first letters of a text, and a sign that there were more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
