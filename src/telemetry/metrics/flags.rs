//! Metrics of flags and variants.
//!
//! Labels are names of routes, variants and flags, which the config bounds, and words of the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The labels of how calls of a variant ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VariantCallLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// The variant's, or `control`.
    pub variant: Arc<str>,
    /// `ok`, `failed`, `fell_back` (the route's own targets answered instead), `rejected` (the caller's mistake) or
    /// `cancelled`.
    pub outcome: &'static str,
}

/// The labels of what else is known of a variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VariantLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// The variant's, or `control`.
    pub variant: Arc<str>,
}

/// The labels of a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FlagLabels {
    /// The flag's key.
    pub flag: Arc<str>,
}

/// The labels of what guards did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TripLabels {
    /// The flag's key.
    pub flag: Arc<str>,
    /// What was too much: `error_rate` or `p95`.
    pub reason: &'static str,
}

/// What is known of one call of a variant.
#[derive(Clone, Copy, Debug)]
pub struct VariantCall {
    /// See [`VariantCallLabels::outcome`].
    pub outcome: &'static str,
    /// Until its end, in seconds.
    pub took: f64,
    /// Until its first event or the whole answer, in seconds, where there was one.
    pub first_token: Option<f64>,
    /// What it cost by the price table, in USD, where that is known.
    pub cost: Option<f64>,
}

/// The metrics.
pub struct FlagMetrics {
    requests: Family<VariantCallLabels, Counter>,
    durations: Family<VariantLabels, Histogram, fn() -> Histogram>,
    first_tokens: Family<VariantLabels, Histogram, fn() -> Histogram>,
    cost: Family<VariantLabels, Counter<f64, AtomicU64>>,
    shares: Family<FlagLabels, Gauge<f64, AtomicU64>>,
    trips: Family<TripLabels, Counter>,
}

impl FlagMetrics {
    pub(super) fn new(seconds: fn() -> Histogram) -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            first_tokens: Family::new_with_constructor(seconds),
            cost: Family::default(),
            shares: Family::default(),
            trips: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let requests = self.requests.clone();
        registry.register("tidegate_variant_requests", "Calls of routes with variants, by how they ended", requests);
        let durations = self.durations.clone();
        let about = "Time of calls of routes with variants, to the end";
        registry.register_with_unit("tidegate_variant_duration", about, Unit::Seconds, durations);
        let first_tokens = self.first_tokens.clone();
        let about = "Time of calls of routes with variants, to the first event or the whole answer";
        registry.register_with_unit("tidegate_variant_first_token", about, Unit::Seconds, first_tokens);
        let about = "Cost of answers of routes with variants, by the price table";
        registry.register("tidegate_variant_cost_usd", about, self.cost.clone());
        let about = "For which part of the callers a flag is on; 0 to 1";
        registry.register("tidegate_flag_share", about, self.shares.clone());
        registry.register("tidegate_flag_trips", "Flags that guards have switched off", self.trips.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.requests);
        super::one(&self.durations);
        super::one(&self.first_tokens);
        super::one(&self.cost);
        super::one(&self.shares);
        super::one(&self.trips);
    }

    /// Counts a call of a route with variants.
    pub fn count(&self, route: &Arc<str>, variant: &Arc<str>, call: VariantCall) {
        let labels = VariantLabels { route: route.clone(), variant: variant.clone() };
        let ended = VariantCallLabels { route: route.clone(), variant: variant.clone(), outcome: call.outcome };
        self.requests.get_or_create(&ended).inc();
        self.durations.get_or_create(&labels).observe(call.took);
        if let Some(first) = call.first_token {
            self.first_tokens.get_or_create(&labels).observe(first);
        }
        if let Some(cost) = call.cost {
            self.cost.get_or_create(&labels).inc_by(cost);
        }
    }

    /// Sets how often guards have switched flags off, which the flags themselves count.
    pub fn trips(&self, trips: Vec<((Arc<str>, &'static str), u64)>) {
        for ((flag, reason), count) in trips {
            self.trips.get_or_create(&TripLabels { flag, reason }).inner().store(count, Ordering::Relaxed);
        }
    }

    /// Sets for which part of the callers each flag is on.
    pub fn sample(&self, flags: impl Iterator<Item = (Arc<str>, f64)>) {
        // Those that the configuration has no more.
        self.shares.clear();
        for (flag, share) in flags {
            self.shares.get_or_create(&FlagLabels { flag }).set(share);
        }
    }
}
