//! What of a caller's words is told to those who operate the gateway: what looks like a word of an API, and no text.
//!
//! It does not know what the word is.

/// The longest word that is told: the longest names in APIs have a version or a date behind them.
const LONGEST: usize = 40;

/// A caller's word, where it is one that an API might have: what operators read has no texts of callers in it.
pub(crate) fn shown(word: &str) -> &str {
    let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte));
    if is_word && word.len() <= LONGEST { word } else { "(unknown)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_text_is_not_told() {
        assert_eq!(["web_search_20250305", "a.b"].map(shown), ["web_search_20250305", "a.b"]);
        let long = "a".repeat(41);
        assert_eq!(["my password", "Secret", "sk-1", "é", &long].map(shown), ["(unknown)"; 5]);
    }
}
