//! The circuit breaker of one model family: its machine behind a lock, and who is told when its state changes.
//!
//! It does not know which models are of the family, nor which calls pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Totals;
use super::changes::Change;
use super::machine::{Machine, State};
use super::slowness::{ResponseTime, Slowness};
use crate::config::plan::BreakerPlan;
use crate::model::fault::LastDenial;
use crate::model::names::display_name;
use crate::model::time;

/// The breaker of one model family.
pub(super) struct FamilyBreaker {
    provider: Arc<str>,
    pub(super) family: Box<str>,
    pub(super) machine: Mutex<Machine>,
    slowness: Mutex<Slowness>,
    totals: Arc<Totals>,
    /// What the provider denied the gateway last, until it answers or fails otherwise.
    pub(super) denial: LastDenial,
    /// When it was last asked for, see `families`.
    pub(super) used: AtomicU64,
    /// The state that it last told of; `None`: others have taken its place. Locked inside the machine's lock, so that changes are
    /// told in the order in which they happen.
    told: Mutex<Option<State>>,
}

impl FamilyBreaker {
    pub(super) fn new(provider: Arc<str>, family: Box<str>, machine: Machine, totals: Arc<Totals>) -> Self {
        let (slowness, denial, used) = Default::default();
        let (machine, told) = (Mutex::new(machine), Mutex::new(Some(State::Closed)));
        Self { provider, family, machine, slowness, totals, denial, used, told }
    }

    pub(super) fn is_slow(&self, measured: ResponseTime, settings: &BreakerPlan) -> bool {
        let mut slowness = self.slowness.lock();
        slowness.note(measured, settings, time::now())
    }

    /// Does something with the machine, and says so in the log when that changed its state.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.machine.lock();
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
        let at = time::now();
        let (state, reason) = (machine.state(at), machine.reason());
        if let Some(told) = &mut *self.told.lock() {
            self.tell(told, state, reason, at);
        }
        drop(machine);
        let (name, models, word) = (display_name(&self.provider), &*self.family, state.as_str());
        match state {
            State::Open => {
                tracing::warn!(provider = name, models, reason, "the circuit breaker of {name} is now {word}")
            }
            _ => tracing::info!(provider = name, models, "the circuit breaker of {name} is now {word}"),
        }
        result
    }

    /// Tells of a change from the state that it last told of.
    fn tell(&self, told: &mut State, to: State, reason: Option<&'static str>, at: Instant) {
        let from = std::mem::replace(told, to);
        if from.as_str() != to.as_str() {
            let reason = reason.filter(|_| to == State::Open);
            self.totals.changes.note(Change { at, family: self.family.clone(), others: 0, from, to, reason });
        }
    }

    /// Tells that it is closed, and nothing any more.
    pub(super) fn retire(&self) {
        let _machine = self.machine.lock();
        if let Some(mut told) = self.told.lock().take() {
            self.tell(&mut told, State::Closed, None, time::now());
        }
    }
}
