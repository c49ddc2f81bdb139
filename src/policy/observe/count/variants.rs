//! Metrics of the calls of routes with variants.
//!
//! Labels are names of routes and variants, which the config bounds, and words of the code.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

use super::choices::Choices;
use crate::telemetry::metrics::{Group, Histograms, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VariantLabels {
    route: Arc<str>,
    /// The variant's name, or `control`.
    variant: Arc<str>,
}

/// What is known of one call of a variant.
#[derive(Clone, Copy, Debug)]
pub(super) struct VariantCall {
    /// `ok`, `failed`, `fell_back` (the route's own targets answered instead), `rejected` (the caller's mistake) or
    /// `cancelled`.
    pub(super) outcome: &'static str,
    /// Until its end, in seconds.
    pub(super) took: f64,
    /// Until its first event or the whole answer, in seconds, where there was one.
    pub(super) first_token: Option<f64>,
    /// What it cost by the price table, in USD, where that is known.
    pub(super) cost: Option<f64>,
}

/// The metrics.
pub(super) struct Variants {
    calls: Choices<VariantLabels>,
    first_tokens: Histograms<VariantLabels>,
}

impl Group for Variants {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            calls: Choices {
                requests: registrar.counters(
                    "tidegate_variant_requests_total",
                    "Requests of routes with variants, by variant and outcome",
                ),
                durations: registrar.histograms(
                    "tidegate_variant_duration_seconds",
                    "Time to the end of the response, by variant",
                    seconds,
                ),
                cost: registrar.float_counters(
                    "tidegate_variant_cost_usd_total",
                    "Cost of responses by variant, from the price table",
                ),
            },
            first_tokens: registrar.histograms(
                "tidegate_variant_first_token_seconds",
                "Time to the first event of a stream or to the whole response, by variant",
                seconds,
            ),
        }
    }
}

impl Variants {
    /// Counts a call.
    pub(super) fn count(&self, route: &Arc<str>, variant: &Arc<str>, call: VariantCall) {
        let labels = VariantLabels { route: route.clone(), variant: variant.clone() };
        self.calls.count(&labels, call.outcome, call.took, call.cost);
        if let Some(first) = call.first_token {
            self.first_tokens.get_or_create(&labels).observe(first);
        }
    }
}
