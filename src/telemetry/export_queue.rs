//! Export queue: a bounded queue between calls, which never wait, and an exporter, with counts of what was sent and
//! dropped.
//!
//! It does not know what the items are or where they go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was taken.
    Exported,
    /// Too many were waiting.
    QueueFull,
    /// There were too many of its kind.
    RateLimited,
    /// Who should have taken it could not be reached, or did not answer in time.
    Unreachable,
    /// Who should have taken it said no.
    Refused,
    /// The process ended first.
    Shutdown,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 6] =
        [Fate::Exported, Fate::QueueFull, Fate::RateLimited, Fate::Unreachable, Fate::Refused, Fate::Shutdown];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Exported => "exported",
            Fate::QueueFull => "queue_full",
            Fate::RateLimited => "rate_limited",
            Fate::Unreachable => "unreachable",
            Fate::Refused => "refused",
            Fate::Shutdown => "shutdown",
        }
    }
}

/// The queue, shared by its clones.
#[derive(Debug)]
pub struct ExportQueue<T>(Arc<Queue<T>>);

#[derive(Debug)]
struct Queue<T> {
    sender: Sender<T>,
    /// Taken by the one that sends them away.
    receiver: Mutex<Receiver<T>>,
    counts: [AtomicU64; Fate::ALL.len()],
}

impl<T> Clone for ExportQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> ExportQueue<T> {
    /// A queue of this capacity, at least one.
    pub fn new(most: usize) -> Self {
        let (sender, receiver) = mpsc::channel(most.max(1));
        Self(Arc::new(Queue { sender, receiver: Mutex::new(receiver), counts: Default::default() }))
    }

    /// Enqueues something, or counts it as this many dropped. Never waits.
    pub fn offer(&self, thing: T, count: usize) {
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.0.sender.try_send(thing) {
            self.count(Fate::QueueFull, count);
        }
    }

    /// Waits for the next.
    pub async fn next(&self) -> Option<T> {
        self.0.receiver.lock().await.recv().await
    }

    /// The next, if one waits.
    pub fn waiting(&self) -> Option<T> {
        self.0.receiver.try_lock().ok()?.try_recv().ok()
    }

    /// Counts the outcome of this many.
    pub fn count(&self, fate: Fate, count: usize) {
        if let Some(counter) = self.0.counts.get(fate as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// How many met which fate, since the start.
    pub fn tally(&self) -> [(&'static str, u64); Fate::ALL.len()] {
        Fate::ALL.map(|fate| {
            let count = self.0.counts.get(fate as usize).map_or(0, |count| count.load(Ordering::Relaxed));
            (fate.as_str(), count)
        })
    }

    /// How many wait.
    pub fn depth(&self) -> usize {
        self.0.sender.max_capacity() - self.0.sender.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_the_queue_full_does_not_wait_and_is_counted() {
        let outbox = ExportQueue::new(2);
        (0..4).for_each(|number| outbox.offer(number, 3));
        assert_eq!((outbox.depth(), outbox.tally()[1]), (2, ("queue_full", 6)));
        assert_eq!((outbox.next().await, outbox.waiting(), outbox.waiting()), (Some(0), Some(1), None));
        assert_eq!(outbox.depth(), 0);
    }
}
