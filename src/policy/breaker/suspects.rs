//! Suspects: requests that may have caused their own failures, such as a tool schema that crashes a provider. Such
//! a request, repeated, must not open the circuit breaker for everyone: per caller it counts as often as the config
//! allows, and then no more until the window is over and another caller got a response. After a few failures in a
//! row the request itself is blocked, whoever sends it, for as long as a breaker first opens.
//!
//! A caller gains nothing by varying its failing request: while another caller gets responses and no other caller
//! fails, all of its failures count as one request.
//!
//! It does not know what a request is; callers of this code pass a digest.

use std::time::Duration;

use tokio::time::Instant;

/// As many are remembered at once. More different requests that fail are no suspects any more, but a sign.
const REMEMBERED: usize = 16;

/// A request that failed, and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// The request's digest.
    pub request: u64,
    /// The caller's.
    pub caller: u64,
}

/// That a request is held back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// How often it has failed in a row.
    pub failures: u32,
    /// When it may be made again.
    pub retry_in: Duration,
}

/// The requests that failed lately.
#[derive(Debug)]
pub(super) struct Suspects {
    /// How many failures of one request count; zero: all.
    allowed: u32,
    /// After this many failures in a row a request is held back.
    in_a_row: u32,
    /// Changes with every answer that came.
    row: u64,
    seen: Vec<Suspect>,
    held: Vec<BlockedRequest>,
    /// Two callers that were answered lately, and when: of any caller, one of them is another.
    answered: [Option<(u64, Instant)>; 2],
}

/// A request that failed in a row.
#[derive(Clone, Copy, Debug)]
struct BlockedRequest {
    request: u64,
    failures: u32,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    by: Suspicion,
    failures: u32,
    at: Instant,
    row: u64,
}

impl Suspects {
    /// Suspects nobody yet. `allowed` failures of one request count, and `in_a_row` of them hold it back.
    pub(super) fn new(allowed: u32, in_a_row: u32) -> Self {
        Self { allowed, in_a_row, row: 0, seen: Vec::new(), held: Vec::new(), answered: [None; 2] }
    }

    /// Somebody was answered: what fails from now on fails in another row.
    pub(super) fn end_row(&mut self) {
        self.row += 1;
    }

    /// A caller was answered.
    pub(super) fn answered(&mut self, caller: u64, now: Instant) {
        let [newest, second] = &mut self.answered;
        if newest.is_some_and(|(known, _)| known != caller) {
            *second = *newest;
        }
        *newest = Some((caller, now));
    }

    /// True when a caller has failed before, and nobody else has; while somebody else was answered within the window.
    fn is_alone(&self, by: &Suspicion, window: Duration, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < window;
        let another = self.answered.iter().flatten().any(|(caller, at)| *caller != by.caller && is_recent(*at));
        let others_fail = self.seen.iter().any(|it| it.by.caller != by.caller);
        another && !others_fail && !self.seen.is_empty()
    }

    /// True while there is any request to ask about: nearly always there is none, and nobody needs a digest.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a request is still held back, for `hold` since it failed last.
    pub(super) fn holds(&mut self, request: u64, hold: Duration, now: Instant) -> Option<HeldBack> {
        // One more attempt may then tell; what is not asked for again is forgotten.
        self.held.retain(|it| now.saturating_duration_since(it.at) < hold * 2);
        let held = self.held.iter().find(|it| it.request == request && it.failures >= self.in_a_row)?;
        let left = hold.checked_sub(now.saturating_duration_since(held.at)).filter(|left| !left.is_zero())?;
        Some(HeldBack { failures: held.failures, retry_in: left })
    }

    /// True when no request that failed lately would be forgotten.
    pub(super) fn holds_none(&self, hold: Duration, now: Instant) -> bool {
        self.held.iter().all(|it| now.saturating_duration_since(it.at) >= hold * 2)
    }

    /// A request was answered: nothing is wrong with it.
    pub(super) fn clear(&mut self, request: u64) {
        self.held.retain(|it| it.request != request);
    }

    fn hold(&mut self, request: u64, now: Instant) {
        let known = self.held.iter().position(|it| it.request == request);
        let failures = known.map_or(0, |index| self.held.swap_remove(index).failures).saturating_add(1);
        make_room(&mut self.held, |it| it.at);
        self.held.push(BlockedRequest { request, failures, at: now });
    }

    /// Notes a failure; false when it says nothing that is not known. `None`: no request can have caused it.
    pub(super) fn counts(&mut self, by: Option<Suspicion>, window: Duration, now: Instant) -> bool {
        let Some(by) = by.filter(|_| self.allowed > 0) else { return true };
        self.hold(by.request, now);
        let row = self.row;
        self.seen.retain(|it| it.row == row || now.saturating_duration_since(it.at) < window);
        let is_alone = self.is_alone(&by, window, now);
        match self.seen.iter_mut().find(|it| it.by == by) {
            Some(known) => {
                known.failures = known.failures.saturating_add(1);
                (known.at, known.row) = (now, row);
                known.failures <= self.allowed
            }
            None => {
                make_room(&mut self.seen, |it| it.at);
                self.seen.push(Suspect { by, failures: 1, at: now, row });
                !is_alone
            }
        }
    }
}

/// The oldest goes where there are too many.
fn make_room<T>(all: &mut Vec<T>, at: impl Fn(&T) -> Instant) {
    if all.len() >= REMEMBERED
        && let Some(oldest) = (0..all.len()).min_by_key(|index| at(&all[*index]))
    {
        all.swap_remove(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(request: u64) -> Option<Suspicion> {
        Some(Suspicion { request, caller: 0 })
    }

    #[test]
    fn a_request_that_fails_in_a_row_is_held_back_by_itself_until_one_more_attempt_may_tell() {
        let (mut suspects, now, hold) = (Suspects::new(1, 3), Instant::now(), WINDOW);
        for caller in 0..3 {
            assert_eq!(suspects.holds(1, hold, now), None);
            suspects.counts(Some(Suspicion { request: 1, caller }), WINDOW, now);
        }
        let held = |failures| Some(HeldBack { failures, retry_in: hold });
        assert_eq!((suspects.holds(1, hold, now), suspects.holds(2, hold, now)), (held(3), None));
        assert_eq!(suspects.holds(1, hold, now + hold), None);
        suspects.counts(some(1), WINDOW, now + hold);
        assert_eq!(suspects.holds(1, hold, now + hold), held(4), "it failed again");
        suspects.clear(1);
        assert!(suspects.holds(1, hold, now + hold).is_none() && !suspects.holds_any());
    }

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn a_request_counts_once_until_the_window_is_over_and_somebody_was_answered() {
        let (mut suspects, now) = (Suspects::new(1, 3), Instant::now());
        assert!(suspects.counts(some(1), WINDOW, now));
        assert!(!suspects.counts(some(1), WINDOW, now) && suspects.counts(some(2), WINDOW, now));
        let later = now + WINDOW * 2;
        assert!(!suspects.counts(some(1), WINDOW, later), "nobody else was asked meanwhile");
        suspects.end_row();
        assert!(!suspects.counts(some(1), WINDOW, later), "it failed a moment ago");
        suspects.end_row();
        assert!(suspects.counts(some(1), WINDOW, later + WINDOW));
    }

    #[test]
    fn a_caller_that_varies_its_request_counts_once_while_others_are_answered() {
        let by = |caller, request| Some(Suspicion { request, caller });
        let (mut suspects, now) = (Suspects::new(1, 3), Instant::now());
        assert!(suspects.counts(by(1, 0), WINDOW, now) && suspects.counts(by(1, 1), WINDOW, now), "nobody is answered");
        suspects.answered(1, now);
        assert!(suspects.counts(by(1, 2), WINDOW, now), "it is answered itself, and nobody else");
        suspects.answered(2, now);
        suspects.answered(2, now);
        assert!((10..90).all(|request| !suspects.counts(by(1, request), WINDOW, now)));
        assert!(suspects.counts(by(3, 0), WINDOW, now), "another fails too");
        assert!(suspects.counts(by(1, 100), WINDOW, now), "and so it is the provider");
        let later = now + WINDOW;
        suspects.end_row();
        assert!(suspects.counts(by(1, 200), WINDOW, later) && suspects.counts(by(1, 201), WINDOW, later), "long ago");
    }

    #[test]
    fn what_no_request_can_cause_always_counts() {
        let (mut suspects, now) = (Suspects::new(1, 3), Instant::now());
        assert!((0..5).all(|_| suspects.counts(None, WINDOW, now)));
        let mut all = Suspects::new(0, 3);
        assert!((0..5).all(|_| all.counts(some(1), WINDOW, now)), "zero: all of them count");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut suspects, now) = (Suspects::new(1, 3), Instant::now());
        (0..1000).for_each(|request| assert!(suspects.counts(some(request), WINDOW, now)));
        assert_eq!(suspects.seen.len(), REMEMBERED);
    }
}
