//! Texts for tests of fast readers: real ones, and what becomes of them when pieces are cut out, doubled, moved or
//! replaced by what readers disagree on.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Pieces that break a text, or change what it says.
const PIECES: [&str; 62] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "\r",
    "\0",
    "\u{b}",
    "\u{7f}",
    "\u{feff}",
    "é",
    "\u{2028}",
    "😀",
    "\\u006d",
    "\\u006D",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\udE00",
    "\\u12",
    "\\x",
    "\\/",
    "\\\"",
    "\\\\",
    "\\n",
    "\\u0000",
    "null",
    "true",
    "false",
    "tru",
    "0",
    "-",
    "-0",
    "01",
    "1.",
    ".5",
    "1.5",
    "1e5",
    "1E+2",
    "1e",
    "1e999",
    "-1e999",
    "1e-999",
    "18446744073709551616",
    "9007199254740993",
    "\"\"",
    "{}",
    "[]",
    "[[[",
    "\"x\":1,",
    ",\"y\":null",
    "\"error\"",
    "\"null\"",
    "\"4\"",
    "{\"a\":{\"a\":[{}]}}",
    "NaN",
    "  ",
];

/// One of these texts, most of them changed in up to four places. `names` are put into them too, as names and as texts.
pub(crate) fn mutated(
    texts: &'static [&'static str],
    names: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(&PIECES[..]).prop_map(str::to_owned),
        2 => select(names).prop_map(|name| format!("\"{name}\":")),
        2 => (select(names), select(&PIECES[..])).prop_map(|(name, value)| format!("\"{name}\":{value},")),
        1 => select(names).prop_map(|name| format!(",\"{}\":1", name.to_uppercase())),
        1 => select(names).prop_map(|name| format!("\"{name}\"")),
        1 => (1..200_usize).prop_map(|depth| "[".repeat(depth)),
        1 => (1..140_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        1 => (1..140_usize).prop_map(|depth| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))),
        1 => (290..400_usize).prop_map(|length| "9".repeat(length)),
    ];
    let places = (any::<Index>(), 0..12_usize, any::<u8>(), piece);
    (select(texts), proptest::collection::vec(places, 0..4)).prop_map(|(text, changes)| {
        let mut text = text.as_bytes().to_vec();
        for (at, length, what, piece) in changes {
            // Most changes are made where grammar is: beside a mark.
            let start = at.index(text.len() + 1);
            let mark =
                text[start..].iter().position(|byte| b"\"{}[]:,".contains(byte)).map_or(start, |mark| start + mark);
            let start = if what & 8 == 0 { mark + usize::from(what & 16 != 0 && mark < text.len()) } else { start };
            let end = (start + length).min(text.len());
            match what % 8 {
                0 => drop(text.drain(start..end)),
                1 => {
                    let doubled = text[start..end].to_vec();
                    text.splice(start..start, doubled);
                }
                2 => text.truncate(start),
                3 if start < text.len() => text[start] = what.rotate_left(3),
                4 => drop(text.splice(start..end, piece.into_bytes())),
                _ => drop(text.splice(start..start, piece.into_bytes())),
            }
        }
        text
    })
}
