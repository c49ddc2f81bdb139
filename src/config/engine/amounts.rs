//! Amounts and rates as people write them: `2.5`, `"30/min"`, `"100/15min"`.
//!
//! It does not know what is counted; everything here is in millionths of it, so that dollars have six decimals.

use std::time::Duration;

use crate::config::engine::document::Value;
use crate::config::engine::shape;
use crate::config::engine::shape::Shape;
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::model::switch::Share;

/// Millionths in one.
pub(crate) const MILLION: u64 = 1_000_000;

/// Beyond these a rule limits nothing, or is a slip.
const MOST: u64 = 1_000_000_000_000;
const LONGEST: u64 = 31 * 24 * 3600;

/// A rate as it was written: millionths of what is counted, and the period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WrittenRate {
    pub(crate) millionths: u64,
    pub(crate) period: Duration,
}

/// `"100/min"`, `"100/15min"`, `"2.50/day"`.
pub(crate) fn rate(value: &Value) -> Parsed<WrittenRate> {
    let parse = |text: &str| {
        let (count, period) = text.split_once('/')?;
        let millionths = decimal(count.trim())?;
        let period = period.trim();
        let digits = period.len() - period.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let (number, unit) = period.split_at(digits);
        let number: u64 = if number.is_empty() { 1 } else { number.parse().ok()? };
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return None,
        };
        let seconds = number.checked_mul(seconds).filter(|seconds| (1..=LONGEST).contains(seconds))?;
        Some(WrittenRate { millionths, period: Duration::from_secs(seconds) })
    };
    let text = value::text(value).unwrap_or_default();
    parse(&text).ok_or_else(|| {
        Expected::new(
            "a rate",
            "an amount and a time up to 31 days, such as \"30/min\", \"100/15min\", \"1000/h\", \"5/day\"",
        )
        .shaped(shape::RATE)
    })
}

/// A percentage of callers.
pub(crate) fn percent(value: &Value) -> Parsed<Share> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number @ 0..=100) => Some(*number as f64),
        Value::Raw(text) => text.trim().parse().ok().filter(|number| (0.0..=100.0).contains(number)),
        _ => None,
    };
    let shape = Shape::Number { min: 0.0, max: Some(100.0) };
    number.and_then(Share::of_percent).ok_or_else(|| Expected::new("a percentage", "0 to 100").shaped(shape))
}

/// An amount in millionths.
pub(crate) fn amount(value: &Value) -> Parsed<u64> {
    let millionths = match value {
        Value::Integer(number) => u64::try_from(*number).ok().and_then(|number| number.checked_mul(MILLION)),
        // Six decimals are all that is counted.
        Value::Float(number) if *number >= 0.0 => decimal(&format!("{number:.6}")),
        Value::Raw(text) => decimal(text.trim()),
        _ => None,
    };
    let wanted = || Expected::new("an amount", "a number above 0").shaped(Shape::Number { min: 0.0, max: None });
    millionths.filter(|it| *it <= MOST * MILLION).ok_or_else(wanted)
}

/// USD per million tokens, in millionths of a dollar; zero or more.
pub(crate) fn price(value: &Value) -> Parsed<u64> {
    let shape = Shape::Number { min: 0.0, max: None };
    amount(value).map_err(|_| Expected::new("a price", "USD per million tokens, 0 or more").shaped(shape))
}

/// USD for one unit, or a million characters, in millionths of a dollar; zero or more.
pub(crate) fn unit_price(value: &Value) -> Parsed<u64> {
    let shape = Shape::Number { min: 0.0, max: None };
    amount(value).map_err(|_| Expected::new("a price", "USD, 0 or more").shaped(shape))
}

/// `2.5` becomes 2500000: at most six decimals.
fn decimal(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let part_is_fine = part.len() <= 6 && is_number(part) && (text.contains('.') != part.is_empty());
    if whole.is_empty() || !is_number(whole) || !part_is_fine {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= MOST)?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    Some(whole * MILLION + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<(u64, u64)> {
        rate(&Value::Text(text.into())).ok().map(|rate| (rate.millionths, rate.period.as_secs()))
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, amount, seconds) in [
            ("30/min", 30_000_000, 60),
            ("100/15min", 100_000_000, 900),
            ("1000 / h", 1_000_000_000, 3600),
            ("5/s", 5_000_000, 1),
            ("2.5/day", 2_500_000, 86_400),
            ("0.000001/2d", 1, 172_800),
        ] {
            assert_eq!(written(text), Some((amount, seconds)), "{text}");
        }
        for text in
            ["", "30", "30/", "/min", "-1/min", "1e3/min", "30/week", "30/0min", "1./h", ".5/h", "1/32d", "1.0000001/h"]
        {
            assert_eq!(written(text), None, "{text}");
        }
    }
}
