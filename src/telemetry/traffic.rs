//! Traffic of the last minute: number, outcome, duration and cost of recent calls, for the live page. Metrics cover
//! longer times.
//!
//! It uses a fixed amount of memory (about 20 KiB), whatever the load. It does not know who watches.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::money::Usd;
use crate::model::time::{now, since};

/// Seconds that are looked back on. One more is being counted.
pub const SECONDS: usize = 60;

/// Seconds for which durations are counted together, and how many such spans are remembered.
const SPAN: u64 = 10;
const SPANS: usize = SECONDS / SPAN as usize;

/// Minutes of which the cost is remembered.
const MINUTES: usize = 60;

/// What is to be known of a call that is over.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How it ended.
    pub ended: Ended,
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
}

/// The latest calls in numbers. Shared, and outlives the gateway that counts into it.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Mutex<Window>>);

#[derive(Default)]
struct Window {
    start: Option<Instant>,
    /// The second that is being counted, from the start.
    now: u64,
    seconds: Ring<Second, { SECONDS + 1 }>,
    spans: Ring<Span, { SPANS + 1 }>,
    minutes: Ring<Usd, { MINUTES + 1 }>,
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
    left: u64,
    failed: u64,
    kept: u64,
    looked_for: u64,
}

/// Durations of some seconds.
#[derive(Default)]
struct Span {
    took: Histogram,
    first_token: Histogram,
}

/// What there is to see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Calls in each of the last [`SECONDS`], oldest first. The second that is not over is not among them.
    pub calls: Vec<u64>,
    /// Those that failed.
    pub failures: Vec<u64>,
    /// Calls that were refused.
    pub refused: u64,
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
        let start = *self.start.get_or_insert_with(now);
        let now = since(start).as_secs();
        let before = std::mem::replace(&mut self.now, now);
        self.seconds.turn(before, now);
        self.spans.turn(before / SPAN, now / SPAN);
        self.minutes.turn(before / 60, now / 60);
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
        if let Some(is_kept) = sample.is_kept {
            second.looked_for += 1;
            second.kept += u64::from(is_kept);
        }
        // How fast a refusal was says nothing about how fast answers are.
        if matches!(sample.ended, Ended::Well | Ended::Failed) {
            let span = window.spans.at(now / SPAN);
            span.took.note(sample.took);
            if let Some(first) = sample.first_token {
                span.first_token.note(first);
            }
        }
        *window.minutes.at(now / 60) += sample.cost;
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
            look.left += second.left;
            look.kept += second.kept;
            look.looked_for += second.looked_for;
        }
        let (mut took, mut first_token) = (Histogram::default(), Histogram::default());
        // With the one that is being counted.
        for span in window.spans.before(window.now / SPAN + 1, SPANS as u64 + 1) {
            took.merge(&span.took);
            first_token.merge(&span.first_token);
        }
        look.took = took.percentiles();
        look.first_token = first_token.percentiles();
        look.cost = window.minutes.0.iter().copied().sum();
        look
    }
}

/// Buckets in each doubling: what is shown is at most an eighth too much.
const PARTS: u64 = 8;

/// Up to 2^35 microseconds, which is nine hours; what took longer is counted as that.
const BUCKETS: usize = 272;

/// How often something took how long. Two of them together are one of both.
struct Histogram(Box<[u32; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    fn note(&mut self, duration: Duration) {
        let bucket = bucket(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&*other.0) {
            *own = own.saturating_add(*other);
        }
    }

    fn percentiles(&self) -> Option<[Duration; 3]> {
        let count: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let within = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut seen = 0;
            let reaches = |count: &u32| {
                seen += u64::from(*count);
                seen >= rank
            };
            let bucket = self.0.iter().position(reaches).unwrap_or(BUCKETS - 1);
            Duration::from_micros(most_in(bucket))
        };
        (count > 0).then(|| [within(50), within(95), within(99)])
    }
}

/// The bucket of a number: the first ones hold one number each, and from then on each doubling has as many.
fn bucket(number: u64) -> usize {
    if number < PARTS {
        return number as usize;
    }
    let doubling = u64::from(number.ilog2() - PARTS.ilog2());
    ((doubling * PARTS + (number >> doubling)) as usize).min(BUCKETS - 1)
}

/// The largest number in a bucket.
fn most_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let doubling = bucket / PARTS - 1;
    ((PARTS + bucket % PARTS + 1) << doubling) - 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(took: Duration) -> Sample {
        Sample { ended: Ended::Well, took, first_token: None, is_kept: None, cost: Usd::from_nanos(5) }
    }

    proptest! {
        /// A percentile is never below the true one, and at most an eighth above it.
        #[test]
        fn a_percentile_is_at_most_an_eighth_too_much(mut times in prop::collection::vec(0u64..1 << 34, 1..300)) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|time| histogram.note(Duration::from_micros(*time)));
            times.sort_unstable();
            let shown = histogram.percentiles().unwrap();
            for (shown, percent) in shown.into_iter().zip([50, 95, 99]) {
                let exact = times[(times.len() * percent).div_ceil(100) - 1];
                let shown = shown.as_micros() as u64;
                prop_assert!(exact <= shown && shown <= exact + exact / PARTS, "{exact} is shown as {shown}");
            }
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
