//! Dice: what is drawn from a world's seed. The same seed gives the same draws.

use tidegate::model::rng::SeededRng;

/// A source of draws.
pub(crate) struct Dice(SeededRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    /// A whole number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.0.bits() % (high - low + 1)
    }

    /// True in this share of draws.
    pub(crate) fn is(&self, share: f64) -> bool {
        self.0.fraction() < share
    }

    /// A value in this share of draws.
    pub(crate) fn maybe<T>(&self, share: f64, value: impl FnOnce(&Self) -> T) -> Option<T> {
        self.is(share).then(|| value(self))
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.between(0, from.len() as u64 - 1) as usize]
    }
}
