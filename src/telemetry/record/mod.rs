//! Record: where the rows of a traffic trace go, one for each call that is over.
//!
//! `policy/observe` makes the rows. It does not know what is in them, and holds no content: of a question a recorder keeps a
//! digest, if it keeps anything.

pub mod digest;
mod folder;

pub mod writer;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::model::recorded::RecordedCall;
use crate::telemetry::metrics::sampled::Samples;

/// Who keeps rows.
pub trait Recorder: Send + Sync {
    /// What a row calls a question. `canonical` gives the form that is equal for equal questions, which is content and takes a
    /// while; `None` where a question has none.
    fn question(&self, canonical: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>>;

    /// Takes the row of a call when nothing more can happen to it. Its names are those of the callers: whoever writes them down
    /// hides them. It must not block.
    fn note(&self, call: RecordedCall);
}

/// Who keeps the rows of a process's calls, if anybody does. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Recording(Arc<Slot>);

#[derive(Default)]
struct Slot {
    /// What a call asks first, so that it pays for no more where nobody records.
    is_on: AtomicBool,
    recorder: RwLock<Option<Arc<dyn Recorder>>>,
    counts: Arc<Counts>,
}

/// What became of rows since the start of the process, and the bytes that were written of them.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    queue_full: AtomicU64,
    unwritable: AtomicU64,
    shutdown: AtomicU64,
    bytes: AtomicU64,
}

impl Recording {
    /// Who keeps rows now.
    pub fn recorder(&self) -> Option<Arc<dyn Recorder>> {
        if !self.0.is_on.load(Ordering::Relaxed) {
            return None;
        }
        self.0.recorder.read().clone()
    }

    /// Has another keep the rows of calls from now on, or nobody. Calls that have begun go to whoever was there then.
    pub fn set(&self, recorder: Option<Arc<dyn Recorder>>) {
        let is_on = recorder.is_some();
        *self.0.recorder.write() = recorder;
        self.0.is_on.store(is_on, Ordering::Relaxed);
    }

    fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// What metrics show of it.
    pub fn sample(&self, samples: &mut Samples<'_>) {
        let Counts { written, queue_full, unwritable, shutdown, bytes } = &*self.0.counts;
        let rows =
            [("written", written), ("queue_full", queue_full), ("unwritable", unwritable), ("shutdown", shutdown)];
        let rows = rows.map(|(result, count)| ([result], count.load(Ordering::Relaxed)));
        let help = "Calls recorded in the trace by result: written, or why they are missing in it";
        samples.counters("tidegate_record_rows_total", help, ["result"], rows);
        let help = "Bytes written to the trace of calls";
        samples.counter("tidegate_record_bytes_total", help, bytes.load(Ordering::Relaxed));
    }
}
