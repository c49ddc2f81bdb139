//! Job: work that need not be answered at once: what is asked, on whose behalf, how far it is, and how it ended.
//!
//! It does not know where jobs are kept (that is `state/jobs`), nor how callers spell them (that is `caller/`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::call::Head;
use crate::model::uuid::Uuid;

/// The name of a job, which nobody can guess. It is made before the job is written, so that a submission can be repeated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// The id of these random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(Uuid::new(random))
    }

    /// Reads an id; `None`: no job has this name.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse(text).map(Self)
    }

    /// Its bytes, as keys of a store hold them.
    pub fn bytes(&self) -> &[u8; 16] {
        self.0.bytes()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What kind of work a job is: `type` of its body, and the label `kind` of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A business model canvas from a description.
    CanvasGeneration,
    /// A canvas and an instruction how to change it.
    CanvasRefinement,
    /// A prompt of the caller's own, or one of the config's.
    CustomPrompt,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CanvasGeneration, Self::CanvasRefinement, Self::CustomPrompt];

    /// The word in bodies, in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::CanvasGeneration => "canvas_generation",
            JobKind::CanvasRefinement => "canvas_refinement",
            JobKind::CustomPrompt => "custom_prompt",
        }
    }
}

/// Which of a tenant's jobs come first. It never puts a job before another tenant's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPriority {
    /// Before all others of the tenant.
    High,
    /// Where the caller says nothing.
    #[default]
    Normal,
    /// After all others of the tenant.
    Low,
}

impl JobPriority {
    /// All of them, the first to be taken first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The word in bodies and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            JobPriority::High => "high",
            JobPriority::Normal => "normal",
            JobPriority::Low => "low",
        }
    }
}

/// Where a job is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It waits for a time: its own delay, the pause before another attempt, or room, limits and budgets.
    Delayed,
    /// A worker has it.
    Active,
    /// It has a result.
    Completed,
    /// It has a fault and will not be tried again: a dead letter, which an operator may requeue.
    Failed,
    /// Its tenant or an operator has cancelled it. Callers see it as failed.
    Cancelled,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Delayed, Self::Active, Self::Completed, Self::Failed, Self::Cancelled];

    /// The word for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Delayed => "delayed",
            JobState::Active => "active",
            JobState::Completed => "completed",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// The state of a word for operators.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// True when nothing happens to the job any more, unless an operator requeues it.
    pub fn is_over(self) -> bool {
        matches!(self, JobState::Completed | JobState::Failed | JobState::Cancelled)
    }
}

/// On whose behalf a job is done: what of a request's [`Head`] outlives the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// See [`Head::tenant`].
    pub tenant: Arc<str>,
    /// See [`Head::is_tenant_named`].
    pub is_tenant_named: bool,
    /// See [`Head::user`].
    pub user: Option<Arc<str>>,
    /// See [`Head::role`].
    pub role: Option<Arc<str>>,
    /// See [`Head::tier`].
    pub tier: Arc<str>,
    /// See [`Head::api_key`].
    pub api_key: Option<Arc<str>>,
    /// See [`Head::credential`].
    pub credential: Option<[u8; 32]>,
    /// See [`Head::is_proven`].
    pub is_proven: bool,
    /// See [`Head::account`].
    pub account: bool,
    /// See [`Head::address`].
    pub address: IpAddr,
    /// See [`Head::is_address_shared`].
    pub is_address_shared: bool,
}

impl Submitter {
    /// Who sent this request.
    pub fn of(head: &Head) -> Self {
        Self {
            tenant: head.tenant.clone(),
            is_tenant_named: head.is_tenant_named,
            user: head.user.clone(),
            role: head.role.clone(),
            tier: head.tier.clone(),
            api_key: head.api_key.clone(),
            credential: head.credential,
            is_proven: head.is_proven,
            account: head.account,
            address: head.address,
            is_address_shared: head.is_address_shared,
        }
    }
}

/// What is known of a job from its submission on and, but for one moment, never changes. No content of the caller's is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFacts {
    /// What kind of work it is.
    pub kind: JobKind,
    /// Its place among the tenant's jobs.
    pub priority: JobPriority,
    /// On whose behalf it is done.
    pub submitter: Submitter,
    /// The key of the prompt that it uses; `None`: the caller wrote the prompt.
    pub prompt: Option<Arc<str>>,
    /// The batch that it came with.
    pub batch: Option<JobId>,
    /// The id of the request that submitted it, for logs.
    pub request_id: Arc<str>,
    /// When it was submitted, by the wall clock of the gateway that accepted it, to the millisecond.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub submitted: Timestamp,
    /// When its time begins, from which `jobs.max_age` counts: after its own delay, and anew when an operator requeues it.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub begins: Timestamp,
}

/// What a job asks. Stores see it sealed, as bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    /// The prompt.
    pub prompt: JobPrompt,
    /// The model that the caller named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// The most tokens to generate, when the caller set a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Sampling temperature, when the caller set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What the caller wants to get back with the result; it means nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
}

/// The prompt of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPrompt {
    /// The caller's own words.
    Text(String),
    /// One of the config's.
    Named {
        /// Its key.
        key: Box<str>,
        /// What its template is filled with.
        variables: serde_json::Map<String, serde_json::Value>,
    },
}

/// What came of a job. Stores see it sealed, as bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// The answer: a text, or a JSON object where the job asks for a shape.
    pub content: serde_json::Value,
    /// The word for who answered, as the canvas application knows it.
    pub provider: Box<str>,
    /// The model that answered.
    pub model: Box<str>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// What was paid for all attempts, in nanodollars.
    pub cost_nanos: u64,
    /// Milliseconds that the last attempt took.
    pub latency_ms: u64,
    /// True for a cached response.
    pub cached: bool,
}

/// Why a job has no result, or not yet. Callers and operators see both texts, so no content is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFault {
    /// The code of the fault (`model/fault/table.rs`), or `cancelled`, or `worker_lost`.
    pub code: Box<str>,
    /// What happened, in words.
    pub message: Box<str>,
}

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// With a [`JobResult`], sealed.
    Completed(Bytes),
    /// Without one.
    Failed(JobFault),
}

/// How far an attempt is. It is lost with its worker, and nobody but who watches the job sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// Percent, as far as anybody can tell.
    pub percent: u8,
    /// The text so far, sealed. Only set while somebody watches.
    pub text: Option<Bytes>,
}

/// A job to be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its name, which is new.
    pub id: JobId,
    /// What will not change.
    pub facts: JobFacts,
    /// A [`JobInput`], sealed.
    pub input: Bytes,
    /// The URL to be told of its end, sealed.
    pub webhook: Option<Bytes>,
    /// For how long it is delayed; zero: it waits for nothing but its turn.
    pub delay: std::time::Duration,
}

/// A job as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// What does not change.
    pub facts: Arc<JobFacts>,
    /// Where it is.
    pub state: JobState,
    /// Attempts that were charged, the running one included. An operator's requeue begins again at 0.
    pub attempts: u32,
    /// When it entered its state, by the store's wall clock.
    pub since: Timestamp,
    /// When its delay ends; `None` unless it is delayed.
    pub due: Option<Timestamp>,
    /// When the last attempt began; `None`: there was none.
    pub started: Option<Timestamp>,
    /// Why it failed or was cancelled; before that, why the last attempt failed or what it waits for.
    pub fault: Option<JobFault>,
    /// How far it is; `None` unless it is active and its worker said so.
    pub progress: Option<JobProgress>,
    /// True when a webhook will be told of its end.
    pub has_webhook: bool,
    /// What it asks, sealed; `None` where it was not asked for.
    pub input: Option<Bytes>,
    /// What came of it, sealed; `None` where it was not asked for, or there is none.
    pub result: Option<Bytes>,
}
