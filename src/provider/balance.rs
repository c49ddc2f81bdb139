//! Load balancing: picks an instance of a provider, the better of two random choices, by peak latency and calls in
//! flight (peak EWMA, after Finagle). An instance that keeps failing is ejected on its own.
//!
//! It does not know what an instance is, nor how to reach it: an instance is a number.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::BalancePlan;
use crate::model::rng::SeededRng;
use crate::model::time;
use crate::model::time::later;
use crate::telemetry::metrics::sampled::Samples;

/// Each further ejection in a row lasts twice as long, at most this many times over.
const MOST_DOUBLINGS: u32 = 5;

/// The instances of one provider. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Instances(Arc<BalancerState>);

struct BalancerState {
    settings: BalancePlan,
    chance: SeededRng,
    /// `None` for a provider with one instance: there is nothing to choose, and nothing is locked.
    states: Option<Mutex<Vec<State>>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Seconds to the first sign of an answer: jumps up, fades down. `None` before the first.
    latency: Option<f64>,
    heard: Option<Instant>,
    in_flight: u32,
    failures: u32,
    ejections: u32,
    out_until: Option<Instant>,
}

/// One instance, for those who look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceReport {
    /// Calls that it is answering.
    pub in_flight: u32,
    /// True while it is ejected.
    pub is_ejected: bool,
}

impl Instances {
    /// `count` instances that nothing is known of.
    pub fn new(count: usize, settings: BalancePlan, chance: SeededRng) -> Self {
        let states = (count > 1).then(|| Mutex::new(vec![State::default(); count]));
        Self(Arc::new(BalancerState { settings, chance, states }))
    }

    /// Chooses an instance. `spent` (as bits) must not be chosen, `avoided` only where there is no other; one that is left
    /// out only when all others are too. `None`: all are spent.
    pub fn pick(&self, spent: u64, avoided: u64) -> Option<Lease> {
        let Some(mut states) = self.lock() else {
            return (spent & 1 == 0).then(|| self.lease(0));
        };
        let now = time::now();
        let is_in = |bits: u64, index: usize| bits & (1 << index.min(63)) != 0;
        let fits = |index: usize, may_be_avoided: bool, may_be_out: bool| {
            !is_in(spent, index)
                && (may_be_avoided || !is_in(avoided, index))
                && (may_be_out || !states[index].is_out(now))
        };
        // Best first: healthy and new to the call, then healthy, then whatever is left.
        let index =
            [(false, false), (true, false), (false, true), (true, true)].into_iter().find_map(|(again, out)| {
                let fitting = |index: &usize| fits(*index, again, out);
                let count = (0..states.len()).filter(fitting).count();
                let draw = |nth: usize| (0..states.len()).filter(fitting).nth(nth);
                match count {
                    0 => None,
                    1 => draw(0),
                    _ => {
                        let first = (self.0.chance.fraction() * count as f64) as usize;
                        let second = (self.0.chance.fraction() * (count - 1) as f64) as usize;
                        let second = second + usize::from(second >= first);
                        let (first, second) = (draw(first)?, draw(second)?);
                        let decay = self.0.settings.decay;
                        let is_better = states[second].load(now, decay) < states[first].load(now, decay);
                        Some(if is_better { second } else { first })
                    }
                }
            })?;
        states[index].in_flight += 1;
        drop(states);
        Some(self.lease(index))
    }

    /// What is known of each instance; nothing of a provider that has one.
    pub fn reports(&self) -> Vec<InstanceReport> {
        let Some(states) = self.lock() else { return Vec::new() };
        let now = Instant::now();
        let report = |state: &State| InstanceReport { in_flight: state.in_flight, is_ejected: state.is_out(now) };
        states.iter().map(report).collect()
    }

    fn lease(&self, index: usize) -> Lease {
        Lease { instances: self.clone(), index, started: time::now() }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Vec<State>>> {
        // Counts and times: each change is whole by itself.
        self.0.states.as_ref().map(|states| states.lock())
    }

    fn change(&self, index: usize, act: impl FnOnce(&mut State, &BalancePlan)) {
        if let Some(state) = self.lock().as_mut().and_then(|states| states.get_mut(index)) {
            act(state, &self.0.settings);
        }
    }
}

impl State {
    fn is_out(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    /// How long a call would wait here, roughly: seconds times calls.
    fn load(&self, now: Instant, decay: Duration) -> f64 {
        let calls = f64::from(self.in_flight) + 1.0;
        match self.latency {
            Some(latency) => latency * fading(self.heard, now, decay) * calls,
            // Nothing is known yet: it gets one call to show itself, and is not flooded before it has.
            None if self.in_flight == 0 => 0.0,
            None => f64::MAX / 2.0 * (calls / (calls + 1.0)),
        }
    }

    fn answered(&mut self, took: Duration, now: Instant, decay: Duration) {
        let (took, weight) = (took.as_secs_f64(), fading(self.heard, now, decay));
        self.latency = Some(match self.latency {
            Some(latency) if took < latency => latency * weight + took * (1.0 - weight),
            _ => took,
        });
        self.heard = Some(now);
    }

    fn failed(&mut self, now: Instant, settings: &BalancePlan) {
        self.failures += 1;
        if self.failures >= settings.eject_after {
            let doublings = self.ejections.min(MOST_DOUBLINGS);
            self.out_until = Some(later(now, settings.eject_for.saturating_mul(1 << doublings)));
            self.ejections += 1;
            // Back from its ejection, it is trusted with one call: the next failure sends it out again.
            self.failures = settings.eject_after.saturating_sub(1);
        }
    }
}

/// What is left of an old observation: 1 at first, about a third after `decay`.
fn fading(heard: Option<Instant>, now: Instant, decay: Duration) -> f64 {
    let age = heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard));
    (-age.as_secs_f64() / decay.as_secs_f64().max(0.001)).exp()
}

/// A call at one instance, until it is dropped.
pub struct Lease {
    instances: Instances,
    index: usize,
    started: Instant,
}

impl Lease {
    /// True when the provider has no other instance: then nothing is remembered either.
    pub fn is_alone(&self) -> bool {
        self.instances.0.states.is_none()
    }

    /// Which instance.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The instance gave a first sign of an answer, whatever it says.
    pub fn answered(&self) {
        let now = time::now();
        let took = now.saturating_duration_since(self.started);
        self.instances.change(self.index, |state, settings| state.answered(took, now, settings.decay));
    }

    /// The answer was complete.
    pub fn succeeded(&self) {
        self.instances.change(self.index, |state, _| {
            state.failures = 0;
            state.ejections = 0;
            state.out_until = None;
        });
    }

    /// The instance failed.
    pub fn failed(&self) {
        let now = time::now();
        self.instances.change(self.index, |state, settings| state.failed(now, settings));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.instances.change(self.index, |state, _| state.in_flight = state.in_flight.saturating_sub(1));
    }
}

/// What metrics show of the instances of providers that have several.
pub fn sampled(of: Vec<(Arc<str>, Instances)>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let of_provider = |(provider, instances): &(Arc<str>, Instances)| {
            let labels = |index: usize| [provider.to_string(), index.to_string()];
            let reports = instances.reports().into_iter().enumerate();
            reports.map(|(index, report)| (labels(index), report)).collect::<Vec<_>>()
        };
        let reports: Vec<_> = of.iter().flat_map(of_provider).collect();
        let each = |number: fn(&InstanceReport) -> u32| {
            reports.iter().map(move |(labels, report)| (labels.clone(), number(report)))
        };
        let labels = ["provider", "instance"];
        let help = "Calls being answered by an instance";
        samples.gauges("tidegate_instance_in_flight", help, labels, each(|report| report.in_flight));
        let help = "1 while an instance is ejected";
        samples.gauges("tidegate_instance_ejected", help, labels, each(|report| u32::from(report.is_ejected)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instances(count: usize) -> Instances {
        let settings =
            BalancePlan { decay: Duration::from_secs(10), eject_after: 3, eject_for: Duration::from_secs(10) };
        Instances::new(count, settings, SeededRng::new(1))
    }

    fn share(instances: &Instances, of: usize) -> f64 {
        let picks = (0..1000).filter(|_| instances.pick(0, 0).unwrap().index() == of).count();
        picks as f64 / 1000.0
    }

    #[tokio::test(start_paused = true)]
    async fn the_slow_one_of_two_is_asked_less_and_comes_back_when_its_slowness_is_forgotten() {
        let instances = instances(2);
        for (index, latency) in [(0, 100), (1, 3000)] {
            let lease = instances.pick(1 << (1 - index), 0).unwrap();
            tokio::time::advance(Duration::from_millis(latency)).await;
            lease.answered();
        }
        assert!(share(&instances, 1) < 0.1);
        // The other one is heard of again and again, this one is not: its old slowness fades.
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(5)).await;
            let lease = instances.pick(1 << 1, 0).unwrap();
            tokio::time::advance(Duration::from_millis(100)).await;
            lease.answered();
        }
        assert!(share(&instances, 1) > 0.9);
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_fails_is_left_out_alone_and_asked_again_later() {
        let instances = instances(3);
        for _ in 0..3 {
            instances.pick(0b110, 0).unwrap().failed();
        }
        assert_eq!(share(&instances, 0), 0.0);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(share(&instances, 0) > 0.1);
        // One more failure is enough now, and lasts twice as long.
        instances.pick(0b110, 0).unwrap().failed();
        tokio::time::advance(Duration::from_secs(19)).await;
        assert_eq!(share(&instances, 0), 0.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        instances.pick(0b110, 0).unwrap().succeeded();
        instances.pick(0b110, 0).unwrap().failed();
        assert!(share(&instances, 0) > 0.1, "after a success it takes several failures again");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_out_they_are_asked_all_the_same() {
        let instances = instances(2);
        for index in 0..2 {
            for _ in 0..3 {
                instances.pick(1 << (1 - index), 0).unwrap().failed();
            }
        }
        assert!(instances.pick(0, 0).is_some());
    }

    proptest! {
        #[test]
        fn a_spent_instance_is_never_chosen_and_calls_in_flight_are_those_held(
            count in 1usize..6,
            steps in prop::collection::vec((0u64..64, 0u64..64, 0u8..4), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let instances = instances(count);
                let mut held = Vec::new();
                for (spent, avoided, act) in steps {
                    let all = (1u64 << count) - 1;
                    match instances.pick(spent, avoided) {
                        Some(lease) => {
                            assert_eq!(spent & (1 << lease.index()), 0);
                            match act {
                                0 => lease.failed(),
                                1 => lease.answered(),
                                2 => held.push(lease),
                                _ => lease.succeeded(),
                            }
                        }
                        None => assert_eq!(spent & all, all),
                    }
                    let total: u32 = instances.reports().iter().map(|report| report.in_flight).sum();
                    assert_eq!(total as usize, if count > 1 { held.len() } else { 0 });
                }
            });
        }
    }
}
