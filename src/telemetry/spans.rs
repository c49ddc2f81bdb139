//! Spans: the data of one span, and the queue of those that wait for export.
//!
//! It knows neither how a span is encoded for a collector nor which spans are worth one.

use std::borrow::Cow;
use std::sync::Arc;

use crate::model::rng::SeededRng;
use crate::model::trace::{SpanId, TraceId};
use crate::telemetry::export_queue::ExportQueue;
use crate::telemetry::metrics::sampled::Samples;

/// One piece of work with its beginning and its end.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that caused it.
    pub parent: Option<SpanId>,
    /// Which side of a request it is.
    pub kind: Kind,
    /// Its name; there are few different ones.
    pub name: Cow<'static, str>,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end_ns: u64,
    /// What is known of it, by the names of OpenTelemetry's semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// True when it failed.
    pub is_error: bool,
}

/// Which side of a request a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody asked.
    Internal,
    /// The one that is asked.
    Server,
    /// The one that asks.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text that is the same for many spans.
    Shared(Arc<str>),
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Self::Bool(is_so)
    }
}

/// Spans on their way out, shared by its clones.
#[derive(Clone, Debug)]
pub struct Spans {
    /// Those of one call each.
    pub outbox: ExportQueue<Vec<Span>>,
    /// Where ids come from.
    pub chance: SeededRng,
}

impl Spans {
    /// A queue for the spans of this many calls. `chance` is for ids.
    pub fn new(calls: usize, chance: SeededRng) -> Self {
        Self { outbox: ExportQueue::new(calls), chance }
    }

    /// What metrics show of them.
    pub fn sample(&self, samples: &mut Samples<'_>) {
        let spans = self.outbox.tally().map(|(result, count)| ([result], count));
        samples.counters("tidegate_spans_total", "Spans by result: exported, or why dropped", ["result"], spans);
        samples.gauge("tidegate_spans_waiting", "Calls whose spans wait for export", self.outbox.depth());
    }
}
