//! The history's samples: what providers' states say of attempts and circuit breakers.
//!
//! It does not know when samples are due.

use super::{GatewayState, ProviderState};
use crate::policy::breaker::{Change, State};
use crate::telemetry::history::{Band, Event, Mark, ProviderSample};

impl GatewayState {
    /// Has the history take note of how providers do now.
    pub fn sample_history(&self) {
        self.history().sample(self.providers().iter().map(|provider| sample(provider)).collect());
    }
}

fn sample(provider: &ProviderState) -> ProviderSample {
    let counts = provider.counts();
    let mark = |change: Change| {
        let Change { at, family, others, from, to, reason } = change;
        let (from, to) = (band(from), band(to));
        Mark { at, event: Event::Breaker { provider: provider.name.clone(), family, others, from, to, reason } }
    };
    ProviderSample {
        name: provider.name.clone(),
        attempts: counts.calls,
        failures: counts.failures,
        changes: provider.breakers.take_changes().into_iter().map(mark).collect(),
        band: band(provider.breakers.worst()),
    }
}

fn band(state: State) -> Band {
    match state {
        State::Closed => Band::Closed,
        State::HalfOpen | State::Ramp(_) => Band::HalfOpen,
        State::Open => Band::Open,
    }
}
