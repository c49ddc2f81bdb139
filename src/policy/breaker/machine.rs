//! The circuit breaker's state machine. The current time is a parameter; nothing here waits or is shared.
//!
//! Closed: calls pass and are counted in a sliding window. Open: no call passes until its time is over. Half-open:
//! a bounded number of concurrent probes. Ramp: a growing share of calls, so that a provider that has just
//! recovered is not overloaded at once (after the circuit breakers of Nygard, Release It!, and the slow start of
//! load balancers).
//!
//! A failure that the request itself may have caused counts only a few times, however often that request fails; see
//! `breaker/suspects`.

use std::time::Duration;

use tokio::time::Instant;

use super::suspects::{HeldBack, Suspects, Suspicion};
use super::window::Window;
use crate::config::plan::BreakerPlan;
use crate::model::rng::SeededRng;
use crate::model::time::later;

pub use super::window::CallResult;

/// The shares of calls that pass while a provider is being trusted again.
const RAMP: [f64; 3] = [0.05, 0.25, 0.5];

/// In the ramp a call passes after this time whatever the share says, if no other is waiting for its answer: where few
/// calls come, a share of them would refuse callers and spare the provider nothing.
const RAMP_PAUSE: Duration = Duration::from_millis(250);

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

/// The right to make one call. To be given back with [`Machine::settle`].
#[derive(Debug)]
pub struct Pass {
    /// It counts among the calls whose answers have not begun, in half-open and in the ramp.
    is_waiting: bool,
    /// It has been counted as a success; it can only fail from now on.
    has_begun: bool,
    /// Which life of the breaker it belongs to: what began before it opened says nothing about what came after.
    epoch: u64,
}

impl Pass {
    /// True for calls of half-open and the ramp: that the answer begins well is all that they have to show, as the rest may
    /// take an hour.
    pub fn is_trial(&self) -> bool {
        self.is_waiting
    }
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
    chance: SeededRng,
    phase: Phase,
    /// Changes whenever it opens or an operator closes it.
    epoch: u64,
    /// Calls of half-open and the ramp whose answers have not begun.
    waiting: u32,
    /// Failures since the last answer.
    in_a_row: u32,
    /// When the last of them passed.
    last_pass: Option<Instant>,
    /// A background probe has shortened a wait since it was last closed.
    is_hastened: bool,
    /// How often it opened since it was last closed.
    openings: u32,
    window: Window,
    suspects: Suspects,
    reason: Option<&'static str>,
    refused: u64,
    transitions: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open { until: Instant, soonest: Instant },
    HalfOpen { succeeded: u32 },
    Ramp { step: usize, since: Instant },
}

impl Machine {
    /// A closed breaker.
    pub fn new(settings: BreakerPlan, chance: SeededRng) -> Self {
        Self {
            phase: Phase::Closed,
            epoch: 0,
            waiting: 0,
            in_a_row: 0,
            last_pass: None,
            is_hastened: false,
            openings: 0,
            window: Window::new(settings.window),
            suspects: Suspects::new(settings.same_request, settings.consecutive),
            reason: None,
            refused: 0,
            transitions: 0,
            settings,
            chance,
        }
    }

    /// Its state now.
    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until, .. } if now < until => State::Open,
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

    /// True when nothing would be forgotten with it: it is closed and has seen no failure lately.
    pub fn is_quiet(&mut self, now: Instant) -> bool {
        match self.phase {
            // Its ramp may be over without a call that would have noticed.
            Phase::Ramp { .. } => self.state(now) == State::Closed,
            Phase::Closed => {
                let holds_none = self.suspects.holds_none(self.settings.open_for, now);
                holds_none && self.in_a_row == 0 && self.window.counts(now).failures == 0
            }
            Phase::Open { until, .. } => now >= later(until, self.settings.open_max),
            Phase::HalfOpen { .. } => false,
        }
    }

    /// Closes it, whatever it was.
    pub fn reset(&mut self) {
        self.epoch += 1;
        self.close();
    }

    /// True while some request may be held back by itself.
    pub fn holds_any(&self) -> bool {
        self.suspects.holds_any()
    }

    /// Notes which caller was answered.
    pub fn answered(&mut self, caller: u64, now: Instant) {
        self.suspects.answered(caller, now);
    }

    /// Refuses a request that has just failed again and again, and others not.
    pub fn hold_back(&mut self, request: u64, now: Instant) -> Option<HeldBack> {
        let held = self.suspects.holds(request, self.settings.open_for, now)?;
        self.refused += 1;
        Some(held)
    }

    /// Notes that a request was answered.
    pub fn clear(&mut self, request: u64) {
        self.suspects.clear(request);
    }

    /// May a call be made?
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Refused> {
        if let Phase::Open { until, .. } = self.phase {
            if now < until {
                return self.refuse(until - now);
            }
            self.enter(Phase::HalfOpen { succeeded: 0 });
        }
        match self.phase {
            Phase::Ramp { step, since } => match self.ramp_step(step, since, now) {
                None => self.close(),
                Some(current) => {
                    let is_idle = self.waiting == 0 && self.has_paused(RAMP_PAUSE, now);
                    if self.chance.fraction() >= RAMP[current] && !is_idle {
                        // Another call may well pass: the caller's next try should not wait for the end of the ramp.
                        return self.refuse(self.settings.ramp_step.min(Duration::from_secs(1)));
                    }
                    return Ok(self.pass(now));
                }
            },
            Phase::HalfOpen { .. } => {
                // Probes of a model that thinks for minutes must not hold everybody else off until they are answered.
                if self.waiting >= self.settings.probes && !self.has_paused(self.settings.open_for, now) {
                    return self.refuse(Duration::from_secs(1));
                }
                return Ok(self.pass(now));
            }
            Phase::Closed | Phase::Open { .. } => {}
        }
        Ok(Pass { is_waiting: false, has_begun: false, epoch: self.epoch })
    }

    fn pass(&mut self, now: Instant) -> Pass {
        self.waiting += 1;
        self.last_pass = Some(now);
        Pass { is_waiting: true, has_begun: false, epoch: self.epoch }
    }

    fn has_paused(&self, pause: Duration, now: Instant) -> bool {
        self.last_pass.is_none_or(|last| now.saturating_duration_since(last) >= pause)
    }

    /// Notes that an answer has begun well: from then on the call can only fail.
    pub fn begin(&mut self, pass: &mut Pass, now: Instant) {
        if pass.epoch != self.epoch || pass.has_begun {
            return;
        }
        self.end_wait(pass);
        pass.has_begun = true;
        self.succeed(CallResult::Success, now);
    }

    /// Gives a pass back. `None`: the call says nothing about the provider (its caller left).
    pub fn settle(&mut self, mut pass: Pass, ended: Option<CallResult>, now: Instant) {
        if pass.epoch != self.epoch {
            return;
        }
        self.end_wait(&mut pass);
        match ended {
            Some(CallResult::Failure { request }) => self.fail(request, now),
            Some(ended) if !pass.has_begun => self.succeed(ended, now),
            _ => {}
        }
    }

    fn end_wait(&mut self, pass: &mut Pass) {
        if std::mem::take(&mut pass.is_waiting) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    fn succeed(&mut self, ended: CallResult, now: Instant) {
        self.suspects.end_row();
        self.in_a_row = 0;
        match &mut self.phase {
            Phase::Open { .. } => {}
            Phase::HalfOpen { succeeded } => {
                *succeeded += 1;
                if *succeeded >= self.settings.probes {
                    self.window.clear();
                    self.enter(Phase::Ramp { step: 0, since: now });
                }
            }
            Phase::Ramp { .. } | Phase::Closed => {
                self.window.count(ended, now);
                self.judge(now, false);
            }
        }
    }

    fn fail(&mut self, request: Option<Suspicion>, now: Instant) {
        if !self.suspects.counts(request, self.settings.window, now) {
            return;
        }
        let (is_ramp, most) = match self.phase {
            Phase::Open { .. } => return,
            Phase::HalfOpen { .. } => return self.open(now, "probe_failed"),
            // As many as its probes were have undone what they have shown.
            Phase::Ramp { .. } => (true, self.settings.consecutive.min(self.settings.probes)),
            Phase::Closed => (false, self.settings.consecutive),
        };
        self.in_a_row += 1;
        self.window.count(CallResult::Failure { request }, now);
        if self.in_a_row >= most {
            self.open(now, "consecutive_failures");
        } else {
            self.judge(now, is_ramp);
        }
    }

    /// Opens it: the provider was found silent, in another way than by calls that ended.
    pub fn trip(&mut self, reason: &'static str, now: Instant) {
        if !matches!(self.phase, Phase::Open { .. }) {
            self.open(now, reason);
        }
    }

    /// Notes that a background probe was answered: the wait is not longer than the first one then, and over where the
    /// provider `has_recovered`, which means that it did not answer the probe before. That is believed once in an outage:
    /// a provider may answer probes and nothing else.
    pub fn probed(&mut self, has_recovered: bool, now: Instant) {
        let Phase::Open { until, soonest } = &mut self.phase else { return };
        let sooner = if has_recovered { now } else { *soonest };
        if sooner < *until && !std::mem::replace(&mut self.is_hastened, true) {
            *until = sooner;
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
        let spread = 0.9 + 0.2 * self.chance.fraction();
        let wait = |time: Duration| later(now, time.min(self.settings.open_max).mul_f64(spread));
        let (until, soonest) = (wait(doubled), wait(self.settings.open_for));
        self.openings += 1;
        self.epoch += 1;
        (self.waiting, self.in_a_row) = (0, 0);
        self.last_pass = None;
        self.reason = Some(reason);
        self.window.clear();
        self.enter(Phase::Open { until, soonest });
    }

    fn close(&mut self) {
        self.openings = 0;
        self.is_hastened = false;
        self.in_a_row = 0;
        self.window.clear();
        self.enter(Phase::Closed);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.transitions += 1;
    }

    fn refuse(&mut self, retry_in: Duration) -> Result<Pass, Refused> {
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

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILURE: CallResult = CallResult::Failure { request: None };

    fn some(request: u64) -> Option<Suspicion> {
        Some(Suspicion { request, caller: 0 })
    }

    pub(in crate::policy::breaker) fn plan() -> BreakerPlan {
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
            slowdown: 3.0,
            same_request: 1,
        }
    }

    fn machine() -> Machine {
        Machine::new(plan(), SeededRng::new(1))
    }

    fn call(machine: &mut Machine, ended: CallResult, now: Instant) -> bool {
        let Ok(pass) = machine.admit(now) else { return false };
        machine.settle(pass, Some(ended), now);
        true
    }

    /// Opens it at `now`, and says when it may be asked again.
    fn open(machine: &mut Machine, now: Instant) -> Duration {
        while call(machine, FAILURE, now) {}
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
                    if number % 2 == 0 && number / 2 < failures { FAILURE } else { CallResult::Success },
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
            let ended = if second % 20 < 4 { FAILURE } else { CallResult::Success };
            call(&mut machine, ended, start + Duration::from_secs(second));
        }
        assert_eq!(machine.transitions(), 0);
    }

    #[test]
    fn a_slow_provider_is_left_alone_too() {
        let (mut machine, now) = (machine(), Instant::now());
        for _ in 0..10 {
            call(&mut machine, CallResult::Slow, now);
        }
        assert_eq!((machine.state(now), machine.reason()), (State::Open, Some("slow_share")));
    }

    #[test]
    fn each_opening_without_a_recovery_lasts_longer_up_to_the_limit() {
        let (mut machine, mut now) = (machine(), Instant::now());
        let mut waits = vec![open(&mut machine, now)];
        for _ in 0..5 {
            now += waits[waits.len() - 1];
            assert!(call(&mut machine, FAILURE, now), "a probe passes");
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
            assert!(call(&mut machine, CallResult::Success, now));
        }
        let passed = (0..1000).filter(|_| call(&mut machine, CallResult::Success, now)).count();
        assert!((20..90).contains(&passed), "{passed} of 1000 pass at 5 %");
        now += Duration::from_secs(6);
        assert!((0..100).all(|_| call(&mut machine, CallResult::Success, now)));
        assert_eq!(machine.state(now), State::Closed);
    }

    #[test]
    fn a_call_that_began_before_the_breaker_opened_says_nothing_about_the_probes() {
        let (mut machine, now) = (machine(), Instant::now());
        let early = machine.admit(now).unwrap();
        let later = now + open(&mut machine, now);
        let probe = machine.admit(later).unwrap();
        machine.settle(early, Some(FAILURE), later);
        assert_eq!(machine.state(later), State::HalfOpen);
        machine.settle(probe, Some(CallResult::Success), later);
    }

    #[test]
    fn probes_that_nobody_waits_for_any_more_make_room_for_others() {
        let (mut machine, mut now) = (machine(), Instant::now());
        now += open(&mut machine, now);
        // Three times as many as may wait at once: each releases its permit without a result.
        for number in 0..9 {
            let pass = machine.admit(now).unwrap_or_else(|_| panic!("probe {number} is refused"));
            machine.settle(pass, None, now);
        }
        assert_eq!(machine.state(now), State::HalfOpen);
    }

    #[test]
    fn after_a_recovery_the_next_opening_is_as_short_as_the_first() {
        let (mut machine, mut now) = (machine(), Instant::now());
        now += open(&mut machine, now);
        // Three failed probes: the wait has doubled three times.
        for _ in 0..3 {
            assert!(call(&mut machine, FAILURE, now));
            now += machine.admit(now).unwrap_err().retry_in;
        }
        for _ in 0..3 {
            assert!(call(&mut machine, CallResult::Success, now));
        }
        now += Duration::from_secs(6);
        assert!(call(&mut machine, CallResult::Success, now));
        assert_eq!(machine.state(now), State::Closed);
        let wait = open(&mut machine, now).as_secs_f64();
        assert!((9.0..=11.0).contains(&wait), "{wait} s");
    }

    /// Brings it into the ramp at `now`, and returns when that began.
    fn ramp(machine: &mut Machine, mut now: Instant) -> Instant {
        now += open(machine, now);
        for _ in 0..3 {
            assert!(call(machine, CallResult::Success, now));
        }
        now
    }

    #[test]
    fn the_share_that_passes_rises_with_each_step_of_the_ramp() {
        let mut machine = machine();
        let start = ramp(&mut machine, Instant::now());
        for (second, at_least, at_most) in [(0, 20, 90), (2, 180, 320), (4, 420, 580), (6, 1000, 1000)] {
            let now = start + Duration::from_secs(second);
            let passed = (0..1000).filter(|_| call(&mut machine, CallResult::Success, now)).count();
            assert!((at_least..=at_most).contains(&passed), "{passed} of 1000 pass after {second} s");
        }
    }

    #[test]
    fn where_few_calls_come_the_ramp_lets_them_pass() {
        let mut machine = machine();
        let start = ramp(&mut machine, Instant::now());
        for quarter in 1..24 {
            assert!(call(&mut machine, CallResult::Success, start + Duration::from_millis(250) * quarter));
        }
    }

    #[test]
    fn probes_have_passed_when_their_answers_have_begun_and_can_fail_later() {
        let (mut machine, mut now) = (machine(), Instant::now());
        now += open(&mut machine, now);
        let mut streams: Vec<Pass> = (0..3).map(|_| machine.admit(now).unwrap()).collect();
        assert!(machine.admit(now).is_err(), "three probes at once");
        for stream in &mut streams {
            assert!(stream.is_trial());
            machine.begin(stream, now);
        }
        assert_eq!(machine.state(now), State::Ramp(0.05), "none of them has ended");
        for stream in streams {
            machine.settle(stream, Some(FAILURE), now + Duration::from_millis(100));
        }
        let state = machine.state(now + Duration::from_millis(100));
        assert_eq!((state, machine.reason()), (State::Open, Some("failure_share")), "they died after all");
    }

    #[test]
    fn probes_that_think_for_minutes_do_not_hold_everybody_off() {
        let (mut machine, mut now) = (machine(), Instant::now());
        now += open(&mut machine, now);
        let _thinking: Vec<Pass> = (0..3).map(|_| machine.admit(now).unwrap()).collect();
        assert!(machine.admit(now + Duration::from_secs(9)).is_err());
        assert!(machine.admit(now + Duration::from_secs(10)).is_ok());
        assert!(machine.admit(now + Duration::from_secs(10)).is_err(), "one more, and no stampede");
    }

    #[test]
    fn one_request_that_fails_again_and_again_opens_nothing_and_several_do() {
        let (mut machine, now) = (machine(), Instant::now());
        for _ in 0..100 {
            call(&mut machine, CallResult::Failure { request: some(1) }, now);
        }
        assert_eq!(machine.state(now), State::Closed);
        for request in 2..6 {
            call(&mut machine, CallResult::Failure { request: some(request) }, now);
        }
        assert_eq!((machine.state(now), machine.reason()), (State::Open, Some("consecutive_failures")));
    }

    #[test]
    fn a_request_that_failed_before_says_nothing_as_a_probe() {
        let (mut machine, mut now) = (machine(), Instant::now());
        for request in 1..6 {
            call(&mut machine, CallResult::Failure { request: some(request) }, now);
        }
        now += machine.admit(now).unwrap_err().retry_in;
        assert!(call(&mut machine, CallResult::Failure { request: some(3) }, now));
        assert_eq!(machine.state(now), State::HalfOpen);
        assert!(call(&mut machine, CallResult::Failure { request: some(7) }, now));
        assert_eq!(machine.state(now), State::Open);
    }

    #[test]
    fn a_healthy_background_probe_shortens_the_wait() {
        let (mut machine, mut now) = (machine(), Instant::now());
        for _ in 0..4 {
            now += open(&mut machine, now);
            assert!(call(&mut machine, FAILURE, now), "a probe passes");
        }
        let wait = |machine: &mut Machine, now| machine.admit(now).unwrap_err().retry_in.as_secs_f64();
        assert!(wait(&mut machine, now) > 50.0);
        machine.probed(false, now);
        assert!((9.0..11.0).contains(&wait(&mut machine, now)), "no longer than the first time");
        now += Duration::from_secs(11);
        assert!(call(&mut machine, FAILURE, now), "a probe passes");
        machine.probed(true, now);
        assert!(wait(&mut machine, now) > 50.0, "what it said was wrong");
        machine.reset();
        open(&mut machine, now);
        machine.probed(true, now);
        assert_eq!(machine.state(now), State::HalfOpen, "it was out, and is back");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Admit,
        End(usize, Option<CallResult>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ended = prop_oneof![
            1 => Just(None),
            1 => Just(Some(CallResult::Success)),
            1 => Just(Some(CallResult::Slow)),
            3 => Just(Some(FAILURE)),
        ];
        prop_oneof![
            1 => (0u64..20_000).prop_map(Step::Wait),
            4 => Just(Step::Admit),
            4 => (any::<usize>(), ended).prop_map(|(which, ended)| Step::End(which, ended)),
        ]
    }

    proptest! {
        /// Over any history: open means that no call passes before its time, and half-open that no more than the probes
        /// run at once.
        #[test]
        fn open_refuses_and_half_open_bounds(steps in proptest::collection::vec(step(), 1..400), seed in any::<u64>()) {
            let (mut machine, mut now) = (Machine::new(plan(), SeededRng::new(seed)), Instant::now());
            let mut running: Vec<Pass> = Vec::new();
            let mut half_open = None;
            for step in steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::End(which, ended) => {
                        if !running.is_empty() {
                            let pass = running.swap_remove(which % running.len());
                            machine.settle(pass, ended, now);
                        }
                    }
                    Step::Admit => {
                        let before = machine.state(now);
                        half_open = (before == State::HalfOpen).then(|| half_open.unwrap_or(now));
                        if let Ok(pass) = machine.admit(now) {
                            prop_assert!(before != State::Open, "a call passed an open breaker");
                            running.push(pass);
                        }
                    }
                }
                let is_half_open = machine.state(now) == State::HalfOpen;
                let probes = running.iter().filter(|pass| pass.is_waiting && pass.epoch == machine.epoch).count();
                // One more passes whenever none has for as long as the breaker was open at first.
                let since = half_open.map_or(Duration::ZERO, |since: Instant| now - since);
                let allowed = 3 + since.as_secs() as usize / 10;
                prop_assert!(!is_half_open || probes <= allowed, "{probes} probes at once");
            }
        }
    }
}
