//! Attempt limits and retry budgets: how many attempts one call may make, and how much extra load all calls
//! together may put on a provider.
//!
//! The retry budget follows Finagle's and tower's: each request deposits a fraction of a token, each extra attempt
//! withdraws one, and only the last ten seconds count. So retries stay a small part of the load during a brown-out.
//! An extra attempt at another provider that is failing too is paid by both, so that all targets of a call together
//! stay within one budget. It does not know why anyone retries.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

/// Seconds, and slots, that count.
const WINDOW: u64 = 10;

/// A provider is failing once this share of its attempts fails, ...
const FAILING: f64 = 0.2;
/// ... and this many have.
const ENOUGH_FAILURES: u64 = 3;

/// Attempts that one call has left, over all its targets, retries and hedges.
#[derive(Clone, Debug)]
pub struct Attempts(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: u32,
    left: AtomicU32,
    /// The budget of the provider that was asked first.
    home: Mutex<Option<RetryBudget>>,
}

impl Attempts {
    /// `limit` attempts.
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(Account { limit, left: AtomicU32::new(limit), home: Mutex::default() }))
    }

    /// Takes one; false when none is left.
    pub fn take(&self) -> bool {
        self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// True while at least one is left.
    pub fn any_left(&self) -> bool {
        self.0.left.load(Ordering::Relaxed) > 0
    }

    /// True once one was taken: from then on every further one is an extra one.
    pub fn any_taken(&self) -> bool {
        self.0.left.load(Ordering::Relaxed) < self.0.limit
    }

    /// Notes whose budget extra attempts elsewhere have to be paid from too, until somebody was really asked.
    pub fn set_home(&self, budget: &RetryBudget) {
        if !self.any_taken() {
            *self.home() = Some(budget.clone());
        }
    }

    /// Pays for an extra attempt at a provider: out of its budget, and out of that of the provider that was asked first.
    /// False when one of them is spent.
    pub fn pay(&self, asked: &RetryBudget, now: Instant) -> bool {
        if !asked.withdraw(now) {
            return false;
        }
        let is_paid = self.home().as_ref().is_none_or(|home| home.is_same(asked) || home.withdraw(now));
        if !is_paid {
            asked.refund(now);
        }
        is_paid
    }

    /// Gives back what was paid for an attempt that was not made.
    pub fn refund(&self, asked: &RetryBudget, now: Instant) {
        asked.refund(now);
        if let Some(home) = self.home().as_ref().filter(|home| !home.is_same(asked)) {
            home.refund(now);
        }
    }

    fn home(&self) -> MutexGuard<'_, Option<RetryBudget>> {
        // It is set as a whole.
        self.0.home.lock()
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

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// A request arrived that is no extra attempt.
    pub fn deposit(&self, now: Instant) {
        self.ledger().slot(now).requests += 1;
    }

    /// True when both are one provider's.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ledger, &other.ledger)
    }

    /// Notes how an attempt ended.
    pub fn note(&self, has_failed: bool, now: Instant) {
        let mut ledger = self.ledger();
        let slot = ledger.slot(now);
        *(if has_failed { &mut slot.failed } else { &mut slot.answered }) += 1;
    }

    /// True while most attempts fail, so that calls which have failed elsewhere would only add load.
    pub fn is_failing(&self, now: Instant) -> bool {
        let mut ledger = self.ledger();
        ledger.slot(now);
        let sum = |count: fn(&Slot) -> u64| ledger.slots.iter().map(count).sum::<u64>();
        let (answered, failed) = (sum(|slot| slot.answered), sum(|slot| slot.failed));
        failed >= ENOUGH_FAILURES && failed as f64 >= (answered + failed) as f64 * FAILING
    }

    fn refund(&self, now: Instant) {
        let mut ledger = self.ledger();
        let slot = ledger.slot(now);
        slot.extra = slot.extra.saturating_sub(1);
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
    answered: u64,
    failed: u64,
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

    #[test]
    fn an_attempt_elsewhere_is_paid_by_both_or_by_nobody() {
        let now = Instant::now();
        let (first, second, attempts) = (RetryBudget::new(0.0, 2), RetryBudget::new(0.0, 3), Attempts::new(9));
        attempts.set_home(&first);
        assert!(attempts.take());
        attempts.set_home(&second);
        assert!(attempts.pay(&second, now) && attempts.pay(&second, now));
        assert!(!attempts.pay(&second, now) && !first.withdraw(now), "the first one's is spent");
        assert!(second.withdraw(now), "and nothing was taken from the second for that");
        attempts.refund(&second, now);
        assert!(first.withdraw(now) && second.withdraw(now));
    }

    #[test]
    fn a_provider_is_failing_while_a_fifth_of_its_attempts_fails() {
        let (budget, now) = (RetryBudget::new(0.2, 10), Instant::now());
        (0..2).for_each(|_| budget.note(true, now));
        assert!(!budget.is_failing(now), "two say little");
        (0..3).for_each(|_| budget.note(true, now));
        assert!(budget.is_failing(now));
        (0..21).for_each(|_| budget.note(false, now));
        assert!(!budget.is_failing(now));
        (0..5).for_each(|_| budget.note(true, now));
        assert!(budget.is_failing(now) && !budget.is_failing(now + Duration::from_secs(11)));
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
