//! Signs of life of one attempt at a provider: when it last sent something.
//!
//! It does not know how long a gap may be, nor what follows from one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::time::{later, now, since};

/// Signs of life of one attempt, and what is thought of it where there are none. Shared by those who wait for it, those who
/// read what comes, and those who judge its provider.
#[derive(Clone, Debug)]
pub struct Signs(Arc<Life>);

#[derive(Debug)]
struct Life {
    start: Instant,
    /// When the last sign came, in milliseconds from the start.
    last: AtomicU64,
    has_begun: AtomicBool,
    is_ill: AtomicBool,
    was_left: AtomicBool,
    silent_after: Duration,
}

impl Signs {
    /// Of an attempt that begins now, and that is overdue after such a silence once its answer has begun.
    pub fn new(silent_after: Duration) -> Self {
        let flag = AtomicBool::default;
        let (start, last) = (now(), AtomicU64::new(0));
        let [has_begun, is_ill, was_left] = [flag(), flag(), flag()];
        Self(Arc::new(Life { start, last, has_begun, is_ill, was_left, silent_after }))
    }

    /// A sign of life came that is no part of the answer: its head, or a comment.
    pub fn alive(&self) {
        let since = since(self.0.start).as_millis();
        self.0.last.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A part of the answer came.
    pub fn begun(&self) {
        self.alive();
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    /// It is sent again.
    pub fn renew(&self) {
        self.alive();
        self.0.has_begun.store(false, Ordering::Relaxed);
        self.0.is_ill.store(false, Ordering::Relaxed);
    }

    /// When the last sign came.
    pub fn last(&self) -> Instant {
        later(self.0.start, Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }

    /// How long it has been silent.
    pub fn silence(&self) -> Duration {
        self.last().elapsed()
    }

    /// The silence after which an answer that has begun is overdue.
    pub fn silent_after(&self) -> Duration {
        self.0.silent_after
    }

    /// True once a part of the answer has come.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }

    /// Its provider was found ill.
    pub fn note_illness(&self) {
        self.0.is_ill.store(true, Ordering::Relaxed);
    }

    /// True once its provider was found ill.
    pub fn is_ill(&self) -> bool {
        self.0.is_ill.load(Ordering::Relaxed)
    }

    /// It was left in the middle of its answer, because another went on with the same while it was silent.
    pub fn leave(&self) {
        self.0.was_left.store(true, Ordering::Relaxed);
    }

    /// True once it was left for its silence.
    pub fn was_left(&self) -> bool {
        self.0.was_left.load(Ordering::Relaxed)
    }
}
