//! Jobs as callers ask for them: the seam between a dialect that has endpoints for them and the server.
//!
//! It does not know where jobs are kept, nor who works on them.

use std::time::Duration;

use serde_json::Value;

use super::{About, Answered, Incoming};
use crate::config::plan::{JobsPlan, RoutePlan};
use crate::model::call::Chat;
use crate::model::fault::Fault;
use crate::model::job::{JobId, JobInput, JobKind, JobPriority, JobRecord, JobResult};
use crate::model::reply::Reply;
use crate::state::jobs::JobCounts;

/// A dialect that has endpoints for jobs.
pub trait JobCaller: Send + Sync {
    /// Reads a request about jobs. `id` is the one in its path, where its route has one. A fault names the field, what is
    /// wrong with it and what is allowed.
    fn decode(&self, incoming: &Incoming<'_>, id: Option<&str>, plan: &JobsPlan) -> Result<JobRequest, Fault>;

    /// The same fault, of the job that came at this place of a batch, counted from zero.
    fn within(&self, place: usize, fault: Fault) -> Fault;

    /// What a job asks, as a call through its route. A prompt of the config is named in it, and not yet rendered.
    fn chat(&self, kind: JobKind, input: &JobInput, route: &RoutePlan) -> Chat;

    /// What came of a call that a job has made. A fault means that the reply is no result in this dialect.
    fn result(&self, about: &About<'_>, reply: &Reply) -> Result<JobResult, Fault>;

    /// How a job is, in the words of [`JobAnswer::Status`]: what is told to those who do not ask again and again.
    fn status(&self, view: &JobView<'_>) -> Value;

    /// Spells what those who watch a job are told: the data of a server-sent event.
    fn event(&self, event: &JobEvent<'_>) -> Value;

    /// Spells an answer.
    fn encode(&self, answer: &JobAnswer<'_>) -> Answered;
}

/// What is asked of the queue.
#[derive(Clone, Debug, PartialEq)]
pub enum JobRequest {
    /// To accept jobs: all of them, or none.
    Submit {
        /// What is to be done; at least one.
        jobs: Vec<JobOrder>,
        /// True: they came as a batch, even if it is one of one.
        is_batch: bool,
    },
    /// How a job is.
    Status(JobId),
    /// What came of a job.
    Result(JobId),
    /// How a job is, whenever that changes.
    Events(JobId),
    /// To cancel a job.
    Cancel(JobId),
    /// How many jobs there are.
    Metrics,
}

/// One job as its caller wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOrder {
    /// What kind of work it is.
    pub kind: JobKind,
    /// Its place among the tenant's jobs.
    pub priority: JobPriority,
    /// How long it waits before its turn may come.
    pub delay: Duration,
    /// What it asks.
    pub input: JobInput,
    /// The URL to be told of its end.
    pub webhook: Option<Box<str>>,
}

/// What callers are told.
pub enum JobAnswer<'a> {
    /// The jobs are stored.
    Accepted {
        /// Each, in the order in which they came, with true where it is delayed.
        jobs: &'a [(JobId, bool)],
        /// The batch, where they came as one.
        batch: Option<JobId>,
        /// True: they had been accepted before, under the same idempotency key.
        is_repeated: bool,
        /// The path that they were sent to.
        path: &'a str,
    },
    /// How a job is.
    Status(JobView<'a>),
    /// What came of a job.
    Result(&'a JobResult),
    /// The job is cancelled.
    Cancelled,
    /// How many jobs the tenant has.
    Metrics(&'a JobCounts),
}

/// What those who watch a job are told.
pub enum JobEvent<'a> {
    /// It has entered a state.
    Status(JobView<'a>),
    /// How far it is, in percent.
    Progress(&'a JobId, u8),
    /// The text of its answer so far.
    Tokens(&'a JobId, &'a str),
    /// How it has ended.
    Result(JobView<'a>),
}

impl JobEvent<'_> {
    /// The type of the event.
    pub fn name(&self) -> &'static str {
        match self {
            JobEvent::Status(_) => "status",
            JobEvent::Progress(..) => "progress",
            JobEvent::Tokens(..) => "tokens",
            JobEvent::Result(_) => "result",
        }
    }
}

/// A job as its tenant may see it.
#[derive(Clone, Copy)]
pub struct JobView<'a> {
    /// The job.
    pub job: &'a JobRecord,
    /// What it asks, as far as that could be read.
    pub input: Option<&'a JobInput>,
    /// What came of it.
    pub result: Option<&'a JobResult>,
}
