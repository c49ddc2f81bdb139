//! Metrics of calls for which one of several was chosen (a variant, a version of a prompt), by what was chosen: how they ended,
//! how long they took, and what they cost.
//!
//! It does not know what was chosen from. The metrics are looked up per call, because few calls have such a choice.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::telemetry::metrics::{FloatCounter, Histograms, Labels};

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics, by labels that say what was chosen.
pub(super) struct Choices<L: Labels> {
    pub(super) requests: Family<(L, OutcomeLabel), Counter>,
    /// Seconds.
    pub(super) durations: Histograms<L>,
    /// USD.
    pub(super) cost: Family<L, FloatCounter>,
}

impl<L: Labels> Choices<L> {
    /// Counts a call: how it ended, how long it took in seconds, and what it cost in USD where that is known.
    pub(super) fn count(&self, chosen: &L, outcome: &'static str, took: f64, cost: Option<f64>) {
        self.requests.get_or_create(&(chosen.clone(), OutcomeLabel { outcome })).inc();
        self.durations.get_or_create(chosen).observe(took);
        if let Some(cost) = cost {
            self.cost.get_or_create(chosen).inc_by(cost);
        }
    }
}
