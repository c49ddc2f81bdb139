//! Jobs of the canvas application: how it asks for work that it does not wait for, and how it is told what came of it.
//!
//! It does not know who works on a job, nor when.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{DEFAULT_TEMPERATURE, DEFAULT_TOKENS, MAX_PROMPT, MAX_TOKENS, Served, Success, generate, model, served};
use crate::caller::jobs::{JobAnswer, JobCaller, JobEvent, JobOrder, JobRequest, JobView};
use crate::caller::json::{Limit, Object, must_be};
use crate::caller::{About, Answered, Incoming, answer, unspellable};
use crate::config::engine::value::hint;
use crate::config::plan::{CallKind, JobsPlan, RoutePlan};
use crate::model::call::{CallRequest, Chat, Message, Role};
use crate::model::fault::{Fault, RequestFault};
use crate::model::job::{JobId, JobInput, JobKind, JobPriority, JobPrompt, JobResult, JobState};
use crate::model::money::Usd;
use crate::model::prompt::PromptRequest;
use crate::model::reply::{Body, Reply};
use crate::state::jobs::JobCounts;

/// What a job may say. Other fields are ignored, as everywhere in this dialect, unless one of these was meant.
const FIELDS: [&str; 11] = [
    "type",
    "prompt",
    "promptKey",
    "promptVariables",
    "model",
    "maxTokens",
    "temperature",
    "metadata",
    "priority",
    "delay",
    "webhook",
];
/// The longest key of a prompt; the config allows none that is longer.
const MAX_KEY: Limit = Limit::Bytes(64);
/// What a caller may have sent back with its result.
const MAX_METADATA: usize = 16 * 1024;
/// The longest word of a choice: all are shorter.
const MAX_WORD: Limit = Limit::Bytes(64);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How deep what a caller gives may be nested. Around it there is more, and who reads all of it draws a line at 128.
const MAX_NESTING: usize = 64;

/// The endpoints of jobs.
pub(super) struct Jobs;

impl JobCaller for Jobs {
    fn decode(&self, incoming: &Incoming<'_>, id: Option<&str>, plan: &JobsPlan) -> Result<JobRequest, Fault> {
        // What cannot be an id is the id of no job.
        let job = || id.and_then(JobId::parse).ok_or_else(|| Fault::from(RequestFault::UnknownJob));
        match incoming.route.call {
            CallKind::JobSubmit => {
                let order = order(Object::read(incoming.headers, &incoming.body)?, plan)?;
                Ok(JobRequest::Submit { jobs: vec![order], is_batch: false })
            }
            CallKind::JobBatch => {
                let jobs = batch(Object::read(incoming.headers, &incoming.body)?, plan)?;
                Ok(JobRequest::Submit { jobs, is_batch: true })
            }
            CallKind::JobStatus => Ok(JobRequest::Status(job()?)),
            CallKind::JobResult => Ok(JobRequest::Result(job()?)),
            CallKind::JobEvents => Ok(JobRequest::Events(job()?)),
            CallKind::JobCancel => Ok(JobRequest::Cancel(job()?)),
            CallKind::JobMetrics => Ok(JobRequest::Metrics),
            other => Err(Fault::Internal { detail: format!("{} is not about jobs", other.as_str()) }),
        }
    }

    fn within(&self, place: usize, fault: Fault) -> Fault {
        within(&format!("jobs[{place}]"), fault)
    }

    fn chat(&self, kind: JobKind, input: &JobInput, route: &RoutePlan) -> Chat {
        let given = Chat {
            model: input.model.clone().or_else(|| route.model.as_deref().map(Into::into)),
            temperature: input.temperature,
            max_tokens: input.max_tokens,
            schema: generate::SHAPE.clone().filter(|_| kind != JobKind::CustomPrompt),
            ..Chat::default()
        };
        match &input.prompt {
            // As where a caller waits for the answer.
            JobPrompt::Text(text) => Chat {
                messages: vec![Message { role: Role::User, text: text.clone() }],
                temperature: given.temperature.or(Some(DEFAULT_TEMPERATURE)),
                max_tokens: given.max_tokens.or(Some(DEFAULT_TOKENS)),
                ..given
            },
            JobPrompt::Named { key, variables } => {
                let (key, variables) = ((**key).into(), variables.clone());
                Chat { prompt: Some(Box::new(PromptRequest { key, variables, is_callers: true })), ..given }
            }
        }
    }

    fn result(&self, about: &About<'_>, reply: &Reply) -> Result<JobResult, Fault> {
        let Body::Answer(said) = &reply.body else { return Err(unspellable(&reply.body)) };
        let usage = said.usage.unwrap_or_default();
        let has_shape = matches!(about.request, Some(CallRequest::Chat(chat)) if chat.schema.is_some());
        // What could not be read again after it was stored stays a text.
        let shaped = || serde_json::from_str(&said.text).ok().filter(|content| !is_deeper(content, MAX_NESTING));
        let content = has_shape.then(shaped).flatten();
        let Served { provider, model, cost, latency, cached } = served(about, reply, usage);
        Ok(JobResult {
            content: content.unwrap_or_else(|| said.text.as_str().into()),
            provider: provider.into(),
            model: model.into(),
            prompt_tokens: usage.input,
            completion_tokens: usage.output,
            cost_nanos: cost.nanos(),
            latency_ms: latency,
            cached,
        })
    }

    fn status(&self, view: &JobView<'_>) -> Value {
        // Its keys are texts.
        serde_json::to_value(StatusShape::of(view)).unwrap_or_default()
    }

    fn event(&self, event: &JobEvent<'_>) -> Value {
        match event {
            JobEvent::Status(view) | JobEvent::Result(view) => self.status(view),
            JobEvent::Progress(id, percent) => json!({ "jobId": id, "progress": percent }),
            JobEvent::Tokens(id, text) => json!({ "jobId": id, "text": text }),
        }
    }

    fn encode(&self, answer: &JobAnswer<'_>) -> Answered {
        let ok = StatusCode::OK;
        match answer {
            JobAnswer::Accepted { jobs, batch, is_repeated, path } => {
                let status = if *is_repeated { ok } else { StatusCode::ACCEPTED };
                answer::json(status, &Success { success: true, data: accepted(jobs, *batch, path) })
            }
            JobAnswer::Status(view) => answer::json(ok, &Success { success: true, data: StatusShape::of(view) }),
            JobAnswer::Result(result) => answer::json(ok, &Success { success: true, data: ResultShape::of(result) }),
            JobAnswer::Cancelled => answer::json(ok, &json!({ "success": true, "message": "Job cancelled" })),
            JobAnswer::Metrics(counts) => answer::json(ok, &Success { success: true, data: CountsShape::of(counts) }),
        }
    }
}

/// The same fault, of a field within another.
fn within(outer: &str, fault: Fault) -> Fault {
    fault.renamed(|field| format!("{outer}.{field}"))
}

fn batch(mut body: Object, plan: &JobsPlan) -> Result<Vec<JobOrder>, Fault> {
    // A webhook or a delay that is ignored would be missed only later.
    if let Some(name) = body.names().find(|name| *name != "jobs") {
        return Err(match FIELDS.contains(&name) {
            true => wrong_name(name, &format!("belongs to each job, as `jobs[0].{name}` (a batch has `jobs` alone)")),
            false => wrong_name(name, &format!("is no field of a batch{} (allowed: jobs)", hint(name, ["jobs"]))),
        });
    }
    let most = plan.max_batch;
    let wanted = format!("an array of 1 to {most} jobs");
    let jobs = match body.take("jobs") {
        None => return Err(Fault::invalid("jobs", format!("`jobs` is required: {wanted}"))),
        Some(Value::Array(jobs)) => jobs,
        Some(other) => return Err(must_be("jobs", &wanted, &other)),
    };
    if jobs.is_empty() || jobs.len() > most {
        return Err(Fault::invalid("jobs", format!("`jobs` must be {wanted}, got {}", jobs.len())));
    }
    let one = |(place, job): (usize, Value)| match job {
        Value::Object(map) => order(Object::of(map), plan).map_err(|fault| Jobs.within(place, fault)),
        other => Err(must_be(format!("jobs[{place}]"), "an object", &other)),
    };
    jobs.into_iter().enumerate().map(one).collect()
}

fn order(mut body: Object, plan: &JobsPlan) -> Result<JobOrder, Fault> {
    check_names(&body)?;
    let kinds: Vec<JobKind> = JobKind::ALL.into_iter().filter(|kind| plan.route(*kind).is_some()).collect();
    let kind = choice(&mut body, "type", &kinds, JobKind::as_str)?.ok_or_else(|| {
        let allowed = words(&kinds, JobKind::as_str);
        Fault::invalid("type", format!("`type` is required (allowed: {allowed})"))
    })?;
    let prompt = prompt(kind, &mut body)?;
    let priority = choice(&mut body, "priority", &JobPriority::ALL, JobPriority::as_str)?.unwrap_or_default();
    let most = u32::try_from(MAX_DELAY.as_millis()).unwrap_or(u32::MAX);
    let delay = body.whole_number("delay", 0..=most)?.map_or(Duration::ZERO, |ms| Duration::from_millis(ms.into()));
    let input = JobInput {
        prompt,
        model: model(&mut body)?,
        max_tokens: body.whole_number("maxTokens", 1..=MAX_TOKENS)?,
        temperature: body.number("temperature", 0.0..=2.0)?,
        metadata: metadata(&mut body)?,
    };
    Ok(JobOrder { kind, priority, delay, input, webhook: webhook(&mut body, plan)? })
}

/// Refuses a field that is meant to be one of a job's, and is misspelt: what it says would be lost.
fn check_names(job: &Object) -> Result<(), Fault> {
    for name in job.names().filter(|name| !FIELDS.contains(name)) {
        let hint = hint(name, FIELDS);
        if !hint.is_empty() {
            return Err(wrong_name(name, &format!("is no field of a job{hint} (allowed: {})", FIELDS.join(", "))));
        }
    }
    Ok(())
}

/// What is wrong with the name of a field; names of callers' own are shown as far as they are short.
fn wrong_name(name: &str, what: &str) -> Fault {
    let name = name.chars().take(64).flat_map(char::escape_debug).collect::<String>();
    let message = format!("`{name}` {what}");
    Fault::invalid_in(name, message)
}

/// The prompt: the caller's own, or one of the config's.
fn prompt(kind: JobKind, body: &mut Object) -> Result<JobPrompt, Fault> {
    match (body.has("prompt"), body.has("promptKey")) {
        (false, false) => Err(Fault::invalid("prompt", "`prompt` or `promptKey` is required")),
        (true, true) => Err(Fault::invalid("promptKey", "`promptKey` must not be sent together with `prompt`")),
        (true, false) if body.has("promptVariables") => {
            Err(Fault::invalid("promptVariables", "`promptVariables` must be sent together with `promptKey`"))
        }
        (true, false) => Ok(JobPrompt::Text(body.text("prompt", MAX_PROMPT)?)),
        (false, true) => {
            let key = body.text("promptKey", MAX_KEY)?;
            check_key(kind, &key)?;
            let variables = match body.take("promptVariables") {
                None => Map::new(),
                Some(Value::Object(variables)) => variables,
                Some(other) => return Err(must_be("promptVariables", "an object", &other)),
            };
            if variables.values().any(|value| is_deeper(value, MAX_NESTING)) {
                return Err(too_deep("promptVariables"));
            }
            let mut sent = Object::of(variables);
            let known = generate::variables(&key, &mut sent).map_err(|fault| within("promptVariables", fault))?;
            let mut variables = sent.into_rest();
            variables.extend(known);
            Ok(JobPrompt::Named { key: key.into(), variables })
        }
    }
}

/// Refuses a prompt that does not do what jobs of this kind are for.
fn check_key(kind: JobKind, key: &str) -> Result<(), Fault> {
    let own = match kind {
        JobKind::CanvasGeneration => generate::GENERATE,
        JobKind::CanvasRefinement => generate::REFINE,
        JobKind::CustomPrompt => return Ok(()),
    };
    if key == own {
        return Ok(());
    }
    let kind = kind.as_str();
    let message =
        format!("`promptKey` is {key:?} (allowed for `{kind}`: {own}; any other prompt is for `custom_prompt`)");
    Err(Fault::invalid("promptKey", message))
}

fn metadata(body: &mut Object) -> Result<Option<Value>, Fault> {
    let Some(metadata) = body.take("metadata") else { return Ok(None) };
    if is_deeper(&metadata, MAX_NESTING) {
        return Err(too_deep("metadata"));
    }
    let length = metadata.to_string().len();
    match length > MAX_METADATA {
        true => {
            let message = format!("`metadata` must be at most {MAX_METADATA} bytes of JSON, got {length}");
            Err(Fault::invalid("metadata", message))
        }
        false => Ok(Some(metadata)),
    }
}

/// The URL to be told of the job's end.
fn webhook(body: &mut Object, plan: &JobsPlan) -> Result<Option<Box<str>>, Fault> {
    const FIELD: &str = "webhook";
    let Some(url) = body.optional_text(FIELD, Limit::Bytes(usize::MAX))? else { return Ok(None) };
    if plan.webhooks.secrets.is_empty() {
        let message = "`webhook` cannot be used: this gateway has no secret to sign webhooks with";
        return Err(Fault::invalid(FIELD, message));
    }
    let url = plan.webhooks.urls.check(&url).map_err(|what| Fault::invalid(FIELD, format!("`{FIELD}` {what}")))?;
    Ok(Some(String::from(url).into()))
}

fn too_deep(field: &'static str) -> Fault {
    Fault::invalid(field, format!("`{field}` must be nested at most {MAX_NESTING} levels deep"))
}

/// True when arrays and objects are nested deeper than this. It looks no deeper itself.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(inside) = levels.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(values) => values.iter().any(|value| is_deeper(value, inside)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, inside)),
        _ => false,
    }
}

/// One of some words; `None`: the field is absent.
fn choice<T: Copy>(
    body: &mut Object,
    field: &'static str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Fault> {
    let Some(said) = body.optional_text(field, MAX_WORD)? else { return Ok(None) };
    match all.iter().find(|it| word(**it) == said) {
        Some(found) => Ok(Some(*found)),
        None => {
            let hint = hint(&said, all.iter().map(|it| word(*it)));
            Err(Fault::invalid(field, format!("`{field}` is {said:?}{hint} (allowed: {})", words(all, word))))
        }
    }
}

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> String {
    match all {
        [] => "none, as `jobs.routes` names no route".to_owned(),
        _ => all.iter().map(|it| word(*it)).collect::<Vec<_>>().join(", "),
    }
}

fn accepted(jobs: &[(JobId, bool)], batch: Option<JobId>, path: &str) -> Value {
    let word = |is_delayed: bool| state_word(if is_delayed { JobState::Delayed } else { JobState::Queued });
    match (batch, jobs) {
        (None, [(id, is_delayed)]) => {
            json!({ "jobId": id, "status": word(*is_delayed), "statusUrl": format!("{path}/{id}") })
        }
        _ => {
            let jobs: Vec<Value> =
                jobs.iter().map(|(id, is_delayed)| json!({ "jobId": id, "status": word(*is_delayed) })).collect();
            json!({ "jobs": jobs, "batchId": batch })
        }
    }
}

/// The word of this application for a state.
fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Cancelled => JobState::Failed.as_str(),
        other => other.as_str(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusShape<'a> {
    job_id: JobId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultShape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The code of `error`, as in this application's refusals.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// What a delayed job waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

impl<'a> StatusShape<'a> {
    fn of(view: &JobView<'a>) -> Self {
        let job = view.job;
        let has_failed = matches!(job.state, JobState::Failed | JobState::Cancelled);
        let fault = job.fault.as_ref();
        let progress = match job.state {
            JobState::Active => Some(job.progress.as_ref().map_or(0, |progress| progress.percent.min(99))),
            JobState::Completed => Some(100),
            _ => None,
        };
        Self {
            job_id: job.id,
            status: state_word(job.state),
            progress,
            result: view.result.map(ResultShape::of),
            error: fault.filter(|_| has_failed).map(|fault| &*fault.message),
            code: fault.filter(|_| has_failed).map(|fault| &*fault.code),
            reason: fault.filter(|_| job.state == JobState::Delayed).map(|fault| &*fault.message),
            metadata: view.input.and_then(|input| input.metadata.as_ref()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultShape<'a> {
    content: &'a Value,
    provider: &'a str,
    model: &'a str,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    cost: Usd,
    latency: u64,
    cached: bool,
}

impl<'a> ResultShape<'a> {
    fn of(result: &'a JobResult) -> Self {
        Self {
            content: &result.content,
            provider: &result.provider,
            model: &result.model,
            prompt_tokens: result.prompt_tokens,
            completion_tokens: result.completion_tokens,
            total_tokens: result.prompt_tokens.saturating_add(result.completion_tokens),
            cost: Usd::from_nanos(result.cost_nanos),
            latency: result.latency_ms,
            cached: result.cached,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsShape {
    waiting: u64,
    active: u64,
    completed: u64,
    failed: u64,
    delayed: u64,
    /// All that is still to be done and not begun.
    queue_depth: u64,
}

impl CountsShape {
    fn of(counts: &JobCounts) -> Self {
        Self {
            waiting: counts.queued.iter().sum(),
            active: counts.active,
            completed: counts.completed,
            failed: counts.failed + counts.cancelled,
            delayed: counts.delayed,
            queue_depth: counts.waiting(),
        }
    }
}
