//! A histogram of durations with logarithmic buckets: small, mergeable, and never more than an eighth off.
//!
//! It does not know what is timed, nor over which time.

use std::time::Duration;

/// Buckets in each doubling: what is shown is at most an eighth too much.
const PARTS: u64 = 8;

/// Up to 2^36 microseconds, which is 19 hours; what took longer is counted as that.
pub(super) const BUCKETS: usize = 272;

/// How often something took how long. Two of them together are one of both.
#[derive(Clone)]
pub struct Histogram(Box<[u32; BUCKETS]>);

/// Percentiles 50, 95 and 99 of a histogram, as the buckets they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles([u16; 3]);

impl Percentiles {
    /// The largest duration of each bucket.
    pub fn durations(self) -> [Duration; 3] {
        self.0.map(|bucket| Duration::from_micros(most_in(usize::from(bucket))))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn note(&mut self, duration: Duration) {
        let bucket = bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&*other.0) {
            *own = own.saturating_add(*other);
        }
    }

    /// Its percentiles; `None`: nothing was counted.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let count: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let within = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut seen = 0;
            let reaches = |count: &u32| {
                seen += u64::from(*count);
                seen >= rank
            };
            self.0.iter().position(reaches).unwrap_or(BUCKETS - 1) as u16
        };
        (count > 0).then(|| Percentiles([within(50), within(95), within(99)]))
    }
}

/// The bucket of a number: the first ones hold one number each, and from then on each doubling has as many.
fn bucket(number: u64) -> usize {
    if number < PARTS {
        return number as usize;
    }
    let doubling = u64::from(number.ilog2() - PARTS.ilog2());
    ((doubling * PARTS + (number >> doubling)) as usize).min(BUCKETS - 1)
}

/// The largest number in a bucket.
fn most_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let doubling = bucket / PARTS - 1;
    ((PARTS + bucket % PARTS + 1) << doubling) - 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A percentile is never below the true one, and at most an eighth above it, also of histograms that were merged.
        #[test]
        fn a_percentile_is_at_most_an_eighth_too_much(
            mut times in prop::collection::vec(0u64..1 << 36, 1..300),
            parts in 1_usize..40,
        ) {
            let mut merged = Histogram::default();
            for part in times.chunks(times.len().div_ceil(parts)) {
                let mut histogram = Histogram::default();
                part.iter().for_each(|time| histogram.note(Duration::from_micros(*time)));
                merged.merge(&histogram);
            }
            times.sort_unstable();
            let shown = merged.percentiles().unwrap().durations();
            for (shown, percent) in shown.into_iter().zip([50, 95, 99]) {
                let exact = times[(times.len() * percent).div_ceil(100) - 1];
                let shown = shown.as_micros() as u64;
                prop_assert!(exact <= shown && shown <= exact + exact / PARTS, "{exact} is shown as {shown}");
            }
        }
    }
}
