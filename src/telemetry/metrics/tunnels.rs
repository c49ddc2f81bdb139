//! The metrics of conversations (WebSockets), by the names that existing dashboards read. They are sampled for each page.
//!
//! It does not know what a conversation is.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabels {
    direction: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OverrunLabels {
    reason: &'static str,
}

/// All of them.
#[derive(Default)]
pub struct TunnelMetrics {
    /// `voice_active_connections`
    open: Gauge,
    /// `voice_chunks_total`: messages, `in` from callers and `out` to them.
    chunks: Family<WayLabels, Counter>,
    /// `voice_overrun_total`: conversations ended because a message was too large (`size`) or one end did not read
    /// (`stalled`).
    overruns: Family<OverrunLabels, Counter>,
}

impl TunnelMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("voice_active_connections", "WebSockets that are open", self.open.clone());
        registry.register("voice_chunks", "Messages passed on through WebSockets", self.chunks.clone());
        let about = "WebSockets ended because a message was too large or one end did not read";
        registry.register("voice_overrun", about, self.overruns.clone());
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.chunks);
        super::one(&self.overruns);
    }

    /// Sets what is counted elsewhere: open ones, messages in and out, and those too large and stalled.
    pub fn sample(&self, open: usize, chunks: [u64; 2], overruns: [u64; 2]) {
        self.open.set(open.try_into().unwrap_or(i64::MAX));
        for (direction, count) in ["in", "out"].into_iter().zip(chunks) {
            self.chunks.get_or_create(&WayLabels { direction }).inner().store(count, Ordering::Relaxed);
        }
        for (reason, count) in ["size", "stalled"].into_iter().zip(overruns) {
            self.overruns.get_or_create(&OverrunLabels { reason }).inner().store(count, Ordering::Relaxed);
        }
    }
}
