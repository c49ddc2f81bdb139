//! Live: state that outlives a reload. Health, counts and switches of providers, metrics, and whether the gateway is leaving.
//!
//! Each generation of the configuration has its own `Live`, made by [`Live::adopt`] from the one before: what has not
//! changed is the same state, behind the same pointers, and calls of both generations share it. It knows neither HTTP nor
//! what the pipeline looks like. A provider's state is in `live/provider`, what is counted in `live/counts`, and the
//! connections to the shared store in `live/store`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::buffers::Buffers;
use crate::chance::Chance;
use crate::config::plan::{AuthPlan, JwksPlan, Plan, ProviderPlan};
use crate::explain::Stories;
use crate::flags::Flags;
use crate::flags::guard::Guards;
use crate::flags::switches::{Subject, Switches};
use crate::keys::issued::Issued;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::policy::admit::Tunnels;
use crate::policy::affinity::Makers;
use crate::policy::auth::Trust;
use crate::policy::auth::jwks::{self, KeySet};
use crate::policy::cache::flight::Flights;
use crate::policy::cache::memory::Entries;
use crate::policy::hedge::Paces;
use crate::policy::idempotency::memory::Memory as Executions;
use crate::policy::limit::Limits;
use crate::reports::Reports;
use crate::spans::Spans;
use crate::store::memory::Memory;
use crate::store::purse::Purses;
use crate::traffic::Traffic;
use crate::trail::Facts;

mod counts;
mod log_level;
mod mishaps;
mod provider;
mod reloads;
mod store;
mod watchers;

pub use self::counts::Counts;
pub use self::log_level::{Apply, LogLevel, Shown};
pub use self::mishaps::{Mishap, Mishaps};
pub use self::provider::{Health, ProviderLive};
pub use self::reloads::{Reload, Reloads};
pub use self::watchers::Watchers;

/// How many tenants' menu sizes are remembered.
const MENUS: u64 = 10_000;

/// How many addresses are remembered from which wrong credentials came.
const WRONG: usize = 10_000;

/// The state, as one generation of the configuration sees it.
pub struct Live {
    common: Arc<Common>,
    providers: Vec<Arc<ProviderLive>>,
    /// How fast each route's first attempts answer.
    paces: BTreeMap<Arc<str>, Paces>,
    entries: Entries,
    executions: Executions,
    switches: Switches,
    guards: Guards,
}

/// What there is once, whatever the configuration says.
struct Common {
    started: Instant,
    /// Items on each tenant's menu when it was last read.
    menus: Cache<Arc<str>, usize>,
    last_fallback: Mutex<Option<Instant>>,
    is_draining: AtomicBool,
    is_handed_over: AtomicBool,
    store: Option<store::Store>,
    limits: Limits,
    flights: Flights,
    buffers: Buffers,
    spans: Spans,
    reports: Reports,
    log: LogLevel,
    /// Calls that a kept answer served, and calls that looked for one in vain.
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    tunnels: Tunnels,
    reloads: Mutex<Reloads>,
    stories: Stories,
    traffic: Traffic,
    watchers: Watchers,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    trust: Trusted,
    flags: Arc<Flags>,
    ledger: Arc<Ledger>,
    purses: Arc<Purses>,
    makers: Makers,
}

/// What callers are known by, whatever the configuration says of it.
struct Trusted {
    failures: Arc<Memory>,
    issued: Arc<Issued>,
    published: Mutex<Option<KeySet>>,
}

impl Live {
    /// Fresh state for the providers of a plan.
    pub fn new(plan: &Plan, chance: &Chance) -> Self {
        let (limits, store) = store::limits(plan, chance);
        let trust = Trusted {
            failures: Arc::new(Memory::new(WRONG, &chance.apart(2))),
            issued: Arc::new(Issued::new(store.as_ref().map(|store| store.redis.clone()))),
            published: Mutex::default(),
        };
        let redis = store.as_ref().map(|store| store.redis.clone());
        let flags = Arc::new(Flags::new(redis, plan.flags.state_file.clone()));
        let switches = Switches::of(plan, &flags);
        let shared = store.as_ref().map(|store| (store.redis.clone(), plan.store.on_store_error));
        let guards = Guards::new(&plan.flags.guards, &switches, &Guards::default());
        let tasks = TaskTracker::new();
        let makers = Makers::new(store.as_ref().map(|store| store.cluster.redis().clone()), tasks.clone());
        let common = Common {
            started: Instant::now(),
            menus: Cache::new(MENUS),
            last_fallback: Mutex::new(None),
            is_draining: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            store,
            limits,
            flights: Flights::default(),
            buffers: Buffers::new(plan.server.max_buffered_bytes),
            spans: Spans::new(plan.tracing.queue, chance.apart(3)),
            reports: Reports::new(chance.apart(4)),
            log: LogLevel::default(),
            cache_hits: AtomicU64::new(0),
            cache_misses: AtomicU64::new(0),
            tunnels: Tunnels::default(),
            reloads: Mutex::default(),
            stories: Stories::default(),
            traffic: Traffic::default(),
            watchers: Watchers::default(),
            metrics: Arc::new(Metrics::new()),
            makers,
            tasks,
            trust,
            flags,
            purses: Arc::new(Purses::new(plan.limits.max_keys, shared)),
            ledger: Arc::new(Ledger::new(plan.usage.max_rows, store::apart(plan, "usage", chance).map(Arc::new))),
        };
        common.stories.bound(plan.explain);
        let provider =
            |plan| Arc::new(ProviderLive::new(plan, switches.of_subject(Subject::Provider, &plan.name), chance));
        let providers = plan.providers.iter().map(provider).collect();
        let paces = plan.routes.iter().map(|route| (route.name.clone(), Paces::default())).collect();
        Self {
            common: Arc::new(common),
            providers,
            paces,
            entries: Entries::new(plan.cache.max_bytes),
            executions: Executions::new(plan.idempotency.max_bytes),
            switches,
            guards,
        }
    }

    /// The state for another plan: that of its providers and routes which were there before, fresh state for new ones.
    /// Nothing changes for those who use this one.
    #[must_use]
    pub fn adopt(&self, plan: &Plan, chance: &Chance) -> Self {
        let switches = Switches::of(plan, &self.common.flags);
        let guards = Guards::new(&plan.flags.guards, &switches, &self.guards);
        let provider = |plan: &Arc<ProviderPlan>| {
            let switch = switches.of_subject(Subject::Provider, &plan.name);
            match self.provider(&plan.name) {
                Some(before) => Arc::new(before.under(plan, switch, chance)),
                None => Arc::new(ProviderLive::new(plan, switch, chance)),
            }
        };
        let providers = plan.providers.iter().map(provider).collect();
        let paces = plan.routes.iter().map(|route| (route.name.clone(), self.paces(&route.name))).collect();
        let entries = self.entries.under(plan.cache.max_bytes);
        let executions = self.executions.under(plan.idempotency.max_bytes);
        self.stories().bound(plan.explain);
        Self { common: self.common.clone(), providers, paces, entries, executions, switches, guards }
    }

    /// The same state without that of providers and routes: for who outlives a generation.
    #[must_use]
    pub fn common(&self) -> Self {
        Self {
            common: self.common.clone(),
            providers: Vec::new(),
            paces: BTreeMap::new(),
            entries: self.entries.clone(),
            executions: self.executions.clone(),
            switches: Switches::default(),
            guards: Guards::default(),
        }
    }

    /// Work that no single caller waits for: answers that several callers share, and what is renewed in the background. The
    /// drain waits for it.
    pub fn tasks(&self) -> &TaskTracker {
        &self.common.tasks
    }

    /// Who made which stored response.
    pub fn makers(&self) -> &Makers {
        &self.common.makers
    }

    /// What callers are known by under a plan. Published keys are read from what `source` makes; those that are known stay
    /// known while their publisher is the same.
    pub fn trust(
        &self,
        plan: &AuthPlan,
        source: impl FnOnce(&JwksPlan) -> Result<jwks::Source, String>,
    ) -> Result<Trust, String> {
        let trust = &self.common.trust;
        let wanted = plan.token.as_ref().and_then(|token| token.jwks.as_ref());
        let mut published = lock(&trust.published);
        *published = match (wanted, &*published) {
            (None, _) => None,
            (Some(plan), Some(before)) => Some(before.under(plan, || source(plan))?),
            (Some(plan), None) => Some(KeySet::new(plan.clone(), source(plan)?, self.tasks().clone())),
        };
        Ok(Trust { failures: trust.failures.clone(), issued: trust.issued.clone(), published: published.clone() })
    }

    /// Everything that is counted and measured.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.common.metrics
    }

    /// Every provider's state.
    pub fn providers(&self) -> &[Arc<ProviderLive>] {
        &self.providers
    }

    /// A provider's state.
    pub fn provider(&self, name: &str) -> Option<&Arc<ProviderLive>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// Takes note of a call that has ended for what guards flags, and has those switched off that are to be. `at_ms` is the
    /// wall clock's time, in milliseconds since 1970.
    pub fn guard(&self, facts: &Facts, at_ms: i64) {
        for trip in self.guards.note(facts, self.flags()) {
            // A call may end because the runtime does.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { continue };
            let flags = self.flags().clone();
            self.tasks().spawn_on(async move { flags.trip(trip, at_ms).await }, &runtime);
        }
    }

    /// Every switch that can be thrown while the gateway runs, by its flag's key: `use_buildpanel`, and so on.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// What operators have switched.
    pub fn flags(&self) -> &Arc<Flags> {
        &self.common.flags
    }

    /// How fast a route's first attempts answer.
    pub fn paces(&self, route: &str) -> Paces {
        self.paces.get(route).cloned().unwrap_or_default()
    }

    /// The answers that are kept.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What runs, and has ended, under the keys of callers.
    pub fn executions(&self) -> &Executions {
        &self.executions
    }

    /// The memory in which large requests wait. It is made once, because what is taken cannot be taken back.
    pub fn buffers(&self) -> &Buffers {
        &self.common.buffers
    }

    /// The spans that wait to be sent away. It is made once, because who sends them holds it.
    pub fn spans(&self) -> &Spans {
        &self.common.spans
    }

    /// The faults of the gateway's own that wait to be reported.
    pub fn reports(&self) -> &Reports {
        &self.common.reports
    }

    /// What is logged.
    pub fn log(&self) -> &LogLevel {
        &self.common.log
    }

    /// The answers on their way that callers share.
    pub fn flights(&self) -> &Flights {
        &self.common.flights
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.common.started.elapsed()
    }

    /// Says that the gateway is leaving: readiness fails from now on.
    pub fn drain(&self) {
        self.common.is_draining.store(true, Ordering::Relaxed);
    }

    /// True once the gateway is leaving.
    pub fn is_draining(&self) -> bool {
        self.common.is_draining.load(Ordering::Relaxed)
    }

    /// Says that another process answers in this one's place: it leaves too, but readiness does not fail, because nothing
    /// changes for callers.
    pub fn hand_over(&self) {
        self.common.is_handed_over.store(true, Ordering::Relaxed);
    }

    /// True once the process is to end, one way or the other: nothing that lasts begins any more.
    pub fn is_leaving(&self) -> bool {
        self.is_draining() || self.is_handed_over()
    }

    /// True once another process has taken this one's place.
    pub fn is_handed_over(&self) -> bool {
        self.common.is_handed_over.load(Ordering::Relaxed)
    }

    /// Remembers how many items a tenant's menu has.
    pub fn note_menu(&self, tenant: &Arc<str>, items: usize) {
        self.common.menus.insert(tenant.clone(), items);
    }

    /// How many items a tenant's menu had when it was last read.
    pub fn menu_items(&self, tenant: &str) -> Option<usize> {
        self.common.menus.get(tenant)
    }

    /// What counts for limits. It is made once: another store needs another process.
    pub fn limits(&self) -> &Limits {
        &self.common.limits
    }

    /// The conversations (WebSockets) that there are.
    pub fn tunnels(&self) -> &Tunnels {
        &self.common.tunnels
    }

    /// What budgets have left.
    pub fn purses(&self) -> &Arc<Purses> {
        &self.common.purses
    }

    /// What calls cost.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.common.ledger
    }

    /// What happened to the latest calls.
    pub fn stories(&self) -> &Stories {
        &self.common.stories
    }

    /// What the last minute was like.
    pub fn traffic(&self) -> &Traffic {
        &self.common.traffic
    }

    /// Who looks at the live page.
    pub fn watchers(&self) -> &Watchers {
        &self.common.watchers
    }

    /// What became of attempts to change the configuration.
    pub fn reloads(&self) -> Reloads {
        lock(&self.common.reloads).clone()
    }

    /// Notes one more attempt.
    pub fn note_reload(&self, reload: Reload) {
        lock(&self.common.reloads).note(reload);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each of these holds one plain value: there is no half-written state that a panic could leave behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
