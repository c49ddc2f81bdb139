//! Tally: totals of the calls to one provider since the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Attempts.
    pub calls: u64,
    /// Attempts that were answered.
    pub successes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Calls answered here after another provider had failed.
    pub fallbacks: u64,
    /// What its answers cost by the price table, in nanodollars (10^-9 USD).
    pub nanodollars: u64,
}

/// The same, while they are counted.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) calls: AtomicU64,
    pub(super) successes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) fallbacks: AtomicU64,
    pub(super) nanodollars: AtomicU64,
}

impl Tally {
    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            successes: self.successes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
            nanodollars: self.nanodollars.load(Ordering::Relaxed),
        }
    }
}
