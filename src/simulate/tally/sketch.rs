//! Sketch: the distribution of a time in milliseconds, in memory that does not grow with what it is told.
//!
//! Log-linear buckets, as in HdrHistogram (Tene): each doubling is cut into equally wide buckets. What is below that number is
//! kept exactly; above, a percentile is at most half a bucket wrong. It does not know what is measured.

/// Longer is counted as this: 2^32 ms are 49 days, more than any timeout.
const LONGEST: u64 = u32::MAX as u64;

/// A distribution of milliseconds.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// Each doubling has 2^bits buckets.
    bits: u32,
    /// How many values each bucket has; as long as the largest value asks for.
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Sketch {
    /// The relative error of a percentile of [`Self::fine`]: half of one of 128 buckets in a doubling.
    pub const ERROR: f64 = 1.0 / 256.0;

    /// For percentiles that are read: at most 27 KiB.
    pub fn fine() -> Self {
        Self::new(7)
    }

    /// For percentiles that are drawn, with an error of 1.6 %: at most 7 KiB.
    pub fn coarse() -> Self {
        Self::new(5)
    }

    fn new(bits: u32) -> Self {
        Self { bits, counts: Vec::new(), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Adds a value.
    pub fn add(&mut self, ms: u64) {
        let at = self.bucket(ms.min(LONGEST));
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(ms);
        self.min = self.min.min(ms);
        self.max = self.max.max(ms);
    }

    /// Adds what another of the same precision was told.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.bits, other.bits, "buckets of two precisions do not match");
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; `None` of nothing.
    pub fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }

    /// The value that at least this share of all values does not exceed (the nearest rank), given in thousandths: 950 is the
    /// 95th percentile. `None` of nothing.
    pub fn quantile(&self, thousandths: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = u128::from(self.count) * u128::from(thousandths);
        let rank = rank.div_ceil(1000).clamp(1, u128::from(self.count));
        let mut seen = 0_u128;
        let at = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank
        });
        at.map(|at| self.middle(at).clamp(self.min, self.max))
    }

    fn bucket(&self, ms: u64) -> usize {
        let linear = 1_u64 << self.bits;
        if ms < linear {
            return ms as usize;
        }
        // The doubling, and where in it.
        let doubling = ms.ilog2() - self.bits;
        ((u64::from(doubling) << self.bits) + (ms >> doubling)) as usize
    }

    /// The middle of a bucket.
    fn middle(&self, at: usize) -> u64 {
        let (at, linear) = (at as u64, 1_u64 << self.bits);
        if at < 2 * linear {
            return at;
        }
        let doubling = (at >> self.bits) - 1;
        let begin = (at - (doubling << self.bits)) << doubling;
        begin + ((1 << doubling) - 1) / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_values_are_exact_and_large_ones_within_the_stated_error() {
        let mut sketch = Sketch::fine();
        (1..=200).for_each(|ms| sketch.add(ms));
        let shares = [0, 1, 500, 900, 950, 990, 1000];
        assert_eq!(shares.map(|share| sketch.quantile(share).unwrap()), [1, 1, 100, 180, 190, 198, 200]);
        assert_eq!((sketch.mean(), sketch.max(), sketch.count()), (Some(100), 200, 200));
        assert_eq!(Sketch::fine().quantile(500), None);
    }

    #[test]
    fn whatever_it_is_told_it_stays_small() {
        let mut sketch = Sketch::fine();
        for value in [0, 1, u64::MAX, u64::MAX, 1 << 40] {
            sketch.add(value);
        }
        assert!(sketch.counts.len() * size_of::<u64>() <= 27 * 1024, "{} buckets", sketch.counts.len());
        let mut coarse = Sketch::coarse();
        coarse.add(u64::MAX);
        assert!(coarse.counts.len() * size_of::<u64>() <= 7 * 1024 + 512, "{} buckets", coarse.counts.len());
    }

    proptest! {
        #[test]
        fn a_percentile_is_as_near_as_stated(values in prop::collection::vec(0..LONGEST, 1..200), share in 0..=1000_u64) {
            let mut sketch = Sketch::fine();
            values.iter().for_each(|ms| sketch.add(*ms));
            let mut sorted = values;
            sorted.sort_unstable();
            let rank = (sorted.len() * share as usize).div_ceil(1000).max(1);
            let (exact, got) = (sorted[rank - 1], sketch.quantile(share).unwrap());
            prop_assert!(exact.abs_diff(got) as f64 <= exact as f64 * Sketch::ERROR, "{exact} is said to be {got}");
        }

        #[test]
        fn merging_is_adding(left in prop::collection::vec(any::<u64>(), 0..50), right in prop::collection::vec(any::<u64>(), 0..50)) {
            let of = |values: &[u64]| {
                let mut sketch = Sketch::coarse();
                values.iter().for_each(|ms| sketch.add(*ms));
                sketch
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let both = of(&[left, right].concat());
            prop_assert_eq!((merged.counts, merged.count, merged.sum, merged.max), (both.counts, both.count, both.sum, both.max));
        }
    }
}
