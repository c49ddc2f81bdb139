//! Circuit breaker: stops calls to a failing provider for a while, then probes it, then ramps traffic up again.
//!
//! There is one state machine per provider and model family. Failures are counted when a response *ends*, so a
//! stream that is cut late counts too; mistakes of callers, and callers that leave, never count. State changes are
//! in `breaker/machine`, the set of breakers in `breaker/families`, and slow responses in `breaker/slowness`.

mod slowness;
mod suspects;

mod window;

pub mod machine;

mod changes;

mod family;

mod families;
mod permit;

use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::changes::Changes;
use self::families::Families;
use self::family::FamilyBreaker;
use self::machine::{CallResult, Machine, Refused};
use self::permit::Permit;
use self::slowness::ResponseTime;
use self::suspects::{HeldBack, Suspicion};
use crate::config::plan::BreakerPlan;
use crate::model::call::{Call, CallRequest, Head};
use crate::model::fault::Fault;
use crate::model::reply::{Body, End};
use crate::model::rng::SeededRng;
use crate::model::signs::Signs;
use crate::model::time;
use crate::model::trail::{Facts, StepKind};
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::sampled::Samples;

pub use self::changes::Change;
pub use self::machine::State;

/// The breakers of one provider. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Breakers(Arc<ProviderBreakers>);

struct ProviderBreakers {
    settings: BreakerPlan,
    provider: Arc<str>,
    families: Families,
    chance: SeededRng,
    totals: Arc<Totals>,
    probe: AtomicU8,
    /// The breakers that these replace, until `settle`.
    before: Mutex<Option<Breakers>>,
}

/// What the last background probe found.
const UNKNOWN: u8 = 0;
const HEALTHY: u8 = 1;
const FAILING: u8 = 2;

/// Counts over all of a provider's breakers, those that were replaced or forgotten included.
#[derive(Default)]
struct Totals {
    refused: AtomicU64,
    transitions: AtomicU64,
    changes: Changes,
}

/// One breaker, for those who look.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model family; empty for calls without a model.
    pub family: Box<str>,
    /// Its state.
    pub state: State,
    /// Why it last opened.
    pub reason: Option<&'static str>,
    /// Calls that it refused.
    pub refused: u64,
    /// How often it changed its state.
    pub transitions: u64,
}

impl Breakers {
    /// Closed breakers for a provider.
    pub fn new(provider: Arc<str>, settings: BreakerPlan, chance: SeededRng) -> Self {
        let (probe, (families, totals, before)) = (AtomicU8::new(UNKNOWN), Default::default());
        Self(Arc::new(ProviderBreakers { settings, provider, families, chance, totals, probe, before }))
    }

    /// Closed breakers for the same provider, with other settings. The counts go on. They take the place of these once they
    /// [settle](Self::settle).
    #[must_use]
    pub fn renewed(&self, settings: BreakerPlan) -> Self {
        let (provider, chance, totals) = (self.0.provider.clone(), self.0.chance.clone(), self.0.totals.clone());
        let probe = AtomicU8::new(self.0.probe.load(Ordering::Relaxed));
        let (families, before) = (Families::default(), Mutex::new(Some(self.clone())));
        Self(Arc::new(ProviderBreakers { settings, provider, families, chance, totals, probe, before }))
    }

    /// Retires the replaced breakers: they are reported closed once, then never again.
    pub fn settle(&self) {
        let Some(before) = self.0.before.lock().take() else { return };
        before.0.families.all().iter().for_each(|guarded| guarded.retire());
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Calls refused since the start.
    pub fn refused(&self) -> u64 {
        self.0.totals.refused.load(Ordering::Relaxed)
    }

    /// Changes of state since the start.
    pub fn transitions(&self) -> u64 {
        self.0.totals.transitions.load(Ordering::Relaxed)
    }

    /// How their states have changed since this was last asked.
    pub fn take_changes(&self) -> Vec<Change> {
        self.0.totals.changes.take()
    }

    fn guarded(&self, model: Option<&str>, now: Instant) -> Arc<FamilyBreaker> {
        self.0.families.find(model.unwrap_or_default(), now, |family| {
            let machine = Machine::new(self.0.settings.clone(), self.0.chance.clone());
            FamilyBreaker::new(self.0.provider.clone(), family, machine, self.0.totals.clone())
        })
    }

    /// Every breaker that was used lately.
    pub fn reports(&self) -> Vec<Report> {
        let now = time::now();
        let report = |guarded: Arc<FamilyBreaker>| {
            let machine = guarded.machine.lock();
            Report {
                family: guarded.family.clone(),
                state: machine.state(now),
                reason: machine.reason(),
                refused: machine.refused(),
                transitions: machine.transitions(),
            }
        };
        let mut reports: Vec<_> = self.0.families.all().into_iter().map(report).collect();
        reports.sort_by(|a, b| a.family.cmp(&b.family));
        reports
    }

    /// The worst state among them: what an operator must know first.
    pub fn worst(&self) -> State {
        worst(&self.reports())
    }

    /// True when those of all models that were asked for lately are open, and there are any.
    pub fn are_all_open(&self) -> bool {
        let reports = self.reports();
        !reports.is_empty() && reports.iter().all(|report| report.state == State::Open)
    }

    /// Closes them all.
    pub fn reset(&self) {
        self.0.families.all().iter().for_each(|guarded| guarded.change(Machine::reset));
    }

    /// Notes what a background probe found. While probes fail, nobody asks whether a failure may be the request's own doing;
    /// one that is answered shortens the wait of those that are open.
    pub fn note_probe(&self, is_healthy: bool) {
        let before = self.0.probe.swap(if is_healthy { HEALTHY } else { FAILING }, Ordering::Relaxed);
        if is_healthy {
            let now = time::now();
            let tell = |guarded: &Arc<FamilyBreaker>| guarded.change(|machine| machine.probed(before == FAILING, now));
            self.0.families.all().iter().for_each(tell);
        }
    }

    /// What a fault says about the provider's health. A caller's mistake is an answer too; a limit is not an illness.
    fn judge(&self, fault: &Fault, head: &Head, request: &CallRequest) -> Option<CallResult> {
        match fault {
            // Nothing can be answered with a key that is refused.
            Fault::Credential { .. } => Some(CallResult::Failure { request: None }),
            fault if fault.is_illness() => {
                let is_suspect = fault.may_come_from_request() && self.0.probe.load(Ordering::Relaxed) != FAILING;
                let suspicion = || Suspicion { request: request.digest(), caller: head.caller_digest() };
                Some(CallResult::Failure { request: is_suspect.then(suspicion) })
            }
            fault if fault.is_rejection() => Some(CallResult::Success),
            _ => None,
        }
    }
}

/// The policy around one target.
#[derive(Clone)]
pub struct Breaker {
    provider: Arc<str>,
    breakers: Breakers,
}

impl Breaker {
    /// Guards a provider with its breakers.
    pub fn new(provider: Arc<str>, breakers: Breakers) -> Self {
        Self { provider, breakers }
    }
}

impl Policy for Breaker {
    const NAME: &'static str = "breaker";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let started = time::now();
        let guarded = self.breakers.guarded(call.model(), started);
        let admitted = guarded.change(|machine| (!machine.holds_any()).then(|| machine.admit(started)));
        let (digest, admitted) = match admitted {
            Some(admitted) => (None, admitted),
            None => {
                // A request is held back, perhaps this one. Its digest takes its time, and others must not wait for it.
                let digest = call.request.digest();
                let admit = |machine: &mut Machine| match machine.hold_back(digest, started) {
                    Some(held) => Err(held),
                    None => Ok(machine.admit(started)),
                };
                match guarded.change(admit) {
                    Ok(admitted) => (Some(digest), admitted),
                    Err(HeldBack { failures, retry_in }) => {
                        call.trail.note(Self::NAME, Some(&self.provider), StepKind::HeldBack { failures, retry_in });
                        return Err(Fault::HeldBack { provider: self.provider.clone(), failures, retry_in });
                    }
                }
            }
        };
        let mut permit = match admitted {
            Ok(pass) => Permit { guarded, pass: Some(pass) },
            Err(Refused { retry_in }) => {
                call.trail.note(Self::NAME, Some(&self.provider), StepKind::Refused(retry_in));
                return Err(Fault::Open { provider: self.provider.clone(), retry_in, denial: guarded.denial.get() });
            }
        };
        let (head, request, trail) = (call.head.clone(), call.request.clone(), call.trail.clone());
        let signs = call.signs.clone();
        let outcome = {
            // In its place from the beginning: it is large, and would be copied into the future that awaits it.
            let attempt = pin!(next.call(call));
            match &signs {
                Some(signs) => attentive(attempt, signs, || permit.is_silent()).await,
                None => attempt.await,
            }
        };
        let reply = match outcome {
            Ok(reply) => reply,
            Err(fault) => {
                permit.note_denial(&fault);
                permit.settle(self.breakers.judge(&fault, &head, &request));
                return Err(fault);
            }
        };
        let took = time_to_answer(&trail.facts(), &self.provider);
        let measured = took.and_then(|took| ResponseTime::of(&reply.body, took));
        let is_slow = measured.is_some_and(|it| permit.guarded.is_slow(it, &self.breakers.0.settings));
        match &reply.body {
            // That it began is all: it may go on for an hour.
            Body::Socket(_) => permit.begin(),
            // Whole streams are counted when they end. Whoever waits for a probe must know before.
            Body::Events(_) | Body::Bytes(_) => permit.begin_if_trial(),
            Body::Answer(_) | Body::Transcript(_) | Body::Whole(_) => {}
        }
        let breakers = self.breakers.clone();
        Ok(reply.on_end(move |end| match end {
            End::Complete => {
                permit.guarded.denial.set(None);
                permit.answered(&head, digest, if is_slow { CallResult::Slow } else { CallResult::Success });
            }
            End::Failed(fault) => permit.settle(breakers.judge(fault, &head, &request)),
            // Another went on with the same answer while this one was silent.
            End::Abandoned if signs.is_some_and(|signs| signs.was_left()) => {
                permit.settle(Some(CallResult::Failure { request: None }));
            }
            End::Abandoned => permit.settle(None),
        }))
    }
}

/// Waits for an attempt, and tells once when it shows that its provider is silent.
async fn attentive(
    mut attempt: Pin<&mut impl Future<Output = Outcome>>,
    signs: &Signs,
    is_silent: impl Fn(),
) -> Outcome {
    signs.renew();
    let mut is_told = false;
    poll_fn(|cx| {
        if !is_told && signs.is_ill() {
            is_told = true;
            is_silent();
        }
        attempt.as_mut().poll(cx)
    })
    .await
}

/// How long the provider took to begin its answer. Waiting for a place is none of it.
fn time_to_answer(facts: &Facts, provider: &str) -> Option<Duration> {
    let of_provider = facts.attempts.iter().rev().filter(|attempt| *attempt.provider == *provider);
    of_provider.filter_map(|attempt| attempt.answered).next()
}

/// The worst state of these; closed where there is none.
pub fn worst(reports: &[Report]) -> State {
    let severity = |state: &State| match state {
        State::Closed => 0,
        State::Ramp(_) | State::HalfOpen => 1,
        State::Open => 2,
    };
    reports.iter().map(|report| report.state).max_by_key(severity).unwrap_or(State::Closed)
}

/// What metrics show of providers' circuit breakers.
pub fn sampled(of: Vec<(Arc<str>, Breakers)>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let state = of.iter().map(|(provider, breakers)| {
            let state = match breakers.worst() {
                State::Closed => 0,
                State::HalfOpen | State::Ramp(_) => 1,
                State::Open => 2,
            };
            ([provider], state)
        });
        let help = "Worst circuit breaker state of a provider's models: 0 closed, 1 half-open, 2 open";
        samples.gauges("tidegate_breaker_state", help, ["provider"], state);
        let transitions = of.iter().map(|(provider, breakers)| ([provider], breakers.transitions()));
        let help = "State changes of circuit breakers";
        samples.counters("tidegate_breaker_transitions_total", help, ["provider"], transitions);
        let refused = of.iter().map(|(provider, breakers)| ([provider], breakers.refused()));
        let help = "Calls refused by an open circuit breaker";
        samples.counters("tidegate_breaker_refused_total", help, ["provider"], refused);
    }
}

#[cfg(test)]
mod tests {
    use super::machine::tests::plan;
    use super::*;

    fn breakers() -> Breakers {
        Breakers::new("p".into(), plan(), SeededRng::new(7))
    }

    fn told(breakers: &Breakers) -> Vec<(&'static str, &'static str)> {
        breakers.take_changes().iter().map(|change| (change.from.as_str(), change.to.as_str())).collect()
    }

    #[test]
    fn each_change_begins_where_the_one_before_ended_however_many_threads_change_it() {
        let breakers = breakers();
        let guarded = breakers.guarded(Some("m"), time::now());
        for _ in 0..50 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for number in 0..200 {
                            match number % 2 {
                                0 => guarded.change(|machine| machine.trip("silent", time::now())),
                                _ => guarded.change(Machine::reset),
                            }
                        }
                    });
                }
            });
            let told = told(&breakers);
            assert!(told.windows(2).all(|two| two[0].1 == two[1].0), "{told:?}");
        }
    }

    #[test]
    fn one_that_is_replaced_while_open_is_told_to_close_once_and_then_tells_nothing() {
        let before = breakers();
        let open = before.guarded(Some("m"), time::now());
        open.change(|machine| machine.trip("silent", time::now()));
        assert_eq!(told(&before), [("closed", "open")]);
        let after = before.renewed(plan());
        assert!(told(&after).is_empty(), "the new configuration may yet be refused");
        after.settle();
        after.settle();
        open.change(Machine::reset);
        open.change(|machine| machine.trip("silent", time::now()));
        assert_eq!(told(&after), [("open", "closed")]);
        after.guarded(Some("m"), time::now()).change(|machine| machine.trip("silent", time::now()));
        assert_eq!(told(&after), [("closed", "open")]);
    }
}
