//! Attempt: one attempt at a job: a call through the route of its kind, on behalf of who submitted it, whose answer is read
//! to its end.
//!
//! It passes what any call of the route passes. It does not know where jobs are kept, nor what becomes of a job whose attempt
//! fails. Dropping it cancels the provider's work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Method, StatusCode};

use crate::caller::jobs::JobCaller;
use crate::caller::{About, Comeback, unspellable};
use crate::gateway::{Gateway, Route};
use crate::model::call::{CallRequest, Chat, Head};
use crate::model::fault::{Bound, Fault};
use crate::model::job::{JobInput, JobRecord, JobResult};
use crate::model::reply::{Answer, Body, EventKind, EventStream, Reply};
use crate::model::time::since;
use crate::policy::observe::Watch;
use crate::server::callers::{client_deadline, prompt_rules, prompted};
use crate::server::calls;
use crate::server::jobs::progress::Progress;
use crate::stack::Next;

/// What stands for the path in logs and metrics: no request has brought the call.
const PATH: &str = "/api/queue/llm";

/// Makes an attempt. The route is that of the job's kind, and `progress` is told what comes of the answer.
pub(super) async fn make(
    gateway: &Gateway,
    route: &Route,
    job: &JobRecord,
    input: &JobInput,
    progress: &Progress,
) -> Result<JobResult, Fault> {
    let id: Arc<str> = format!("{}-{}", job.id, job.attempts).into();
    let mut watch = gateway.observe.watch(id.clone(), &Method::POST, PATH);
    watch.found(&route.metrics, route.plan.caller.as_str());
    watch.trace(&HeaderMap::new());
    watch.trail.facts().call = Some(route.plan.call.as_str());
    let head = Arc::new(head(gateway, route, job, id));
    watch.on_behalf_of(&head);
    // A mistake in the code ends this attempt, and not the worker.
    let work = AssertUnwindSafe(ask(gateway, route, (job, input), &head, &watch, progress)).catch_unwind();
    let work = watch.subject().clone().during(work).await;
    let outcome = work.unwrap_or_else(|_| Err(Fault::Internal { detail: Fault::PANIC.into() }));
    match &outcome {
        Ok(_) => {
            watch.answered(StatusCode::OK);
            watch.completed();
        }
        Err(fault) => {
            watch.failed(fault);
            watch.answered(fault.status());
        }
    }
    outcome
}

async fn ask(
    gateway: &Gateway,
    route: &Route,
    (job, input): (&JobRecord, &JobInput),
    head: &Arc<Head>,
    watch: &Watch,
    progress: &Progress,
) -> Result<JobResult, Fault> {
    if !route.switch.is_on_for(head) {
        return Err(Fault::RouteDisabled);
    }
    let dialect = dialect(route)?;
    let mut chat = dialect.chat(job.facts.kind, input, &route.plan);
    prompted::render(gateway, &route.plan, head, &mut chat, &watch.trail)?;
    // What has a shape is asked for whole, because nobody knows before its end whether it is right.
    chat.stream = chat.schema.is_none();
    progress.expect(chat.max_tokens);
    watch.trail.facts().bytes_in = said(&chat);
    let request = Arc::new(CallRequest::Chat(chat));
    prompt_rules::check_model(&route.plan, &request)?;
    prompt_rules::check_text(&route.plan, &request)?;
    let reply = route.stack.call(calls::begin(gateway, head, &request, client_deadline::none(), watch)).await?;
    let reply = whole(gateway, *reply, watch, progress).await?;
    let elapsed = since(watch.started());
    let (now, prices) = (gateway.world.now(), &gateway.plan.prices);
    let comeback = Comeback { longest: gateway.plan.longest_comeback, fraction: 0.0 };
    let (call, request, trail) = (route.plan.call, Some(&*request), &watch.trail);
    dialect.result(&About { call, head, request, now, elapsed, prices, comeback, trail }, &reply)
}

/// The dialect of a route, which has to know jobs.
fn dialect(route: &Route) -> Result<&'static dyn JobCaller, Fault> {
    route.dialect.jobs().ok_or_else(|| {
        let (name, caller) = (&route.plan.name, route.plan.caller.as_str());
        Fault::Internal { detail: format!("route {name}: `{caller}` callers have no jobs") }
    })
}

/// Bytes of what a model is told.
fn said(chat: &Chat) -> u64 {
    chat.messages.iter().map(|message| message.text.len() as u64).sum()
}

/// The head of a call that no request has brought: that of its submitter's, as far as it outlives the request.
fn head(gateway: &Gateway, route: &Route, job: &JobRecord, id: Arc<str>) -> Head {
    let submitter = job.facts.submitter.clone();
    Head {
        is_tenant_named: submitter.is_tenant_named,
        user: submitter.user,
        role: submitter.role,
        tier: submitter.tier,
        api_key: submitter.api_key,
        credential: submitter.credential,
        is_proven: submitter.is_proven,
        account: submitter.account,
        is_address_shared: submitter.is_address_shared,
        received: gateway.world.now(),
        ..Head::anonymous(id, route.plan.name.clone(), submitter.tenant, submitter.address)
    }
}

/// The reply with its answer, once that is complete.
async fn whole(gateway: &Gateway, mut reply: Reply, watch: &Watch, progress: &Progress) -> Result<Reply, Fault> {
    let events = match std::mem::replace(&mut reply.body, Body::Whole(Bytes::new())) {
        Body::Answer(answer) => return Ok(Reply { body: Body::Answer(answer), ..reply }),
        Body::Events(events) => events,
        other => return Err(unspellable(&other)),
    };
    let known = gateway.plan.providers.iter().find(|provider| provider.name == reply.provider);
    let max = known.map_or(usize::MAX, |provider| provider.max_reply);
    let text = gather(events, &reply.provider, max, progress).await?;
    // Nobody has counted what a provider hides: then its charge is what there is.
    watch.trail.reckon();
    let facts = watch.trail.facts();
    let usage = facts.counted().or_else(|| Some(facts.served()?.tokens()?.usage));
    Ok(Reply { body: Body::Answer(Answer { text, usage, ..Answer::default() }), ..reply })
}

/// The text of a stream, once that is complete.
async fn gather(
    mut events: EventStream,
    provider: &Arc<str>,
    max: usize,
    progress: &Progress,
) -> Result<String, Fault> {
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Text(piece) => {
                if progress.add(&piece) > max {
                    return Err(Fault::Oversized { provider: provider.clone(), bound: Bound::Reply(max) });
                }
            }
            EventKind::Done => break,
            EventKind::Comment | EventKind::Piece | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => {}
        }
    }
    match progress.take() {
        text if text.is_empty() => Err(Fault::Wordless { provider: provider.clone() }),
        text => Ok(text),
    }
}
