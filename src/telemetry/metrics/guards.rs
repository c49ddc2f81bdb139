//! Metrics of guards.
//!
//! Labels are names of guards and patterns, which the config bounds, and words of the code.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The labels of what guards found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GuardLabels {
    /// The guard's name.
    pub guard: Arc<str>,
    /// The pattern's name.
    pub kind: Arc<str>,
    /// `request` or `answer`.
    pub direction: &'static str,
    /// `mask`, `reject` or `report`.
    pub action: &'static str,
}

/// The metrics.
#[derive(Default)]
pub struct GuardMetrics {
    /// `tidegate_guard_matches_total`
    pub matches: Family<GuardLabels, Counter>,
}

impl GuardMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("tidegate_guard_matches", "What guards found", self.matches.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.matches);
    }
}
