//! Random numbers, all from one seed. The same seed gives the same numbers, so that a failed test can be repeated.
//!
//! They are not for secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers, shared by its clones.
#[derive(Clone, Debug)]
pub struct SeededRng(Arc<AtomicU64>);

impl SeededRng {
    /// A source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(mix(seed))))
    }

    /// A source of its own for something that is made at the start: what is drawn from it changes nothing here.
    #[must_use]
    pub fn apart(&self, what: u64) -> Self {
        Self::new(self.0.load(Ordering::Relaxed) ^ mix(what))
    }

    /// 64 random bits.
    pub fn bits(&self) -> u64 {
        mix(self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        // 53 bits are what a double holds.
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): every bit of the
/// input changes half of the output's.
fn mix(seed: u64) -> u64 {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_others() {
        let draw = |seed| {
            (0..5).map(|_| 0).scan(SeededRng::new(seed), |chance, _: i32| Some(chance.bits())).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let chance = SeededRng::new(7);
        let below = (0..10_000).filter(|_| chance.fraction() < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below} of 10000 below a quarter");
    }
}
