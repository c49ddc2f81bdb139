//! Suspects: requests that may have caused their failures themselves, as a tool schema does that a provider trips over.
//! One of them, repeated, must not shut a model off for everybody: it counts as often as the config allows, and then no
//! more until the window is over and somebody else was answered.
//!
//! It does not know what a request is; whoever asks brings a digest.

use std::time::Duration;

use tokio::time::Instant;

/// As many are remembered at once. More different requests that fail are no suspects any more, but a sign.
const REMEMBERED: usize = 16;

/// The requests that failed lately.
#[derive(Debug)]
pub(super) struct Suspects {
    /// How many failures of one request count; zero: all.
    allowed: u32,
    /// Changes with every answer that came.
    row: u64,
    seen: Vec<Suspect>,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    request: u64,
    failures: u32,
    at: Instant,
    row: u64,
}

impl Suspects {
    /// Nobody, while this many failures of one request count.
    pub(super) fn new(allowed: u32) -> Self {
        Self { allowed, row: 0, seen: Vec::new() }
    }

    /// Somebody was answered: what fails from now on fails in another row.
    pub(super) fn end_row(&mut self) {
        self.row += 1;
    }

    /// Notes a failure; false when it says nothing that is not known. `None`: no request can have caused it.
    pub(super) fn counts(&mut self, request: Option<u64>, window: Duration, now: Instant) -> bool {
        let Some(request) = request.filter(|_| self.allowed > 0) else { return true };
        let row = self.row;
        self.seen.retain(|it| it.row == row || now.saturating_duration_since(it.at) < window);
        match self.seen.iter_mut().find(|it| it.request == request) {
            Some(known) => {
                known.failures = known.failures.saturating_add(1);
                (known.at, known.row) = (now, row);
                known.failures <= self.allowed
            }
            None => {
                if self.seen.len() >= REMEMBERED
                    && let Some(oldest) = (0..self.seen.len()).min_by_key(|index| self.seen[*index].at)
                {
                    self.seen.swap_remove(oldest);
                }
                self.seen.push(Suspect { request, failures: 1, at: now, row });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn a_request_counts_once_until_the_window_is_over_and_somebody_was_answered() {
        let (mut suspects, now) = (Suspects::new(1), Instant::now());
        assert!(suspects.counts(Some(1), WINDOW, now));
        assert!(!suspects.counts(Some(1), WINDOW, now) && suspects.counts(Some(2), WINDOW, now));
        let later = now + WINDOW * 2;
        assert!(!suspects.counts(Some(1), WINDOW, later), "nobody else was asked meanwhile");
        suspects.end_row();
        assert!(!suspects.counts(Some(1), WINDOW, later), "it failed a moment ago");
        suspects.end_row();
        assert!(suspects.counts(Some(1), WINDOW, later + WINDOW));
    }

    #[test]
    fn what_no_request_can_cause_always_counts() {
        let (mut suspects, now) = (Suspects::new(1), Instant::now());
        assert!((0..5).all(|_| suspects.counts(None, WINDOW, now)));
        let mut all = Suspects::new(0);
        assert!((0..5).all(|_| all.counts(Some(1), WINDOW, now)), "zero: all of them count");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut suspects, now) = (Suspects::new(1), Instant::now());
        (0..1000).for_each(|request| assert!(suspects.counts(Some(request), WINDOW, now)));
        assert_eq!(suspects.seen.len(), REMEMBERED);
    }
}
