//! Mark: the beginning of a simulated caller's question. It tells a modelled provider, through any dialect, how large
//! prompt and answer are, and which question it is.
//!
//! `~374/44/00000000000001f3~`: tokens of the prompt, tokens of the answer, the question in hexadecimal digits. It is plain
//! ASCII that no dialect escapes. This file knows no dialect.

use memchr::memchr_iter;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the wanted answer.
    pub tokens_out: u64,
    /// The question: the same number for the same question.
    pub question: u64,
}

/// The mark, to be put before a question's text.
pub fn write(mark: Mark) -> String {
    format!("~{}/{}/{:016x}~", mark.tokens_in, mark.tokens_out, mark.question)
}

/// The first mark in a request's body; `None`: it has none.
pub fn read(body: &[u8]) -> Option<Mark> {
    memchr_iter(b'~', body).find_map(|at| parse(&body[at + 1..]))
}

/// What follows the first `~`.
fn parse(text: &[u8]) -> Option<Mark> {
    let (tokens_in, rest) = number(text, 10, b'/')?;
    let (tokens_out, rest) = number(rest, 10, b'/')?;
    let (question, _) = number(rest, 16, b'~')?;
    Some(Mark { tokens_in, tokens_out, question })
}

/// A number of the base, up to and without `end`, and what follows.
fn number(text: &[u8], base: u32, end: u8) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (place, byte) in text.iter().enumerate() {
        if *byte == end {
            return (place > 0).then_some((value, &text[place + 1..]));
        }
        let digit = char::from(*byte).to_digit(base)?;
        value = value.checked_mul(base.into())?.checked_add(digit.into())?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_is_as_the_players_write_it() {
        let mark = Mark { tokens_in: 374, tokens_out: 44, question: 0x1f3 };
        assert_eq!(write(mark), "~374/44/00000000000001f3~");
        assert_eq!(read(br#"{"content":"about ~5/~ and ~374/44/00000000000001f3~ ~1/1/1~"}"#), Some(mark));
        assert_eq!(read(b"~/1/1~ ~1//1~ ~1/1/~ ~1/1/g~ ~1/1/1 ~99999999999999999999/1/1~ ~1/1/1"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_behind_anything(
            before in "[ -~]{0,40}",
            tokens_in: u64, tokens_out: u64, question: u64,
        ) {
            let mark = Mark { tokens_in, tokens_out, question };
            let text = format!("{before} {}", write(mark));
            // Unless what stands before is one itself.
            prop_assume!(read(before.as_bytes()).is_none() && !before.contains('~'));
            prop_assert_eq!(read(text.as_bytes()), Some(mark));
        }
    }
}
