//! The breaker's states and how they change. Time comes in from outside; nothing here waits or is shared.
//!
//! Closed: calls pass and are counted in a sliding window. Open: none passes until its time is over. Half-open: a bounded
//! number of probes at once. Ramp: a growing share of calls, so that a provider that just got up is not knocked over
//! (after the circuit breakers of Nygard, Release It!, and the ramp-up of load balancers' slow start).

use std::time::Duration;

use tokio::time::Instant;

use crate::chance::Chance;
use crate::config::plan::BreakerPlan;

/// Slots of the sliding window.
const SLOTS: usize = 10;

/// The shares of calls that pass while a provider is being trusted again.
const RAMP: [f64; 3] = [0.05, 0.25, 0.5];

/// A breaker's state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// Probes pass.
    HalfOpen,
    /// This share of calls passes.
    Ramp(f64),
}

impl State {
    /// The word in reports and metrics. A ramp is the last part of half-open.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen | State::Ramp(_) => "half-open",
        }
    }
}

/// How a call ended, as far as the provider's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// Well.
    Success,
    /// Well, but late.
    Slow,
    /// Badly.
    Failure,
}

/// The right to make one call. To be given back with [`Machine::settle`].
#[derive(Debug)]
pub struct Pass {
    is_probe: bool,
    /// Which life of the breaker it belongs to: what ends after a change of state says nothing about the new one.
    epoch: u64,
}

/// No call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When asking again makes sense.
    pub retry_in: Duration,
}

/// One breaker.
#[derive(Debug)]
pub struct Machine {
    settings: BreakerPlan,
    chance: Chance,
    phase: Phase,
    epoch: u64,
    /// How often it opened since it was last closed.
    openings: u32,
    window: Window,
    reason: Option<&'static str>,
    refused: u64,
    transitions: u64,
}

#[derive(Debug)]
enum Phase {
    Closed { consecutive: u32 },
    Open { until: Instant },
    HalfOpen { running: u32, succeeded: u32 },
    Ramp { step: usize, since: Instant },
}

impl Machine {
    /// A closed breaker.
    pub fn new(settings: BreakerPlan, chance: Chance) -> Self {
        let window = Window::new(settings.window);
        let phase = Phase::Closed { consecutive: 0 };
        Self { settings, chance, phase, epoch: 0, openings: 0, window, reason: None, refused: 0, transitions: 0 }
    }

    /// Its state now.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Ramp { step, since } => match self.ramp_step(step, since, now) {
                Some(step) => State::Ramp(RAMP[step]),
                None => State::Closed,
            },
        }
    }

    /// Why it last opened.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// Calls refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Changes of state so far.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Closes it, whatever it was.
    pub fn reset(&mut self) {
        self.close();
    }

    /// May a call be made?
    pub fn admit(&mut self, now: Instant) -> std::result::Result<Pass, Refused> {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return self.refuse(until - now);
            }
            self.enter(Phase::HalfOpen { running: 0, succeeded: 0 });
        }
        if let Phase::Ramp { step, since } = self.phase {
            match self.ramp_step(step, since, now) {
                None => self.close(),
                Some(current) if self.chance.fraction() >= RAMP[current] => {
                    // Another call may well pass: the caller's next try should not wait for the end of the ramp.
                    return self.refuse(self.settings.ramp_step.min(Duration::from_secs(1)));
                }
                Some(_) => {}
            }
        }
        if let Phase::HalfOpen { running, .. } = &mut self.phase {
            if *running >= self.settings.probes {
                return self.refuse(Duration::from_secs(1));
            }
            *running += 1;
            return Ok(Pass { is_probe: true, epoch: self.epoch });
        }
        Ok(Pass { is_probe: false, epoch: self.epoch })
    }

    /// The right to tell later, once, that what was called well has failed after all.
    pub fn later(&self, pass: &Pass) -> Pass {
        Pass { is_probe: false, epoch: pass.epoch }
    }

    /// Gives a pass back. `None`: the call says nothing about the provider (its caller left).
    pub fn settle(&mut self, pass: Pass, ended: Option<Result>, now: Instant) {
        if pass.epoch != self.epoch {
            return;
        }
        match &mut self.phase {
            Phase::Open { .. } => {}
            Phase::HalfOpen { running, succeeded } => {
                if pass.is_probe {
                    *running = running.saturating_sub(1);
                }
                match ended {
                    None => {}
                    Some(Result::Failure) => self.open(now, "probe_failed"),
                    Some(Result::Success | Result::Slow) => {
                        *succeeded += 1;
                        if *succeeded >= self.settings.probes {
                            self.enter(Phase::Ramp { step: 0, since: now });
                            self.window.clear();
                        }
                    }
                }
            }
            Phase::Ramp { .. } => {
                if let Some(ended) = ended {
                    self.window.count(ended, now);
                    self.judge(now, ended == Result::Failure);
                }
            }
            Phase::Closed { consecutive } => {
                let Some(ended) = ended else { return };
                *consecutive = if ended == Result::Failure { *consecutive + 1 } else { 0 };
                let in_a_row = *consecutive;
                self.window.count(ended, now);
                if in_a_row >= self.settings.consecutive {
                    self.open(now, "consecutive_failures");
                } else {
                    self.judge(now, false);
                }
            }
        }
    }

    /// Opens when the window says so. In the ramp a single failure among few calls is enough of a sign.
    fn judge(&mut self, now: Instant, failed_in_ramp: bool) {
        let counts = self.window.counts(now);
        let calls = counts.calls();
        let is_enough = calls >= self.settings.min_calls;
        let share = |part: u32| f64::from(part) / f64::from(calls.max(1));
        if (is_enough || failed_in_ramp) && share(counts.failures) >= self.settings.failure_share {
            self.open(now, "failure_share");
        } else if is_enough && share(counts.slow) >= self.settings.slow_share {
            self.open(now, "slow_share");
        }
    }

    fn open(&mut self, now: Instant, reason: &'static str) {
        let doubled = self.settings.open_for.saturating_mul(1 << self.openings.min(16));
        // Not all gateways, and not all families of a model, should come back in the same moment.
        let open_for = doubled.min(self.settings.open_max).mul_f64(0.9 + 0.2 * self.chance.fraction());
        self.openings += 1;
        self.reason = Some(reason);
        self.window.clear();
        self.enter(Phase::Open { until: crate::time::later(now, open_for) });
    }

    fn close(&mut self) {
        self.openings = 0;
        self.window.clear();
        self.enter(Phase::Closed { consecutive: 0 });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
        self.transitions += 1;
    }

    fn refuse(&mut self, retry_in: Duration) -> std::result::Result<Pass, Refused> {
        self.refused += 1;
        Err(Refused { retry_in })
    }

    /// Which step of the ramp it is by now; `None` when the ramp is over.
    fn ramp_step(&self, step: usize, since: Instant, now: Instant) -> Option<usize> {
        let passed =
            now.saturating_duration_since(since).as_secs_f64() / self.settings.ramp_step.as_secs_f64().max(1e-9);
        let current = step + passed as usize;
        (current < RAMP.len()).then_some(current)
    }
}

/// Counts over the last while, in slots.
#[derive(Debug)]
struct Window {
    slot: Duration,
    start: Option<Instant>,
    /// The number of the newest slot since the start.
    newest: u64,
    slots: [Counts; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    successes: u32,
    slow: u32,
    failures: u32,
}

impl Counts {
    fn calls(self) -> u32 {
        self.successes + self.slow + self.failures
    }
}

impl Window {
    fn new(window: Duration) -> Self {
        let slot = (window / SLOTS as u32).max(Duration::from_millis(1));
        Self { slot, start: None, newest: 0, slots: [Counts::default(); SLOTS] }
    }

    fn clear(&mut self) {
        self.slots = [Counts::default(); SLOTS];
    }

    /// Forgets what is too old.
    fn turn(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let current = (now.saturating_duration_since(start).as_nanos() / self.slot.as_nanos()) as u64;
        for number in self.newest + 1..=current.min(self.newest + SLOTS as u64) {
            self.slots[number as usize % SLOTS] = Counts::default();
        }
        if current > self.newest + SLOTS as u64 {
            self.clear();
        }
        self.newest = self.newest.max(current);
    }

    fn count(&mut self, ended: Result, now: Instant) {
        self.turn(now);
        let slot = &mut self.slots[self.newest as usize % SLOTS];
        match ended {
            Result::Success => slot.successes += 1,
            Result::Slow => slot.slow += 1,
            Result::Failure => slot.failures += 1,
        }
    }

    fn counts(&mut self, now: Instant) -> Counts {
        self.turn(now);
        self.slots.iter().fold(Counts::default(), |sum, slot| Counts {
            successes: sum.successes + slot.successes,
            slow: sum.slow + slot.slow,
            failures: sum.failures + slot.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan() -> BreakerPlan {
        BreakerPlan {
            window: Duration::from_secs(10),
            failure_share: 0.5,
            min_calls: 10,
            consecutive: 5,
            slow_after: Duration::from_secs(8),
            slow_share: 0.8,
            open_for: Duration::from_secs(10),
            open_max: Duration::from_secs(60),
            probes: 3,
            ramp_step: Duration::from_secs(2),
        }
    }

    fn machine() -> Machine {
        Machine::new(plan(), Chance::new(1))
    }

    fn call(machine: &mut Machine, ended: Result, now: Instant) -> bool {
        let Ok(pass) = machine.admit(now) else { return false };
        machine.settle(pass, Some(ended), now);
        true
    }

    /// Opens it at `now`, and says when it may be asked again.
    fn open(machine: &mut Machine, now: Instant) -> Duration {
        while call(machine, Result::Failure, now) {}
        machine.admit(now).unwrap_err().retry_in
    }

    #[test]
    fn half_of_ten_calls_failing_opens_it_and_four_of_ten_do_not() {
        let now = Instant::now();
        for (failures, wanted) in [(4, State::Closed), (5, State::Open)] {
            let mut machine = machine();
            for number in 0..10 {
                call(
                    &mut machine,
                    if number % 2 == 0 && number / 2 < failures { Result::Failure } else { Result::Success },
                    now,
                );
            }
            assert_eq!(machine.state(now), wanted, "{failures} failures");
        }
    }

    #[test]
    fn old_failures_are_forgotten() {
        let (mut machine, start) = (machine(), Instant::now());
        for second in 0..60u64 {
            let ended = if second % 20 < 4 { Result::Failure } else { Result::Success };
            call(&mut machine, ended, start + Duration::from_secs(second));
        }
        assert_eq!(machine.transitions(), 0);
    }

    #[test]
    fn a_slow_provider_is_left_alone_too() {
        let (mut machine, now) = (machine(), Instant::now());
        for _ in 0..10 {
            call(&mut machine, Result::Slow, now);
        }
        assert_eq!((machine.state(now), machine.reason()), (State::Open, Some("slow_share")));
    }

    #[test]
    fn each_opening_without_a_recovery_lasts_longer_up_to_the_limit() {
        let (mut machine, mut now) = (machine(), Instant::now());
        let mut waits = vec![open(&mut machine, now)];
        for _ in 0..5 {
            now += waits[waits.len() - 1];
            assert!(call(&mut machine, Result::Failure, now), "a probe passes");
            waits.push(machine.admit(now).unwrap_err().retry_in);
        }
        let seconds: Vec<f64> = waits.iter().map(Duration::as_secs_f64).collect();
        for (wait, wanted) in seconds.iter().zip([10.0, 20.0, 40.0, 60.0, 60.0, 60.0]) {
            assert!((wanted * 0.9..=wanted * 1.1).contains(wait), "{seconds:?}");
        }
    }

    #[test]
    fn a_healthy_provider_is_back_in_use_after_one_open_period_and_the_ramp() {
        let (mut machine, mut now) = (machine(), Instant::now());
        now += open(&mut machine, now);
        for _ in 0..3 {
            assert!(call(&mut machine, Result::Success, now));
        }
        let passed = (0..1000).filter(|_| call(&mut machine, Result::Success, now)).count();
        assert!((20..90).contains(&passed), "{passed} of 1000 pass at 5 %");
        now += Duration::from_secs(6);
        assert!((0..100).all(|_| call(&mut machine, Result::Success, now)));
        assert_eq!(machine.state(now), State::Closed);
    }

    #[test]
    fn a_call_that_began_before_the_breaker_opened_says_nothing_about_the_probes() {
        let (mut machine, now) = (machine(), Instant::now());
        let early = machine.admit(now).unwrap();
        let later = now + open(&mut machine, now);
        let probe = machine.admit(later).unwrap();
        machine.settle(early, Some(Result::Failure), later);
        assert_eq!(machine.state(later), State::HalfOpen);
        machine.settle(probe, Some(Result::Success), later);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Ask,
        End(usize, Option<Result>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ended = prop_oneof![
            1 => Just(None),
            1 => Just(Some(Result::Success)),
            1 => Just(Some(Result::Slow)),
            3 => Just(Some(Result::Failure)),
        ];
        prop_oneof![
            1 => (0u64..20_000).prop_map(Step::Wait),
            4 => Just(Step::Ask),
            4 => (any::<usize>(), ended).prop_map(|(which, ended)| Step::End(which, ended)),
        ]
    }

    proptest! {
        /// Over any history: open means that no call passes before its time, and half-open that no more than the probes
        /// run at once.
        #[test]
        fn open_refuses_and_half_open_bounds(steps in proptest::collection::vec(step(), 1..400), seed in any::<u64>()) {
            let (mut machine, mut now) = (Machine::new(plan(), Chance::new(seed)), Instant::now());
            let mut running: Vec<Pass> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::End(which, ended) => {
                        if !running.is_empty() {
                            let pass = running.swap_remove(which % running.len());
                            machine.settle(pass, ended, now);
                        }
                    }
                    Step::Ask => {
                        let before = machine.state(now);
                        if let Ok(pass) = machine.admit(now) {
                            prop_assert!(before != State::Open, "a call passed an open breaker");
                            running.push(pass);
                        }
                    }
                }
                let probes = running.iter().filter(|pass| pass.is_probe && pass.epoch == machine.epoch).count();
                prop_assert!(probes <= 3, "{probes} probes at once");
            }
        }
    }
}
