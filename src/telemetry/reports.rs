//! Reports of the gateway's own faults, for its developers.
//!
//! A report says where and what kind, and holds nothing of a request: no text, no header, no address. It does not
//! know who reads it.

use std::sync::Arc;

use crate::model::rng::SeededRng;
use crate::model::trace::{SpanId, TraceId};
use crate::telemetry::export_queue::ExportQueue;
use crate::telemetry::metrics::sampled::Samples;

/// How many may wait.
const WAITING: usize = 64;

/// One fault.
#[derive(Clone, Debug)]
pub struct Report {
    /// The fault's code, or `panic`.
    pub code: &'static str,
    /// Where in the program, for a panic: file, line and column.
    pub place: Option<String>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The provider that the fault is about, or that was asked last.
    pub provider: Option<Arc<str>>,
    /// The request's id.
    pub request: Option<Arc<str>>,
    /// The trace of the call, and its span.
    pub trace: Option<(TraceId, SpanId)>,
}

/// Reports on their way out, shared by its clones.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Those that wait.
    pub outbox: ExportQueue<Report>,
    /// Where ids come from.
    pub chance: SeededRng,
}

impl Reports {
    /// An empty queue. `chance` is for ids.
    pub fn new(chance: SeededRng) -> Self {
        Self { outbox: ExportQueue::new(WAITING), chance }
    }

    /// What metrics show of them.
    pub fn sample(&self, samples: &mut Samples<'_>) {
        let reports = self.outbox.tally().map(|(result, count)| ([result], count));
        let help = "Error reports by result: sent, or why dropped";
        samples.counters("tidegate_reports_total", help, ["result"], reports);
    }
}
