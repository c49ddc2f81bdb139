//! Breaker: a provider that keeps failing is left alone for a while, then probed, then trusted again step by step.
//!
//! One machine per provider and model family. Failures are counted when an answer *ends*, so a stream that is cut late
//! counts too; callers' mistakes and callers that leave never do. How states change is in `breaker/machine`.

pub mod machine;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::sync::Cache;
use tokio::time::Instant;

use self::machine::{Machine, Pass, Refused, Result as Ended};
use crate::call::Call;
use crate::chance::Chance;
use crate::config::plan::BreakerPlan;
use crate::fault::Fault;
use crate::names::{display_name, family};
use crate::reply::{Body, End};
use crate::stack::{Next, Outcome, Policy};
use crate::trail::Deed;

pub use self::machine::State;

/// Model families per provider; callers choose model names, and must not choose how much memory they take.
const FAMILIES: u64 = 256;

/// The breakers of one provider. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Breakers(Arc<Shared>);

struct Shared {
    settings: BreakerPlan,
    provider: Arc<str>,
    families: Cache<Box<str>, Arc<Guarded>>,
    chance: Chance,
    totals: Arc<Totals>,
}

/// Counts over all of a provider's breakers, those that were replaced or forgotten included.
#[derive(Default)]
struct Totals {
    refused: AtomicU64,
    transitions: AtomicU64,
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
    pub fn new(provider: Arc<str>, settings: BreakerPlan, chance: Chance) -> Self {
        let (families, totals) = (Cache::new(FAMILIES), Arc::default());
        Self(Arc::new(Shared { provider, settings, families, chance, totals }))
    }

    /// Closed breakers for the same provider, with other settings. The counts go on.
    #[must_use]
    pub fn renewed(&self, settings: BreakerPlan) -> Self {
        let (provider, chance, totals) = (self.0.provider.clone(), self.0.chance.clone(), self.0.totals.clone());
        Self(Arc::new(Shared { provider, settings, families: Cache::new(FAMILIES), chance, totals }))
    }

    /// True when both are the same breakers, and not only alike.
    pub fn is_same(&self, other: &Self) -> bool {
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

    fn guarded(&self, model: Option<&str>) -> Arc<Guarded> {
        let family = family(model.unwrap_or_default());
        match self.0.families.get(family) {
            Some(guarded) => guarded,
            None => self.0.families.get_with(family.into(), || {
                let machine = Mutex::new(Machine::new(self.0.settings.clone(), self.0.chance.clone()));
                let (provider, totals) = (self.0.provider.clone(), self.0.totals.clone());
                Arc::new(Guarded { provider, family: family.into(), machine, totals })
            }),
        }
    }

    /// Every breaker that was used lately.
    pub fn reports(&self) -> Vec<Report> {
        let now = Instant::now();
        let report = |(family, guarded): (Arc<Box<str>>, Arc<Guarded>)| {
            let machine = guarded.lock();
            Report {
                family: (*family).clone(),
                state: machine.state(now),
                reason: machine.reason(),
                refused: machine.refused(),
                transitions: machine.transitions(),
            }
        };
        let mut reports: Vec<_> = self.0.families.iter().map(report).collect();
        reports.sort_by(|a, b| a.family.cmp(&b.family));
        reports
    }

    /// The worst state among them: what an operator must know first.
    pub fn worst(&self) -> State {
        let severity = |state: &State| match state {
            State::Closed => 0,
            State::Ramp(_) | State::HalfOpen => 1,
            State::Open => 2,
        };
        self.reports().into_iter().map(|report| report.state).max_by_key(severity).unwrap_or(State::Closed)
    }

    /// Closes them all.
    pub fn reset(&self) {
        for (_, guarded) in &self.0.families {
            guarded.change(Machine::reset);
        }
    }
}

/// The breaker of one model family.
struct Guarded {
    provider: Arc<str>,
    family: Box<str>,
    machine: Mutex<Machine>,
    totals: Arc<Totals>,
}

impl Guarded {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        // Each method leaves the machine whole; a panic in between would be a mistake of this file, and closing the
        // provider for good because of it a worse one.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the machine, and says so in the log when that changed its state.
    fn change<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let (transitions, refused) = (machine.transitions(), machine.refused());
        let result = act(&mut machine);
        let (transitions, refused) = (machine.transitions() - transitions, machine.refused() - refused);
        if refused > 0 {
            self.totals.refused.fetch_add(refused, Ordering::Relaxed);
        }
        if transitions == 0 {
            return result;
        }
        self.totals.transitions.fetch_add(transitions, Ordering::Relaxed);
        let (state, reason) = (machine.state(Instant::now()), machine.reason());
        drop(machine);
        let (name, models, word) = (display_name(&self.provider), &*self.family, state.as_str());
        match state {
            State::Open => tracing::warn!(provider = name, models, reason, "the breaker of {name} is now {word}"),
            _ => tracing::info!(provider = name, models, "the breaker of {name} is now {word}"),
        }
        result
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

    async fn apply<N: Next>(&self, call: Call, next: &N) -> Outcome {
        let guarded = self.breakers.guarded(call.model());
        let started = Instant::now();
        let pass = match guarded.change(|machine| machine.admit(started)) {
            Ok(pass) => Permit { guarded, pass: Some(pass) },
            Err(Refused { retry_in }) => {
                call.trail.note(Self::NAME, Some(&self.provider), Deed::Refused(retry_in));
                return Err(Fault::Open { provider: self.provider.clone(), retry_in });
            }
        };
        match next.call(call).await {
            Err(fault) => {
                pass.settle(judge(&fault));
                Err(fault)
            }
            Ok(reply) => {
                let slow = self.breakers.0.settings.slow_after;
                let is_slow = started.elapsed() > slow;
                let pass = match &reply.body {
                    // That it began is a success by itself: it may go on for an hour, and who probes must know before.
                    Body::Socket(_) => pass.settle_once(if is_slow { Ended::Slow } else { Ended::Success }),
                    _ => pass,
                };
                let is_open_ended = matches!(reply.body, Body::Socket(_));
                Ok(reply.on_end(move |end| match end {
                    End::Complete if is_open_ended => {}
                    End::Complete => pass.settle(Some(if is_slow { Ended::Slow } else { Ended::Success })),
                    End::Failed(fault) => pass.settle(judge(fault)),
                    End::Abandoned => pass.settle(None),
                }))
            }
        }
    }
}

/// What a fault says about the provider's health. A caller's mistake is an answer too; a limit is not an illness.
fn judge(fault: &Fault) -> Option<Ended> {
    match fault {
        // Nothing can be answered with a key that is refused.
        Fault::Credential { .. } => Some(Ended::Failure),
        fault if fault.is_illness() => Some(Ended::Failure),
        Fault::Refused { refusal, .. } if refusal.status.as_u16() != 429 => Some(Ended::Success),
        _ => None,
    }
}

/// A passage through a breaker. Dropped without a word (the caller left) it only gives its place back.
struct Permit {
    guarded: Arc<Guarded>,
    pass: Option<Pass>,
}

impl Permit {
    /// Gives the place back; what is returned can only tell that it ended badly after all.
    fn settle_once(mut self, ended: Ended) -> Self {
        let guarded = self.guarded.clone();
        let later = self.pass.as_ref().map(|pass| guarded.lock().later(pass));
        if let Some(pass) = self.pass.take() {
            guarded.change(|machine| machine.settle(pass, Some(ended), Instant::now()));
        }
        Self { guarded, pass: later }
    }

    fn settle(mut self, ended: Option<Ended>) {
        if let Some(pass) = self.pass.take() {
            self.guarded.change(|machine| machine.settle(pass, ended, Instant::now()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.guarded.change(|machine| machine.settle(pass, None, Instant::now()));
        }
    }
}
