//! Hedge: sends a second request when the first one is slower than a percentile of earlier calls; the faster
//! response wins (Dean and Barroso: The Tail at Scale, 2013).
//!
//! This file knows when: after the running percentile of the time to the first event or to the whole response,
//! learnt per model. `failover` knows where: another instance or the next target.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::call::Call;
use crate::model::name_map::NameMap;
use crate::model::names::family;
use crate::model::patience::Times;
use crate::model::trail;
use crate::stack::{Next, Outcome, Policy};

/// Model families per route; callers choose model names, and must not choose how much memory they take.
const FAMILIES: usize = 64;
/// Before this many answers there is no second attempt: nobody knows what is slow.
const ENOUGH: usize = 20;
/// Never sooner than this: a second attempt costs more than it saves.
const SHORTEST: Duration = Duration::from_millis(10);

/// How fast a route's first attempts answer, by model. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct LatencyTracker(NameMap<[Mutex<Times>; 2]>);

impl Default for LatencyTracker {
    fn default() -> Self {
        Self(NameMap::new(FAMILIES))
    }
}

impl LatencyTracker {
    /// Of streams and of whole answers: those take longer than a first event, and are different things to wait for.
    fn times(&self, call: &Call) -> Arc<[Mutex<Times>; 2]> {
        self.0.get_or(family(call.request.model().unwrap_or_default()), Default::default)
    }
}

/// The policy around a route's targets.
#[derive(Clone)]
pub struct Hedge {
    percentile: f64,
    latency_tracker: LatencyTracker,
}

impl Hedge {
    /// Second attempts after this percentile (0.95) of `latency_tracker`.
    pub fn new(percentile: f64, latency_tracker: LatencyTracker) -> Self {
        Self { percentile, latency_tracker }
    }
}

impl Policy for Hedge {
    const NAME: &'static str = "hedge";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let times = self.latency_tracker.times(&call);
        let kind = usize::from(call.request.wants_stream());
        let lock = || times[kind].lock();
        call.hedge_after = lock().percentile(self.percentile).map(|after| after.max(SHORTEST));
        let trail = call.trail.clone();
        let outcome = next.call(call).await;
        let took = trail.facts().attempts.first().and_then(time_to_answer);
        if let (Ok(_), Some(took)) = (&outcome, took) {
            lock().note(took, ENOUGH);
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
    use crate::model::trail::Trail;

    #[tokio::test(start_paused = true)]
    async fn a_first_attempt_that_lost_counts_with_the_time_it_has_taken() {
        let trail = Trail::start(None);
        let lost = trail.begin_attempt(&"a".into(), None, trail::Reason::First);
        let won = trail.begin_attempt(&"b".into(), None, trail::Reason::Hedge);
        tokio::time::advance(Duration::from_secs(3)).await;
        won.answered();
        drop(lost);
        let first = || trail.facts().attempts.first().and_then(time_to_answer);
        assert_eq!(first(), Some(Duration::from_secs(3)), "left out, slow would become ever faster");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_attempt_that_failed_says_nothing() {
        let trail = Trail::start(None);
        let failed = trail.begin_attempt(&"a".into(), None, trail::Reason::First);
        failed.end(trail::Outcome::Failed("provider_error"));
        assert_eq!(trail.facts().attempts.first().and_then(time_to_answer), None);
    }
}
