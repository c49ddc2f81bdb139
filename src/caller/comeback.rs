//! Retry-After: the seconds after which a refused caller may retry, in the header and in bodies.
//!
//! The only place that computes them, for both listeners. It does not know what was refused, nor the source of
//! randomness.

use std::time::Duration;

use http::StatusCode;

use crate::model::fault::{DEFAULT_RETRY_AFTER, Fault, is_for_later};

/// By how much of itself a wait is made longer at most.
const SPREAD: f64 = 0.1;

/// How long one refused caller may be told to wait.
#[derive(Clone, Copy, Debug)]
pub struct Comeback {
    /// Never longer than this: after it even a provider that has asked for more is asked again.
    pub longest: Duration,
    /// From 0 up to, but not including, 1: this caller's share of the spread. Callers that were refused together have
    /// different ones, so that they do not come back together.
    pub fraction: f64,
}

impl Comeback {
    /// Whole seconds for a wait: at least one, at least the wait, a tenth more at most, and never more than the longest. A wait
    /// that is longer than that is spread below it, as there is no room above.
    pub fn seconds(self, wait: Duration) -> u64 {
        let longest = self.longest.as_secs().max(1);
        let (wait, bound) = (wait.as_secs_f64(), self.longest.as_secs_f64());
        let told = match wait < bound {
            // A whole second more would be more than a tenth of a short wait.
            true => (wait * (1.0 + SPREAD * self.fraction)).floor().max(wait.ceil()),
            false => (bound / (1.0 + SPREAD * self.fraction)).ceil(),
        };
        // Casts of what is too large end at the largest number.
        (told as u64).clamp(1, longest)
    }

    /// Whole seconds for a fault that is told with this status; `None` where nothing is to be said.
    pub(crate) fn of(self, status: StatusCode, fault: &Fault) -> Option<u64> {
        let wait = fault.retry_after().or_else(|| is_for_later(status).then_some(DEFAULT_RETRY_AFTER));
        wait.map(|wait| self.seconds(wait))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(wait: Duration, fraction: f64) -> u64 {
        Comeback { longest: Duration::from_secs(60), fraction }.seconds(wait)
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        assert_eq!(seconds(Duration::ZERO, 0.0), 1);
        assert_eq!(seconds(Duration::from_millis(1001), 0.0), 2);
        assert_eq!(seconds(Duration::from_secs(7), 0.999), 7, "a second more would be more than a tenth");
        assert_eq!(seconds(Duration::MAX, 0.0), 60);
        assert_eq!(Comeback { longest: Duration::MAX, fraction: 0.0 }.seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn callers_that_are_refused_together_come_back_apart() {
        for wait in [40, 59, 60, 52_258] {
            let told: std::collections::BTreeSet<u64> =
                (0..100).map(|part| seconds(Duration::from_secs(wait), f64::from(part) / 100.0)).collect();
            assert!(told.len() > 1 && told.iter().all(|told| (40..=60).contains(told)), "{wait} s: {told:?}");
        }
    }

    #[test]
    fn a_refusal_for_later_always_says_when() {
        let comeback = Comeback { longest: Duration::from_secs(60), fraction: 0.0 };
        let fault = Fault::invalid(None, "x");
        assert_eq!(comeback.of(StatusCode::BAD_REQUEST, &fault), None);
        assert_eq!(comeback.of(StatusCode::SERVICE_UNAVAILABLE, &fault), Some(5));
        assert_eq!(comeback.of(StatusCode::TOO_MANY_REQUESTS, &Fault::Crowded { limit: 2 }), Some(5));
    }

    proptest! {
        #[test]
        fn nobody_is_told_less_than_the_wait_nor_much_more_nor_more_than_the_longest(
            wait in 0u64..200_000,
            longest in 0u64..120_000,
            fraction in 0.0..1.0f64,
        ) {
            let (wait, longest) = (Duration::from_millis(wait), Duration::from_millis(longest));
            let told = Comeback { longest, fraction }.seconds(wait);
            prop_assert!(told >= 1 && told <= longest.as_secs().max(1));
            let (told, wait, longest) = (told as f64, wait.as_secs_f64(), longest.as_secs_f64());
            prop_assert!(told <= (wait * 1.1).max(wait.ceil()).max(1.0));
            // Whole seconds below the longest: a bound of 2.5 s is one of 2.
            prop_assert!(told >= wait.min(longest / 1.1).min(longest.floor()));
        }
    }
}
