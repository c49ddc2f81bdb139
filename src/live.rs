//! Live: state that outlives a reload. Health, counts and switches of providers, and whether the gateway is leaving.
//!
//! It knows neither HTTP nor what the pipeline looks like.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::chance::Chance;
use crate::config::plan::{Plan, Usable};
use crate::policy::breaker::Breakers;
use crate::policy::concurrency::Places;
use crate::policy::hedge::Paces;
use crate::provider::balance::Instances;
use crate::switch::Switch;
use crate::trail::{Attempt, Facts, Outcome, Reason};

/// How many tenants' menu sizes are remembered.
const MENUS: u64 = 10_000;

/// How long after a fallback answered the gateway counts as serving from fallbacks.
const FALLBACK_WINDOW: Duration = Duration::from_secs(60);

/// The state.
pub struct Live {
    started: Instant,
    providers: Vec<Arc<ProviderLive>>,
    /// Items on each tenant's menu when it was last read.
    menus: Cache<Arc<str>, usize>,
    /// How fast each route's first attempts answer.
    paces: Mutex<BTreeMap<Arc<str>, Paces>>,
    last_fallback: Mutex<Option<Instant>>,
    is_draining: AtomicBool,
    store: Mutex<Health>,
}

impl Live {
    /// Fresh state for the providers of a plan.
    pub fn new(plan: &Plan, chance: &Chance) -> Self {
        let provider = |plan: &Arc<crate::config::plan::ProviderPlan>| {
            Arc::new(ProviderLive {
                name: plan.name.clone(),
                switch: Switch::new(plan.usable != Usable::SwitchedOff),
                health: Mutex::default(),
                breakers: Breakers::new(plan.name.clone(), plan.breaker.clone(), chance.clone()),
                retries: RetryBudget::new(plan.retry.budget, plan.retry.budget_floor),
                places: Places::new(plan.concurrency.clone()),
                instances: Instances::new(plan.urls.len(), plan.balance.clone(), chance.clone()),
                calls: AtomicU64::new(0),
                successes: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                fallbacks: AtomicU64::new(0),
            })
        };
        Self {
            started: Instant::now(),
            providers: plan.providers.iter().map(provider).collect(),
            menus: Cache::new(MENUS),
            paces: Mutex::default(),
            last_fallback: Mutex::new(None),
            is_draining: AtomicBool::new(false),
            store: Mutex::default(),
        }
    }

    /// Every provider's state.
    pub fn providers(&self) -> &[Arc<ProviderLive>] {
        &self.providers
    }

    /// A provider's state.
    pub fn provider(&self, name: &str) -> Option<&Arc<ProviderLive>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// How fast a route's first attempts answer.
    pub fn paces(&self, route: &Arc<str>) -> Paces {
        lock(&self.paces).entry(route.clone()).or_default().clone()
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says that the gateway is leaving: readiness fails from now on.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// True once the gateway is leaving.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Remembers how many items a tenant's menu has.
    pub fn note_menu(&self, tenant: &Arc<str>, items: usize) {
        self.menus.insert(tenant.clone(), items);
    }

    /// How many items a tenant's menu had when it was last read.
    pub fn menu_items(&self, tenant: &str) -> Option<usize> {
        self.menus.get(tenant)
    }

    /// The store's health, when it is a remote one.
    pub fn store(&self) -> Health {
        lock(&self.store).clone()
    }

    /// Notes the store's health.
    pub fn note_store(&self, health: Health) {
        *lock(&self.store) = health;
    }

    /// True when a call was recently answered by another than its first provider.
    pub fn serves_from_fallbacks(&self) -> bool {
        lock(&self.last_fallback).is_some_and(|at| at.elapsed() < FALLBACK_WINDOW)
    }

    /// Counts the attempts of a call that has ended.
    pub fn count(&self, facts: &Facts) {
        for attempt in &facts.attempts {
            let Some(provider) = self.provider(&attempt.provider) else { continue };
            provider.calls.fetch_add(1, Ordering::Relaxed);
            match attempt.outcome {
                Outcome::Succeeded => provider.successes.fetch_add(1, Ordering::Relaxed),
                Outcome::Failed(_) => provider.failures.fetch_add(1, Ordering::Relaxed),
                Outcome::Pending => 0,
            };
        }
        let Some(served) = facts.served() else { return };
        // Not one that was merely faster: a hedge is no sign of trouble.
        let stands_in = |attempt: &Attempt| {
            matches!(attempt.reason, Reason::Failover | Reason::Resume) && attempt.provider == served.provider
        };
        if facts.attempts.iter().any(stands_in) {
            *lock(&self.last_fallback) = Some(Instant::now());
            if let Some(provider) = self.provider(&served.provider) {
                provider.fallbacks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each of these holds one plain value: there is no half-written state that a panic could leave behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One provider's state.
pub struct ProviderLive {
    /// Its name.
    pub name: Arc<str>,
    /// Whether calls may go there.
    pub switch: Switch,
    /// Whether it is left alone.
    pub breakers: Breakers,
    /// Extra attempts that it can stand.
    pub retries: RetryBudget,
    /// How much it is asked at once.
    pub places: Places,
    /// Which of its instances is asked.
    pub instances: Instances,
    health: Mutex<Health>,
    calls: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    fallbacks: AtomicU64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Attempts.
    pub calls: u64,
    /// Attempts that were answered.
    pub successes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Calls answered here after another provider had failed.
    pub fallbacks: u64,
}

impl ProviderLive {
    /// The last probe's result.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Notes a probe's result and returns the one before.
    pub fn note_health(&self, health: Health) -> Health {
        std::mem::replace(&mut *lock(&self.health), health)
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            successes: self.successes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
        }
    }
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
    /// It answered with an error.
    Failing {
        /// Which.
        error: String,
    },
}

impl Health {
    /// True when it answered.
    pub fn is_connected(&self) -> bool {
        matches!(self, Health::Connected { .. })
    }
}
