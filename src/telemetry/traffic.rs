//! Traffic of the last minute: number, outcome, duration and cost of recent calls, for the live page. Metrics cover
//! longer times.
//!
//! It uses a fixed amount of memory (about 20 KiB), whatever the load. It does not know who watches.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::fault::Blame;
use crate::model::money::Usd;
use crate::model::time::since;
use crate::telemetry::histogram::{Histogram, Percentiles};

/// Seconds that are looked back on. One more is being counted.
pub const SECONDS: usize = 60;

/// Seconds of a step, in which durations are counted together, and how many steps are remembered.
pub const STEP: u64 = 10;
const STEPS: usize = SECONDS / STEP as usize;

/// Minutes of which the cost is remembered.
const MINUTES: usize = 60;

/// Fewer calls than this in a minute, and one that failed would be a scandal.
pub const ENOUGH: u64 = 20;

/// From this share of failures on somebody should run: the threshold of the critical alert.
pub const MANY: f64 = 0.05;

/// As many failures as these are a sign where nearly nobody calls, if they are most calls.
const FEW: u64 = 3;
const MOST: f64 = 0.5;

/// True when most calls have failed, however few there were.
pub fn are_most(calls: u64, failed: u64) -> bool {
    failed >= FEW && failed as f64 >= MOST * calls as f64
}

/// What is to be known of a call that is over.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How it ended.
    pub ended: Ended,
    /// Whether a rule of the gateway refused it: a rate limit or a budget.
    pub is_limited: bool,
    /// Whether the answer was less than what was asked for.
    pub is_degraded: bool,
    /// From the head of the request to the end of the answer.
    pub took: Duration,
    /// To the first event or the whole answer.
    pub first_token: Option<Duration>,
    /// Whether it was a cache hit; `None`: the cache was not consulted.
    pub is_kept: Option<bool>,
    /// What it cost.
    pub cost: Usd,
}

/// How a call ended, seen from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was answered.
    Well,
    /// It was refused, and its caller must change something.
    Refused,
    /// Its caller went away.
    Left,
    /// It failed, and the caller is not to blame.
    Failed,
}

/// The status of a request whose caller left before there was one.
pub const LEFT: u16 = 499;

impl Ended {
    /// How a call ended whose caller was sent this status.
    pub fn of(status: u16) -> Self {
        match status {
            LEFT => Ended::Left,
            400..=499 => Ended::Refused,
            500.. => Ended::Failed,
            _ => Ended::Well,
        }
    }

    /// How a call ended by its status, its outcome and who was to blame: what was answered well may have broken off, or been left,
    /// after the answer had begun; and a 4xx may be about a provider's limit, or the gateway's.
    pub fn by(status: u16, outcome: &str, blame: Option<Blame>) -> Self {
        match (Ended::of(status), outcome) {
            (Ended::Well, "cancelled") => Ended::Left,
            (Ended::Refused, _) if blame.is_some_and(|blame| blame != Blame::Caller) => Ended::Failed,
            (Ended::Well, "ok") | (Ended::Refused | Ended::Left | Ended::Failed, _) => Ended::of(status),
            (Ended::Well, _) => Ended::Failed,
        }
    }
}

/// The latest calls in numbers. Shared, and outlives the gateway that counts into it.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Mutex<Window>>);

struct Window {
    start: Instant,
    /// The second that is being counted, from the start.
    now: u64,
    seconds: Ring<Second, { SECONDS + 1 }>,
    durations: Ring<Durations, { STEPS + 1 }>,
    minutes: Ring<Usd, { MINUTES + 1 }>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            now: 0,
            seconds: Ring::default(),
            durations: Ring::default(),
            minutes: Ring::default(),
        }
    }
}

/// Slots of time, each of which takes the place of the oldest.
struct Ring<T, const N: usize>(Box<[T; N]>);

impl<T: Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| T::default())))
    }
}

impl<T: Default, const N: usize> Ring<T, N> {
    fn at(&mut self, number: u64) -> &mut T {
        &mut self.0[(number % N as u64) as usize]
    }

    /// Clears the slots from the one after `before` to `now`.
    fn turn(&mut self, before: u64, now: u64) {
        for number in (before + 1..=now).rev().take(N) {
            *self.at(number) = T::default();
        }
    }

    /// The last `count` slots before `now`, oldest first; those before the start are empty.
    fn before(&self, now: u64, count: u64) -> impl Iterator<Item = &T> {
        (now + N as u64 - count..now + N as u64).map(|number| &self.0[(number % N as u64) as usize])
    }
}

/// One second.
#[derive(Clone, Copy, Default)]
struct Second {
    calls: u64,
    refused: u64,
    limited: u64,
    degraded: u64,
    left: u64,
    failed: u64,
    kept: u64,
    looked_for: u64,
    cost: Usd,
}

/// Durations of ten seconds.
#[derive(Default)]
struct Durations {
    took: Histogram,
    first_token: Histogram,
}

/// Ten seconds that are over.
#[derive(Clone, Default)]
pub struct TenSeconds {
    /// Calls that ended in it, however they did.
    pub calls: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those whose callers left.
    pub left: u64,
    /// Those that failed.
    pub failed: u64,
    /// Cache hits.
    pub kept: u64,
    /// Calls for which one was looked for.
    pub looked_for: u64,
    /// What they cost.
    pub cost: Usd,
    /// How long those took that were answered, or failed.
    pub took: Histogram,
    /// ... and to their first event or whole answer.
    pub first_token: Histogram,
}

/// What there is to see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Calls in each of the last [`SECONDS`], oldest first. The second that is not over is not among them.
    pub calls: Vec<u64>,
    /// Those that failed.
    pub failures: Vec<u64>,
    /// Calls that were refused, and whose callers must change something.
    pub refused: u64,
    /// ... by a rate limit or a budget.
    pub limited: u64,
    /// Calls that were answered with less than what was asked for.
    pub degraded: u64,
    /// Calls whose callers left.
    pub left: u64,
    /// Cache hits.
    pub kept: u64,
    /// Calls for which one was looked for.
    pub looked_for: u64,
    /// Percentiles 50, 95 and 99 of how long calls took; `None`: there were none.
    pub took: Option<[Duration; 3]>,
    /// ... and of how long it was to their first event or whole answer.
    pub first_token: Option<[Duration; 3]>,
    /// What the last 60 minutes have cost.
    pub cost: Usd,
}

impl Window {
    fn turn(&mut self) {
        // One call may have read the clock before another: what is counted never goes back.
        let now = since(self.start).as_secs().max(self.now);
        let before = std::mem::replace(&mut self.now, now);
        self.seconds.turn(before, now);
        self.durations.turn(before / STEP, now / STEP);
        self.minutes.turn(before / 60, now / 60);
    }

    /// A step that is over, and remembered.
    fn step(&mut self, number: u64) -> TenSeconds {
        let durations = self.durations.at(number);
        let (took, first_token) = (durations.took.clone(), durations.first_token.clone());
        let mut step = TenSeconds { took, first_token, ..TenSeconds::default() };
        for second in number * STEP..(number + 1) * STEP {
            let second = *self.seconds.at(second);
            step.calls += second.calls;
            step.refused += second.refused;
            step.left += second.left;
            step.failed += second.failed;
            step.kept += second.kept;
            step.looked_for += second.looked_for;
            step.cost += second.cost;
        }
        step
    }
}

impl Traffic {
    /// Counts a call that is over.
    pub fn note(&self, sample: &Sample) {
        let mut window = self.0.lock();
        window.turn();
        let now = window.now;
        let second = window.seconds.at(now);
        second.calls += 1;
        match sample.ended {
            Ended::Well => {}
            Ended::Refused => second.refused += 1,
            Ended::Left => second.left += 1,
            Ended::Failed => second.failed += 1,
        }
        second.limited += u64::from(sample.is_limited);
        second.degraded += u64::from(sample.is_degraded && sample.ended == Ended::Well);
        if let Some(is_kept) = sample.is_kept {
            second.looked_for += 1;
            second.kept += u64::from(is_kept);
        }
        second.cost += sample.cost;
        // How fast a refusal was says nothing about how fast answers are.
        if matches!(sample.ended, Ended::Well | Ended::Failed) {
            let durations = window.durations.at(now / STEP);
            durations.took.note(sample.took);
            if let Some(first) = sample.first_token {
                durations.first_token.note(first);
            }
        }
        *window.minutes.at(now / 60) += sample.cost;
    }

    /// When it began: steps are numbered from there.
    pub fn start(&self) -> Instant {
        self.0.lock().start
    }

    /// The steps from this number on that are over, as far as they are remembered, and the number of the one that is not.
    pub fn over(&self, from: u64) -> (Vec<(u64, TenSeconds)>, u64) {
        let mut window = self.0.lock();
        window.turn();
        let (now, running) = (window.now, window.now / STEP);
        let oldest = now.saturating_sub(SECONDS as u64).div_ceil(STEP);
        ((from.max(oldest)..running).map(|number| (number, window.step(number))).collect(), running)
    }

    /// True when many of the last minute's calls have failed.
    pub fn is_failing(&self) -> bool {
        let mut window = self.0.lock();
        window.turn();
        let seconds = window.seconds.before(window.now, SECONDS as u64);
        let (calls, failed) = seconds.fold((0, 0), |sums, it| (sums.0 + it.calls, sums.1 + it.failed));
        (calls >= ENOUGH && failed as f64 >= MANY * calls as f64) || are_most(calls, failed)
    }

    /// What the last minute was like, and what the last hour cost.
    pub fn look(&self) -> Look {
        let mut window = self.0.lock();
        window.turn();
        let mut look = Look::default();
        for second in window.seconds.before(window.now, SECONDS as u64) {
            look.calls.push(second.calls);
            look.failures.push(second.failed);
            look.refused += second.refused;
            look.limited += second.limited;
            look.degraded += second.degraded;
            look.left += second.left;
            look.kept += second.kept;
            look.looked_for += second.looked_for;
        }
        let (mut took, mut first_token) = (Histogram::default(), Histogram::default());
        // With the one that is being counted.
        for durations in window.durations.before(window.now / STEP + 1, STEPS as u64 + 1) {
            took.merge(&durations.took);
            first_token.merge(&durations.first_token);
        }
        look.took = took.percentiles().map(Percentiles::durations);
        look.first_token = first_token.percentiles().map(Percentiles::durations);
        look.cost = window.minutes.0.iter().copied().sum();
        look
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(took: Duration) -> Sample {
        Sample {
            ended: Ended::Well,
            is_limited: false,
            is_degraded: false,
            took,
            first_token: None,
            is_kept: None,
            cost: Usd::from_nanos(5),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_a_minute_is_not_seen_and_what_is_older_than_an_hour_is_not_paid() {
        let traffic = Traffic::default();
        traffic.note(&sample(Duration::from_secs(1)));
        traffic.note(&Sample { ended: Ended::Failed, is_kept: Some(true), ..sample(Duration::ZERO) });
        assert_eq!(traffic.look().calls.iter().sum::<u64>(), 0, "the second is not over");
        tokio::time::advance(Duration::from_secs(1)).await;
        let look = traffic.look();
        assert_eq!((look.calls.len(), look.calls.last(), look.failures.last()), (SECONDS, Some(&2), Some(&1)));
        assert_eq!((look.kept, look.looked_for, look.cost.nanos()), (1, 1, 10));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(traffic.look().calls.first(), Some(&2));
        tokio::time::advance(Duration::from_secs(10)).await;
        let look = traffic.look();
        assert_eq!((look.calls.iter().sum::<u64>(), look.took, look.cost.nanos()), (0, None, 10));
        tokio::time::advance(Duration::from_secs(61 * 60)).await;
        assert_eq!(traffic.look().cost.nanos(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_that_are_over_are_told_of_while_they_are_remembered() {
        let traffic = Traffic::default();
        for second in 0..75 {
            let ended = if second < 12 { Ended::Failed } else { Ended::Refused };
            traffic.note(&Sample { ended, ..sample(Duration::from_secs(1)) });
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (over, running) = traffic.over(0);
        let numbers: Vec<u64> = over.iter().map(|(number, _)| *number).collect();
        assert_eq!((numbers, running), (vec![2, 3, 4, 5, 6], 7), "the first 15 of 75 seconds are forgotten");
        assert!(over.iter().all(|(_, it)| (it.calls, it.refused, it.cost.nanos()) == (10, 10, 50)));
        assert!(over.iter().all(|(_, it)| it.took.percentiles().is_none()), "refusals are not timed");
        assert_eq!(traffic.over(6).0.len(), 1);
        assert!(traffic.over(7).0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_silence_leaves_nothing_behind() {
        let traffic = Traffic::default();
        for _ in 0..200 {
            traffic.note(&sample(Duration::from_millis(1)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(traffic.look().calls, [1; SECONDS]);
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!(traffic.look(), Look { calls: vec![0; SECONDS], failures: vec![0; SECONDS], ..Look::default() });
    }
}
