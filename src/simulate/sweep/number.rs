//! Number: a number of a configuration as a person writes it: whole, or with up to six digits after the point.
//!
//! Kept as whole millionths, so that what is printed is what is played. It does not know what is counted, nor units.

use std::fmt;

/// Millionths in one.
const ONE: u64 = 1_000_000;
/// Above this no key takes a number.
const MOST: u64 = 1_000_000_000_000;
/// How far a value may be from its ideal to be a rounder one, as a part of the way to its neighbour: below a half, so that no
/// two of them meet ...
const LOOSE: f64 = 0.4;
/// ... and never more than this many times away.
const LOOSEST: f64 = 1.1;
/// Ends this many times apart are spread by factors, others by steps.
const APART: u64 = 10;
/// A search ends between two values this part of the lower one apart.
const NEAR: u64 = 50;
/// ... and it looks at a gap in no more parts than this.
const PARTS: u64 = 64;

/// A number of zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / ONE, self.0 % ONE) {
            (whole, 0) => write!(out, "{whole}"),
            (whole, part) => write!(out, "{whole}.{}", format!("{part:06}").trim_end_matches('0')),
        }
    }
}

impl Number {
    /// The number at the beginning of a text, and the rest without spaces around it.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        let text = text.trim();
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > 6 {
            return None;
        }
        let whole: u64 = whole.parse().ok().filter(|whole| *whole <= MOST)?;
        let part: u64 = format!("{part:0<6}").parse().ok()?;
        Some((Self(whole * ONE + part), rest.trim()))
    }

    /// True where nothing is after the point.
    pub(super) fn is_whole(self) -> bool {
        self.0.is_multiple_of(ONE)
    }

    /// For a picture.
    pub(super) fn as_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }
}

/// How numbers of one key are rounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// All are multiples of this.
    finest: u64,
}

impl Scale {
    /// The scale of a key that is written with these numbers: where both are whole, so are all.
    pub(super) fn of(from: Number, to: Number) -> Self {
        Self { finest: if from.is_whole() && to.is_whole() { ONE } else { 1 } }
    }

    /// Numbers from one to another, both included, without doubles: exactly `count` where there is room for them, by default at
    /// most `usual`.
    pub(super) fn spread(self, from: Number, to: Number, count: Option<usize>, usual: usize) -> Vec<Number> {
        let (Number(from), Number(to)) = (from, to);
        let most = count.unwrap_or(usual);
        let mut numbers = match (from > 0 && to / from >= APART, count) {
            _ if ((to - from) / self.finest) < most as u64 => self.round_steps(from, to, most),
            (true, _) => self.factors(from, to, most),
            (false, Some(count)) => self.steps(from, to, count),
            (false, None) => self.round_steps(from, to, usual),
        };
        numbers.extend([from, to]);
        numbers.retain(|number| (from..=to).contains(number));
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(Number).collect()
    }

    /// Each the same number of times the one before, moved to a rounder number where one is near.
    fn factors(self, from: u64, to: u64, count: usize) -> Vec<u64> {
        let steps = count.saturating_sub(1).max(1);
        let factor = (to as f64 / from as f64).powf(1.0 / steps as f64);
        let loose = factor.powf(LOOSE).min(LOOSEST);
        let number = |step: usize| {
            let ideal = from as f64 * factor.powf(step as f64);
            let range = ideal / loose..=ideal * loose;
            let rounded = |grid: u64| nearest(ideal, grid);
            let round = grids(ideal as u64).filter(|grid| grid.is_multiple_of(self.finest)).map(rounded);
            let mut round = round.filter(|number| range.contains(&(*number as f64)));
            round.next().unwrap_or_else(|| nearest(ideal, self.finest))
        };
        (1..steps).map(number).collect()
    }

    /// Equal steps, rounded to a tenth of a step.
    fn steps(self, from: u64, to: u64, count: usize) -> Vec<u64> {
        let steps = count.saturating_sub(1).max(1);
        let step = (to - from) as f64 / steps as f64;
        let grid = 10_u64.saturating_pow((step / 10.0).max(1.0).log10() as u32).max(self.finest);
        (1..steps).map(|at| nearest(from as f64 + step * at as f64, grid)).collect()
    }

    /// Multiples of a round step.
    fn round_steps(self, from: u64, to: u64, most: usize) -> Vec<u64> {
        let gaps = most.saturating_sub(1).max(1) as u64;
        let least = (to - from).div_ceil(gaps).max(self.finest);
        let step = round_up(least, self.finest);
        // An end that is no multiple has no neighbour nearer than half a step.
        let is_apart = |number: &u64| *number >= from + step / 2 && *number + step / 2 <= to;
        let first = from.next_multiple_of(step);
        (0..=gaps + 1).map(|at| first + at * step).filter(|number| *number <= to).filter(is_apart).collect()
    }

    /// A round number between two, about in the middle; `None`: they are as near as a search goes.
    pub(super) fn middle(self, low: Number, high: Number) -> Option<Number> {
        let (Number(low), Number(high)) = (low, high);
        let gap = high.checked_sub(low)?;
        let wanted = (low / NEAR).max(gap / PARTS).max(self.finest);
        let step =
            grids(wanted).find(|grid| *grid <= wanted && grid.is_multiple_of(self.finest)).unwrap_or(self.finest);
        let middle = nearest(low as f64 + gap as f64 / 2.0, step);
        let all = [Some(middle), middle.checked_sub(step), middle.checked_add(step)];
        all.into_iter().flatten().find(|number| *number > low && *number < high).map(Number)
    }
}

/// The multiple of a grid that is nearest.
fn nearest(number: f64, grid: u64) -> u64 {
    ((number / grid as f64).round() as u64).saturating_mul(grid)
}

/// Grids for a number of this size, the coarsest first: tens, fives, twos, ones, and so on, each as they are at a decimal place.
fn grids(number: u64) -> impl Iterator<Item = u64> {
    let top = number.max(1).ilog10() + 1;
    (0..=top).rev().flat_map(|place| [5, 2, 1].map(|digit| 10_u64.saturating_pow(place).saturating_mul(digit)))
}

/// The least of 1, 2, 2.5 and 5 at a decimal place that is not below a number, and is a multiple of another.
fn round_up(number: u64, finest: u64) -> u64 {
    let places = (0..=19).map(|place| 10_u64.saturating_pow(place));
    let mut all = places.flat_map(|ten| [ten, ten.saturating_mul(2), ten.saturating_mul(5) / 2, ten.saturating_mul(5)]);
    all.find(|step| *step >= number && step.is_multiple_of(finest)).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::split(text).unwrap().0
    }

    fn spread(from: &str, to: &str, count: Option<usize>) -> String {
        let (from, to) = (number(from), number(to));
        let numbers = Scale::of(from, to).spread(from, to, count, 12);
        numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_number_is_written_as_it_was_read() {
        for text in ["0", "10", "0.2", "12.000001", "1000000000000"] {
            assert_eq!(number(text).to_string(), text);
        }
        assert_eq!(Number::split(" 30 / min "), Some((number("30"), "/ min")));
        assert_eq!(Number::split("0.50"), Some((number("0.5"), "")));
        for text in ["", "min", "-1", ".5", "1.", "1.2.3", "0.1234567", "1000000000001", "99999999999999999999"] {
            assert_eq!(Number::split(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_spread_as_a_person_would() {
        for (from, to, count, wanted) in [
            ("10", "120", None, "10 12 15 20 25 30 40 50 60 80 100 120"),
            ("10", "60", None, "10 15 20 25 30 35 40 45 50 55 60"),
            ("12", "60", None, "12 15 20 25 30 35 40 45 50 55 60"),
            ("0", "100", Some(5), "0 25 50 75 100"),
            ("10", "60", Some(6), "10 20 30 40 50 60"),
            ("1", "5", None, "1 2 3 4 5"),
            ("1", "5", Some(12), "1 2 3 4 5"),
            ("1", "20", Some(20), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"),
            ("0.0", "0.5", None, "0 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5"),
            ("0.2", "0.25", Some(3), "0.2 0.225 0.25"),
            ("1", "1000", Some(4), "1 10 100 1000"),
            ("7", "9", Some(2), "7 9"),
        ] {
            assert_eq!(spread(from, to, count), wanted, "{from}..{to}");
        }
    }

    #[test]
    fn a_search_halves_a_gap_in_round_numbers_until_two_percent() {
        let scale = Scale::of(number("10"), number("120"));
        let middle = |low, high| scale.middle(number(low), number(high)).map(|number| number.to_string());
        assert_eq!(middle("40", "50").as_deref(), Some("45"));
        assert_eq!(middle("45", "50").as_deref(), Some("48"));
        assert_eq!(middle("45", "47").as_deref(), Some("46"));
        assert_eq!(middle("45", "46"), None);
        assert_eq!(middle("1000", "1010"), None);
        assert_eq!(middle("1000", "1100").as_deref(), Some("1060"));
        assert_eq!(middle("0", "1"), None);
        let parts = Scale::of(number("0.1"), number("1"));
        assert_eq!(parts.middle(number("0.2"), number("0.25")).unwrap().to_string(), "0.226");
    }

    proptest! {
        #[test]
        fn a_spread_begins_and_ends_where_it_was_told_and_rises(
            from in 0..1_000_000_000_u64,
            more in 1..1_000_000_000_000_u64,
            whole: bool,
            count in prop::option::of(2..100_usize),
        ) {
            let unit = if whole { ONE } else { 1 };
            let (from, to) = (Number(from * unit), Number((from + more) * unit));
            let numbers = Scale::of(from, to).spread(from, to, count, 12);
            prop_assert_eq!((numbers.first(), numbers.last()), (Some(&from), Some(&to)));
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(numbers.len() <= count.unwrap_or(13).max(2), "{numbers:?}");
            prop_assert!(!whole || numbers.iter().all(|number| number.is_whole()));
        }

        #[test]
        fn a_search_ends_soon(low in 0..1_000_000_000_u64, gap in 1..1_000_000_000_000_u64, goes_up in prop::collection::vec(any::<bool>(), 64)) {
            let scale = Scale { finest: ONE };
            let (mut low, mut high, mut runs) = (Number(low * ONE), Number((low + gap) * ONE), 0);
            while let Some(middle) = scale.middle(low, high) {
                prop_assert!(middle > low && middle < high && middle.is_whole());
                if goes_up[runs] { low = middle } else { high = middle }
                runs += 1;
                prop_assert!(runs < 60);
            }
            prop_assert!(high.0 - low.0 <= (low.0 / NEAR).max(ONE) * 2);
        }
    }
}
