//! Jobs: `/admin/jobs`: which jobs there are and why they failed, and what operators do about them: retry, cancel, purge. Each
//! change is a line in the audit log.
//!
//! Tenants are pseudonyms, as in the call history; `?tenant=NAME` finds a tenant's jobs by its name. What a job asks and
//! what came of it is shown only when asked for, with the admin token, and leaves a line in the audit log too. It does not
//! know where jobs are kept.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::Answered;
use crate::model::job::{JobId, JobKind, JobRecord, JobState};
use crate::model::time::since;
use crate::server::job_metrics::JobMetrics;
use crate::server::operator::access;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::OperatorRequest;
use crate::server::operator::explain::CallRenderer;
use crate::state::jobs::{Cancelled, JobCounts, JobFilter, JobStore, JobStoreFault, Parts, Requeued, Scope};

/// Who changes jobs, as the audit log has it.
const ADMIN: &str = "ADMIN_TOKEN";

/// How many jobs are listed unless the request says.
const SHOWN: usize = 50;

/// The most that are listed.
const MOST: usize = 1000;

/// Jobs that are deleted in one step; a store may write nothing else meanwhile.
const STEP: usize = 500;

/// After this time a purge answers, and whoever wants more deleted asks again: nobody can tell an answer that takes long from
/// one that never comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The body of a purge. States must be named, so that nobody purges results by mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PurgeRequest {
    states: Vec<String>,
    tenant: Option<Arc<str>>,
    kind: Option<String>,
    /// Seconds.
    older_than: Option<u64>,
}

/// `GET /admin/jobs`: the jobs that meet the conditions of the query, those first that entered their state last.
pub(super) async fn list(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let filter = read_filter(request)?;
    let store = store(request)?;
    let jobs = store.list(&Scope::Operator, &filter).await.map_err(refused)?;
    let counts = store.counts(&Scope::Operator).await.map_err(refused)?;
    let jobs: Vec<Value> = jobs.iter().map(|job| shown(request, job)).collect();
    let outage = store.outage().map(|fault| fault.to_string());
    Ok(ok(&json!({"jobs": jobs, "counts": shown_counts(&counts, request.gateway.world.now()), "outage": outage})))
}

/// `GET /admin/jobs/{id}`; with `?content=true` what the job asks and what came of it too.
pub(super) async fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let shows_content = read_content(request)?;
    if shows_content {
        access::admit_token(request.gateway, request.from, &request.parts.headers).await?;
    }
    let job = find(request, Parts { input: shows_content, result: shows_content }).await?;
    let mut answer = shown(request, &job);
    if shows_content {
        answer["content"] = content(request, &job)?;
        audit(request, "read content", &job.id);
    }
    Ok(ok(&answer))
}

/// `POST /admin/jobs/{id}/retry`: queues a failed or cancelled job again, from its first attempt on.
pub(super) async fn retry(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let id = id(request)?;
    match store(request)?.requeue(&Scope::Operator, &id).await.map_err(refused)? {
        Requeued::Done => audit(request, "retry", &id),
        Requeued::Refused(state) => return Err(conflict(state, "only failed and cancelled jobs can be retried")),
        Requeued::Unknown => return Err(unknown()),
    }
    changed(request).await
}

/// `DELETE /admin/jobs/{id}`: cancels a job that has not ended.
pub(super) async fn cancel(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let id = id(request)?;
    match store(request)?.cancel(&Scope::Operator, &id).await.map_err(refused)? {
        Cancelled::Done => audit(request, "cancel", &id),
        Cancelled::Over(state) => return Err(conflict(state, "it has ended already")),
        Cancelled::Unknown => return Err(unknown()),
    }
    request.gateway.metrics.group::<JobMetrics>().cancelled();
    changed(request).await
}

/// `POST /admin/jobs/purge`: deletes jobs that have ended.
pub(super) async fn purge(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let PurgeRequest { states, tenant, kind, older_than } = serde_json::from_slice(&request.body).map_err(|fault| {
        let form = r#"the body must be {"states": ["failed"], "tenant"?: NAME, "kind"?: KIND, "olderThan"?: SECONDS}"#;
        Problem::bad_request(format!("{form}: {fault}"))
    })?;
    let states = states.iter().map(|word| read_state(word, JobState::is_over)).collect::<Result<Vec<_>, _>>()?;
    if states.is_empty() {
        return Err(Problem::bad_request("`states` must name at least one of completed, failed and cancelled"));
    }
    let kind = kind.as_deref().map(read_kind).transpose()?;
    // Without a bound a job that ends while this runs would be deleted too.
    let age = Duration::from_secs(older_than.unwrap_or_default());
    let before = request.gateway.world.now().checked_sub(age);
    let before = before.map_err(|_| Problem::bad_request("`olderThan` is too large"))?;
    let filter = JobFilter { states, tenant, kind, before: Some(before), limit: STEP };
    let (store, began) = (store(request)?, Instant::now());
    let mut purged = 0;
    let is_done = loop {
        let count = store.purge(&Scope::Operator, &filter).await.map_err(refused)?;
        purged += count;
        if count < STEP as u64 {
            break true;
        }
        if since(began) > PATIENCE {
            break false;
        }
    };
    let (by, address) = (ADMIN, request.from);
    tracing::warn!(target: "tidegate::audit", action = "purge", jobs = purged, by, %address, "operator action on jobs");
    Ok(ok(&json!({"purged": purged, "isDone": is_done})))
}

fn store<'a>(request: &OperatorRequest<'a>) -> Result<&'a dyn JobStore, Problem> {
    let gateway = request.gateway;
    match gateway.plan.jobs.is_on {
        true => Ok(&**gateway.jobs.store()),
        false => Err(Problem::new(StatusCode::NOT_FOUND, "jobs are disabled: set `jobs.enabled = true`")),
    }
}

fn id(request: &OperatorRequest<'_>) -> Result<JobId, Problem> {
    JobId::parse(request.name).ok_or_else(unknown)
}

async fn find(request: &OperatorRequest<'_>, parts: Parts) -> Result<JobRecord, Problem> {
    let id = id(request)?;
    store(request)?.find(&Scope::Operator, &id, parts).await.map_err(refused)?.ok_or_else(unknown)
}

/// A job after a change. That it was changed is so even if the store cannot show it any more.
async fn changed(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    Ok(ok(&shown(request, &find(request, Parts::default()).await?)))
}

fn audit(request: &OperatorRequest<'_>, action: &'static str, job: &JobId) {
    let (by, address) = (ADMIN, request.from);
    tracing::warn!(target: "tidegate::audit", action, %job, by, %address, "operator action on a job");
}

fn unknown() -> Problem {
    let detail =
        "no job has this id: it has expired, was purged, or never was; `GET /admin/jobs` lists those there are";
    Problem::new(StatusCode::NOT_FOUND, detail)
}

fn conflict(state: JobState, why: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("the job is {}: {why}", state.as_str()))
}

fn refused(fault: JobStoreFault) -> Problem {
    let detail = format!("jobs can be neither read nor changed now: {fault}; whatever was asked may be asked again");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(header::RETRY_AFTER, 1)
}

fn read_filter(request: &OperatorRequest<'_>) -> Result<JobFilter, Problem> {
    let mut filter = JobFilter { states: Vec::new(), tenant: None, kind: None, before: None, limit: SHOWN };
    for (name, value) in url::form_urlencoded::parse(request.parts.uri.query().unwrap_or_default().as_bytes()) {
        match &*name {
            "state" => {
                let states = value.split(',').map(|word| read_state(word, |_| true));
                filter.states.extend(states.collect::<Result<Vec<_>, _>>()?);
            }
            "tenant" => filter.tenant = Some((*value).into()),
            "kind" => filter.kind = Some(read_kind(&value)?),
            "before" => {
                let wrong = || Problem::bad_request("`before` must be a time such as 2026-01-31T12:00:00Z");
                filter.before = Some(value.parse::<Timestamp>().map_err(|_| wrong())?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
                let wrong = || Problem::bad_request(format!("`limit` must be between 1 and {MOST}"));
                filter.limit = number.ok_or_else(wrong)?;
            }
            _ => {
                let allowed = "state, tenant, kind, before and limit";
                return Err(Problem::bad_request(format!("unknown parameter {name}={value}; allowed: {allowed}")));
            }
        }
    }
    Ok(filter)
}

fn read_state(word: &str, is_allowed: impl Fn(JobState) -> bool) -> Result<JobState, Problem> {
    JobState::parse(word).filter(|state| is_allowed(*state)).ok_or_else(|| {
        let allowed = JobState::ALL.into_iter().filter(|state| is_allowed(*state));
        let words: Vec<&str> = allowed.map(JobState::as_str).collect();
        Problem::bad_request(format!("{word:?} is not a state that is allowed here; allowed: {}", words.join(", ")))
    })
}

fn read_kind(word: &str) -> Result<JobKind, Problem> {
    JobKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let words = JobKind::ALL.map(JobKind::as_str).join(", ");
        Problem::bad_request(format!("{word:?} is not a kind of job; the kinds are: {words}"))
    })
}

/// Whether a query asks for contents.
fn read_content(request: &OperatorRequest<'_>) -> Result<bool, Problem> {
    let mut is_wanted = false;
    for (name, value) in url::form_urlencoded::parse(request.parts.uri.query().unwrap_or_default().as_bytes()) {
        is_wanted = match (&*name, &*value) {
            ("content", "true") => true,
            ("content", "false") => false,
            _ => {
                let allowed = "allowed: content=true and content=false";
                return Err(Problem::bad_request(format!("unknown parameter {name}={value}; {allowed}")));
            }
        };
    }
    Ok(is_wanted)
}

/// What a job asks, and what came of it.
fn content(request: &OperatorRequest<'_>, job: &JobRecord) -> Result<Value, Problem> {
    let jobs = &request.gateway.jobs;
    let (input, result) = (jobs.input(job), jobs.result(job));
    if input.is_none() && job.input.is_some() || result.is_none() && job.result.is_some() {
        let detail = "the job's content cannot be opened: it was sealed with another secret (`jobs.secret_env`)";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    Ok(json!({"input": input, "result": result}))
}

/// A job without its contents.
fn shown(request: &OperatorRequest<'_>, job: &JobRecord) -> Value {
    let facts = &job.facts;
    let renderer = CallRenderer::new(request.gateway, false);
    let time = |time: Timestamp| format!("{time:.3}");
    let now = request.gateway.world.now();
    let age = |time: Timestamp| Duration::try_from(now.duration_since(time)).unwrap_or_default().as_secs();
    json!({
        "id": job.id.to_string(),
        "kind": facts.kind.as_str(),
        "priority": facts.priority.as_str(),
        "state": job.state.as_str(),
        "tenant": renderer.pseudonym(&facts.submitter.tenant),
        "prompt": facts.prompt,
        "batch": facts.batch.map(|batch| batch.to_string()),
        "requestId": facts.request_id,
        "submittedAt": time(facts.submitted),
        "since": time(job.since),
        "ageSeconds": age(job.since),
        "startedAt": job.started.map(time),
        "dueAt": job.due.map(time),
        "attempts": job.attempts,
        "error": job.fault.as_ref().map(|fault| json!({"code": fault.code, "message": fault.message})),
        "percent": job.progress.as_ref().map(|progress| progress.percent),
        "hasWebhook": job.has_webhook,
    })
}

fn shown_counts(counts: &JobCounts, now: Timestamp) -> Value {
    let [high, normal, low] = counts.queued;
    json!({
        "queued": {"high": high, "normal": normal, "low": low},
        "delayed": counts.delayed,
        "active": counts.active,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "webhooks": counts.hooks,
        "oldestQueuedSeconds": counts.oldest.map(|_| counts.oldest_age(now).as_secs()),
    })
}
