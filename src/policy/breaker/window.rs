//! The sliding window of a circuit breaker: how many of the latest calls ended in which way.
//!
//! It does not know how many failures open a breaker. The current time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use super::suspects::Suspicion;

/// Slots of the sliding window.
const SLOTS: usize = 10;

/// How a call ended, as far as the provider's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Well.
    Success,
    /// Well, but late.
    Slow,
    /// Badly.
    Failure {
        /// The request and its caller, where the request itself may be the cause.
        request: Option<Suspicion>,
    },
}

/// Counts over the last while, in slots.
#[derive(Debug)]
pub(super) struct Window {
    slot: Duration,
    start: Option<Instant>,
    /// The number of the newest slot since the start.
    newest: u64,
    slots: [Counts; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    successes: u32,
    pub(super) slow: u32,
    pub(super) failures: u32,
}

impl Counts {
    pub(super) fn calls(self) -> u32 {
        self.successes + self.slow + self.failures
    }
}

impl Window {
    pub(super) fn new(window: Duration) -> Self {
        let slot = (window / SLOTS as u32).max(Duration::from_millis(1));
        Self { slot, start: None, newest: 0, slots: [Counts::default(); SLOTS] }
    }

    pub(super) fn clear(&mut self) {
        self.slots = [Counts::default(); SLOTS];
    }

    /// Forgets what is too old.
    fn turn(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let current = (now.saturating_duration_since(start).as_nanos() / self.slot.as_nanos()) as u64;
        for number in self.newest + 1..=current.min(self.newest + SLOTS as u64) {
            self.slots[number as usize % SLOTS] = Counts::default();
        }
        if current > self.newest + SLOTS as u64 {
            self.clear();
        }
        self.newest = self.newest.max(current);
    }

    pub(super) fn count(&mut self, ended: CallResult, now: Instant) {
        self.turn(now);
        let slot = &mut self.slots[self.newest as usize % SLOTS];
        match ended {
            CallResult::Success => slot.successes += 1,
            CallResult::Slow => slot.slow += 1,
            CallResult::Failure { .. } => slot.failures += 1,
        }
    }

    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.turn(now);
        self.slots.iter().fold(Counts::default(), |sum, slot| Counts {
            successes: sum.successes + slot.successes,
            slow: sum.slow + slot.slow,
            failures: sum.failures + slot.failures,
        })
    }
}
