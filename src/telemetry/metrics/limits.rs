//! Metrics of limits and of the store that counts for them.
//!
//! Labels are names of rules, which the config bounds, and words of the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The labels of a rule's decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// The rule's name.
    pub limit: Arc<str>,
    /// `admitted`, `refused`, `not_charged` (another rule refused), `shadow_admitted` or `shadow_refused`.
    pub decision: &'static str,
}

/// The labels of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CheckLabels {
    /// Who counted: `memory`, `redis`, `local` (because Redis is out) or `nobody`.
    pub store: &'static str,
}

/// What is sampled when the metrics are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreSample {
    /// Keys that are remembered in this process.
    pub keys: u64,
    /// Keys that were forgotten early.
    pub evicted: u64,
    /// Corrections that the shared store never got.
    pub unsettled: u64,
    /// True while the store answers; the one inside the process always does.
    pub is_up: bool,
    /// Gateways that share it.
    pub gateways: u32,
    /// Operations that were sent to it.
    pub operations: u64,
    /// Those that failed.
    pub failures: u64,
}

/// The labels of a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BudgetLabels {
    /// The budget's name.
    pub budget: Arc<str>,
}

/// The labels of a kind of period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeriodLabels {
    /// `day` or `month`.
    pub period: &'static str,
}

/// The metrics.
#[derive(Default)]
pub struct LimitMetrics {
    /// `tidegate_limit_decisions_total`
    pub decisions: Family<DecisionLabels, Counter>,
    /// `tidegate_limit_checks_total`
    pub checks: Family<CheckLabels, Counter>,
    /// `tidegate_budget_refused_total`
    pub budgets_refused: Family<BudgetLabels, Counter>,
    budgets_used: Family<BudgetLabels, Gauge<f64, AtomicU64>>,
    users_over: Family<PeriodLabels, Gauge>,
    keys: Gauge,
    evicted: Counter,
    unsettled: Counter,
    fronts: Gauge,
    busiest: Gauge<f64, AtomicU64>,
    up: Gauge,
    gateways: Gauge,
    operations: Counter,
    failures: Counter,
}

impl LimitMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("tidegate_limit_decisions", "What rules decided", self.decisions.clone());
        registry.register("tidegate_limit_checks", "Checks by who counted", self.checks.clone());
        let refused = self.budgets_refused.clone();
        registry.register("tidegate_budget_refused", "Calls that a budget refused", refused);
        let used = self.budgets_used.clone();
        registry.register("tidegate_budget_used_ratio", "The largest share that is spent of any of its purses", used);
        let users = self.users_over.clone();
        registry.register(
            "tidegate_users_over_budget",
            "Users who spent more than usage.user_day or user_month",
            users,
        );
        registry.register("tidegate_limit_keys", "Callers that are remembered here", self.keys.clone());
        let evicted = self.evicted.clone();
        registry.register(
            "tidegate_limit_keys_evicted",
            "Callers forgotten early because there were too many",
            evicted,
        );
        let unsettled = self.unsettled.clone();
        registry.register("tidegate_limit_unsettled", "Corrections that the shared store never got", unsettled);
        let fronts = self.fronts.clone();
        registry.register(
            "tidegate_limit_shared_addresses",
            "Addresses of proxies that server.trusted_proxies does not name; limits by address are not enforced for them",
            fronts,
        );
        let busiest = self.busiest.clone();
        registry.register(
            "tidegate_limit_busiest_address_ratio",
            "Share of the busiest address in the calls counted by address in the last 15 minutes; 0 below 20 calls",
            busiest,
        );
        registry.register("tidegate_store_up", "1 while the store answers", self.up.clone());
        registry.register("tidegate_store_gateways", "Gateways that share the store", self.gateways.clone());
        registry.register("tidegate_store_operations", "Operations sent to the store", self.operations.clone());
        let failures = self.failures.clone();
        registry.register("tidegate_store_failures", "Operations that the store failed", failures);
    }

    /// Sets which share of each budget is spent.
    pub fn budgets(&self, shares: impl IntoIterator<Item = (Arc<str>, f64)>) {
        for (budget, share) in shares {
            self.budgets_used.get_or_create(&BudgetLabels { budget }).set(share);
        }
    }

    /// Sets how many users have spent more than they usually may in a period of this kind.
    pub fn users_over(&self, period: &'static str, users: usize) {
        let users = i64::try_from(users).unwrap_or(i64::MAX);
        self.users_over.get_or_create(&PeriodLabels { period }).set(users);
    }

    /// Sets how many addresses stand for many callers, and the share of the busiest address.
    pub fn fronts(&self, fronts: usize, busiest: f64) {
        self.fronts.set(i64::try_from(fronts).unwrap_or(i64::MAX));
        self.busiest.set(busiest);
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.decisions);
        super::one(&self.checks);
        super::one(&self.budgets_refused);
        super::one(&self.budgets_used);
        super::one(&self.users_over);
    }

    /// Sets what is counted elsewhere.
    pub fn sample(&self, sample: &StoreSample) {
        let set = |counter: &Counter, value| counter.inner().store(value, Ordering::Relaxed);
        self.keys.set(i64::try_from(sample.keys).unwrap_or(i64::MAX));
        set(&self.evicted, sample.evicted);
        set(&self.unsettled, sample.unsettled);
        self.up.set(sample.is_up.into());
        self.gateways.set(sample.gateways.into());
        set(&self.operations, sample.operations);
        set(&self.failures, sample.failures);
    }
}
