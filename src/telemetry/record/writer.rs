//! A recorder that writes rows to files: a bounded queue, and a task that empties it a few times a second.
//!
//! A call never waits for it: what does not fit into the queue, and what the disk does not take, is counted and lost. It does
//! not know who starts the task.

use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::digest::Digests;
use super::folder::TraceFolder;
use super::{Counts, Recorder, Recording};
use crate::config::plan::RecordPlan;
use crate::model::recorded::RecordedCall;
use crate::model::time::WallClock;

/// How long rows are collected. A crash loses as much.
const COLLECTING: Duration = Duration::from_millis(100);

/// Rows that are written at once.
const BATCH: usize = 1024;

/// Hands rows to the task.
pub struct FileRecorder {
    rows: Sender<RecordedCall>,
    digests: Digests,
    counts: Arc<Counts>,
}

/// The task that writes them.
pub struct RowWriter {
    rows: Receiver<RecordedCall>,
    digests: Digests,
    counts: Arc<Counts>,
    file: Arc<Mutex<Output>>,
    /// Rows that found the queue full, when that was last looked at.
    dropped: u64,
    is_dropping: bool,
}

/// Where lines go.
struct Output {
    folder: TraceFolder,
    clock: WallClock,
    /// True when the last batch could not be written.
    is_failing: bool,
}

impl FileRecorder {
    /// A recorder into a folder, and the task that has to run for it. What becomes of its rows is counted in `recording`.
    pub fn new(
        folder: &Path,
        plan: &RecordPlan,
        digests: Digests,
        recording: &Recording,
        clock: WallClock,
    ) -> (Self, RowWriter) {
        let (sender, rows) = mpsc::channel(plan.queue.max(1));
        let counts = recording.counts().clone();
        let folder = TraceFolder::new(folder, plan, digests.mark());
        let file = Arc::new(Mutex::new(Output { folder, clock, is_failing: false }));
        let recorder = Self { rows: sender, digests: digests.clone(), counts: counts.clone() };
        let dropped = counts.queue_full.load(Ordering::Relaxed);
        (recorder, RowWriter { rows, digests, counts, file, dropped, is_dropping: false })
    }
}

impl Recorder for FileRecorder {
    fn question(&self, canonical: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        canonical().map(|canonical| self.digests.question(&canonical))
    }

    fn note(&self, call: RecordedCall) {
        match self.rows.try_send(call) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => drop(self.counts.queue_full.fetch_add(1, Ordering::Relaxed)),
            Err(TrySendError::Closed(_)) => drop(self.counts.shutdown.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl RowWriter {
    /// Writes rows until nobody can note one any more, or until `over`: then those that wait are the last.
    pub async fn run(mut self, over: CancellationToken) {
        while let Some(Some(first)) = over.run_until_cancelled(self.rows.recv()).await {
            // Others will have come by then. Waiting for each of them would cost each call a wake-up.
            over.run_until_cancelled(sleep(COLLECTING)).await;
            self.write_waiting(Some(first)).await;
            self.tell_of_drops();
        }
        self.rows.close();
        self.write_waiting(None).await;
        self.tell_of_drops();
    }

    /// Writes the rows that wait.
    async fn write_waiting(&mut self, first: Option<RecordedCall>) {
        let mut batch: Vec<RecordedCall> = first.into_iter().collect();
        loop {
            while batch.len() < BATCH
                && let Ok(row) = self.rows.try_recv()
            {
                batch.push(row);
            }
            if batch.is_empty() {
                return;
            }
            let (rows, digests) = (std::mem::take(&mut batch), self.digests.clone());
            let (file, counts) = (self.file.clone(), self.counts.clone());
            // A disk may take its time, and so do the digests of many names.
            let work = spawn_blocking(move || file.lock().write(rows, &digests, &counts));
            if work.await.is_err() {
                return;
            }
        }
    }

    /// Says once in the log that rows are dropped, until none were for a while.
    fn tell_of_drops(&mut self) {
        let dropped = self.counts.queue_full.load(Ordering::Relaxed);
        let is_dropping = dropped > self.dropped;
        if is_dropping && !self.is_dropping {
            let rows = dropped - self.dropped;
            tracing::warn!(
                rows,
                "calls are missing in the trace: the queue was full (record.queue; tidegate_record_rows_total counts them)"
            );
        }
        (self.dropped, self.is_dropping) = (dropped, is_dropping);
    }
}

impl Output {
    fn write(&mut self, rows: Vec<RecordedCall>, digests: &Digests, counts: &Counts) {
        let count = rows.len() as u64;
        let mut lines = Vec::with_capacity(rows.len() * 512);
        let encoded = rows.into_iter().try_for_each(|row| {
            serde_json::to_writer(&mut lines, &digests.hide(row))?;
            lines.push(b'\n');
            Ok::<_, serde_json::Error>(())
        });
        match encoded.map_err(Into::into).and_then(|()| self.folder.append(&lines, self.clock.now())) {
            Ok(()) => {
                counts.written.fetch_add(count, Ordering::Relaxed);
                counts.bytes.fetch_add(lines.len() as u64, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(folder = %self.folder, "the trace of calls is written again");
                }
            }
            Err(error) => {
                counts.unwritable.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(
                        %error,
                        folder = %self.folder,
                        "could not write the trace of calls: they go on, and are missing in it until it can be written again"
                    );
                }
            }
        }
    }
}
