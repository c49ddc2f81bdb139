//! Money: US dollars in whole nanodollars, written as exact decimals. Sums of money must not drift, so nothing here
//! is a float except what is passed to libraries that accept nothing else.
//!
//! It does not know what anything costs.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Nanodollars in a dollar.
pub const NANOS: u64 = 1_000_000_000;

/// An amount of US dollars, zero or more, up to 18 billion. Sums stop there instead of starting again from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    /// An amount in nanodollars (10^-9 USD).
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The same in nanodollars.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The same as a float, for libraries that take no other number. Written out again it has the very digits of the amount
    /// up to a million dollars: fifteen digits survive in a float.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }
}

/// A decimal without exponent and without zeros at the end: `0.000015`, `12.5`, `0`.
impl fmt::Display for Usd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / NANOS, self.0 % NANOS);
        if part == 0 {
            return write!(out, "{whole}");
        }
        let digits = format!("{part:09}");
        write!(out, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A JSON number with the digits of [`Display`](fmt::Display), and always with a point: some readers tell numbers apart by it.
impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let point = if self.0.is_multiple_of(NANOS) { ".0" } else { "" };
        RawValue::from_string(format!("{self}{point}")).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_written_as_people_write_them() {
        for (nanos, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (15_000, "0.000015"),
            (NANOS, "1"),
            (12_500_000_000, "12.5"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            let amount = Usd::from_nanos(nanos);
            assert_eq!(amount.to_string(), text);
            let point = if text.contains('.') { "" } else { ".0" };
            assert_eq!(serde_json::to_string(&amount).unwrap(), format!("{text}{point}"));
        }
        assert_eq!(Usd::from_nanos(u64::MAX) + Usd::from_nanos(1), Usd::from_nanos(u64::MAX));
    }

    proptest! {
        #[test]
        fn an_amount_is_read_back_digit_by_digit(nanos in any::<u64>()) {
            let text = Usd::from_nanos(nanos).to_string();
            let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
            let read = whole.parse::<u128>().unwrap() * u128::from(NANOS) + format!("{part:0<9}").parse::<u128>().unwrap();
            prop_assert_eq!(read, u128::from(nanos));
        }

        #[test]
        fn up_to_a_million_dollars_a_float_has_the_same_digits(nanos in 0..=1_000_000 * NANOS) {
            let amount = Usd::from_nanos(nanos);
            prop_assert_eq!(amount.as_f64().to_string(), amount.to_string());
        }
    }
}
