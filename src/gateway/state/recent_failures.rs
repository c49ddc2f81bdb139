//! Recent failures of a provider: which faults, how often, and when last.
//!
//! It does not know whose fault any of it was.

use parking_lot::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Kinds of faults that are remembered.
const KINDS: usize = 5;

/// The latest kinds of faults.
#[derive(Debug, Default)]
pub struct RecentFailures(Mutex<Vec<Kind>>);

#[derive(Clone, Copy, Debug)]
struct Kind {
    code: &'static str,
    last: Instant,
    count: u64,
}

/// One kind, for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentFailure {
    /// The fault's code.
    pub code: &'static str,
    /// How long ago it was there last.
    pub ago: Duration,
    /// How often it was there since it is remembered.
    pub count: u64,
}

impl RecentFailures {
    /// Notes a fault. The kind that was not there for longest makes room.
    pub fn note(&self, code: &'static str) {
        let mut kinds = self.0.lock();
        let known = kinds.iter().position(|kind| kind.code == code).map(|index| kinds.remove(index));
        let count = known.map_or(0, |kind| kind.count) + 1;
        kinds.truncate(KINDS - 1);
        kinds.insert(0, Kind { code, last: Instant::now(), count });
    }

    /// The kinds, the latest first.
    pub fn latest(&self) -> Vec<RecentFailure> {
        self.0
            .lock()
            .iter()
            .map(|kind| RecentFailure { code: kind.code, ago: kind.last.elapsed(), count: kind.count })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_latest_kinds_are_remembered_each_once() {
        let recent_failures = RecentFailures::default();
        for code in ["a", "b", "c", "a", "d", "e", "f"] {
            recent_failures.note(code);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let seen: Vec<_> = recent_failures.latest().iter().map(|it| (it.code, it.ago.as_secs(), it.count)).collect();
        assert_eq!(seen, [("f", 1, 1), ("e", 2, 1), ("d", 3, 1), ("a", 4, 2), ("c", 5, 1)]);
    }
}
