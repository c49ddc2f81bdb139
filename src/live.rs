//! Live: state that outlives a reload. Health, counts and switches of providers, metrics, and whether the gateway is leaving.
//!
//! Each generation of the configuration has its own `Live`, made by [`Live::adopt`] from the one before: what has not
//! changed is the same state, behind the same pointers, and calls of both generations share it. It knows neither HTTP nor
//! what the pipeline looks like.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::budget::RetryBudget;
use crate::buffers::Buffers;
use crate::chance::Chance;
use crate::config::plan::{AuthPlan, JwksPlan, Plan, Prices, ProviderPlan};
use crate::estimate::Estimates;
use crate::explain::Stories;
use crate::fault;
use crate::flags::Flags;
use crate::flags::guard::Guards;
use crate::flags::switches::{Subject, Switches};
use crate::keys::issued::Issued;
use crate::ledger::Ledger;
use crate::ledger::row::cost;
use crate::metrics::Metrics;
use crate::metrics::caches::{CacheSample, SharedSample};
use crate::metrics::limits::StoreSample;
use crate::names::display_name;
use crate::policy::admit::Tunnels;
use crate::policy::auth::Trust;
use crate::policy::auth::jwks::{self, KeySet};
use crate::policy::breaker::Breakers;
use crate::policy::cache::cluster::{Cluster, ClusterTally};
use crate::policy::cache::flight::Flights;
use crate::policy::cache::memory::Entries;
use crate::policy::concurrency::Places;
use crate::policy::hedge::Paces;
use crate::policy::limit::Limits;
use crate::policy::quota::Quotas;
use crate::provider::balance::Instances;
use crate::reply::CacheResult;
use crate::reports::Reports;
use crate::spans::Spans;
use crate::store::memory::Memory;
use crate::store::purse::Purses;
use crate::store::redis::{Redis, Settings, Standing};
use crate::store::shared::Shared;
use crate::switch::Switch;
use crate::traffic::Traffic;
use crate::trail::{Attempt, Facts, Outcome, Reason};

mod log_level;
mod mishaps;
mod reloads;
mod watchers;

pub use self::log_level::{Apply, LogLevel, Shown};
pub use self::mishaps::{Mishap, Mishaps};
pub use self::reloads::{Reload, Reloads};
pub use self::watchers::Watchers;

/// How many tenants' menu sizes are remembered.
const MENUS: u64 = 10_000;

/// How many addresses are remembered from which wrong credentials came.
const WRONG: usize = 10_000;

/// How long the shared store may take for what no call waits for.
const BEHIND: Duration = Duration::from_secs(1);

/// How long after a fallback answered the gateway counts as serving from fallbacks.
const FALLBACK_WINDOW: Duration = Duration::from_secs(60);

/// The state, as one generation of the configuration sees it.
pub struct Live {
    common: Arc<Common>,
    providers: Vec<Arc<ProviderLive>>,
    /// How fast each route's first attempts answer.
    paces: BTreeMap<Arc<str>, Paces>,
    entries: Entries,
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
    store: Option<Store>,
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
}

/// What callers are known by, whatever the configuration says of it.
struct Trusted {
    failures: Arc<Memory>,
    issued: Arc<Issued>,
    published: Mutex<Option<KeySet>>,
}

/// The shared store.
struct Store {
    redis: Arc<Redis>,
    meter: Arc<Shared>,
    /// With a connection and a patience of its own: entries are large, and a call goes on without them.
    cluster: Arc<Cluster>,
}

impl Live {
    /// Fresh state for the providers of a plan.
    pub fn new(plan: &Plan, chance: &Chance) -> Self {
        let (limits, store) = limits(plan, chance);
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
            tasks: TaskTracker::new(),
            trust,
            flags,
            purses: Arc::new(Purses::new(plan.limits.max_keys, shared)),
            ledger: Arc::new(Ledger::new(plan.usage.max_rows, apart(plan, "usage", chance).map(Arc::new))),
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
        self.stories().bound(plan.explain);
        Self { common: self.common.clone(), providers, paces, entries, switches, guards }
    }

    /// The same state without that of providers and routes: for who outlives a generation.
    #[must_use]
    pub fn common(&self) -> Self {
        let (entries, switches, guards) = (self.entries.clone(), Switches::default(), Guards::default());
        Self { common: self.common.clone(), providers: Vec::new(), paces: BTreeMap::new(), entries, switches, guards }
    }

    /// Work that no single caller waits for: answers that several callers share, and what is renewed in the background. The
    /// drain waits for it.
    pub fn tasks(&self) -> &TaskTracker {
        &self.common.tasks
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

    /// Calls that a kept answer served, and calls that looked for one in vain, since the start.
    pub fn cache_counts(&self) -> (u64, u64) {
        (self.common.cache_hits.load(Ordering::Relaxed), self.common.cache_misses.load(Ordering::Relaxed))
    }

    /// What metrics tell of the cache.
    pub fn cache_sample(&self) -> CacheSample {
        let fill = self.entries.fill();
        let flying = self.common.flights.kept_bytes() as u64;
        let shared = self.cluster().map(|cluster| {
            let ClusterTally { found, missed, spoilt, failed, waited } = cluster.tally();
            let words = ["found", "missed", "spoilt", "failed", "waited"];
            let counts = [found, missed, spoilt, failed, waited];
            let results = std::array::from_fn(|index| (words[index], counts[index]));
            SharedSample { is_up: !cluster.redis().is_out(), results }
        });
        let (hits, misses) = self.cache_counts();
        CacheSample { bytes: fill.bytes, entries: fill.entries, evicted: fill.evicted, flying, hits, misses, shared }
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

    /// The shared store, where there is one.
    pub fn redis(&self) -> Option<&Arc<Redis>> {
        self.common.store.as_ref().map(|store| &store.redis)
    }

    /// Keeps the connection to the shared store. Runs until dropped.
    pub async fn keep_store(&self) {
        if let Some(Store { redis, meter, cluster }) = &self.common.store {
            let (issued, flags) = (&self.common.trust.issued, &self.common.flags);
            let entries = cluster.run(&self.entries);
            tokio::join!(
                redis.run(),
                meter.run(),
                entries,
                issued.run(),
                flags.run(),
                self.ledger().run(),
                self.purses().run()
            );
        }
    }

    /// What budgets have left.
    pub fn purses(&self) -> &Arc<Purses> {
        &self.common.purses
    }

    /// What calls cost.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.common.ledger
    }

    /// What the caches of all gateways share, where there is a shared store.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.common.store.as_ref().map(|store| &store.cluster)
    }

    /// The store's health, when it is a remote one.
    pub fn store(&self) -> Health {
        match self.redis().map(|redis| redis.standing()) {
            None | Some(Standing::Unknown) => Health::Unknown,
            Some(Standing::Up { latency }) => Health::Connected { latency },
            Some(Standing::Out(fault)) => Health::Disconnected { error: fault.to_string() },
        }
    }

    /// What metrics tell of the store.
    pub fn store_sample(&self) -> StoreSample {
        let tally = self.common.limits.meter.tally();
        let operations = self.redis().map(|redis| redis.operations()).unwrap_or_default();
        StoreSample {
            keys: tally.keys,
            evicted: tally.evicted,
            unsettled: tally.unsettled,
            is_up: self.redis().is_none_or(|redis| !redis.is_out()),
            gateways: tally.gateways,
            operations: operations.asked,
            failures: operations.failures,
        }
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

    /// True when a call was recently answered by another than its first provider.
    pub fn serves_from_fallbacks(&self) -> bool {
        lock(&self.common.last_fallback).is_some_and(|at| at.elapsed() < FALLBACK_WINDOW)
    }

    /// Counts the attempts of a call that has ended, and what the cache did for it.
    pub fn count(&self, facts: &Facts, prices: &Prices) {
        if let Some(is_kept) = facts.cache.and_then(CacheResult::has_served) {
            let counter = if is_kept { &self.common.cache_hits } else { &self.common.cache_misses };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        for attempt in &facts.attempts {
            let Some(provider) = self.provider(&attempt.provider) else { continue };
            provider.tally.calls.fetch_add(1, Ordering::Relaxed);
            match attempt.outcome {
                Outcome::Succeeded => {
                    provider.tally.successes.fetch_add(1, Ordering::Relaxed);
                    provider.note_key(false);
                }
                Outcome::Failed(code) => {
                    provider.tally.failures.fetch_add(1, Ordering::Relaxed);
                    provider.mishaps.note(code);
                    if code == fault::CREDENTIALS {
                        provider.note_key(true);
                    }
                }
                Outcome::Pending => {}
            }
        }
        let Some(served) = facts.served() else { return };
        if let (Some(provider), Some(cost)) = (self.provider(&served.provider), cost(facts, prices)) {
            provider.tally.nanodollars.fetch_add(cost.usd.nanos(), Ordering::Relaxed);
        }
        // Not one that was merely faster: a hedge is no sign of trouble.
        let stands_in = |attempt: &Attempt| {
            matches!(attempt.reason, Reason::Failover | Reason::Resume) && attempt.provider == served.provider
        };
        if facts.attempts.iter().any(stands_in) {
            *lock(&self.common.last_fallback) = Some(Instant::now());
            if let Some(provider) = self.provider(&served.provider) {
                provider.tally.fallbacks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What counts: the shared store where the plan names one, with the process beside it; else the process alone.
fn limits(plan: &Plan, chance: &Chance) -> (Limits, Option<Store>) {
    let chance = &chance.apart(1);
    let memory = Memory::new(plan.limits.max_keys, chance);
    let estimates = Estimates::default();
    let Some(address) = &plan.store.address else {
        return (Limits { meter: Arc::new(memory), estimates }, None);
    };
    let settings = Settings {
        purpose: "limit",
        address: address.clone(),
        timeout: plan.store.timeout,
        max_in_flight: plan.store.max_in_flight,
        key_prefix: plan.store.key_prefix.clone(),
        gateways: plan.store.gateways,
    };
    let kept = Settings { purpose: "cache", timeout: plan.cache.redis_timeout, ..settings.clone() };
    let cluster = Arc::new(Cluster::new(Arc::new(Redis::new(kept, chance.apart(1)))));
    let redis = Arc::new(Redis::new(settings, chance.clone()));
    let meter = Arc::new(Shared::new(redis.clone(), memory, plan.store.on_store_error));
    (Limits { meter: meter.clone(), estimates }, Some(Store { redis, meter, cluster }))
}

/// The shared store over a connection of its own, for a use that no call waits for: it may take its time without making
/// others wait.
fn apart(plan: &Plan, purpose: &'static str, chance: &Chance) -> Option<Redis> {
    let settings = Settings {
        purpose,
        address: plan.store.address.clone()?,
        timeout: BEHIND,
        max_in_flight: plan.store.max_in_flight,
        key_prefix: plan.store.key_prefix.clone(),
        gateways: plan.store.gateways,
    };
    Some(Redis::new(settings, chance.apart(3)))
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
    /// What it says that it still allows.
    pub quotas: Quotas,
    /// Which of its instances is asked.
    pub instances: Instances,
    plan: Arc<ProviderPlan>,
    health: Arc<Mutex<Health>>,
    is_key_refused: Arc<AtomicBool>,
    tally: Arc<Tally>,
    /// How attempts there have failed lately.
    pub mishaps: Arc<Mishaps>,
}

#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    fallbacks: AtomicU64,
    nanodollars: AtomicU64,
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
    /// What its answers cost by the price table, in nanodollars (10^-9 USD).
    pub nanodollars: u64,
}

impl ProviderLive {
    fn new(plan: &Arc<ProviderPlan>, switch: Switch, chance: &Chance) -> Self {
        Self {
            name: plan.name.clone(),
            switch,
            breakers: Breakers::new(plan.name.clone(), plan.breaker.clone(), chance.clone()),
            retries: RetryBudget::new(plan.retry.budget, plan.retry.budget_floor),
            places: Places::new(plan.concurrency.clone()),
            quotas: Quotas::default(),
            instances: Instances::new(plan.urls.len(), plan.balance.clone(), chance.clone()),
            plan: plan.clone(),
            health: Arc::default(),
            is_key_refused: Arc::default(),
            tally: Arc::default(),
            mishaps: Arc::default(),
        }
    }

    /// The same provider's state under another plan. Counts stay whatever changes; what was learnt from answers stays while
    /// the answers come from the same place and its settings mean the same.
    fn under(&self, plan: &Arc<ProviderPlan>, switch: Switch, chance: &Chance) -> Self {
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
            places: keep(is_same_limit, &self.places, || self.places.renewed(plan.concurrency.clone())),
            quotas: keep(is_same_place, &self.quotas, Quotas::default),
            instances: keep(is_same_list, &self.instances, || {
                Instances::new(plan.urls.len(), plan.balance.clone(), chance.clone())
            }),
            plan: plan.clone(),
            health: keep(is_same_place, &self.health, Arc::default),
            is_key_refused: keep(is_same_place, &self.is_key_refused, Arc::default),
            tally: self.tally.clone(),
            mishaps: keep(is_same_place, &self.mishaps, Arc::default),
        }
    }

    /// The last probe's result.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    /// Notes a probe's result and returns the one before.
    pub fn note_health(&self, health: Health) -> Health {
        std::mem::replace(&mut *lock(&self.health), health)
    }

    /// True while it refuses the gateway's key, as far as calls have shown.
    pub fn is_key_refused(&self) -> bool {
        self.is_key_refused.load(Ordering::Relaxed)
    }

    /// Notes whether it refused the gateway's key, and says so in the log when that is news: somebody must act, and nobody
    /// else would notice while other targets answer.
    fn note_key(&self, is_refused: bool) {
        // Nearly always nothing has changed: one read then, and no write that others would wait for.
        if self.is_key_refused() == is_refused || self.is_key_refused.swap(is_refused, Ordering::Relaxed) == is_refused
        {
            return;
        }
        let (name, source) = (display_name(&self.name), self.plan.key_source.as_deref().unwrap_or("its key"));
        match is_refused {
            true => tracing::error!(
                provider = name,
                "{name} refuses the gateway's key: calls go to the next target; check {source}"
            ),
            false => tracing::info!(provider = name, "{name} takes the gateway's key again"),
        }
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.tally.calls.load(Ordering::Relaxed),
            successes: self.tally.successes.load(Ordering::Relaxed),
            failures: self.tally.failures.load(Ordering::Relaxed),
            fallbacks: self.tally.fallbacks.load(Ordering::Relaxed),
            nanodollars: self.tally.nanodollars.load(Ordering::Relaxed),
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::config::{self, Variables};
    use crate::flags::record::{Change, Record, What};
    use crate::switch::Position;

    const PROVIDER: &str = "defaults = false\n[provider.a]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\n";

    /// Has an operator throw the switch of `a`.
    fn switch(live: &Live, is_on: bool) {
        let (key, known) = live.switches().find("use_a").unwrap();
        let change = Change {
            version: 0,
            position: Some(Position::plain(is_on)),
            was_meant_to_be_on: known.meant.is_on,
            at_ms: 0,
            by: "test".into(),
            from: None,
            what: What::Set,
            note: None,
        };
        let before = live.flags().record(key);
        let after = Record::after(before.as_deref(), change);
        live.flags().change(key, before, after).now_or_never().unwrap().unwrap();
    }

    /// The state after a change of the config from `PROVIDER` to `text`, while `a` is known to be up and switched off.
    fn after(text: &str) -> (Live, Live) {
        let plan = |text: &str| config::load(Some(("x.toml", text)), &Variables::default()).unwrap();
        let chance = Chance::new(1);
        let before = Live::new(&plan(PROVIDER), &chance);
        let a = before.provider("a").unwrap();
        a.note_health(Health::Connected { latency: Duration::ZERO });
        switch(&before, false);
        a.tally.calls.fetch_add(1, Ordering::Relaxed);
        let after = before.adopt(&plan(text), &chance);
        (before, after)
    }

    #[tokio::test]
    async fn a_provider_that_does_not_change_keeps_its_state() {
        let (before, after) = after(&format!("{PROVIDER}[provider.b]\nkind = \"openai\"\nurl = \"http://[::1]/\"\n"));
        let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
        assert!(new.health().is_connected() && !new.switch.is_on() && new.breakers.is_same(&old.breakers));
        assert_eq!(new.counts().calls, 1);
        assert_eq!(after.provider("b").unwrap().health(), Health::Unknown);
        assert!(before.provider("b").is_none() && Arc::ptr_eq(before.metrics(), after.metrics()));
        after.drain();
        assert!(before.is_draining());
    }

    #[tokio::test]
    async fn another_breaker_is_a_new_machine_and_nothing_else_changes() {
        let (before, after) = after(&format!("{PROVIDER}breaker = {{ consecutive = 9 }}\n"));
        let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
        assert!(new.health().is_connected() && !new.switch.is_on() && !new.breakers.is_same(&old.breakers));
        assert_eq!(new.counts().calls, 1);
    }

    #[tokio::test]
    async fn at_another_address_nothing_is_known_about_its_health() {
        let (before, after) = after(&PROVIDER.replace("127.0.0.1", "127.0.0.2"));
        let (old, new) = (before.provider("a").unwrap(), after.provider("a").unwrap());
        assert_eq!((new.health(), new.counts().calls, new.switch.is_on()), (Health::Unknown, 1, false));
        assert!(!new.breakers.is_same(&old.breakers) && old.health().is_connected());
    }

    #[tokio::test]
    async fn what_the_config_takes_out_stays_out_until_an_operator_who_knows_switches_it_on() {
        let (before, off) = after(&format!("{PROVIDER}enabled = false\n"));
        let is_on = |live: &Live| live.provider("a").unwrap().switch.is_on();
        assert!(!is_on(&before) && !is_on(&off));
        switch(&off, true);
        assert!(is_on(&before) && is_on(&off), "the operator's last word is for all");
        switch(&before, true);
        assert!(is_on(&before) && !is_on(&off), "what the config takes out, nobody has switched on who did not know");
    }

    #[tokio::test]
    async fn a_provider_that_goes_takes_its_state_along() {
        let (before, after) = after("defaults = false\n");
        assert!(after.providers().is_empty() && before.provider("a").is_some());
    }
}
