//! The state of one provider, and what happens to it when its plan changes.
//!
//! It does not know the other providers, nor when a call or a probe updates it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use super::tally::{Counts, Tally};
use super::{PolicyStates, RecentFailures};
use crate::config::plan::ProviderPlan;
use crate::model::attempts::RetryBudget;
use crate::model::fault::{Denial, LastDenial};
use crate::model::names::display_name;
use crate::model::patience::WaitTimes;
use crate::model::rng::SeededRng;
use crate::model::switch::Switch;
use crate::policy::breaker::Breakers;
use crate::policy::concurrency::Places;
use crate::provider::balance::Instances;

/// One provider's state.
pub struct ProviderState {
    /// Its name.
    pub name: Arc<str>,
    /// Whether calls may go there.
    pub switch: Switch,
    /// Its circuit breakers.
    pub breakers: Breakers,
    /// Extra attempts that it can stand.
    pub retries: RetryBudget,
    /// How long its models usually take.
    pub waits: WaitTimes,
    /// How much it is asked at once.
    pub places: Places,
    /// What other policies keep of it, forgotten when its calls go elsewhere.
    pub policies: PolicyStates,
    /// Which of its instances is asked.
    pub instances: Instances,
    plan: Arc<ProviderPlan>,
    health: Arc<Mutex<Health>>,
    denial: Arc<LastDenial>,
    pub(super) tally: Arc<Tally>,
    /// How attempts there have failed lately.
    pub recent_failures: Arc<RecentFailures>,
}

impl ProviderState {
    pub(super) fn new(plan: &Arc<ProviderPlan>, switch: Switch, chance: &SeededRng) -> Self {
        Self {
            name: plan.name.clone(),
            switch,
            breakers: Breakers::new(plan.name.clone(), plan.breaker.clone(), chance.clone()),
            retries: RetryBudget::new(plan.retry.budget, plan.retry.budget_floor),
            waits: WaitTimes::new(plan.patience.clone()),
            places: Places::new(plan.concurrency.clone()),
            policies: PolicyStates::default(),
            instances: Instances::new(plan.urls.len(), plan.balance.clone(), chance.clone()),
            plan: plan.clone(),
            health: Arc::default(),
            denial: Arc::default(),
            tally: Arc::default(),
            recent_failures: Arc::default(),
        }
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// The same provider's state under another plan. Counts stay whatever changes; what was learnt from answers stays while
    /// the answers come from the same place and its settings mean the same.
    pub(super) fn under(&self, plan: &Arc<ProviderPlan>, switch: Switch, chance: &SeededRng) -> Self {
        let before = &self.plan;
        let is_same_place = before.is_same_place(plan);
        let is_same_breaker = is_same_place && before.breaker == plan.breaker;
        let is_same_limit = is_same_place && before.concurrency == plan.concurrency;
        let is_same_list = before.urls == plan.urls && before.balance == plan.balance;
        Self {
            name: plan.name.clone(),
            switch,
            breakers: keep(is_same_breaker, &self.breakers, || self.breakers.renewed(plan.breaker.clone())),
            retries: self.retries.under(plan.retry.budget, plan.retry.budget_floor),
            waits: keep(is_same_place && before.patience == plan.patience, &self.waits, || {
                WaitTimes::new(plan.patience.clone())
            }),
            places: keep(is_same_limit, &self.places, || self.places.renewed(plan.concurrency.clone())),
            policies: if is_same_place { self.policies.next() } else { PolicyStates::default() },
            instances: keep(is_same_list, &self.instances, || {
                Instances::new(plan.urls.len(), plan.balance.clone(), chance.clone())
            }),
            plan: plan.clone(),
            health: keep(is_same_place, &self.health, Arc::default),
            denial: keep(is_same_place, &self.denial, Arc::default),
            tally: self.tally.clone(),
            recent_failures: keep(is_same_place, &self.recent_failures, Arc::default),
        }
    }

    /// The last probe's result.
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Notes a probe's result and returns the one before. A path that refused the key and takes it now shows that the provider
    /// does; of one that is open to all nobody learns that.
    pub fn note_health(&self, health: Health) -> Health {
        let is_taken = matches!(health, Health::Connected { .. });
        let before = std::mem::replace(&mut *self.health.lock(), health);
        if is_taken && before.refuses_key() && self.denial() == Some(Denial::Key) {
            self.note_key(None);
        }
        before
    }

    /// True while it refuses the gateway's key, or the account behind it, as far as calls have shown.
    pub fn is_key_refused(&self) -> bool {
        self.denial().is_some()
    }

    /// Which of the two it refuses.
    pub fn denial(&self) -> Option<Denial> {
        self.denial.get()
    }

    /// Notes whether it refused the gateway's key or account, and says so in the log when that is news: somebody must act, and
    /// nobody else would notice while other targets answer.
    pub(super) fn note_key(&self, denial: Option<Denial>) {
        if !self.denial.set(denial) {
            return;
        }
        let (name, source) = (display_name(&self.name), self.plan.key_source.as_deref().unwrap_or("its key"));
        match denial {
            Some(Denial::Key) => tracing::error!(
                provider = name,
                "{name} rejects the gateway's key; calls go to the next target: check {source}"
            ),
            Some(Denial::Account) => tracing::error!(
                provider = name,
                "{name} rejects the gateway's account (credit used up, unpaid or suspended); calls go to the next target: \
                 check the billing of the account that {source} belongs to"
            ),
            None => tracing::info!(provider = name, "{name} accepts the gateway's key again"),
        }
    }
}

fn keep<T: Clone>(is_same: bool, before: &T, fresh: impl FnOnce() -> T) -> T {
    if is_same { before.clone() } else { fresh() }
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Health {
    /// No probe has ended yet.
    #[default]
    Unknown,
    /// It answered.
    Connected {
        /// How fast.
        latency: Duration,
    },
    /// It did not answer.
    Disconnected {
        /// Why; names no URL and no key.
        error: String,
    },
    /// It answered that it is asked too often: it is there, and its limit holds for probes too.
    Limited {
        /// How fast.
        latency: Duration,
    },
    /// It answered with another error.
    Failing {
        /// Which.
        status: StatusCode,
    },
}

impl Health {
    /// True when it answered, and nothing is wrong with it.
    pub fn is_connected(&self) -> bool {
        self.latency().is_some()
    }

    /// How fast it answered.
    pub fn latency(&self) -> Option<Duration> {
        match self {
            Health::Connected { latency } | Health::Limited { latency } => Some(*latency),
            Health::Unknown | Health::Disconnected { .. } | Health::Failing { .. } => None,
        }
    }

    /// What is wrong, in words; names no URL and no key.
    pub fn error(&self) -> Option<Cow<'_, str>> {
        match self {
            Health::Unknown | Health::Connected { .. } | Health::Limited { .. } => None,
            Health::Disconnected { error } => Some(error.into()),
            Health::Failing { status: StatusCode::UNAUTHORIZED } => {
                Some("status 401: it rejects the gateway's key".into())
            }
            Health::Failing { status: StatusCode::FORBIDDEN } => {
                Some("status 403: it rejects the gateway's key, or lets it not read the probe's path".into())
            }
            Health::Failing { status } => Some(format!("status {}", status.as_u16()).into()),
        }
    }

    fn refuses_key(&self) -> bool {
        matches!(self, Health::Failing { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN })
    }
}
