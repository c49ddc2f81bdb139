//! Metrics: how many names from requests become labels.

/// `[metrics]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsPlan {
    /// Models that have labels of their own.
    pub max_models: usize,
    /// Tenants that have; zero: tenants are no labels at all.
    pub max_tenants: usize,
}
