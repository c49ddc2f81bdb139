//! Jobs in golden cases: what a dialect reads of a request about jobs, and how it spells an answer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate::caller::jobs::{JobAnswer, JobCaller, JobEvent, JobOrder, JobRequest, JobView};
use tidegate::caller::{self, Incoming};
use tidegate::config::plan::CallerKind;
use tidegate::model::fault::Fault;
use tidegate::model::job::{
    JobFacts, JobId, JobInput, JobKind, JobPriority, JobProgress, JobPrompt, JobRecord, JobResult, JobState, Submitter,
};
use tidegate::state::jobs::JobCounts;

use crate::words::Case;
use crate::{fixtures, render};

/// The job that all cases are about.
const ID: &str = "0b0b0b0b-0b0b-8b0b-8b0b-0b0b0b0b0b0b";

fn dialect(kind: CallerKind) -> &'static dyn JobCaller {
    caller::dialect(kind).jobs().expect("the dialect has endpoints for jobs")
}

/// What a dialect reads; the id in the path is the case's `id`.
pub(crate) fn decode(kind: CallerKind, case: &Case<'_>, incoming: &Incoming<'_>) -> Result<Value, Fault> {
    let id = case.optional_text("id").map(|id| id.replace("$id", ID));
    dialect(kind).decode(incoming, id.as_deref(), &fixtures::jobs()).map(|request| shown(&request))
}

fn shown(request: &JobRequest) -> Value {
    match request {
        JobRequest::Submit { jobs, is_batch } => {
            json!({ "submit": jobs.iter().map(order).collect::<Vec<_>>(), "is_batch": is_batch })
        }
        JobRequest::Status(id) => json!({ "status": id }),
        JobRequest::Result(id) => json!({ "result": id }),
        JobRequest::Events(id) => json!({ "events": id }),
        JobRequest::Cancel(id) => json!({ "cancel": id }),
        JobRequest::Metrics => json!("metrics"),
    }
}

fn order(order: &JobOrder) -> Value {
    render::compact(json!({
        "kind": order.kind,
        "priority": order.priority,
        "delay_ms": order.delay.as_millis() as u64,
        "input": order.input,
        "webhook": order.webhook,
    }))
}

/// An answer in a dialect: the case's `job` (a job as it is now), `result`, `accepted`, `counts` or `cancelled`.
pub(crate) fn encode(kind: CallerKind, case: &Case<'_>) -> Value {
    let (dialect, id) = (dialect(kind), JobId::parse(ID).unwrap());
    let of = |name: &str| case.0.get(name);
    let result: Option<JobResult> = of("result").map(|result| serde_json::from_value(result.clone()).unwrap());
    if let Some(event) = case.optional_text("event") {
        let job = of("job").map(|job| (record(job), input(job)));
        let view = || {
            let (job, input) = job.as_ref().expect("the event is about a `job`");
            JobView { job, input: Some(input), result: result.as_ref() }
        };
        let event = match event {
            "status" => JobEvent::Status(view()),
            "progress" => JobEvent::Progress(&id, 42),
            "tokens" => JobEvent::Tokens(&id, "The text so far"),
            _ => JobEvent::Result(view()),
        };
        return json!({ "event": event.name(), "data": dialect.event(&event) });
    }
    let answered = if let Some(job) = of("job") {
        let (job, input) = (record(job), input(job));
        dialect.encode(&JobAnswer::Status(JobView { job: &job, input: Some(&input), result: result.as_ref() }))
    } else if let Some(result) = &result {
        dialect.encode(&JobAnswer::Result(result))
    } else if let Some(accepted) = of("accepted") {
        let delayed = accepted["delayed"].as_array().unwrap().iter();
        let jobs: Vec<(JobId, bool)> = delayed.map(|is_delayed| (id, is_delayed.as_bool().unwrap())).collect();
        let is = |name: &str| accepted[name].as_bool().unwrap_or_default();
        dialect.encode(&JobAnswer::Accepted {
            jobs: &jobs,
            batch: is("is_batch").then_some(id),
            is_repeated: is("is_repeated"),
            path: "/api/queue/llm",
        })
    } else if let Some(counts) = of("counts") {
        let count = |name: &str| counts[name].as_u64().unwrap_or_default();
        let queued = [count("high"), count("normal"), count("low")];
        let (delayed, active, completed) = (count("delayed"), count("active"), count("completed"));
        let (failed, cancelled) = (count("failed"), count("cancelled"));
        let counts = JobCounts { queued, delayed, active, completed, failed, cancelled, ..JobCounts::default() };
        dialect.encode(&JobAnswer::Metrics(&counts))
    } else {
        assert!(case.0.contains_key("cancelled"), "no answer about jobs");
        dialect.encode(&JobAnswer::Cancelled)
    };
    render::answered(answered)
}

fn input(job: &Value) -> JobInput {
    JobInput {
        prompt: JobPrompt::Text("a canary that nobody is told".into()),
        model: None,
        max_tokens: None,
        temperature: None,
        metadata: job.get("metadata").cloned(),
    }
}

fn record(job: &Value) -> JobRecord {
    let now = fixtures::NOW.parse().unwrap();
    let state = serde_json::from_value::<JobState>(job["state"].clone()).unwrap();
    let facts = JobFacts {
        kind: JobKind::CustomPrompt,
        priority: JobPriority::Normal,
        submitter: Submitter::of(&fixtures::head("canary", Some("canary"))),
        prompt: None,
        batch: None,
        request_id: "canary".into(),
        submitted: now,
        begins: now,
    };
    JobRecord {
        id: JobId::parse(ID).unwrap(),
        facts: Arc::new(facts),
        state,
        attempts: 1,
        since: now,
        due: None,
        started: None,
        fault: job.get("fault").map(|fault| serde_json::from_value(fault.clone()).unwrap()),
        progress: job
            .get("progress")
            .map(|percent| JobProgress { percent: percent.as_u64().unwrap() as u8, text: None }),
        has_webhook: false,
        input: Some(Bytes::from_static(b"canary")),
        result: None,
    }
}
