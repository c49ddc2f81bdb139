//! Metrics of idempotency keys.
//!
//! Labels are names of routes, which the config bounds, and words of the code.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The labels of what came of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyLabels {
    /// The route's name.
    pub route: Arc<str>,
    /// `executed`, `replayed`, `running` or `reused`.
    pub result: &'static str,
}

/// The metrics.
#[derive(Default)]
pub struct IdempotencyMetrics {
    /// `tidegate_idempotency_keys_total`
    pub keys: Family<KeyLabels, Counter>,
}

impl IdempotencyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Calls with an Idempotency-Key: executed, replayed, still running (409), reused for another (422)";
        registry.register("tidegate_idempotency_keys", help, self.keys.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.keys);
    }
}
