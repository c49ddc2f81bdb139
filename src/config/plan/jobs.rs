//! Jobs: where they are kept, how they are worked off, and which routes their calls take.
//!
//! It does not know what a job asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::engine::secret::Secret;
use crate::model::job::JobKind;
use crate::model::rate::Rate;
use crate::model::webhook_url::WebhookUrls;
use crate::wire::redis_url::Address;
use crate::wire::webhook::SigningSecret;

/// `[jobs]`
#[derive(Clone, Debug)]
pub struct JobsPlan {
    /// False: no job is accepted or worked on. What is stored stays there.
    pub is_on: bool,
    /// A Redis that keeps jobs alone; `None`: the shared store keeps them too.
    pub redis_url: Option<Secret>,
    /// The Redis that keeps jobs, that of `[store]` included; `None`: the file does.
    pub address: Option<Address>,
    /// The file that keeps jobs where no Redis does.
    pub state_file: PathBuf,
    /// Jobs at once in this process; 0: it only accepts them.
    pub concurrency: usize,
    /// Jobs that all gateways together begin.
    pub rate: Rate,
    /// How long a worker may be silent before its job goes to another.
    pub lease: Duration,
    /// Attempts at one job, the first included.
    pub attempts: u32,
    /// The wait before the second attempt; each further one is twice as long.
    pub backoff: Duration,
    /// How long a result is kept.
    pub keep_results: Duration,
    /// How long a failed job is kept.
    pub keep_failures: Duration,
    /// A job that could not be answered for this long fails.
    pub max_age: Duration,
    /// Jobs in one batch.
    pub max_batch: usize,
    /// Jobs that wait, of all tenants together.
    pub max_waiting: usize,
    /// ... and of one tenant.
    pub max_waiting_per_tenant: usize,
    /// What becomes of a job whose budget is spent.
    pub on_budget: OnBudget,
    /// Replicas of Redis that must have a job before it is accepted.
    pub replicas: u32,
    /// True: jobs are accepted although Redis keeps them in memory only.
    pub is_volatile: bool,
    /// What seals the content of jobs where they are kept; `None`: it is stored as it is.
    pub secret: Option<Secret>,
    /// How the ends of jobs are told.
    pub webhooks: WebhookPlan,
    /// The kinds of jobs that are accepted, each with the route that its calls take.
    pub routes: Vec<(JobKind, Arc<str>)>,
}

impl JobsPlan {
    /// The route of a kind; `None`: such jobs are not accepted.
    pub fn route(&self, kind: JobKind) -> Option<&Arc<str>> {
        self.routes.iter().find(|(known, _)| *known == kind).map(|(_, route)| route)
    }
}

/// `jobs.webhook_*`: how the ends of jobs are told.
#[derive(Clone, Debug, Default)]
pub struct WebhookPlan {
    /// Which URLs callers may name.
    pub urls: WebhookUrls,
    /// What each message is signed with, by the tenant's secret of each; none: no job may have a webhook.
    pub secrets: Vec<SigningSecret>,
}

/// `jobs.on_budget`: what becomes of a job whose budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBudget {
    /// It waits until the budget resets.
    Wait,
    /// It fails.
    Fail,
}
