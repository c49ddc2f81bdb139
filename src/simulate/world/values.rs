//! Values: what keys of a world file take beside what those of a configuration do.
//!
//! It knows no key.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::engine::document::Value;
use crate::config::engine::value::{Expected, Parsed};
use crate::provider::simulated::OverCapacity;

/// How long a simulation may be.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest latency.
const LONGEST_LATENCY: Duration = Duration::from_secs(24 * 3600);

/// The units of time, and how many nanoseconds they have.
const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// A time with its unit; it may have a fraction.
fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(digits);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let mut nanoseconds = u128::from(whole.parse::<u64>().ok()?) * unit;
    if let Some(fraction) = fraction {
        // More digits than that are no nanoseconds.
        let fraction = fraction.get(..fraction.len().min(18)).filter(|digits| !digits.is_empty())?;
        let places = u32::try_from(fraction.len()).ok()?;
        nanoseconds += u128::from(fraction.parse::<u64>().ok()?) * unit / 10u128.pow(places);
    }
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// The same as text, exactly.
pub(super) fn in_units(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    if nanoseconds.is_multiple_of(1_000_000_000) {
        return format!("{}s", nanoseconds / 1_000_000_000);
    }
    let (unit, size) = if nanoseconds.is_multiple_of(1000) { ("ms", 1_000_000) } else { ("us", 1_000) };
    let fraction = format!("{:06}", nanoseconds % size * (1_000_000 / size));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}{unit}", nanoseconds / size)
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text.trim(),
        _ => "",
    }
}

/// How long something takes.
pub(super) fn latency(value: &Value) -> Parsed<Duration> {
    let wanted = || Expected::new("a duration", "0ms to 24h with its unit, such as \"12.5ms\", \"300ms\", \"2s\"");
    time(text(value)).filter(|it| *it <= LONGEST_LATENCY).ok_or_else(wanted)
}

/// A time since the beginning of the simulation, or how long something lasts.
pub(super) fn span(value: &Value) -> Parsed<Duration> {
    let wanted = || Expected::new("a duration", "0s to 366d with its unit, such as \"90s\", \"10m\", \"1.5h\", \"2d\"");
    time(text(value)).filter(|it| *it <= LONGEST).ok_or_else(wanted)
}

/// The same above zero.
pub(super) fn length(value: &Value) -> Parsed<Duration> {
    let wanted =
        || Expected::new("a duration above 0s", "up to 366d with its unit, such as \"90s\", \"10m\", \"1.5h\"");
    span(value).ok().filter(|it| !it.is_zero()).ok_or_else(wanted)
}

/// One end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Counted from the beginning.
    After(Duration),
    /// Counted from midnight UTC, each day.
    Clock(Duration),
}

/// A duration from the beginning, or a time of the day.
pub(super) fn moment(value: &Value) -> Parsed<Moment> {
    let text = text(value);
    let after = time(text).filter(|it| *it <= LONGEST).map(Moment::After);
    after.or_else(|| clock(text).map(Moment::Clock)).ok_or_else(|| {
        Expected::new(
            "a moment",
            "a duration from the beginning of the simulation, such as \"10m\" or \"1.5h\", or a time of the day (UTC), such as \
             \"14:30\"",
        )
    })
}

/// `14:30`, `14:30:15`.
fn clock(text: &str) -> Option<Duration> {
    let mut seconds = 0u64;
    let mut parts = text.split(':');
    let mut part = |most: u64| {
        let digits = parts.next()?;
        let number: u64 = digits.parse().ok().filter(|number| *number <= most)?;
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
    };
    seconds += part(23)? * 3600 + part(59)? * 60;
    let rest = text.splitn(3, ':').nth(2);
    if rest.is_some() {
        seconds += part(59)?;
    }
    (text.split(':').count() <= 3).then(|| Duration::from_secs(seconds))
}

/// A moment of the wall clock.
pub(super) fn timestamp(value: &Value) -> Parsed<Timestamp> {
    let wanted = || Expected::new("a time", "a text in RFC 3339, such as \"2026-03-01T08:00:00Z\"");
    text(value).parse().map_err(|_| wanted())
}

/// How many times as long.
pub(super) fn times(value: &Value) -> Parsed<f64> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    };
    let wanted = || Expected::new("a factor", "0.01 to 1000.0");
    number.filter(|factor| (0.01..=1000.0).contains(factor)).ok_or_else(wanted)
}

/// What becomes of requests beyond a capacity.
pub(super) const OVER_CAPACITY: &[(OverCapacity, &str)] =
    &[(OverCapacity::Refuse, "429"), (OverCapacity::Unavailable, "503"), (OverCapacity::Slow, "slow")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text: &str| span(&Value::Text(text.into())).ok().map(|it| it.as_micros());
        for (text, micros) in [
            ("250us", 250),
            ("12.5ms", 12_500),
            ("0s", 0),
            ("1.5h", 5_400_000_000),
            ("2 d", 172_800_000_000),
            ("10m", 600_000_000),
        ] {
            assert_eq!(read(text), Some(micros), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.s", ".5s", "1e3s", "1..5s", "367d", "1w", "inf s", "99999999999999999999s"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["0s", "90s", "1500ms", "0.25ms", "122.36ms", "12.345us", "0.007us"] {
            assert_eq!(in_units(time(text).unwrap()), text);
        }
        assert_eq!(in_units(time("0.5h").unwrap()), "1800s");
    }

    #[test]
    fn a_moment_is_a_duration_or_a_time_of_the_day() {
        let read = |text: &str| moment(&Value::Text(text.into())).ok();
        assert_eq!(read("10m"), Some(Moment::After(Duration::from_secs(600))));
        assert_eq!(read("14:30"), Some(Moment::Clock(Duration::from_secs(52_200))));
        assert_eq!(read("00:00:09"), Some(Moment::Clock(Duration::from_secs(9))));
        for text in ["24:00", "14:60", "14", "14:3", "1:30", "14:30:00:00", "+1:30", "14:30:", ":"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
