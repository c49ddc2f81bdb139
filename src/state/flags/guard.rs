//! Flag guard: turns a flag off automatically when its provider or variant has degraded for long enough. The flag
//! stays off until an operator turns it on: a guard never flaps.
//!
//! Long enough means that the condition holds in every fifth of the window that saw traffic, so neither one bad
//! moment trips it nor one good one saves it. It does not know how a flag is changed.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Flags;
use super::switches::Switches;
use crate::config::plan::FlagGuardPlan;
use crate::model::fault;
use crate::model::fault::Blame;
use crate::model::switch::FlagKind;
use crate::model::switch::Position;
use crate::model::trail::{Facts, Outcome, Step, StepKind};

/// Parts of the time, each of which must have been bad.
const PARTS: u64 = 5;

/// The share of calls that may be slower than the 95th percentile.
const SLOW_SHARE: f64 = 0.05;

/// The name under which breakers write their steps.
const BREAKER: &str = "breaker";

/// All guards of one generation of the configuration.
#[derive(Default)]
pub struct AutoDisables(Vec<AutoDisable>);

/// One guard.
struct AutoDisable {
    plan: Arc<FlagGuardPlan>,
    subject: FlagKind,
    name: Arc<str>,
    meant: Position,
    window: Arc<Mutex<Window>>,
}

/// A flag that is to be disabled.
#[derive(Clone, Debug)]
pub struct Trip {
    /// Its key.
    pub flag: Arc<str>,
    /// What the configuration says of it.
    pub meant: Position,
    /// What was too much: `error_rate` or `p95`.
    pub reason: &'static str,
    /// The same in words, with numbers.
    pub note: Arc<str>,
}

/// What a guard has seen since the flag was last changed.
#[derive(Debug, Default)]
struct Window {
    version: u64,
    start: Option<Instant>,
    /// The number of the part that is not over yet, counted from the start.
    number: u64,
    /// The latest parts, each at its number modulo their count: one more than are judged.
    parts: [Fifth; PARTS as usize + 1],
}

/// What was seen in one part of the time.
#[derive(Clone, Copy, Debug, Default)]
struct Fifth {
    calls: u32,
    failed: u32,
    slow: u32,
}

/// One call, or one attempt at a provider, that has ended.
struct FinishedCall {
    has_failed: bool,
    took: Duration,
}

impl AutoDisables {
    /// The guards of a plan. Those that were there `before` go on with what they have seen.
    pub fn new(plans: &[Arc<FlagGuardPlan>], switches: &Switches, before: &Self) -> Self {
        let guard = |plan: &Arc<FlagGuardPlan>| {
            let (_, known) = switches.find(&plan.flag)?;
            let same = before.0.iter().find(|guard| guard.plan == *plan);
            let window = same.map(|guard| guard.window.clone()).unwrap_or_default();
            let (subject, name, meant) = (known.subject, known.name.clone(), known.meant.clone());
            Some(AutoDisable { plan: plan.clone(), subject, name, meant, window })
        };
        Self(plans.iter().filter_map(guard).collect())
    }

    /// Takes note of a call that has ended. Returns what is to be disabled.
    pub fn note(&self, facts: &Facts, flags: &Flags) -> Vec<Trip> {
        self.0.iter().filter_map(|guard| guard.note(facts, flags)).collect()
    }
}

impl AutoDisable {
    fn note(&self, facts: &Facts, flags: &Flags) -> Option<Trip> {
        let seen: Vec<FinishedCall> = match self.subject {
            FlagKind::Variant => variant(facts, &self.name).into_iter().collect(),
            _ => attempts(facts, &self.name).collect(),
        };
        if seen.is_empty() {
            return None;
        }
        let version = flags.record(&self.plan.flag).map_or(0, |record| record.version());
        let mut window = self.window.lock();
        // Whatever was changed: what was seen before says nothing about what is now.
        if window.version != version {
            *window = Window { version, ..Window::default() };
        }
        let (reason, note) = seen.iter().find_map(|seen| window.note(seen, &self.plan, Instant::now()))?;
        *window = Window { version, ..Window::default() };
        Some(Trip { flag: self.plan.flag.clone(), meant: self.meant.clone(), reason, note })
    }
}

impl Window {
    /// Adds what was seen, and judges when a part of the time has ended.
    fn note(&mut self, seen: &FinishedCall, plan: &FlagGuardPlan, now: Instant) -> Option<(&'static str, Arc<str>)> {
        let start = *self.start.get_or_insert(now);
        let part = (plan.period / PARTS as u32).max(Duration::from_millis(1));
        let number = (now.saturating_duration_since(start).as_nanos() / part.as_nanos()) as u64;
        let is_over = number > self.number;
        for begun in (self.number + 1..=number).take(self.parts.len()) {
            *self.at(begun) = Fifth::default();
        }
        self.number = self.number.max(number);
        let trip = (is_over && number >= PARTS).then(|| self.judge(plan)).flatten();
        let part = self.at(number);
        part.calls += 1;
        part.failed += u32::from(seen.has_failed);
        part.slow += u32::from(plan.p95.is_some_and(|p95| seen.took > p95));
        trip
    }

    fn at(&mut self, number: u64) -> &mut Fifth {
        let place = number as usize % self.parts.len();
        &mut self.parts[place]
    }

    /// What was too much in each part. In the one that has just begun nothing was seen yet.
    fn judge(&self, plan: &FlagGuardPlan) -> Option<(&'static str, Arc<str>)> {
        let with_calls = || self.parts.iter().filter(|part| part.calls > 0);
        let sum = |of: fn(&Fifth) -> u32| with_calls().map(of).sum::<u32>();
        let calls = sum(|part| part.calls);
        if calls < plan.min_calls {
            return None;
        }
        let is_over = |of: fn(&Fifth) -> u32, share: f64| {
            with_calls().all(|part| f64::from(of(part)) > share * f64::from(part.calls))
        };
        let seconds = plan.period.as_secs_f64();
        if let Some(share) = plan.error_rate.filter(|share| is_over(|part| part.failed, *share)) {
            let failed = sum(|part| part.failed);
            let note = format!("{failed} of {calls} calls failed in {seconds} s: more than {} %", share * 100.0);
            return Some(("error_rate", note.into()));
        }
        let p95 = plan.p95.filter(|_| is_over(|part| part.slow, SLOW_SHARE))?;
        let slow = sum(|part| part.slow);
        let note = format!("{slow} of {calls} calls took more than {} s in {seconds} s", p95.as_secs_f64());
        Some(("p95", note.into()))
    }
}

/// The attempts of a call at a provider that ended by themselves, and those that its breaker kept from it because it is
/// failing: with an open breaker hardly any other are left. A limit and a caller's mistake are no failures.
fn attempts<'a>(facts: &'a Facts, provider: &'a str) -> impl Iterator<Item = FinishedCall> + 'a {
    let ended = facts.attempts.iter().filter(move |attempt| *attempt.provider == *provider).filter_map(|attempt| {
        let has_failed = match attempt.outcome {
            Outcome::Pending => return None,
            Outcome::Succeeded => false,
            Outcome::Failed(code) => fault::is_illness(code),
        };
        Some(FinishedCall { has_failed, took: attempt.answered.or(attempt.took).unwrap_or_default() })
    });
    let is_kept_away = move |step: &&Step| {
        step.policy == BREAKER
            && matches!(step.what, StepKind::Refused(_) | StepKind::HeldBack { .. })
            && step.provider.as_deref().is_some_and(|name| name == provider)
    };
    let kept_away = facts.steps.iter().filter(is_kept_away);
    ended.chain(kept_away.map(|_| FinishedCall { has_failed: true, took: Duration::ZERO }))
}

/// A call that was given a variant. One that its caller did not wait for says nothing about it.
fn variant(facts: &Facts, name: &str) -> Option<FinishedCall> {
    let taken = facts.variant.as_ref().filter(|taken| *taken.name == *name)?;
    if facts.fault == Some(fault::CALLER_TIMEOUT) {
        return None;
    }
    let has_failed = taken.has_failed || facts.blame.is_some_and(|blame| blame != Blame::Caller);
    Some(FinishedCall { has_failed, took: facts.first_token.unwrap_or_else(|| facts.started.elapsed()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> FlagGuardPlan {
        FlagGuardPlan {
            name: "a".into(),
            flag: "use_a".into(),
            error_rate: Some(0.5),
            p95: Some(Duration::from_secs(3)),
            period: Duration::from_secs(100),
            min_calls: 10,
        }
    }

    /// When it trips, in seconds, and why: of each call its second, whether it failed, and how many seconds it took.
    fn trips(calls: impl IntoIterator<Item = (u64, bool, u64)>) -> Option<(u64, &'static str)> {
        let (mut window, start) = (Window::default(), Instant::now());
        calls.into_iter().find_map(|(second, has_failed, took)| {
            let seen = FinishedCall { has_failed, took: Duration::from_secs(took) };
            let trip = window.note(&seen, &plan(), start + Duration::from_secs(second));
            trip.map(|(reason, _)| (second, reason))
        })
    }

    #[tokio::test]
    async fn it_trips_when_it_was_bad_all_the_time_and_not_sooner() {
        let failing = |is_bad: fn(u64) -> bool| trips((0..1_000).map(|second| (second, is_bad(second), 0)));
        assert_eq!(failing(|_| true), Some((100, "error_rate")));
        assert_eq!(failing(|second| second >= 400), Some((500, "error_rate")));
        assert_eq!(failing(|second| second % 2 == 0), None, "half is not more than half");
        assert_eq!(failing(|second| second % 3 != 0), Some((100, "error_rate")));
        assert_eq!(failing(|second| second % 100 >= 20), None, "a fifth without a failure");
        let slow =
            |every: u64| trips((0..1_000).map(|second| (second, false, if second % every == 0 { 4 } else { 0 })));
        assert_eq!(slow(10), Some((100, "p95")));
        assert_eq!(slow(25), None, "one in twenty-five");
    }

    #[tokio::test]
    async fn a_few_calls_are_not_judged_and_silence_says_nothing() {
        assert_eq!(trips([0, 50, 101].map(|second| (second, true, 0))), None);
        let burst = || (0..12).map(|second| (second, true, 0));
        assert_eq!(trips(burst().chain([(150, true, 0)])), None, "what was seen longer ago does not count");
        assert_eq!(trips(burst().chain([(101, true, 0)])), Some((101, "error_rate")));
    }
}
