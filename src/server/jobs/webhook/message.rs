//! Message: what is told of a job's end: a body that says how the job is, and headers that sign it.
//!
//! It does not know when it is sent, nor whether it arrives.

use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::caller::jobs::JobView;
use crate::gateway::Gateway;
use crate::model::job::{JobRecord, JobState};
use crate::state::jobs::process::Jobs;
use crate::state::jobs::seal::Content;
use crate::state::jobs::{Hook, Parts, Scope};
use crate::wire::webhook;

/// The longest body. Of a job with a longer result it says that there is one, and not which.
const LONGEST: usize = 1 << 20;

/// A message, ready to be sent.
pub(super) struct Message {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no message.
pub(super) enum Unsent {
    /// There is nothing to tell any more.
    Void,
    /// The store did not answer.
    StoreOut,
    /// The configuration of this process does not allow it. It may again, and another process may have another.
    NotNow(&'static str),
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// When the job ended.
    timestamp: String,
    data: &'a Value,
}

impl Message {
    /// The message of a webhook. Its id is the same whenever it is sent.
    pub(super) async fn of(gateway: &Gateway, jobs: &Jobs, hook: &Hook) -> Result<Self, Unsent> {
        let plan = &gateway.plan.jobs;
        let url = jobs.seal().open(&hook.id, &hook.tenant, Content::Webhook, &hook.url);
        let url = url.ok_or(Unsent::NotNow("its URL was stored under another secret"))?;
        let url = plan.webhooks.urls.check(&String::from_utf8_lossy(&url));
        let url = url.map_err(|_| Unsent::NotNow("its URL is not allowed by the configuration any more"))?;
        if plan.webhooks.secrets.is_empty() {
            return Err(Unsent::NotNow("there is no secret to sign it with (jobs.webhook_secret_env)"));
        }
        let parts = Parts { input: true, result: true };
        let found = jobs.store().find(&Scope::Operator, &hook.id, parts).await.map_err(|_| Unsent::StoreOut)?;
        let job = found.filter(|job| job.state.is_over()).ok_or(Unsent::Void)?;
        let route = plan.route(job.facts.kind).and_then(|name| gateway.route(name));
        let dialect = route.and_then(|route| route.dialect.jobs());
        let dialect = dialect.ok_or(Unsent::NotNow("there is no route for jobs of its kind (jobs.routes)"))?;
        let (input, result) = (jobs.input(&job), jobs.result(&job));
        let body = |result| {
            let view = JobView { job: &job, input: input.as_ref(), result };
            body(&job, &dialect.status(&view))
        };
        let mut text = body(result.as_ref());
        if text.len() > LONGEST {
            text = body(None);
        }
        // No dot: a signature covers the id, a dot, the time, a dot and the body.
        let id = format!("{}_{}", hook.id, hook.since.as_millisecond());
        let secrets: Vec<_> = plan.webhooks.secrets.iter().map(|secret| secret.of_tenant(&hook.tenant)).collect();
        let headers = webhook::headers(&secrets, &id, gateway.world.now().as_second(), &text);
        Ok(Self { url, headers, body: text.into() })
    }
}

fn body(job: &JobRecord, data: &Value) -> Vec<u8> {
    let kind = match job.state {
        JobState::Completed => "job.completed",
        _ => "job.failed",
    };
    let body = Body { kind, timestamp: job.since.to_string(), data };
    // Writing texts and numbers to memory cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}
