//! Idle timeouts of providers: how long a provider keeps unused keep-alive connections open, as far as it shows. A
//! request sent on a connection that is just being closed is lost, and may have been executed.
//!
//! A provider states it (`Keep-Alive`), or it is observed: a connection that has been idle for longer than any that
//! was reused successfully is closed. It knows no more of HTTP.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an idle connection is kept at most: below the 60 s after which most load balancers close.
pub(super) const LONGEST: Duration = Duration::from_secs(50);

/// How long before the end of a provider's own idle time a connection is not used any more. A request needs that long to get
/// there.
const MARGIN: Duration = Duration::from_secs(1);

/// What is known of one provider, in microseconds.
pub(super) struct IdleTimes {
    /// The shortest time after which it closes.
    kept: AtomicU64,
    /// The longest after which a connection was used again with success.
    proven: AtomicU64,
    /// For how long that is believed, and since when.
    age: Duration,
    since: Mutex<Instant>,
}

impl IdleTimes {
    /// Nothing is known. What will be is believed for `age`.
    pub(super) fn new(age: Duration) -> Self {
        Self { kept: AtomicU64::new(u64::MAX), proven: AtomicU64::new(0), age, since: Mutex::new(Instant::now()) }
    }

    /// How long a connection may be idle and still be used.
    pub(super) fn usable(&self) -> Duration {
        let kept = Duration::from_micros(self.kept.load(Ordering::Relaxed));
        LONGEST.min(kept.saturating_sub(MARGIN.min(kept / 2)))
    }

    /// The provider has said it.
    pub(super) fn said(&self, kept: Duration) {
        self.kept.fetch_min(micros(kept), Ordering::Relaxed);
    }

    /// What was noted long ago may not be true any more. It shows again, if it is.
    pub(super) fn forget_in_time(&self, now: Instant) {
        let mut since = self.since.lock();
        if now.saturating_duration_since(*since) >= self.age {
            *since = now;
            self.kept.store(u64::MAX, Ordering::Relaxed);
            self.proven.store(0, Ordering::Relaxed);
        }
    }

    /// A connection that had been idle for `after` has brought a response.
    pub(super) fn used(&self, after: Duration) {
        let after = micros(after);
        if after > self.proven.load(Ordering::Relaxed) {
            self.proven.fetch_max(after, Ordering::Relaxed);
        }
    }

    /// Closed by the provider after `after`, or before. One that has been used after longer times closes for another reason.
    pub(super) fn closed(&self, after: Duration) {
        if micros(after) >= self.proven.load(Ordering::Relaxed) {
            self.said(after);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_closes_is_not_used_for_half_as_long() {
        let times = IdleTimes::new(Duration::from_secs(60));
        times.used(Duration::from_millis(5));
        times.closed(Duration::from_millis(10));
        assert_eq!(times.usable(), Duration::from_millis(5));
        times.closed(Duration::from_secs(3));
        assert_eq!(times.usable(), Duration::from_millis(5), "the shortest time counts");
        times.forget_in_time(Instant::now());
        assert_eq!(times.usable(), Duration::from_millis(5));
        times.forget_in_time(Instant::now() + Duration::from_secs(61));
        assert_eq!(times.usable(), LONGEST);
    }

    #[test]
    fn what_was_used_after_longer_says_nothing_when_it_closes() {
        let times = IdleTimes::new(Duration::from_secs(60));
        times.used(Duration::from_secs(2));
        times.used(Duration::from_secs(1));
        times.closed(Duration::from_millis(1999));
        assert_eq!(times.usable(), LONGEST);
        times.closed(Duration::from_secs(5));
        assert_eq!(times.usable(), Duration::from_secs(4));
    }

    #[test]
    fn what_it_says_counts_with_a_margin() {
        let usable = [0, 1, 5, 75].map(|kept| {
            let times = IdleTimes::new(Duration::from_secs(60));
            times.said(Duration::from_secs(kept));
            times.usable().as_millis()
        });
        assert_eq!(usable, [0, 500, 4_000, 50_000]);
    }
}
