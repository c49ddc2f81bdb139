//! JSON lines: one object a line, all fields at the top, as existing queries read them.
//!
//! It does not know what is logged, nor where lines go.

use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use tracing::Level;
use tracing::field::DisplayValue;

use crate::model::money::Usd;
use crate::model::trace::TraceId;

/// Room for an access line.
const LINE: usize = 1024;

/// A line that needed more room than this leaves none of it to the next.
const KEPT: usize = 16 * 1024;

/// The characters of a moment up to its second: `2026-11-29T21:22:22`.
const SECOND: usize = 19;

thread_local! {
    /// The room of the last line, for the next.
    static ROOM: Cell<String> = const { Cell::new(String::new()) };

    /// The last second of which a line was written, since 1970, and its characters.
    static LAST: Cell<(i64, [u8; SECOND])> = const { Cell::new((i64::MIN, [0; SECOND])) };
}

/// What stands in every line: its level, and which service wrote it, where.
#[derive(Debug)]
pub(super) struct Heads([String; 5]);

impl Heads {
    pub(super) fn new(service: &str, environment: &str) -> Self {
        let (service, environment) = (Value::from(service), Value::from(environment));
        let head = |level| format!("\",\"level\":\"{level}\",\"service\":{service},\"environment\":{environment}");
        Self(["error", "warn", "info", "debug", "trace"].map(head))
    }

    fn of(&self, level: Level) -> &str {
        let [error, warn, info, debug, trace] = &self.0;
        match level {
            Level::ERROR => error,
            Level::WARN => warn,
            Level::INFO => info,
            Level::DEBUG => debug,
            Level::TRACE => trace,
        }
    }
}

/// A line that is being written.
pub struct JsonLine {
    text: String,
}

impl JsonLine {
    /// Begins a line that is written `now`.
    pub(super) fn begin(heads: &Heads, level: Level, now: jiff::Timestamp) -> Self {
        let mut text = ROOM.try_with(Cell::take).unwrap_or_default();
        text.clear();
        text.reserve(LINE);
        text.push_str("{\"timestamp\":\"");
        moment(&mut text, now);
        text.push_str(heads.of(level));
        Self { text }
    }

    /// Adds a field, if it has a value.
    pub(super) fn field(&mut self, name: &str, value: impl LogValue) {
        if value.is_there() {
            for part in [",\"", name, "\":"] {
                self.text.push_str(part);
            }
            value.write(&mut self.text);
        }
    }

    /// The same for a field whose name is known when the program is built: `begin` is `,"NAME":`.
    #[inline]
    pub fn member(&mut self, begin: &'static str, value: impl LogValue) {
        if value.is_there() {
            self.text.push_str(begin);
            value.write(&mut self.text);
        }
    }

    /// Ends the line, and hands it over.
    pub(super) fn end<T>(mut self, take: impl FnOnce(&str) -> T) -> T {
        self.text.push_str("}\n");
        let taken = take(&self.text);
        if self.text.capacity() <= KEPT {
            // At the end of its thread nobody keeps it.
            let _ = ROOM.try_with(|room| room.set(self.text));
        }
        taken
    }
}

/// A moment to the millisecond, as RFC 3339 has it.
fn moment(text: &mut String, now: jiff::Timestamp) {
    let second = now.as_second();
    let (mut last, mut known) = LAST.try_with(Cell::get).unwrap_or((i64::MIN, [0; SECOND]));
    if last != second {
        // Moments before 1970 have other seconds than they begin with, and years after 9999 more characters.
        let spelt = now.to_string();
        match spelt.as_bytes().first_chunk() {
            Some(begin) if second > 0 && spelt.as_bytes().get(SECOND).is_some_and(|it| matches!(it, b'.' | b'Z')) => {
                (last, known) = (second, *begin);
                let _ = LAST.try_with(|kept| kept.set((last, known)));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "{now:.3}");
                return;
            }
        }
    }
    text.push_str(std::str::from_utf8(&known).unwrap_or_default());
    text.push('.');
    let milliseconds = u64::from(now.subsec_nanosecond().unsigned_abs()) / 1_000_000;
    digits(text, milliseconds, 3);
    text.push('Z');
}

/// The last `count` decimal digits of a number.
fn digits(text: &mut String, number: u64, count: u32) {
    for place in (0..count).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        text.push(char::from(b'0' + digit as u8));
    }
}

/// Milliseconds with three decimals: enough for a cache hit, and short in a log.
#[derive(Clone, Copy, Debug)]
pub struct Milliseconds(pub Duration);

/// The value of a field: as JSON, and as `tracing` takes it.
pub trait LogValue {
    /// What `tracing` takes.
    type Traced: tracing::Value;

    /// The same for an event of `tracing`.
    fn traced(self) -> Self::Traced;

    /// True where there is a value.
    fn is_there(&self) -> bool {
        true
    }

    /// Writes it as JSON.
    fn write(self, text: &mut String);
}

impl<T: LogValue> LogValue for Option<T> {
    type Traced = Option<T::Traced>;

    fn traced(self) -> Self::Traced {
        self.map(T::traced)
    }

    #[inline]
    fn is_there(&self) -> bool {
        self.as_ref().is_some_and(T::is_there)
    }

    #[inline]
    fn write(self, text: &mut String) {
        if let Some(value) = self {
            value.write(text);
        }
    }
}

impl<'a> LogValue for &'a str {
    type Traced = &'a str;

    fn traced(self) -> &'a str {
        self
    }

    fn write(self, text: &mut String) {
        quote(text, self);
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl LogValue for $number {
            type Traced = $number;

            fn traced(self) -> $number {
                self
            }

            fn write(self, text: &mut String) {
                text.push_str(itoa::Buffer::new().format(self));
            }
        }
    )*};
}

whole_numbers!(u16, u64, i64, usize);

impl LogValue for bool {
    type Traced = bool;

    fn traced(self) -> bool {
        self
    }

    fn write(self, text: &mut String) {
        text.push_str(if self { "true" } else { "false" });
    }
}

/// JSON has no number for what is none.
impl LogValue for f64 {
    type Traced = f64;

    fn traced(self) -> f64 {
        self
    }

    fn is_there(&self) -> bool {
        self.is_finite()
    }

    fn write(self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{self}");
    }
}

impl LogValue for Milliseconds {
    type Traced = f64;

    fn traced(self) -> f64 {
        self.0.as_micros() as f64 / 1000.0
    }

    fn write(self, text: &mut String) {
        match u64::try_from(self.0.as_micros()) {
            Ok(micros) => decimal(text, micros, 3),
            Err(_) => self.traced().write(text),
        }
    }
}

impl LogValue for Usd {
    type Traced = f64;

    fn traced(self) -> f64 {
        self.as_f64()
    }

    fn write(self, text: &mut String) {
        decimal(text, self.nanos(), 9);
    }
}

impl LogValue for TraceId {
    type Traced = DisplayValue<Self>;

    fn traced(self) -> DisplayValue<Self> {
        tracing::field::display(self)
    }

    fn write(self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\"{self}\"");
    }
}

/// A number of which the last digits are a fraction, without zeros at its end.
fn decimal(text: &mut String, number: u64, mut decimals: u32) {
    let one = 10_u64.pow(decimals);
    text.push_str(itoa::Buffer::new().format(number / one));
    let mut fraction = number % one;
    if fraction == 0 {
        return;
    }
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        decimals -= 1;
    }
    text.push('.');
    digits(text, fraction, decimals);
}

/// A JSON string (RFC 8259, section 7).
pub(super) fn quote(line: &mut String, text: &str) {
    line.push('"');
    let mut plain = 0;
    // Names and ids, which most texts are, have nothing to escape.
    if !stands_as_it_is(text.as_bytes()) {
        for (at, byte) in text.bytes().enumerate() {
            if is_as_it_is(byte) {
                continue;
            }
            line.push_str(&text[plain..at]);
            match byte {
                b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
                // Writing to a String cannot fail.
                _ => drop(write!(line, "\\u{byte:04x}")),
            }
            plain = at + 1;
        }
    }
    line.push_str(&text[plain..]);
    line.push('"');
}

/// True for a text that stands in a JSON string as it is. It looks at eight bytes at a time.
fn stands_as_it_is(text: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte's highest bit is set where `byte - less` is below zero and `byte` is below 128: exact for the lowest such byte, and
    // that is enough to know whether there is one.
    let is_below = |word: u64, less: u8| word.wrapping_sub(LOW * u64::from(less)) & !word & HIGH;
    let has_odd = |word: u64| {
        let is = |byte: u8| is_below(word ^ (LOW * u64::from(byte)), 1);
        is_below(word, b' ') | is(b'"') | is(b'\\') != 0
    };
    match text.last_chunk() {
        // What is left behind the last whole word is looked at with the bytes before it.
        Some(last) => {
            let (words, _) = text.as_chunks();
            !words.iter().chain([last]).any(|word| has_odd(u64::from_le_bytes(*word)))
        }
        None => text.iter().all(|byte| is_as_it_is(*byte)),
    }
}

/// True for a byte that stands in a JSON string as it is.
fn is_as_it_is(byte: u8) -> bool {
    (byte >= b' ') & (byte != b'"') & (byte != b'\\')
}

/// A line as it would be written.
#[cfg(test)]
pub fn written(level: Level, fields: impl FnOnce(&mut JsonLine)) -> String {
    let mut line = JsonLine::begin(&Heads::new("s", "e"), level, jiff::Timestamp::UNIX_EPOCH);
    fields(&mut line);
    line.end(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(value: impl LogValue) -> Value {
        let line = written(Level::INFO, |line| line.member(",\"it\":", value));
        serde_json::from_str::<Value>(&line).unwrap()["it"].take()
    }

    proptest! {
        #[test]
        fn any_text_is_quoted_as_json(text in any::<String>()) {
            let mut quoted = String::new();
            quote(&mut quoted, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }

        #[test]
        fn a_text_stands_as_it_is_if_each_byte_does(text in prop::collection::vec(prop_oneof![9 => 32_u8..=255, 1 => any::<u8>()], 0..40)) {
            prop_assert_eq!(stands_as_it_is(&text), text.iter().all(|byte| is_as_it_is(*byte)));
        }

        #[test]
        fn a_moment_is_spelt_as_jiff_spells_it(
            moments in prop::collection::vec(
                (prop_oneof![-3_i64..3, 1_900_000_000_i64..1_900_000_003, any::<i64>()], 0..1_000_000_000_i32), 1..9,
            ),
        ) {
            for (second, nanosecond) in moments {
                let Ok(now) = jiff::Timestamp::new(second, nanosecond) else { continue };
                let mut text = String::new();
                moment(&mut text, now);
                prop_assert_eq!(text, format!("{now:.3}"));
            }
        }

        /// The digits that a float has of which they are made.
        #[test]
        fn durations_and_amounts_have_the_digits_of_floats(micros in 0_u64..1 << 50, nanos in 0_u64..1_000_000_000_000_000) {
            for micros in [micros, micros % 2_000, micros / 1000 * 1000] {
                let time = Milliseconds(Duration::from_micros(micros));
                let mut text = String::new();
                decimal(&mut text, micros, 3);
                prop_assert_eq!(text, time.traced().to_string());
            }
            for nanos in [nanos, nanos % 2_000_000_000, nanos / 1_000_000 * 1_000_000] {
                let mut text = String::new();
                decimal(&mut text, nanos, 9);
                prop_assert_eq!(text, Usd::from_nanos(nanos).as_f64().to_string());
            }
        }

        #[test]
        fn a_member_has_its_value(text in any::<String>(), number in any::<u64>(), float in any::<f64>()) {
            prop_assert_eq!(member(Some(text.as_str())), Value::from(text));
            prop_assert_eq!(member(number), Value::from(number));
            let written = written(Level::INFO, |line| line.field("it", float));
            let digits = written.trim_end().trim_end_matches('}').rsplit_once(",\"it\":").map(|(_, digits)| digits);
            prop_assert_eq!(digits.map(|it| it.parse().unwrap()), Some(float).filter(|it| it.is_finite()));
        }
    }

    #[test]
    fn what_has_no_value_is_no_member() {
        assert_eq!((member(None::<u64>), member(f64::NAN)), (Value::Null, Value::Null));
        assert_eq!((member(true), member(false)), (true.into(), false.into()));
        assert_eq!(member(Milliseconds(Duration::MAX)), Value::from(Milliseconds(Duration::MAX).traced()));
    }
}
