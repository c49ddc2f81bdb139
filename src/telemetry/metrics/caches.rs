//! Metrics of the cache.
//!
//! Labels are names of routes, which the config bounds, and words of the code.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The labels of what the cache did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CacheLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// `hit`, `stale`, `miss`, `collapsed`, `bypass` or `refused`.
    pub result: &'static str,
}

/// The labels of what came of looking into the store that gateways share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SharedLabels {
    /// `found`, `missed`, `spoilt`, `failed` or `waited`.
    pub result: &'static str,
}

/// What is sampled of the store that gateways share.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedSample {
    /// True while it answers.
    pub is_up: bool,
    /// What came of looking there, each with its word.
    pub results: [(&'static str, u64); 5],
}

/// What is sampled when the metrics are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheSample {
    /// Bytes of all entries in this process.
    pub bytes: u64,
    /// Entries in this process.
    pub entries: u64,
    /// Entries that had to go for want of memory.
    pub evicted: u64,
    /// Bytes of answers on their way that are kept for late comers.
    pub flying: u64,
    /// Calls that a kept answer served.
    pub hits: u64,
    /// Calls that looked for one in vain.
    pub misses: u64,
    /// The store that gateways share, where there is one.
    pub shared: Option<SharedSample>,
}

/// The metrics.
#[derive(Default)]
pub struct CacheMetrics {
    /// `tidegate_cache_results_total`
    pub results: Family<CacheLabels, Counter>,
    bytes: Gauge,
    entries: Gauge,
    evictions: Counter,
    flying: Gauge,
    shared: Family<SharedLabels, Counter>,
    is_shared_up: Gauge,
    /// `cache_hits_total` and `cache_misses_total`, the names that existing queries read.
    hits: Counter,
    misses: Counter,
}

impl CacheMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("tidegate_cache_results", "What the cache did, by route", self.results.clone());
        registry.register_with_unit("tidegate_cache", "Memory of kept answers", Unit::Bytes, self.bytes.clone());
        registry.register("tidegate_cache_entries", "Kept answers", self.entries.clone());
        let evictions = self.evictions.clone();
        registry.register("tidegate_cache_evictions", "Kept answers that had to go for want of memory", evictions);
        let flying = self.flying.clone();
        let about = "What came of looking for kept answers in the shared store";
        registry.register("tidegate_cache_shared", about, self.shared.clone());
        registry.register("cache_hits", "Calls that a kept answer served", self.hits.clone());
        registry.register("cache_misses", "Calls that looked for a kept answer in vain", self.misses.clone());
        let about = "1 while kept answers can be shared with other gateways";
        registry.register("tidegate_cache_shared_up", about, self.is_shared_up.clone());
        registry.register_with_unit(
            "tidegate_cache_flights",
            "Memory of shared answers on their way",
            Unit::Bytes,
            flying,
        );
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.results);
        super::one(&self.shared);
    }

    /// Sets what the cache itself counts.
    pub fn sample(&self, sample: &CacheSample) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.bytes.set(gauge(sample.bytes));
        self.entries.set(gauge(sample.entries));
        self.evictions.inner().store(sample.evicted, Ordering::Relaxed);
        self.flying.set(gauge(sample.flying));
        self.hits.inner().store(sample.hits, Ordering::Relaxed);
        self.misses.inner().store(sample.misses, Ordering::Relaxed);
        if let Some(shared) = &sample.shared {
            self.is_shared_up.set(i64::from(shared.is_up));
            for (result, count) in shared.results {
                self.shared.get_or_create(&SharedLabels { result }).inner().store(count, Ordering::Relaxed);
            }
        }
    }
}
