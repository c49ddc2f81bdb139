//! The patterns that have a name: personal data and secrets, as people and programs write them.
//!
//! Where numbers carry a check, it is made: a number that fails it is another kind of number.

use std::sync::LazyLock;

use super::Pattern;
use super::check::Check;

/// One of them. A boundary of words is `(?-u:\b)`: the automata know words of ASCII only.
struct Known {
    name: &'static str,
    expression: &'static str,
    check: Option<Check>,
    /// See [`Pattern::width`].
    width: usize,
}

/// The names, in the order in which equally long matches are preferred.
pub const KNOWN: [&str; 5] = ["email", "card", "iban", "phone", "secret"];

/// Letters of other alphabets are taken wherever a letter is. Like all of these it ends where a word ends: what is put in its
/// place must not make something of what follows.
const EMAIL: &str = r"(?x)
    [A-Za-z0-9\x{80}-\x{10FFFF}._%+'-]+ @
    (?: [A-Za-z0-9\x{80}-\x{10FFFF}] (?: [A-Za-z0-9\x{80}-\x{10FFFF}-]* [A-Za-z0-9\x{80}-\x{10FFFF}] )? \. )+
    [A-Za-z\x{80}-\x{10FFFF}] [A-Za-z0-9\x{80}-\x{10FFFF}]+";

/// 13 to 19 digits, alone or in groups (ISO/IEC 7812).
const CARD: &str = r"(?-u:\b)[1-9](?:[ -]?[0-9]){12,18}(?-u:\b)";

/// Country, check digits, and 11 to 30 letters and digits, perhaps in groups (ISO 13616).
const IBAN: &str = r"(?i-u)\b[a-z]{2}[0-9]{2}(?: ?[a-z0-9]){11,30}\b";

/// With the country's code (8 to 15 digits, E.164), with a leading 0 (8 to 14 digits), or in the groups of North America.
const PHONE: &str = r"(?x)
    \+ [1-9] (?: [\ .()/-]{0,3} [0-9] ){7,14} (?-u:\b)
    | (?-u:\b) 0 [0-9] (?: [\ .()/-]{0,3} [0-9] ){6,12} (?-u:\b)
    | (?-u:\b) [2-9][0-9]{2} [\ .-] [2-9][0-9]{2} [\ .-] [0-9]{4} (?-u:\b)
    | \( [2-9][0-9]{2} \) \ ? [2-9][0-9]{2} [\ .-] [0-9]{4} (?-u:\b)";

/// Keys of providers by their prefixes, tokens (RFC 7519), bearers (RFC 6750), and private keys (RFC 7468), whose lines may be
/// broken by `\n` in letters.
const SECRET: &str = r"(?x)
    (?-u:\b) (?:
        sk-[A-Za-z0-9_-]{20,}
        | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}
        | A(?:KIA|SIA)[A-Z0-9]{16,}
        | gh[opsur]_[A-Za-z0-9]{30,}
        | github_pat_[A-Za-z0-9_]{22,}
        | glpat-[A-Za-z0-9_-]{20,}
        | xox[abeoprs]-[A-Za-z0-9-]{10,}
        | AIza[A-Za-z0-9_-]{35,}
        | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?
        | (?i:bearer)[\ \t]+[A-Za-z0-9._~+/-]{16,}=*
    )
    | -----BEGIN\ [A-Z\ ]{0,32}PRIVATE\ KEY(?:\ BLOCK)?-----
      (?: (?:\s|\\[rn])* [A-Za-z0-9+/=]{16,80} )*
      (?: (?:\s|\\[rn])* [A-Za-z0-9+/=]* (?:\s|\\[rn])* -----END\ [A-Z\ ]{0,40}----- )?";

const ALL: [Known; 5] = [
    Known { name: "email", expression: EMAIL, check: None, width: 8 },
    Known { name: "card", expression: CARD, check: Some(Check::Luhn), width: 20 },
    Known { name: "iban", expression: IBAN, check: Some(Check::Mod97), width: 10 },
    Known { name: "phone", expression: PHONE, check: Some(Check::NoDate), width: 24 },
    Known { name: "secret", expression: SECRET, check: None, width: 16 },
];

/// A pattern by its name.
pub fn known(name: &str) -> Option<Pattern> {
    static BUILT: [LazyLock<Option<Pattern>>; 5] = [
        LazyLock::new(|| build(0)),
        LazyLock::new(|| build(1)),
        LazyLock::new(|| build(2)),
        LazyLock::new(|| build(3)),
        LazyLock::new(|| build(4)),
    ];
    let index = ALL.iter().position(|known| known.name == name)?;
    BUILT[index].clone()
}

fn build(index: usize) -> Option<Pattern> {
    let Known { name, expression, check, width } = &ALL[index];
    Pattern::checked(name, expression, *check, *width).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::tests::by_hand;
    use super::super::{Patterns, Search, width};
    use super::*;

    fn all() -> &'static Patterns {
        static ALL: LazyLock<Patterns> = LazyLock::new(|| Patterns::new(KNOWN.iter().map(|name| known(name).unwrap())));
        &ALL
    }

    /// What is found, as `name:text`.
    fn found(text: &str) -> Vec<String> {
        let patterns = all();
        let show = |it: super::super::Found| format!("{}:{}", patterns.name(it.pattern), &text[it.range]);
        patterns.find(text.as_bytes()).into_iter().map(show).collect()
    }

    #[test]
    fn what_people_and_programs_write_is_found() {
        let token = format!("eyJ{}.eyJ{}.{}", "a".repeat(30), "b".repeat(60), "c".repeat(43));
        let pem = format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\nabc=\n-----END RSA PRIVATE KEY-----",
            "A1+/".repeat(16),
            "b".repeat(64)
        );
        let one_line = pem.replace('\n', "\\n");
        let key = format!("sk-proj-{}", "x_Y-9".repeat(8));
        let bearer = "Authorization: Bearer abcdefghij0123456789==";
        for (text, wanted) in [
            ("write to Ann.O'Neil+x@mail.example.co.uk, please", "email:Ann.O'Neil+x@mail.example.co.uk"),
            ("müller@bücher.example.", "email:müller@bücher.example"),
            ("card 4111 1111 1111 1111 12/29", "card:4111 1111 1111 1111"),
            ("12 4111-1111-1111-1111", "card:4111-1111-1111-1111"),
            ("378282246310005", "card:378282246310005"),
            ("IBAN DE89 3704 0044 0532 0130 00 BIC", "iban:DE89 3704 0044 0532 0130 00"),
            ("gb82west12345698765432", "iban:gb82west12345698765432"),
            ("call +49 (30) 123-4567 now", "phone:+49 (30) 123-4567"),
            ("call 030 / 1234567 now", "phone:030 / 1234567"),
            ("06 12 34 56 78", "phone:06 12 34 56 78"),
            ("(212) 555-0199", "phone:(212) 555-0199"),
            ("212-555-0199!", "phone:212-555-0199"),
            (&token, &format!("secret:{token}")),
            (&pem, &format!("secret:{pem}")),
            (&one_line, &format!("secret:{one_line}")),
            (&key, &format!("secret:{key}")),
            (bearer, "secret:Bearer abcdefghij0123456789=="),
            ("AKIAIOSFODNN7EXAMPLE", "secret:AKIAIOSFODNN7EXAMPLE"),
            ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "secret:ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
            ("xoxb-123456789012-abcdef", "secret:xoxb-123456789012-abcdef"),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for text in [
            "4111 1111 1111 1112",
            "41111111111111110000000",
            "GB82 WEST 1234 5698 7654 33",
            "on 01.02.2026 10:30 we met",
            "05/06/2026",
            "2026-11-21T14:27:00Z",
            "a @ b.c, x@y, @user, a@b.c",
            "0.123456789",
            "the risk-averse-and-very-careful-person",
            "bearer of good news",
            "-----BEGIN PUBLIC KEY-----",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn no_built_in_pattern_is_wider_than_it_says() {
        for it in ALL {
            let pattern = known(it.name).unwrap();
            let width = width::of(&pattern.0.automaton, &pattern.0.starts);
            assert!(width <= it.width, "{}: {width}", it.name);
        }
    }

    /// A text of what patterns are made of.
    fn text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("4111 1111 1111 1111".to_owned()),
            Just("DE89370400440532013000".to_owned()),
            Just("a.b@x.example".to_owned()),
            Just("+49 30 1234567".to_owned()),
            Just("sk-abcdefghijklmnopqrstuvwx".to_owned()),
            Just("-----BEGIN PRIVATE KEY-----\n".to_owned()),
            "[a-z@.+ 0-9é-]{0,9}",
            "[0-9 ]{0,9}",
            "\\PC{0,3}",
        ];
        proptest::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Every match is whole characters, after the one before, and the same however the text comes.
        #[test]
        fn however_a_text_is_cut_the_same_is_found(text in text(), cuts in proptest::collection::vec(0usize..200, 0..9)) {
            let (patterns, mut search, mut got) = (all(), Search::default(), Vec::new());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            for to in cuts {
                search.push(patterns, &text.as_bytes()[search.undecided()..to], &mut got);
            }
            let from = search.undecided();
            search.push(patterns, &text.as_bytes()[from..], &mut got);
            let from = search.undecided();
            search.finish(patterns, &text.as_bytes()[from..], &mut got);
            prop_assert_eq!(&got, &patterns.find(text.as_bytes()));
            let mut before = 0;
            for it in got {
                prop_assert!(it.range.start >= before && it.range.end > it.range.start);
                prop_assert!(text.get(it.range.clone()).is_some(), "within a character");
                before = it.range.end;
            }
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// By the definition: the leftmost real match, of those the longest, and then the same behind it.
        #[test]
        fn every_match_is_the_leftmost_real_one_behind_those_before(text in text()) {
            let got: Vec<_> = all().find(text.as_bytes()).into_iter().map(|it| it.range).collect();
            let mut wanted = Vec::new();
            while let Some(next) = leftmost(&text, wanted.last().map_or(0, |before: &std::ops::Range<usize>| before.end)) {
                wanted.push(next);
            }
            prop_assert_eq!(got, wanted);
        }
    }

    /// The leftmost and then longest match, by trying every beginning and every end.
    fn leftmost(text: &str, from: usize) -> Option<std::ops::Range<usize>> {
        let bytes = text.as_bytes();
        let matches = |start: usize, end: usize| {
            ALL.iter().enumerate().any(|(index, it)| {
                use regex_automata::{Anchored, Input, dfa::Automaton};
                let pattern = known(KNOWN[index]).unwrap();
                let automaton = &pattern.0.automaton;
                let input = Input::new(bytes).range(start..bytes.len()).anchored(Anchored::Yes);
                let mut overlapping = regex_automata::dfa::OverlappingState::start();
                while automaton.try_search_overlapping_fwd(&input, &mut overlapping).is_ok() {
                    let Some(half) = overlapping.get_match() else { return false };
                    if half.offset() == end {
                        return it.check.is_none_or(|check| by_hand(check, &bytes[start..end]));
                    }
                }
                false
            })
        };
        let starts = (from..bytes.len()).filter(|at| text.is_char_boundary(*at));
        starts
            .flat_map(|start| (start + 1..=bytes.len()).rev().map(move |end| start..end))
            .find(|range| matches(range.start, range.end))
    }
}
