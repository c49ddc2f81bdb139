//! Metrics of traces: what became of spans. They are counted where the spans are, and sampled for each page.
//!
//! It does not know what a span is.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    result: &'static str,
}

/// All of them.
#[derive(Default)]
pub struct SpanMetrics {
    /// `tidegate_spans_total`: by what became of them.
    fates: Family<FateLabels, Counter>,
    /// `tidegate_spans_waiting`: calls whose spans wait to be sent.
    waiting: Gauge,
}

impl SpanMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let about = "Spans by what became of them: exported, or dropped for a reason";
        registry.register("tidegate_spans", about, self.fates.clone());
        registry.register("tidegate_spans_waiting", "Calls whose spans wait to be sent", self.waiting.clone());
    }

    /// Sets what is counted elsewhere.
    pub fn sample(&self, fates: impl IntoIterator<Item = (&'static str, u64)>, waiting: usize) {
        for (result, count) in fates {
            self.fates.get_or_create(&FateLabels { result }).inner().store(count, Ordering::Relaxed);
        }
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
