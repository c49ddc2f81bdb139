//! Tables: how jobs lie in the file. Each job has one row, its contents apart, and one entry in the index of its state.
//!
//! It does not know when a job moves, nor why.

use std::sync::Arc;

use jiff::Timestamp;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use crate::model::job::{JobFacts, JobFault, JobId, JobRecord, JobState};

/// What is written under `format`: whoever changes a table below in a way that older gateways misread raises it.
pub(super) const FORMAT: u64 = 1;

/// Numbers of the file itself: `format`, and `seq`, the last place in a queue that was given away.
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// A [`Row`] in JSON, by job.
pub(super) const JOBS: TableDefinition<u128, &[u8]> = TableDefinition::new("jobs");
/// Sealed contents, by job and [`Part`].
pub(super) const CONTENTS: TableDefinition<(u128, u8), &[u8]> = TableDefinition::new("contents");
/// Queued jobs by tenant, priority and place: the queue.
pub(super) const WAITING: TableDefinition<(&str, u8, u64), u128> = TableDefinition::new("waiting");
/// Delayed jobs by the moment at which the delay ends, and the order in which they were delayed.
pub(super) const LATER: TableDefinition<(i64, u64), u128> = TableDefinition::new("later");
/// All jobs by state and since when, each with its tenant.
pub(super) const STATES: TableDefinition<(u8, i64, u128), &str> = TableDefinition::new("states");
/// Jobs that are over, by the moment at which they expire.
pub(super) const ENDED: TableDefinition<(i64, u128), ()> = TableDefinition::new("ended");
/// Submissions that are accepted once, by the hash of the caller's key.
pub(super) const ONCE: TableDefinition<&[u8; 32], OnceRow> = TableDefinition::new("once");
/// Their keys by the moment at which they expire.
pub(super) const ONCE_ENDED: TableDefinition<(i64, &[u8; 32]), ()> = TableDefinition::new("once_ended");
/// Webhooks that are not settled: tenant, how often tried, since when, due when.
pub(super) const HOOKS: TableDefinition<u128, (&str, u32, i64, i64)> = TableDefinition::new("hooks");
/// The same by the moment at which they are due.
pub(super) const HOOKS_DUE: TableDefinition<(i64, u128), ()> = TableDefinition::new("hooks_due");

/// The hash of a request, when it expires, and the ids of its jobs.
pub(super) type OnceRow = (&'static [u8; 32], i64, &'static [u8]);

/// Which content of a job.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Input = 0,
    Result = 1,
    Webhook = 2,
}

/// A job, but for its id and contents. Times are milliseconds since 1970 by the wall clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) facts: Arc<JobFacts>,
    pub(super) state: JobState,
    /// How often it was claimed, or a claim was declared void.
    pub(super) fence: u64,
    pub(super) attempts: u32,
    /// Its place in the queue; while it is active, the one that it goes back to.
    pub(super) seq: u64,
    pub(super) since: i64,
    /// When its delay ends (delayed), or it expires (over).
    pub(super) until: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<JobFault>,
    #[serde(default)]
    pub(super) has_webhook: bool,
    /// True when a worker was lost with it since it was last taken.
    #[serde(default)]
    pub(super) is_orphan: bool,
}

impl Row {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, redb::Error> {
        serde_json::from_slice(bytes).map_err(|wrong| redb::Error::Corrupted(format!("a job's row: {wrong}")))
    }

    pub(super) fn write(&self) -> Result<Vec<u8>, redb::Error> {
        serde_json::to_vec(self).map_err(|wrong| redb::Error::Corrupted(format!("a job's row: {wrong}")))
    }

    pub(super) fn tenant(&self) -> &Arc<str> {
        &self.facts.submitter.tenant
    }

    /// The job as others see it, without contents.
    pub(super) fn record(&self, id: JobId) -> JobRecord {
        JobRecord {
            id,
            facts: self.facts.clone(),
            state: self.state,
            attempts: self.attempts,
            since: moment(self.since),
            due: (self.state == JobState::Delayed).then(|| moment(self.until)),
            started: self.started.map(moment),
            fault: self.fault.clone(),
            progress: None,
            has_webhook: self.has_webhook,
            input: None,
            result: None,
        }
    }
}

/// The key of a job.
pub(super) fn key(id: &JobId) -> u128 {
    u128::from_be_bytes(*id.bytes())
}

/// The job of a key.
pub(super) fn id(key: u128) -> JobId {
    JobId::new(key.to_be_bytes())
}

/// A moment that a row names. What no calendar holds is shown as its edge.
pub(super) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
