//! Text: what modelled providers say: words of one token each, made once.
//!
//! It knows no dialect.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::model::rng::Draws;

/// Three letters and a space: what a token has on average.
const WORD: usize = 4;

/// Words, before they come again.
const WORDS: usize = 1 << 14;

static WORDS_OF_ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let letter = |letters: &[u8], draws: Draws| letters[draws.bits() as usize % letters.len()];
    let word = |number: u64| {
        let draws = Draws::new(0).of(number);
        let (first, last) = (letter(b"bdfghklmnprstvw", draws.of(0)), letter(b"dgklmnprst", draws.of(2)));
        [first, letter(b"aeiou", draws.of(1)), last, b' ']
    };
    (0..WORDS as u64).flat_map(word).collect()
});

/// The tokens from one on, up to another, of the text that begins where the `luck` says.
pub(super) fn text(luck: u64, from: usize, to: usize) -> Cow<'static, [u8]> {
    let words = &**WORDS_OF_ALL;
    let begin = (luck as usize % WORDS + from) % WORDS;
    let count = to.saturating_sub(from);
    match words.get(begin * WORD..(begin + count) * WORD) {
        Some(text) => text.into(),
        None => words.iter().cycle().skip(begin * WORD).take(count * WORD).copied().collect::<Vec<_>>().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_text_are_the_text_and_need_no_escapes() {
        let whole = text(WORDS as u64 - 3, 0, 10);
        assert_eq!(whole.len(), 40);
        assert_eq!(whole, [text(WORDS as u64 - 3, 0, 4), text(WORDS as u64 - 3, 4, 10)].concat());
        assert!(whole.iter().all(|byte| *byte == b' ' || byte.is_ascii_lowercase()));
        assert_ne!(text(1, 0, 10), text(2, 0, 10));
        assert_eq!(text(1, 0, WORDS * 2 + 1).len(), (WORDS * 2 + 1) * WORD);
    }
}
