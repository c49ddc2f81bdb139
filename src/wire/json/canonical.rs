//! The canonical form of a JSON text: two texts have the same form exactly when they mean the same. Members are
//! sorted by name, there is no whitespace, and numbers and strings have one spelling each.
//!
//! Numbers are exact, however long: nothing is rounded to a machine number. It does not know what the fields mean.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// More nesting than this is odd. Tools with deep schemas need some thirty levels.
const MAX_DEPTH: usize = 64;

/// A number with this many digits before its point is written out; a larger one with an exponent.
const LONGEST_WHOLE: i64 = 21;

/// Zeros after the point that are written out before an exponent is.
const MOST_ZEROS: i64 = 6;

/// Why a text has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// It is not JSON, or not one value, or not an object where one was wanted.
    NotJson,
    /// An object names a member twice: two readers may disagree on what it says.
    Twice,
    /// It is nested too deep.
    Deep,
    /// A number whose exponent no machine reads.
    Number,
}

impl fmt::Display for Odd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Odd::NotJson => out.write_str("the body is not a JSON object"),
            Odd::Twice => out.write_str("an object in the body repeats a field"),
            Odd::Deep => write!(out, "the body is nested more than {MAX_DEPTH} levels deep"),
            Odd::Number => out.write_str("a number in the body has an exponent that is too large"),
        }
    }
}

/// The canonical form of an object, without those of its own members that are `left_out`. Takes time in proportion to the
/// text times its depth, and memory in proportion to the text.
pub fn object(text: &[u8], left_out: impl Fn(&str) -> bool) -> Result<Vec<u8>, Odd> {
    let text = std::str::from_utf8(text).map_err(|_| Odd::NotJson)?;
    let mut reader = Reader { text, at: 0, out: Vec::with_capacity(text.len()) };
    reader.space();
    if reader.peek() != Some(b'{') {
        return Err(Odd::NotJson);
    }
    reader.object(1, &left_out)?;
    reader.space();
    match reader.at == text.len() {
        true => Ok(reader.out),
        false => Err(Odd::NotJson),
    }
}

/// Appends a text as a canonical string.
fn string(text: &str, out: &mut Vec<u8>) {
    // The shortest escapes, for nothing but what must be escaped: as `serde_json` writes them.
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
    out.push(b'"');
}

/// One pass over the text; what is read is written at once, and an object's members are put in order when it ends.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

/// A member of an object: its name, and where it stands in what was written.
struct Member<'a> {
    name: Cow<'a, str>,
    written: Range<usize>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Odd> {
        if self.take(byte) { Ok(()) } else { Err(Odd::NotJson) }
    }

    fn value(&mut self, depth: usize) -> Result<(), Odd> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1, &|_| false),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => {
                let text = self.string()?;
                self.write_string(text);
                Ok(())
            }
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Odd> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Odd::NotJson);
        }
        self.at += word.len();
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), Odd> {
        if depth > MAX_DEPTH {
            return Err(Odd::Deep);
        }
        self.expect(b'[')?;
        self.out.push(b'[');
        self.space();
        if !self.take(b']') {
            loop {
                self.space();
                self.value(depth)?;
                self.space();
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize, left_out: &impl Fn(&str) -> bool) -> Result<(), Odd> {
        if depth > MAX_DEPTH {
            return Err(Odd::Deep);
        }
        self.expect(b'{')?;
        self.out.push(b'{');
        let (start, mut members) = (self.out.len(), Vec::new());
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                members.push(self.member(depth)?);
                self.space();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.order(start, members, left_out)?;
        self.out.push(b'}');
        Ok(())
    }

    fn member(&mut self, depth: usize) -> Result<Member<'a>, Odd> {
        let start = self.out.len();
        let name = self.string()?;
        self.write_string(name.clone());
        self.space();
        self.expect(b':')?;
        self.out.push(b':');
        self.space();
        self.value(depth)?;
        Ok(Member { name, written: start..self.out.len() })
    }

    /// Puts the members that were written from `start` on in the order of their names, with commas between them.
    fn order(
        &mut self,
        start: usize,
        mut members: Vec<Member<'a>>,
        left_out: &impl Fn(&str) -> bool,
    ) -> Result<(), Odd> {
        members.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        if members.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Odd::Twice);
        }
        members.retain(|member| !left_out(&member.name));
        let written = self.out.split_off(start);
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&written[member.written.start - start..member.written.end - start]);
        }
        Ok(())
    }

    fn write_string(&mut self, text: Cow<'_, str>) {
        match text {
            // It had no escapes and needs none.
            Cow::Borrowed(plain) => {
                self.out.push(b'"');
                self.out.extend_from_slice(plain.as_bytes());
                self.out.push(b'"');
            }
            Cow::Owned(text) => string(&text, &mut self.out),
        }
    }

    /// A string, without its escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, Odd> {
        self.expect(b'"')?;
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut has_escapes = false;
        // Nearly all of a body is in its strings, and nearly none of that is special.
        loop {
            let rest = bytes.get(self.at..).ok_or(Odd::NotJson)?;
            self.at += memchr::memchr2(b'"', b'\\', rest).ok_or(Odd::NotJson)?;
            if bytes[self.at] == b'"' {
                break;
            }
            has_escapes = true;
            // What is escaped may be a quotation mark; whether it is a known escape is seen below.
            self.at += 2;
        }
        self.at += 1;
        match has_escapes {
            false => {
                let plain = self.text.get(start..self.at - 1).ok_or(Odd::NotJson)?;
                let is_sound = !plain.bytes().fold(false, |is_odd, byte| is_odd | (byte < 0x20));
                if is_sound { Ok(Cow::Borrowed(plain)) } else { Err(Odd::NotJson) }
            }
            true => {
                let quoted = self.text.get(start - 1..self.at).ok_or(Odd::NotJson)?;
                // Half of a surrogate pair is refused too: it is no text.
                serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| Odd::NotJson)
            }
        }
    }

    /// A number: its digits from the first to the last that is not zero, and a power of ten.
    fn number(&mut self) -> Result<(), Odd> {
        let is_negative = self.take(b'-');
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(Odd::NotJson);
        }
        let fraction = if self.take(b'.') { self.digits()? } else { "" };
        let mut power = 0_i64;
        if self.take(b'e') || self.take(b'E') {
            let is_down = self.peek() == Some(b'-');
            if is_down || self.peek() == Some(b'+') {
                self.at += 1;
            }
            let exponent: i64 = self.digits()?.parse().map_err(|_| Odd::Number)?;
            power = if is_down { -exponent } else { exponent };
        }
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            self.out.push(b'0');
            return Ok(());
        }
        let zeros = digits.len() - digits.trim_end_matches('0').len();
        let shift = i64::try_from(zeros).and_then(|zeros| i64::try_from(fraction.len()).map(|length| zeros - length));
        let power = shift.ok().and_then(|shift| power.checked_add(shift)).ok_or(Odd::Number)?;
        if is_negative {
            self.out.push(b'-');
        }
        self.write_number(significant, power)
    }

    fn digits(&mut self) -> Result<&'a str, Odd> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(&self.text[start..self.at]),
            false => Err(Odd::NotJson),
        }
    }

    /// Writes `0.digits` times a power of ten in the one spelling that it has.
    fn write_number(&mut self, digits: &str, power: i64) -> Result<(), Odd> {
        let length = i64::try_from(digits.len()).map_err(|_| Odd::Number)?;
        // How many digits stand before the point.
        let point = power.checked_add(length).ok_or(Odd::Number)?;
        let out = &mut self.out;
        if power >= 0 && (point <= LONGEST_WHOLE || power == 0) {
            out.extend_from_slice(digits.as_bytes());
            out.extend(std::iter::repeat_n(b'0', usize::try_from(power).map_err(|_| Odd::Number)?));
        } else if power < 0 && point > 0 {
            let (whole, fraction) = digits.split_at(usize::try_from(point).map_err(|_| Odd::Number)?);
            out.extend_from_slice(format!("{whole}.{fraction}").as_bytes());
        } else if power < 0 && point > -MOST_ZEROS {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', usize::try_from(-point).map_err(|_| Odd::Number)?));
            out.extend_from_slice(digits.as_bytes());
        } else {
            out.extend_from_slice(format!("{digits}e{power}").as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn form(text: &str) -> Result<String, Odd> {
        object(text.as_bytes(), |_| false).map(|form| String::from_utf8(form).unwrap())
    }

    fn number(text: &str) -> String {
        form(&format!("{{\"n\":{text}}}")).unwrap()[5..].trim_end_matches('}').to_owned()
    }

    #[test]
    fn order_space_and_spelling_do_not_matter() {
        let one = form(r#"{"b":[1,{"y":null,"x":"aé\n"}],"a":0.70}"#).unwrap();
        let other =
            form(" { \"a\" : 7e-1 , \"b\" : [ 1.0 , { \"\\u0078\" : \"\\u0061\\u00e9\\u000a\" , \"y\":null } ] } ");
        assert_eq!(one, r#"{"a":0.7,"b":[1,{"x":"aé\n","y":null}]}"#);
        assert_eq!(other.unwrap(), one);
    }

    #[test]
    fn a_number_has_one_spelling_and_is_exact() {
        for (spellings, expected) in [
            (&["0", "-0", "0.0", "-0.00e7", "0e99999999999"][..], "0"),
            (&["1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000"], "1"),
            (&["-100", "-1e2", "-1.00E2"], "-100"),
            (&["0.7", "7e-1", "0.70"], "0.7"),
            (&["1e-5", "0.00001"], "0.00001"),
            (&["1e-9", "0.000000001"], "1e-9"),
            (&["1e30", "10e29"], "1e30"),
            (&["9007199254740993", "9007199254740993.0"], "9007199254740993"),
            (&["123456789012345678901234567891"], "123456789012345678901234567891"),
            (&["1234567890123456789012345678900"], "12345678901234567890123456789e2"),
            (&["1e400"], "1e400"),
        ] {
            for spelling in spellings {
                assert_eq!(number(spelling), expected, "{spelling}");
            }
        }
    }

    #[test]
    fn what_is_odd_has_no_form() {
        for (text, odd) in [
            (r#"{"a":1,"a":1}"#, Odd::Twice),
            (r#"{"a":[{"x":1,"\u0078":2}]}"#, Odd::Twice),
            ("", Odd::NotJson),
            ("[1]", Odd::NotJson),
            ("{} {}", Odd::NotJson),
            (r#"{"a":1,}"#, Odd::NotJson),
            (r#"{"a":01}"#, Odd::NotJson),
            (r#"{"a":1.}"#, Odd::NotJson),
            (r#"{"a":.5}"#, Odd::NotJson),
            (r#"{"a":+1}"#, Odd::NotJson),
            (r#"{"a":tru}"#, Odd::NotJson),
            (r#"{"a":"\ud800"}"#, Odd::NotJson),
            (r#"{"a":"\x"}"#, Odd::NotJson),
            ("{\"a\":\"\n\"}", Odd::NotJson),
            (r#"{"a":"\"#, Odd::NotJson),
            (r#"{"a":1e99999999999999999999}"#, Odd::Number),
            (r#"{"a":10e9223372036854775807}"#, Odd::Number),
            (r#"{"a":12e9223372036854775807}"#, Odd::Number),
        ] {
            assert_eq!(form(text), Err(odd), "{text}");
        }
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(form(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(form(&nested(MAX_DEPTH)), Err(Odd::Deep));
        assert_eq!(form(&nested(100_000)), Err(Odd::Deep));
    }

    #[test]
    fn only_own_members_are_left_out() {
        let form = object(br#"{"user":"a","z":{"user":1},"b":2}"#, |name| name == "user").unwrap();
        assert_eq!(form, br#"{"b":2,"z":{"user":1}}"#);
        assert_eq!(object(br#"{"user":1}"#, |_| true).unwrap(), b"{}");
        assert_eq!(object(br#"{"user":1,"user":2}"#, |_| true), Err(Odd::Twice), "left out, and odd all the same");
    }

    /// Any value, with numbers that a machine holds exactly.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1000i32..1000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
            "[ -~é€😀\n\"\\\\]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z\"é]{0,3}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Value> {
        proptest::collection::btree_map("[a-z]{1,3}", any_value(), 0..6)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    /// The value in another spelling, each choice made by the next of `dice`.
    fn spelt(value: &Value, dice: &mut impl FnMut() -> u32, out: &mut String) {
        let space = |dice: &mut dyn FnMut() -> u32| ["", " ", "\n\t", "\r "][(dice() % 4) as usize];
        match value {
            Value::Number(number) => {
                let plain = number.to_string();
                let has_point = plain.contains('.');
                out.push_str(&match dice() % 4 {
                    0 if !has_point => format!("{plain}.0"),
                    1 if !has_point => format!("{plain}0e-1"),
                    1 => format!("{plain}00"),
                    2 => format!("{plain}E+0"),
                    _ => plain,
                });
            }
            Value::String(text) => {
                out.push('"');
                for unit in text.encode_utf16() {
                    let plain = char::from_u32(u32::from(unit)).filter(|c| !c.is_control() && !"\"\\".contains(*c));
                    match plain {
                        Some(plain) if !dice().is_multiple_of(3) => out.push(plain),
                        _ => out.push_str(&format!("\\u{unit:04x}")),
                    }
                }
                out.push('"');
            }
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(space(dice));
                    spelt(item, dice, out);
                    out.push_str(space(dice));
                }
                out.push(']');
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                for index in (1..fields.len()).rev() {
                    fields.swap(index, dice() as usize % (index + 1));
                }
                out.push('{');
                for (index, (name, value)) in fields.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(space(dice));
                    spelt(&Value::from(name.as_str()), dice, out);
                    out.push_str(space(dice));
                    out.push(':');
                    out.push_str(space(dice));
                    spelt(value, dice, out);
                }
                out.push_str(space(dice));
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn dice(seed: u32) -> impl FnMut() -> u32 {
        let mut state = seed | 1;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_value_has_the_same_form(value in any_object(), seed in any::<u32>()) {
            let mut other = String::new();
            spelt(&value, &mut dice(seed), &mut other);
            prop_assert_eq!(form(&other), form(&value.to_string()), "{}", other);
        }

        #[test]
        fn different_values_have_different_forms_and_a_form_means_what_it_is_of(one in any_object(), other in any_object()) {
            let (of_one, of_other) = (form(&one.to_string()).unwrap(), form(&other.to_string()).unwrap());
            prop_assert_eq!(of_one == of_other, same(&one, &other));
            prop_assert!(same(&serde_json::from_str(&of_one).unwrap(), &one), "{} became {}", one, of_one);
        }

        #[test]
        fn a_form_is_its_own_form(value in any_object()) {
            let once = form(&value.to_string()).unwrap();
            prop_assert_eq!(form(&once).unwrap(), once);
        }

        #[test]
        fn numbers_differ_when_their_values_do(one in -10_000i64..10_000, other in -10_000i64..10_000, down in 0u32..8) {
            // Both divided by the same power of ten: the same order, any number of places.
            let text = |number: i64| number_form(number, down);
            prop_assert_eq!(number(&text(one)) == number(&text(other)), one == other);
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_it_takes_is_json(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = object(&bytes, |_| false);
        }

        #[test]
        fn it_takes_nothing_that_a_reader_of_json_refuses(text in "[{}\\[\\]:,\"\\\\a0-9eE.+ -]{0,24}") {
            let text = format!("{{\"a\":{text}}}");
            if form(&text).is_ok() {
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
            }
        }
    }

    fn number_form(number: i64, down: u32) -> String {
        format!("{number}e-{down}")
    }

    /// Equal as JSON: `1` and `1.0` are the same number.
    fn same(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
                (Some(one), Some(other)) => one == other,
                _ => one.as_f64() == other.as_f64(),
            },
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(name, value)| other.get(name).is_some_and(|it| same(value, it)))
            }
            _ => one == other,
        }
    }
}
