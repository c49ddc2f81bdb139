//! State that outlives a reload: health, circuit breakers, counters and flags of providers, metrics, and whether
//! the gateway is shutting down.
//!
//! Each generation of the configuration has its own `GatewayState`, made by [`GatewayState::adopt`] from the
//! previous one: what has not changed is the same state behind the same pointers, shared by calls of both
//! generations. It knows neither HTTP nor the pipeline. A provider's state is in `state/provider`, counters are in
//! `state/counts`, and the connections to the shared store in `state/store`.

mod counts;
mod policies;
mod recent_failures;
mod reloads;
mod tally;
mod viewers;

mod provider;

mod history;

pub(super) mod store;

#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::{AuthPlan, JwksPlan, Plan, ProviderPlan};
use crate::gateway::world::World;
use crate::model::buffers::Buffers;
use crate::model::rng::SeededRng;
use crate::model::switch::FlagKind;
use crate::model::trail::Facts;
use crate::policy::admit::Tunnels;
use crate::policy::auth::jwks::{self, KeySet};
use crate::policy::auth::{Failures, Trust};
use crate::policy::cache::flight::Flights;
use crate::policy::cache::memory::Entries;
use crate::policy::limit::Limits;
use crate::state::flags::Flags;
use crate::state::flags::guard::AutoDisables;
use crate::state::flags::switches::Switches;
use crate::state::issued_keys::Issued;
use crate::state::jobs::process::Jobs;
use crate::state::ledger::Ledger;
use crate::state::store::budget_account::BudgetAccounts;
use crate::telemetry::explain::CallHistory;
use crate::telemetry::history::{Event, History};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Recording;
use crate::telemetry::reports::Reports;
use crate::telemetry::spans::Spans;
use crate::telemetry::traffic::Traffic;

pub use self::policies::PolicyStates;
pub use self::provider::{Health, ProviderState};
pub use self::recent_failures::{RecentFailure, RecentFailures};
pub use self::reloads::{Reload, Reloads};
pub use self::tally::Counts;
pub use self::viewers::Viewers;
pub use crate::telemetry::log_level::{Apply, LogLevel, Shown};

/// How many tenants' menu sizes are remembered.
const MENUS: u64 = 10_000;

/// The state, as one generation of the configuration sees it.
pub struct GatewayState {
    common: Arc<Process>,
    providers: Vec<Arc<ProviderState>>,
    entries: Entries,
    policies: PolicyStates,
    switches: Switches,
    guards: AutoDisables,
}

/// What there is once, whatever the configuration says.
struct Process {
    started: Instant,
    /// Items on each tenant's menu when it was last read.
    menus: Cache<Arc<str>, usize>,
    last_fallback: Mutex<Option<Instant>>,
    is_draining: AtomicBool,
    is_handed_over: AtomicBool,
    leaving: CancellationToken,
    store: Option<store::Store>,
    limits: Limits,
    flights: Flights,
    buffers: Buffers,
    spans: Spans,
    reports: Reports,
    log: LogLevel,
    /// Cache hits and misses.
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    tunnels: Tunnels,
    reloads: Mutex<Reloads>,
    call_history: CallHistory,
    traffic: Traffic,
    history: History,
    recording: Recording,
    viewers: Viewers,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    trust: Identities,
    flags: Arc<Flags>,
    ledger: Arc<Ledger>,
    accounts: Arc<BudgetAccounts>,
    /// Made by the first gateway, which knows the world.
    jobs: OnceLock<Arc<Jobs>>,
}

/// What callers are known by, whatever the configuration says of it.
struct Identities {
    failures: Failures,
    issued: Arc<Issued>,
    published: Mutex<Option<KeySet>>,
}

impl GatewayState {
    /// Fresh state for the providers of a plan, with the store that it names where the world has such.
    pub fn new(plan: &Plan, world: &World) -> Self {
        let (chance, reach) = (world.chance(), world.store(&plan.store));
        let (limits, store) = store::limits(plan, reach.as_ref(), chance);
        let trust = Identities {
            failures: Failures::new(&chance.apart(2)),
            issued: Arc::new(Issued::new(store.as_ref().map(|store| store.redis.clone()))),
            published: Mutex::default(),
        };
        let redis = store.as_ref().map(|store| store.redis.clone());
        let flags = Arc::new(Flags::new(redis, plan.flags.state_file.clone()));
        let switches = Switches::of(plan, &flags);
        let shared = store.as_ref().map(|store| (store.redis.clone(), plan.store.on_store_error));
        let guards = AutoDisables::new(&plan.flags.guards, &switches, &AutoDisables::default());
        let usage = |reach| Arc::new(store::apart(&plan.store, reach, "usage", chance.apart(8)));
        let (tasks, traffic) = (TaskTracker::new(), Traffic::default());
        let common = Process {
            started: Instant::now(),
            menus: Cache::new(MENUS),
            last_fallback: Mutex::new(None),
            is_draining: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            leaving: CancellationToken::new(),
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
            call_history: CallHistory::default(),
            history: History::new(traffic.clone()),
            traffic,
            recording: Recording::default(),
            viewers: Viewers::default(),
            metrics: Arc::new(Metrics::new()),
            tasks,
            trust,
            flags,
            accounts: Arc::new(BudgetAccounts::new(plan.limits.max_keys, shared)),
            jobs: OnceLock::new(),
            ledger: Arc::new(Ledger::new(plan.usage.max_rows, reach.as_ref().map(usage))),
        };
        common.call_history.bound(plan.explain);
        let provider =
            |plan| Arc::new(ProviderState::new(plan, switches.of_subject(FlagKind::Provider, &plan.name), chance));
        let providers = plan.providers.iter().map(provider).collect();
        Self {
            common: Arc::new(common),
            providers,
            entries: Entries::new(plan.cache.max_bytes, chance.apart(6).bits()),
            policies: PolicyStates::default(),
            switches,
            guards,
        }
    }

    /// The state for another plan: that of its providers and routes which were there before, fresh state for new ones.
    /// Nothing changes for those who use this one.
    #[must_use]
    pub fn adopt(&self, plan: &Plan, chance: &SeededRng) -> Self {
        let switches = Switches::of(plan, &self.common.flags);
        let guards = AutoDisables::new(&plan.flags.guards, &switches, &self.guards);
        let provider = |plan: &Arc<ProviderPlan>| {
            let switch = switches.of_subject(FlagKind::Provider, &plan.name);
            match self.provider(&plan.name) {
                Some(before) => Arc::new(before.under(plan, switch, chance)),
                None => Arc::new(ProviderState::new(plan, switch, chance)),
            }
        };
        let providers = plan.providers.iter().map(provider).collect();
        let entries = self.entries.under(plan.cache.max_bytes);
        let policies = self.policies.next();
        self.call_history().bound(plan.explain);
        Self { common: self.common.clone(), providers, entries, policies, switches, guards }
    }

    /// The same state without that of providers and routes: for who outlives a generation.
    #[must_use]
    pub fn common(&self) -> Self {
        Self {
            common: self.common.clone(),
            providers: Vec::new(),
            entries: self.entries.clone(),
            policies: PolicyStates::default(),
            switches: Switches::default(),
            guards: AutoDisables::default(),
        }
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
        let mut published = trust.published.lock();
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
    pub fn providers(&self) -> &[Arc<ProviderState>] {
        &self.providers
    }

    /// A provider's state.
    pub fn provider(&self, name: &str) -> Option<&Arc<ProviderState>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// Takes note of a call that has ended for what guards flags, and has those disabled that are to be. `at_ms` is the
    /// wall clock's time, in milliseconds since 1970.
    pub fn guard(&self, facts: &Facts, at_ms: i64) {
        for trip in self.guards.note(facts, self.flags()) {
            // A call may end because the runtime does.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { continue };
            let flags = self.flags().clone();
            self.tasks().spawn_on(async move { flags.trip(trip, at_ms).await }, &runtime);
        }
    }

    /// Jobs, and the store that keeps them, which `open` makes for the first gateway.
    pub fn jobs(&self, open: impl FnOnce() -> Jobs) -> &Arc<Jobs> {
        self.common.jobs.get_or_init(|| Arc::new(open()))
    }

    /// Every switch that can be thrown while the gateway runs, by its flag's key: `use_buildpanel`, and so on.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// What operators have switched.
    pub fn flags(&self) -> &Arc<Flags> {
        &self.common.flags
    }

    /// The answers that are kept.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// A gateway has been built on this state: what policies kept that it does not have is forgotten.
    pub fn settle(&self) {
        self.policies.settle();
        for provider in &self.providers {
            provider.policies.settle();
            provider.breakers.settle();
        }
    }

    /// What policies keep of their own.
    pub fn policies(&self) -> &PolicyStates {
        &self.policies
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

    /// How long it had been running at a moment of the past.
    pub fn uptime_at(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.common.started)
    }

    /// Says that the gateway is leaving: readiness fails from now on.
    pub fn drain(&self) {
        self.common.is_draining.store(true, Ordering::Relaxed);
        self.common.leaving.cancel();
    }

    /// True once the gateway is leaving.
    pub fn is_draining(&self) -> bool {
        self.common.is_draining.load(Ordering::Relaxed)
    }

    /// Says that another process answers in this one's place: it leaves too, but readiness does not fail, because nothing
    /// changes for callers.
    pub fn hand_over(&self) {
        self.common.is_handed_over.store(true, Ordering::Relaxed);
        self.common.leaving.cancel();
    }

    /// True once the process is to end, one way or the other: nothing that lasts begins any more.
    pub fn is_leaving(&self) -> bool {
        self.is_draining() || self.is_handed_over()
    }

    /// Cancelled as soon as that is so: for work that nobody would miss.
    pub fn leaving(&self) -> &CancellationToken {
        &self.common.leaving
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
    pub fn accounts(&self) -> &Arc<BudgetAccounts> {
        &self.common.accounts
    }

    /// What calls cost.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.common.ledger
    }

    /// What happened to the latest calls.
    pub fn call_history(&self) -> &CallHistory {
        &self.common.call_history
    }

    /// What the last minute was like.
    pub fn traffic(&self) -> &Traffic {
        &self.common.traffic
    }

    /// What the last hour and the last day were like.
    pub fn history(&self) -> &History {
        &self.common.history
    }

    /// Who keeps the rows of calls that are over.
    pub fn recording(&self) -> &Recording {
        &self.common.recording
    }

    /// Who looks at the live page.
    pub fn viewers(&self) -> &Viewers {
        &self.common.viewers
    }

    /// What became of attempts to change the configuration.
    pub fn reloads(&self) -> Reloads {
        self.common.reloads.lock().clone()
    }

    /// Notes one more attempt.
    pub fn note_reload(&self, reload: Reload) {
        self.common.history.note(match reload.problems.first() {
            None => Event::Reloaded { generation: reload.generation },
            Some(problem) => Event::ReloadFailed { problem: problem.as_str().into() },
        });
        self.common.reloads.lock().note(reload);
    }
}
