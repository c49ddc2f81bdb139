//! Metrics of who calls, and of the published keys that tokens are checked with.
//!
//! Labels are names of routes and the host of the publisher, which the config bounds, and words of the code; never a tenant.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The labels of what came of finding out who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AuthLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// What was shown: `jwt`, `api_key` or `none`.
    pub method: &'static str,
    /// `ok`, `missing`, `invalid`, `expired`, `forbidden`, `limited` or `unavailable`.
    pub result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublisherLabels {
    publisher: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    publisher: Arc<str>,
    result: &'static str,
}

/// What is sampled of published keys when the metrics are read.
#[derive(Clone, Debug)]
pub struct PublishedSample {
    /// The host where they are published.
    pub publisher: Arc<str>,
    /// How many are known.
    pub keys: usize,
    /// How long ago they were last read; `None`: never.
    pub age: Option<Duration>,
    /// How often reading them worked, and how often it did not.
    pub refreshes: [(&'static str, u64); 2],
}

/// The metrics.
#[derive(Default)]
pub struct AuthMetrics {
    /// `tidegate_auth_total`
    pub results: Family<AuthLabels, Counter>,
    keys: Family<PublisherLabels, Gauge>,
    age: Family<PublisherLabels, Gauge>,
    refreshes: Family<RefreshLabels, Counter>,
}

impl AuthMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("tidegate_auth", "What came of finding out who calls, by route", self.results.clone());
        let about = "Published keys that tokens can be checked with";
        registry.register("tidegate_jwks_keys", about, self.keys.clone());
        let about = "Time since published keys were last read";
        registry.register_with_unit("tidegate_jwks_age", about, Unit::Seconds, self.age.clone());
        registry.register("tidegate_jwks_refreshes", "What came of reading published keys", self.refreshes.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.results);
        super::one(&self.keys);
        super::one(&self.age);
        super::one(&self.refreshes);
    }

    /// Sets what is known of published keys.
    pub fn sample(&self, sample: &PublishedSample) {
        let publisher = PublisherLabels { publisher: sample.publisher.clone() };
        self.keys.get_or_create(&publisher).set(i64::try_from(sample.keys).unwrap_or(i64::MAX));
        if let Some(age) = sample.age {
            self.age.get_or_create(&publisher).set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        }
        for (result, count) in sample.refreshes {
            let labels = RefreshLabels { publisher: sample.publisher.clone(), result };
            self.refreshes.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
        }
    }
}
