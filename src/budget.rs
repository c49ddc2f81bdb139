//! Budgets of attempts: how often one call may try, and how much extra load all calls together may put on a provider.
//!
//! The retry budget after Finagle's and tower's: requests deposit a share of a token, each extra attempt withdraws one,
//! and only the last ten seconds count. In a brown-out, retries so stay a small part of the load. It does not know why
//! anybody tries again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Seconds, and slots, that count.
const WINDOW: u64 = 10;

/// Attempts that one call has left, over all its targets, retries and hedges.
#[derive(Clone, Debug)]
pub struct Attempts(Arc<AtomicU32>);

impl Attempts {
    /// `limit` attempts.
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(AtomicU32::new(limit)))
    }

    /// Takes one; false when none is left.
    pub fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// True while at least one is left.
    pub fn any_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Extra attempts at one provider, shared by all its callers.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    share: f64,
    floor: u32,
    ledger: Arc<Mutex<Ledger>>,
}

impl RetryBudget {
    /// Extra attempts of at most `share` of the requests of the last ten seconds, plus `floor`.
    pub fn new(share: f64, floor: u32) -> Self {
        let slots = [Slot::default(); WINDOW as usize];
        Self { share, floor, ledger: Arc::new(Mutex::new(Ledger { start: None, newest: 0, slots })) }
    }

    /// The same history under other limits.
    #[must_use]
    pub fn under(&self, share: f64, floor: u32) -> Self {
        Self { share, floor, ledger: self.ledger.clone() }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        // Counts only: nothing half-written can be left behind by a panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request arrived that is no extra attempt.
    pub fn deposit(&self, now: Instant) {
        self.ledger().slot(now).requests += 1;
    }

    /// Takes one extra attempt; false when the budget is spent.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut ledger = self.ledger();
        ledger.slot(now);
        let (requests, extra) = ledger.sums();
        let allowed = (requests as f64 * self.share) as u64 + u64::from(self.floor);
        let is_allowed = extra < allowed;
        if is_allowed {
            ledger.slot(now).extra += 1;
        }
        is_allowed
    }
}

#[derive(Debug)]
struct Ledger {
    start: Option<Instant>,
    newest: u64,
    slots: [Slot; WINDOW as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    extra: u64,
}

impl Ledger {
    /// The current slot; what is older than the window is forgotten.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        let start = *self.start.get_or_insert(now);
        let current = now.saturating_duration_since(start).as_secs();
        if current > self.newest {
            for number in self.newest + 1..=current.min(self.newest + WINDOW) {
                self.slots[(number % WINDOW) as usize] = Slot::default();
            }
            self.newest = current;
        }
        &mut self.slots[(self.newest % WINDOW) as usize]
    }

    fn sums(&self) -> (u64, u64) {
        self.slots.iter().fold((0, 0), |(requests, extra), slot| (requests + slot.requests, extra + slot.extra))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_tries_as_often_as_it_may() {
        let attempts = Attempts::new(2);
        let other = attempts.clone();
        assert!(attempts.take() && other.take() && !attempts.any_left() && !other.take());
    }

    proptest! {
        /// Over any history: in any ten seconds, extra attempts are at most the share of the requests, plus the floor.
        #[test]
        fn extra_load_stays_within_the_budget(
            steps in proptest::collection::vec((0u64..3_000, 0u32..6, 0u32..6), 1..200),
            share in 0.0f64..0.5,
            floor in 0u32..4,
        ) {
            let (budget, start) = (RetryBudget::new(share, floor), Instant::now());
            let (mut now, mut requested, mut tried) = (0, Vec::new(), Vec::new());
            for (wait, requests, tries) in steps {
                now += wait;
                let at = start + Duration::from_millis(now);
                for _ in 0..requests {
                    budget.deposit(at);
                    requested.push(now);
                }
                tried.extend((0..tries).filter(|_| budget.withdraw(at)).map(|_| now));
                // Slots are whole seconds: the last nine are always inside the window, and eleven never less than it.
                let within = |times: &[u64], back: u64| times.iter().filter(|time| **time + back > now).count() as f64;
                let (extra, allowed) = (within(&tried, 9_000), within(&requested, 11_000) * share + f64::from(floor));
                if tried.last() == Some(&now) {
                    prop_assert!(extra <= allowed, "{extra} extra attempts where {allowed} are allowed");
                }
            }
        }
    }
}
