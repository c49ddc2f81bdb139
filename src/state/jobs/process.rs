//! Jobs of a process: its store, the seal of their contents, and how many there were lately.
//!
//! Scrapes and the live page read the numbers from here, so that no reader of them makes work for a store. It does not
//! know who works.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::seal::{Content, Seal};
use super::seats::Seats;
use super::{JobCounts, JobStore, Scope};
use crate::model::job::{JobInput, JobRecord, JobResult};

/// How often the store is asked for its counts.
const PAUSE: Duration = Duration::from_secs(5);

/// What a process has for jobs.
pub struct Jobs {
    store: Arc<dyn JobStore>,
    seal: Seal,
    seats: Seats,
    latest: Mutex<JobCounts>,
}

impl Jobs {
    /// Jobs in this store, whose contents this seals.
    pub fn new(store: Arc<dyn JobStore>, seal: Seal) -> Self {
        Self { store, seal, seats: Seats::default(), latest: Mutex::default() }
    }

    /// Where they are kept.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        &self.store
    }

    /// What seals and opens their contents.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Places for those who watch jobs.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// What a job asks; `None`: it was not fetched with the job, or cannot be opened, as it was sealed with another secret.
    pub fn input(&self, job: &JobRecord) -> Option<JobInput> {
        self.read(job, Content::Input, job.input.as_deref()?)
    }

    /// What came of a job; `None`: nothing yet, or as for [`input`](Self::input).
    pub fn result(&self, job: &JobRecord) -> Option<JobResult> {
        self.read(job, Content::Result, job.result.as_deref()?)
    }

    fn read<T: DeserializeOwned>(&self, job: &JobRecord, content: Content, sealed: &[u8]) -> Option<T> {
        let opened = self.seal.open(&job.id, &job.facts.submitter.tenant, content, sealed)?;
        serde_json::from_slice(&opened).ok()
    }

    /// How many there were when the store was asked last; none before that.
    pub fn counts(&self) -> JobCounts {
        *self.latest.lock()
    }

    /// Does the store's work in the background, and asks for its counts. Runs until dropped.
    pub async fn run(&self) {
        let counts = async {
            loop {
                // While the store is out the last numbers stay: that it is out is told by another.
                if let Ok(counts) = self.store.counts(&Scope::Operator).await {
                    *self.latest.lock() = counts;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = self.store.run() => {}
            () = counts => {}
        }
    }
}

impl JobCounts {
    /// How long the oldest queued job has been queued.
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        self.oldest.and_then(|oldest| now.duration_since(oldest).try_into().ok()).unwrap_or_default()
    }
}
