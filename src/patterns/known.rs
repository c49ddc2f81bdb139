//! The built-in patterns: personal data and secrets, as people and programs write them.
//!
//! Numbers with check digits are verified: a number that fails is another kind of number.

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
/// place must not make something of what follows. Of the parts of a name on the net only the first may be a number, so that
/// versions (`tool@18.3.0-rc.a1`) are none, and none is `2x`, as files of pictures have it.
const EMAIL: &str = r"(?x)
    [A-Za-z0-9\x{80}-\x{10FFFF}._%+'-]+ @ (?: [0-9]+ \. )?
    (?: (?: [A-Za-z\x{80}-\x{10FFFF}] (?: [A-Za-z0-9\x{80}-\x{10FFFF}-]* [A-Za-z0-9\x{80}-\x{10FFFF}] )?
          | [0-9][0-9-]* (?: [A-WYZa-wyz\x{80}-\x{10FFFF}] | [A-Za-z\x{80}-\x{10FFFF}] [A-Za-z0-9\x{80}-\x{10FFFF}-]* [A-Za-z0-9\x{80}-\x{10FFFF}] )
        ) \. )*
    [A-Za-z\x{80}-\x{10FFFF}] [A-Za-z0-9\x{80}-\x{10FFFF}]+";

/// 13 to 19 digits, alone or in groups (ISO/IEC 7812); and a digit or a letter more, which tells that it is part of something
/// else: of a decimal, of a serial number.
const CARD: &str = r"(?x)
    (?-u:\b) [2-9] (?: [\ \x{A0}\x{202F}\x{2011}-]? [0-9] ){12,18} (?: (?-u:\b) | \. [0-9] | - [A-Za-z0-9\[] )";

/// Country, check digits, and 11 to 30 letters and digits, perhaps in groups (ISO 13616).
const IBAN: &str = r"(?x)
    (?-u:\b) [A-Za-z]{2} [0-9]{2} (?: [\ \x{A0}\x{202F}-]? [A-Za-z0-9] ){11,30} (?-u:\b)";

/// With the country's code (8 to 15 digits, E.164), with a leading 0 (8 to 14 digits), or in the groups of North America.
const PHONE: &str = r"(?x)
    \+ [1-9] (?: [\ .()/\x{A0}\x{202F}\x{2011}-]{0,3} [0-9] ){7,14} (?-u:\b)
    | (?-u:\b) 0 [0-9] (?: [\ .()/\x{A0}\x{202F}\x{2011}-]{0,3} [0-9] ){6,12} (?-u:\b)
    | (?-u:\b) (?: 1 [\ .-] )? [2-9][0-9]{2} [\ .\x{2011}-] [2-9][0-9]{2} [\ .\x{2011}-] [0-9]{4} (?-u:\b)
    | (?: (?-u:\b) 1 [\ .-]? )? \( [2-9][0-9]{2} \) [\ -]? [2-9][0-9]{2} [\ .\x{2011}-] [0-9]{4} (?-u:\b)";

/// Keys of providers by their prefixes, tokens (RFC 7519), bearers (RFC 6750), and private keys (RFC 7468), whose lines may be
/// broken by `\n` in letters. Words that are parted by hyphens are no key (`sk-learn-for-absolute-beginners`).
const SECRET: &str = r"(?x)
    (?-u:\b) (?:
        sk- (?: [A-Za-z0-9]{1,12} [_-] ){0,2} (?: [A-Za-z0-9]{20} | (?:proj|ant|svcacct|service|admin|live|test|user|None) - [A-Za-z0-9_-]{16} ) [A-Za-z0-9_-]*
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
    Known { name: "card", expression: CARD, check: Some(Check::Card), width: 20 },
    Known { name: "iban", expression: IBAN, check: Some(Check::Iban), width: 10 },
    Known { name: "phone", expression: PHONE, check: Some(Check::Phone), width: 24 },
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

    use super::super::laws::longest;
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
            ("sk-ant-api03-a_B-c1_D-e2_F-g3", "secret:sk-ant-api03-a_B-c1_D-e2_F-g3"),
            ("sk-or-v1-0123456789abcdef0123", "secret:sk-or-v1-0123456789abcdef0123"),
            ("https://a.example/?key=AKIAIOSFODNN7EXAMPLE", "secret:AKIAIOSFODNN7EXAMPLE"),
            ("x@163.com", "email:x@163.com"),
            ("x@1-und-1.example", "email:x@1-und-1.example"),
            ("_ann@3m.example_", "email:_ann@3m.example"),
        ] {
            assert_eq!(found(text), [wanted], "{text}");
        }
    }

    #[test]
    fn numbers_are_found_in_the_spellings_of_many_countries() {
        for card in [
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "4222222222222",
            "5555 5555 5555 4444",
            "2223003122003222",
            "3782 822463 10005",
            "371449635398431",
            "3056 930902 5904",
            "6011111111111117",
            "3530 1113 3330 0000",
            "6200000000000005",
            "5019717010103742",
        ] {
            for text in
                [format!("pay with {card}, please"), format!("card:{card}."), format!("a,1,{card},123"), card.into()]
            {
                assert_eq!(found(&text), [format!("card:{card}")], "{text}");
            }
        }
        for iban in [
            "DE89 3704 0044 0532 0130 00",
            "DE89370400440532013000",
            "GB82 WEST 1234 5698 7654 32",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NL91ABNA0417164300",
            "BE68 5390 0754 7034",
            "CH93 0076 2011 6238 5295 7",
            "NO93 8601 1117 947",
            "IT60 X054 2811 1010 0000 0123 456",
            "es91-2100-0418-4502-0005-1332",
            "PL61\u{a0}1090\u{a0}1014\u{a0}0000\u{a0}0712\u{a0}1981\u{a0}2874",
        ] {
            for text in [format!("to {iban}, please"), format!("IBAN: {iban}"), format!("({iban})")] {
                assert_eq!(found(&text), [format!("iban:{iban}")], "{text}");
            }
        }
        for phone in [
            "+49 30 1234567",
            "+49 (0)30 / 123 45-67",
            "+1 (212) 555-0199",
            "+1.2125550199",
            "+33 1 23 45 67 89",
            "+44 20 7946 0958",
            "+34 612 345 678",
            "+91-98765-43210",
            "+86 138 0013 8000",
            "+390612345678",
            "0049 30 1234567",
            "030 1234567",
            "030/1234567",
            "0171-1234567",
            "06 12 34 56 78",
            "06.12.34.56.78",
            "02.123.45.67",
            "020 7946 0958",
            "07911 123456",
            "03-1234-5678",
            "090\u{2011}1234\u{2011}5678",
            "06\u{a0}12\u{a0}34\u{a0}56\u{a0}78",
            "0412 345 678",
            "212-555-0199",
            "1-800-555-0199",
            "212.555.0199",
            "(212) 555-0199",
            "1 (800) 555-0199",
            "+49/30/1234567",
            "00 49 30 1234567",
            "+33.6.12.34.56.78",
            "0171 / 123 45 67",
            "+7 495 123-45-67",
            "+81-3-1234-5678",
            "0120-123-456",
        ] {
            for text in [format!("call {phone}, please"), format!("Tel.:{phone}"), format!("a;{phone};b"), phone.into()]
            {
                assert_eq!(found(&text), [format!("phone:{phone}")], "{text}");
            }
        }
    }

    #[test]
    fn numbers_that_are_part_of_something_else_are_not_found() {
        let wrong: Vec<_> = [
            "0.0076509169000000005",
            "costs 0.0301234567 USD",
            "0,0301234567",
            "3.0301234567890123e-05, -1.0041111111111111",
            "12.4111111111111111",
            "4111111111111111.25",
            "1700000000, 1700000000000, 1700000000000000, 1700000000000000000",
            "10:15:30.0123456789",
            "2026-01-02 2026-03-04",
            "01.02.2026-03.04.2026",
            "05 - 10 - 2024 12",
            "01022026",
            "20240512T101530Z and 2024-05-12T10:15:30.012345678+1000",
            "open 09.00-10.00 and 0900-1730",
            "https://a.example/p/0301234567/4111111111111111?t=+49301234567&card=4111111111111111#0301234567",
            "<a href='http://a.example/0049-30-1234567'>",
            "GET /v1/orders/4111111111111111/0301234567",
            "/search?id=0301234567&x=4111111111111111",
            "www.a.example/0301234567",
            "0x0301234567, a0301234567b, 12:00:0301234567",
            "aGVsbG8+0301234567/4111111111111111+aGk=",
            "550e8400-0301-2345-6789-446655440000, 41111111-1111-4111-8111-111111111111",
            "00-11-22-33-44-55",
            "$4111111111111111 or $0301234567",
            "v1.0.0301234567, 01.02.03.04, 1.0.0-0301234567",
            "192.168.010.001, 010.001.002.003, 2001:0db8:85a3:0000:0000:8a2e:0370:7334",
            "52.0301234, 13.0404954; +52.5200066, +13.4049540; -0.1277583",
            "+10.000.000 and +1.234.567",
            "ORD-4111111111111111, ORD0301234567, INV_0301234567, #0301234567, order-0301234567-x",
            "4111111111111111-X, 4111111111111111-5",
            "EAN 5901234123457, IMEI 490154203237518",
            "arn:aws:iam::012345678901:role/x",
            "0644 0755 0600, 00-11-22-33-44-55",
            "01.02 - 03.04, 01/02-03/04",
            "{\"lat\":52.0302345,\"lon\":-0.1277583,\"ts\":1700000000123,\"v\":[0.0123456789,-0.0987654321]}",
            "rgba(0,0,0,0.0123456789) 2.0.0-20240101010101 20240512_0123456789",
            "2024-05-12 10:15:30.012345678, 00:00:01,000 --> 00:00:05,000",
            "00000000000, 0101 0101 0101, 0102 0304 0506 0708",
            "icon@2x.png, react@18.3.0-canary.abc123, tool@1.2.3",
            "sk-learn-tutorial-for-absolute-beginners",
            "XX82 WEST 1234 5698 7654 32, DE8937040044053201300",
        ]
        .into_iter()
        .filter(|text| !found(text).is_empty())
        .map(|text| (text, found(text)))
        .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
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

    /// The leftmost and then longest match, by trying every beginning.
    fn leftmost(text: &str, from: usize) -> Option<std::ops::Range<usize>> {
        let patterns: Vec<Pattern> = KNOWN.iter().filter_map(|name| known(name)).collect();
        let mut starts = (from..text.len()).filter(|at| text.is_char_boundary(*at));
        starts.find_map(|start| longest(&patterns, text, start)).map(|(range, _)| range)
    }
}
