//! Metrics of what is sent to collectors: spans, and reports of the gateway's own faults. It is counted where it waits, and
//! sampled for each page.
//!
//! It does not know what a span or a report is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of an exemplar: a trace to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    /// The trace's id.
    pub trace_id: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    result: &'static str,
}

/// All of them.
#[derive(Default)]
pub struct OutboxMetrics {
    /// `tidegate_spans_total`: by what became of them.
    spans: Family<FateLabels, Counter>,
    /// `tidegate_spans_waiting`: calls whose spans wait to be sent.
    waiting: Gauge,
    /// `tidegate_reports_total`: by what became of them.
    reports: Family<FateLabels, Counter>,
}

impl OutboxMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let about = "Spans by what became of them: exported, or dropped for a reason";
        registry.register("tidegate_spans", about, self.spans.clone());
        registry.register("tidegate_spans_waiting", "Calls whose spans wait to be sent", self.waiting.clone());
        let about = "Reports of the gateway's own faults by what became of them";
        registry.register("tidegate_reports", about, self.reports.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.spans);
        super::one(&self.reports);
    }

    /// Sets what is counted elsewhere.
    pub fn sample<const N: usize>(
        &self,
        spans: [(&'static str, u64); N],
        waiting: usize,
        reports: [(&'static str, u64); N],
    ) {
        for (family, fates) in [(&self.spans, spans), (&self.reports, reports)] {
            for (result, count) in fates {
                family.get_or_create(&FateLabels { result }).inner().store(count, Ordering::Relaxed);
            }
        }
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
