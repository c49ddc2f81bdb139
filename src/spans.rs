//! Spans on their way out: a bounded queue between the calls, which never wait, and whoever sends spans away.
//!
//! It knows neither how a span is spelt for a collector nor what is worth one.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::chance::Chance;
use crate::trace::{SpanId, TraceId};

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

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The collector took it.
    Exported,
    /// Too many were waiting.
    QueueFull,
    /// The collector could not be reached, or did not answer in time, however often it was tried.
    Unreachable,
    /// The collector said no.
    Refused,
    /// The process ended first.
    Shutdown,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 5] = [Fate::Exported, Fate::QueueFull, Fate::Unreachable, Fate::Refused, Fate::Shutdown];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Exported => "exported",
            Fate::QueueFull => "queue_full",
            Fate::Unreachable => "unreachable",
            Fate::Refused => "refused",
            Fate::Shutdown => "shutdown",
        }
    }
}

/// The queue, shared by its clones.
#[derive(Clone, Debug)]
pub struct Spans(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    sender: Sender<Vec<Span>>,
    /// Taken by the one that sends them away.
    receiver: Mutex<Receiver<Vec<Span>>>,
    /// Where ids come from.
    chance: Chance,
    counts: [AtomicU64; Fate::ALL.len()],
}

impl Spans {
    /// A queue in which the spans of so many calls may wait, one at least. `chance` is for ids.
    pub fn new(calls: usize, chance: Chance) -> Self {
        let (sender, receiver) = mpsc::channel(calls.max(1));
        Self(Arc::new(Queue { sender, receiver: Mutex::new(receiver), chance, counts: Default::default() }))
    }

    /// Where the ids of spans come from.
    pub fn chance(&self) -> &Chance {
        &self.0.chance
    }

    /// Hands over the spans of one call, or counts them as lost. Never waits.
    pub fn offer(&self, spans: Vec<Span>) {
        if let Err(TrySendError::Full(spans) | TrySendError::Closed(spans)) = self.0.sender.try_send(spans) {
            self.count(Fate::QueueFull, spans.len());
        }
    }

    /// Waits for the spans of at least one call and adds what else waits, until there are `most` spans or more.
    pub async fn take(&self, taken: &mut Vec<Span>, most: usize) {
        let mut receiver = self.0.receiver.lock().await;
        // The sender is held here too, so that there is always a next one.
        taken.extend(receiver.recv().await.unwrap_or_default());
        add(&mut receiver, taken, most);
    }

    /// Adds what waits, until there are `most` spans or more.
    pub fn take_waiting(&self, taken: &mut Vec<Span>, most: usize) {
        if let Ok(mut receiver) = self.0.receiver.try_lock() {
            add(&mut receiver, taken, most);
        }
    }

    /// Counts what became of so many spans.
    pub fn count(&self, fate: Fate, spans: usize) {
        if let Some(count) = self.0.counts.get(fate as usize) {
            count.fetch_add(spans as u64, Ordering::Relaxed);
        }
    }

    /// How many spans met which fate, since the start.
    pub fn tally(&self) -> [(Fate, u64); Fate::ALL.len()] {
        Fate::ALL.map(|fate| (fate, self.0.counts.get(fate as usize).map_or(0, |count| count.load(Ordering::Relaxed))))
    }

    /// Calls whose spans wait.
    pub fn waiting(&self) -> usize {
        self.0.sender.max_capacity() - self.0.sender.capacity()
    }
}

fn add(receiver: &mut Receiver<Vec<Span>>, taken: &mut Vec<Span>, most: usize) {
    while taken.len() < most
        && let Ok(more) = receiver.try_recv()
    {
        taken.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u64) -> Span {
        Span {
            trace: TraceId(1),
            id: SpanId(number),
            parent: None,
            kind: Kind::Internal,
            name: "x".into(),
            start_ns: 0,
            end_ns: 0,
            attributes: Vec::new(),
            is_error: false,
        }
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_does_not_wait_and_is_counted() {
        let spans = Spans::new(2, Chance::new(1));
        for number in 0..4 {
            spans.offer(vec![span(number), span(number)]);
        }
        assert_eq!((spans.waiting(), spans.tally()[1]), (2, (Fate::QueueFull, 4)));
        let mut taken = Vec::new();
        spans.take(&mut taken, 3).await;
        assert_eq!(taken.iter().map(|span| span.id.0).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert_eq!(spans.waiting(), 0);
    }
}
