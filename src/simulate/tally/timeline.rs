//! Timeline: calls by when they came, in at most 240 buckets whatever the span.
//!
//! The buckets begin a second wide; when there are too many, they become as wide as the next step says and neighbours are
//! added up. Edges are whole multiples of the width since 1970, so two runs of one trace have the same. It does not know
//! what a call is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::sketch::Sketch;

/// The most buckets.
pub const MOST: u64 = 240;

/// Widths in seconds, each a multiple of the one before; beyond the last they double.
const WIDTHS: [i64; 13] = [1, 2, 10, 30, 60, 120, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400];

/// What happened to the calls that came within one bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// All of them.
    pub calls: u64,
    /// Refused by a limit or a budget.
    pub refused: u64,
    /// Failed.
    pub errors: u64,
    /// Answered from the cache.
    pub hits: u64,
    /// What they cost, in nanodollars.
    pub nanos: u64,
    /// How long the answered ones took.
    pub latency: Sketch,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { calls: 0, refused: 0, errors: 0, hits: 0, nanos: 0, latency: Sketch::coarse() }
    }
}

impl Bucket {
    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.refused += other.refused;
        self.errors += other.errors;
        self.hits += other.hits;
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.latency.merge(&other.latency);
    }
}

/// The buckets.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The width of a bucket, in seconds.
    width: i64,
    /// By their number since 1970. Those in which no call came are not there.
    buckets: BTreeMap<i64, Bucket>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: WIDTHS[0], buckets: BTreeMap::new() }
    }
}

impl Timeline {
    /// The bucket of a moment.
    pub fn at(&mut self, at: Timestamp) -> &mut Bucket {
        let second = at.as_second();
        while !self.has_room_for(second) {
            self.widen();
        }
        self.buckets.entry(second.div_euclid(self.width)).or_default()
    }

    fn has_room_for(&self, second: i64) -> bool {
        let number = second.div_euclid(self.width);
        let first = self.buckets.first_key_value().map_or(number, |(first, _)| number.min(*first));
        let last = self.buckets.last_key_value().map_or(number, |(last, _)| number.max(*last));
        last.abs_diff(first) < MOST
    }

    fn widen(&mut self) {
        let next = WIDTHS.into_iter().find(|width| *width > self.width);
        let next = next.unwrap_or_else(|| self.width.saturating_mul(2));
        let factor = next / self.width;
        for (number, bucket) in std::mem::take(&mut self.buckets) {
            self.buckets.entry(number.div_euclid(factor)).or_default().merge(&bucket);
        }
        self.width = next;
    }

    /// Makes the buckets as wide as those of another, where they are narrower, so that both can be drawn over one axis.
    pub fn match_width(&mut self, other: &Self) {
        while self.width < other.width {
            self.widen();
        }
    }

    /// The width of a bucket, in seconds.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// The buckets with their first second, in order. Those in which no call came are not there.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, &Bucket)> {
        self.buckets.iter().map(|(number, bucket)| (number.saturating_mul(self.width), bucket))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_width_is_a_multiple_of_the_one_before() {
        assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0));
    }

    #[test]
    fn an_hour_has_buckets_of_half_a_minute_and_a_day_of_ten_minutes() {
        for (seconds, width, buckets) in [(1, 1, 1), (240, 1, 240), (241, 2, 121), (3600, 30, 120), (86_400, 600, 144)]
        {
            let mut line = Timeline::default();
            (0..seconds).for_each(|second| line.at(Timestamp::from_second(second).unwrap()).calls += 1);
            assert_eq!((line.width(), line.buckets().count()), (width, buckets), "{seconds}");
            assert_eq!(line.buckets().map(|(_, bucket)| bucket.calls).sum::<u64>(), seconds as u64);
        }
    }

    proptest! {
        #[test]
        fn it_has_at_most_so_many_buckets_and_loses_nothing(times in prop::collection::vec(-377_705_023_201..=253_402_207_200_i64, 1..60)) {
            let mut line = Timeline::default();
            for second in &times {
                let bucket = line.at(Timestamp::from_second(*second).unwrap());
                bucket.calls += 1;
                bucket.latency.add(1);
            }
            prop_assert!(line.buckets().count() as u64 <= MOST);
            prop_assert_eq!(line.buckets().map(|(_, bucket)| bucket.latency.count()).sum::<u64>(), times.len() as u64);
            for (begin, _) in line.buckets() {
                prop_assert!(times.iter().any(|second| (begin..begin + line.width()).contains(second)));
            }
        }
    }
}
