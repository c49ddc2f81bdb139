//! What a gateway answers of jobs, as far as it is shown.
//!
//! It asks for nothing.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Some jobs of a list, and what there is in all.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) jobs: Vec<JobAnswer>,
    pub(super) counts: Counts,
    /// Why no job can be submitted.
    pub(super) outage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) queued: Queued,
    pub(super) delayed: u64,
    pub(super) active: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) webhooks: u64,
    pub(super) oldest_queued_seconds: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Queued {
    pub(super) high: u64,
    pub(super) normal: u64,
    pub(super) low: u64,
}

/// A job as it came, and read.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct JobAnswer {
    pub(super) job: Job,
    pub(super) json: Value,
}

impl TryFrom<Value> for JobAnswer {
    type Error = serde_json::Error;

    fn try_from(json: Value) -> Result<Self, Self::Error> {
        Ok(Self { job: Job::deserialize(&json)?, json })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) since: Timestamp,
    pub(super) age_seconds: u64,
    pub(super) kind: String,
    pub(super) priority: String,
    pub(super) tenant: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) batch: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) submitted_at: String,
    pub(super) started_at: Option<String>,
    pub(super) due_at: Option<String>,
    pub(super) attempts: u64,
    pub(super) percent: Option<u64>,
    pub(super) has_webhook: bool,
    pub(super) error: Option<JobError>,
}

impl Job {
    /// The code of its last error.
    pub(super) fn code(&self) -> Option<&str> {
        self.error.as_ref().map(|error| &*error.code)
    }
}

#[derive(Deserialize)]
pub(super) struct JobError {
    pub(super) code: String,
    pub(super) message: Option<String>,
}

/// How many jobs were deleted in one step.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PurgeStep {
    pub(super) purged: u64,
    pub(super) is_done: bool,
}
