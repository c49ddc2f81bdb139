//! Calendar: hours, days and months in UTC, for bills and budgets.
//!
//! It does not know the current time.

use jiff::Timestamp;
use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A kind of period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Sixty minutes from the full hour on.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the last day, both included.
    Month,
}

impl Period {
    /// All of them with their words.
    pub const ALL: [(Period, &'static str); 3] =
        [(Period::Hour, "hour"), (Period::Day, "day"), (Period::Month, "month")];

    /// The word in the config, in queries and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
        }
    }

    /// When the period began in which a moment lies.
    pub fn start(self, moment: Timestamp) -> Timestamp {
        let at = TimeZone::UTC.to_datetime(moment);
        let date = match self {
            Period::Hour | Period::Day => at.date(),
            Period::Month => at.date().first_of_month(),
        };
        let hour = if self == Period::Hour { at.hour() } else { 0 };
        in_utc(date.at(hour, 0, 0, 0)).unwrap_or(moment)
    }

    /// When the period ends, and the next begins, in which a moment lies.
    pub fn end(self, moment: Timestamp) -> Timestamp {
        self.moved(self.start(moment), 1)
    }

    /// The start of the period this many periods before the one that contains a moment.
    pub fn back(self, moment: Timestamp, periods: u16) -> Timestamp {
        self.moved(self.start(moment), -i64::from(periods))
    }

    /// At the end of time, which is far away, it stays there.
    fn moved(self, start: Timestamp, by: i64) -> Timestamp {
        let span = match self {
            Period::Hour => by.hours(),
            Period::Day => by.days(),
            Period::Month => by.months(),
        };
        let moved = TimeZone::UTC.to_datetime(start).checked_add(span).ok();
        moved.and_then(in_utc).unwrap_or(start)
    }
}

fn in_utc(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn months_have_their_own_lengths() {
        let end = |period: Period, at: &str| period.end(at.parse().unwrap()).to_string();
        for (at, wanted) in [
            ("2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"),
            ("2028-02-28T23:59:59Z", "2028-03-01T00:00:00Z"),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(end(Period::Month, at), wanted);
        }
        assert_eq!(end(Period::Day, "2028-02-28T12:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(end(Period::Hour, "2026-12-31T23:00:00Z"), "2027-01-01T00:00:00Z");
        assert_eq!(Period::Month.back("2026-03-31T12:00:00Z".parse().unwrap(), 13).to_string(), "2025-02-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_moment_is_in_one_period_and_periods_leave_no_gap(
            second in -10_000_000_000_i64..10_000_000_000, nanos in 0..999_999_999_i32,
        ) {
            let moment = Timestamp::new(second, nanos).unwrap_or(Timestamp::UNIX_EPOCH);
            for (period, _) in Period::ALL {
                let (start, end) = (period.start(moment), period.end(moment));
                prop_assert!(start <= moment && moment < end);
                prop_assert_eq!(period.start(start), start);
                prop_assert_eq!(period.start(end), end);
                prop_assert_eq!(period.back(end, 1), start);
            }
        }
    }
}
