//! Strict: finds ambiguous JSON, which two parsers may read differently: duplicate keys, a number that no double
//! holds, and invalid UTF-8 (RFC 8259, 8.1), which a parser that skips a field does not look at.
//!
//! It scans a text whose grammar was checked before, without recursion and mostly from quote to quote, and knows no
//! field.

use std::borrow::Cow;

use crate::wire::json::string_end::end_of_string;

/// What was found, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// A name that its object has already.
    Twice(usize),
    /// A number beyond all bounds, `1e999`.
    Huge(usize),
    /// No UTF-8.
    NotText(usize),
    /// A field whose name only capital letters keep from one that counts: some readers make no difference.
    Lookalike(usize),
}

impl Odd {
    /// What is wrong, and where.
    pub(crate) fn message(self, text: &[u8]) -> String {
        let (what, at) = match self {
            Odd::Twice(at) => ("a field appears twice", at),
            Odd::Huge(at) => ("a number is too large", at),
            Odd::NotText(at) => ("it is not UTF-8", at),
            Odd::Lookalike(at) => ("a field differs from a known one only in case", at),
        };
        let before = &text[..at.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = at - memchr::memrchr(b'\n', before).map_or(0, |feed| feed + 1) + 1;
        format!("{what} (line {line}, column {column})")
    }
}

/// Looks through a text that is JSON. What is no JSON it may pass.
pub(crate) fn check(text: &[u8]) -> Result<(), Odd> {
    std::str::from_utf8(text).map_err(|fault| Odd::NotText(fault.valid_up_to()))?;
    // The names of all objects that are open, one after the other, and where those of each begin; `None` is an array.
    let mut names: Vec<(Cow<'_, [u8]>, usize)> = Vec::new();
    let mut open: Vec<Option<usize>> = Vec::new();
    let (mut at, mut expects_name) = (0, false);
    while let Some(byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' => {
                open.push(Some(names.len()));
                expects_name = true;
            }
            b'[' => {
                open.push(None);
                expects_name = false;
            }
            b'}' | b']' => {
                if let Some(Some(first)) = open.pop() {
                    check_names(&mut names[first..])?;
                    names.truncate(first);
                }
            }
            b',' => expects_name = matches!(open.last(), Some(Some(_))),
            b'"' => {
                at = end_of_string(text, at);
                if std::mem::take(&mut expects_name) {
                    let name = unescaped(&text[start..at]);
                    if open.len() == 1 && is_lookalike(&name) {
                        return Err(Odd::Lookalike(start));
                    }
                    names.push((name, start));
                }
            }
            b'-' | b'0'..=b'9' => {
                let length = text[at..].iter().take_while(|byte| b"+-.eE0123456789".contains(byte)).count();
                at += length;
                check_number(&text[start..at]).map_err(|()| Odd::Huge(start))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a quoted name says: `"mod\u0065l"` is `model`.
fn unescaped(quoted: &[u8]) -> Cow<'_, [u8]> {
    let bare = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', bare).is_none() {
        return bare.into();
    }
    match serde_json::from_slice::<String>(quoted) {
        Ok(name) => name.into_bytes().into(),
        // Half a surrogate pair: it is compared as it stands.
        Err(_) => bare.into(),
    }
}

/// Fields by which calls are routed, counted and guarded.
const COUNTING: [&str; 15] = [
    "model",
    "models",
    "stream",
    "messages",
    "prompt",
    "input",
    "instructions",
    "n",
    "best_of",
    "max_new_tokens",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "previous_response_id",
    "conversation",
];

/// True for `Model`: Go's reader takes it for `model`, and so it does with the two letters that Unicode folds to `s` and `k`.
fn is_lookalike(name: &[u8]) -> bool {
    if !name.iter().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return false;
    }
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let folded: String = name.chars().flat_map(char::to_lowercase).map(|it| if it == 'ſ' { 's' } else { it }).collect();
    COUNTING.contains(&&*folded)
}

fn check_names(names: &mut [(Cow<'_, [u8]>, usize)]) -> Result<(), Odd> {
    // Most objects have a few names in any order; for large ones pairs would be too many.
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Odd::Twice(pair[1].1)),
        None => Ok(()),
    }
}

/// Only an exponent, or more digits than any honest number has, exceeds a double.
fn check_number(number: &[u8]) -> Result<(), ()> {
    let is_suspect = number.len() > 300 || number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let value = || std::str::from_utf8(number).ok().and_then(|text| text.parse::<f64>().ok());
    if is_suspect && value().is_some_and(f64::is_infinite) { Err(()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn found(text: &str) -> Option<String> {
        check(text.as_bytes()).err().map(|odd| odd.message(text.as_bytes()))
    }

    #[test]
    fn a_name_that_stands_twice_in_one_object_is_found_however_deep_and_however_it_is_spelt() {
        let twice = |line, column| Some(format!("a field appears twice (line {line}, column {column})"));
        assert_eq!(found(r#"{"a":1,"b":2,"a":3}"#), twice(1, 14));
        assert_eq!(found("{\"a\":[{\"b\":{\n \"c\":1,\"c\":2}}]}"), twice(2, 8));
        assert_eq!(found(r#"{"model":1,"mod\u0065l":2}"#), twice(1, 12));
        assert_eq!(found(r#"{"":1,"":2}"#), twice(1, 7));
        assert_eq!(found(r#"[{"a":1},{"a":{"a":{"b":"a"}}},"a","a"]"#), None);
        assert_eq!(found(r#"{"a":"\",\"a\":","b":"{\"a\":1,\"a\":2}"}"#), None);
        let many: Vec<String> = (0..1000).map(|number| format!("\"k{number}\":{number}")).collect();
        assert_eq!(found(&format!("{{{}}}", many.join(","))), None);
        assert!(found(&format!("{{{},\"k7\":0}}", many.join(","))).is_some());
    }

    #[test]
    fn a_name_that_only_capitals_keep_from_one_that_counts_is_found() {
        for odd in [
            r#"{"model":1,"Model":2}"#,
            r#"{"\u004dodel":2}"#,
            r#"{"ſtream":1}"#,
            r#"{"MAX_TOKENS":1}"#,
            r#"{"toKens":1,"N":1}"#,
        ] {
            assert!(found(odd).is_some_and(|message| message.starts_with("a field differs")), "{odd}");
        }
        for fine in [r#"{"model":{"Model":1}}"#, r#"{"Models_of_mine":1,"É":2,"maxTokens":3}"#, r#"[{"Model":1}]"#] {
            assert_eq!(found(fine), None, "{fine}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_found_where_they_stand() {
        let text = b"{\"a\":1,\n\"b\":\"g\xff\"}";
        assert_eq!(check(text), Err(Odd::NotText(14)));
        assert_eq!(Odd::NotText(14).message(text), "it is not UTF-8 (line 2, column 7)");
    }

    #[test]
    fn a_number_that_no_double_holds_is_found() {
        for huge in ["1e999", "-1E+400", "[1, 1e309]", &"9".repeat(400)] {
            assert!(found(huge).is_some_and(|message| message.starts_with("a number is too large")), "{huge}");
        }
        for fine in [
            "1e308",
            "-0.0",
            "1e-999",
            "123456789012345678901234567890",
            &format!("0.{}", "3".repeat(400)),
            r#""1e999""#,
        ] {
            assert_eq!(found(fine), None, "{fine}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            (-1e300..1e300_f64).prop_map(Value::from),
            "[a-c\"\\\\{},:\\[\\]é]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let names = proptest::collection::vec(("[a-c\"\\\\]{0,3}", inner.clone()), 0..6);
            let object = names.prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()));
            prop_oneof![object, proptest::collection::vec(inner, 0..6).prop_map(Value::Array)]
        })
    }

    proptest! {
        #[test]
        fn what_a_serializer_writes_has_nothing_odd(value in json(), is_pretty in any::<bool>()) {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(found(&text), None, "{}", text);
        }

        #[test]
        fn a_doubled_name_is_found_wherever_it_is_put(value in json(), inner in json()) {
            let odd = format!("{{\"x\":{value},\"y\":[{{\"z\":{inner},\"q\":1,\"z\":{value}}}]}}");
            prop_assert!(found(&odd).is_some(), "{}", odd);
        }

        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&text).map_err(|odd| odd.message(&text));
        }
    }
}
