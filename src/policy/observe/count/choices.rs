//! Metrics of calls for which one of several was chosen (a variant, a version of a prompt), by what was chosen: how they ended,
//! how long they took, and what they cost.
//!
//! It does not know what was chosen from. The metrics are looked up per call, because few calls have such a choice.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::telemetry::metrics::{FloatCounter, Histograms, Labels, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// A metric's name and its help.
type Named<'a> = (&'a str, &'a str);

/// The metrics, by labels that say what was chosen.
pub(super) struct Choices<L: Labels> {
    requests: Family<(L, OutcomeLabel), Counter>,
    durations: Histograms<L>,
    cost: Family<L, FloatCounter>,
}

impl<L: Labels> Choices<L> {
    /// Registers them under these names: counts of requests, their durations, and their cost in USD.
    pub(super) fn register(
        registrar: &mut Registrar<'_>,
        requests: Named<'_>,
        durations: Named<'_>,
        cost: Named<'_>,
    ) -> Self {
        Self {
            requests: registrar.counters(requests.0, requests.1),
            durations: registrar.histograms(durations.0, durations.1, seconds),
            cost: registrar.float_counters(cost.0, cost.1),
        }
    }

    /// Counts a call: how it ended, how long it took in seconds, and what it cost in USD where that is known.
    pub(super) fn count(&self, chosen: &L, outcome: &'static str, took: f64, cost: Option<f64>) {
        self.requests.get_or_create(&(chosen.clone(), OutcomeLabel { outcome })).inc();
        self.durations.get_or_create(chosen).observe(took);
        if let Some(cost) = cost {
            self.cost.get_or_create(chosen).inc_by(cost);
        }
    }
}
