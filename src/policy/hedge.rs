//! Hedge: a call whose first answer takes longer than most gets a second attempt beside it, and the faster one wins (Dean
//! and Barroso: The Tail at Scale, 2013).
//!
//! This file knows when: after the running percentile of the time to the first event or the whole answer, learnt per model.
//! `failover` knows where: another instance or the next target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use crate::call::Call;
use crate::names::family;
use crate::stack::{Next, Outcome, Policy};
use crate::trail;

/// Model families per route; callers choose model names, and must not choose how much memory they take.
const FAMILIES: u64 = 64;
/// Answers that are remembered: enough for a percentile of 99, few enough to follow a change within minutes.
const REMEMBERED: usize = 200;
/// Before this many answers there is no second attempt: nobody knows what is slow.
const ENOUGH: usize = 20;
/// The percentile is worked out anew after this many answers.
const REFRESH: usize = 8;
/// Never sooner than this: a second attempt costs more than it saves.
const SHORTEST: Duration = Duration::from_millis(10);

/// How fast a route's first attempts answer, by model. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Paces(Cache<Box<str>, Arc<Mutex<Record>>>);

impl Default for Paces {
    fn default() -> Self {
        Self(Cache::new(FAMILIES))
    }
}

impl Paces {
    fn record(&self, call: &Call) -> Arc<Mutex<Record>> {
        // A whole answer takes longer than a first event: they are different things to wait for.
        let kind = if call.ask.wants_stream() { "stream" } else { "whole" };
        let key = format!("{kind} {}", family(call.ask.model().unwrap_or_default()));
        self.0.get_with(key.into_boxed_str(), Arc::default)
    }
}

/// The latest answer times of one kind of call.
#[derive(Debug, Default)]
struct Record {
    times: Vec<Duration>,
    next: usize,
    until_refresh: usize,
    sorted: Vec<Duration>,
}

impl Record {
    fn note(&mut self, took: Duration) {
        match self.times.get_mut(self.next) {
            Some(oldest) => *oldest = took,
            None => self.times.push(took),
        }
        self.next = (self.next + 1) % REMEMBERED;
        if self.until_refresh == 0 && self.times.len() >= ENOUGH {
            self.until_refresh = REFRESH;
            self.sorted.clone_from(&self.times);
            self.sorted.sort_unstable();
        }
        self.until_refresh = self.until_refresh.saturating_sub(1);
    }

    /// The time within which this share of the answers came, once that is known.
    fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().filter(|_| !self.sorted.is_empty())
    }
}

/// The policy around a route's targets.
#[derive(Clone)]
pub struct Hedge {
    percentile: f64,
    paces: Paces,
}

impl Hedge {
    /// Second attempts after this percentile (0.95) of `paces`.
    pub fn new(percentile: f64, paces: Paces) -> Self {
        Self { percentile, paces }
    }
}

impl Policy for Hedge {
    const NAME: &'static str = "hedge";

    async fn apply<N: Next>(&self, mut call: Call, next: &N) -> Outcome {
        let record = self.paces.record(&call);
        let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
        call.hedge_after = lock().percentile(self.percentile).map(|after| after.max(SHORTEST));
        let trail = call.trail.clone();
        let outcome = next.call(call).await;
        let took = trail.facts().attempts.first().and_then(time_to_answer);
        if let (Ok(_), Some(took)) = (&outcome, took) {
            lock().note(took);
        }
        outcome
    }
}

/// How long the first attempt took, or has taken so far: one that lost to a second attempt would have taken longer still,
/// and leaving it out would make "slow" ever faster. One that failed says nothing about how long an answer takes.
fn time_to_answer(first: &trail::Attempt) -> Option<Duration> {
    match first.outcome {
        trail::Outcome::Failed(_) => None,
        _ => Some(first.answered.unwrap_or_else(|| Instant::now().saturating_duration_since(first.started))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_slow_before_enough_is_known_and_then_the_percentile_follows_the_latest() {
        let mut record = Record::default();
        for number in 1..20 {
            record.note(Duration::from_millis(number));
            assert_eq!(record.percentile(0.95), None);
        }
        record.note(Duration::from_millis(20));
        assert_eq!(record.percentile(0.95), Some(Duration::from_millis(19)));
        for _ in 0..REMEMBERED + REFRESH {
            record.note(Duration::from_secs(1));
        }
        assert_eq!(record.percentile(0.5), Some(Duration::from_secs(1)));
        assert_eq!(record.times.len(), REMEMBERED);
    }
}
