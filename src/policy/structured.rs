//! Structured: sees to it that an answer has the shape that was asked for, or that there is none.
//!
//! An answer is taken out of what a model wrote around it and checked. If it is wrong, its target is asked once more, with
//! the answer and what is wrong with it; then the next target is asked, and so on, within the call's attempts, deadline and
//! retry budgets. Whatever is asked counts as an attempt of the call, and is paid for like one. A stream is asked for whole,
//! because nobody knows before its end whether it is right, and is given as the events of one. An answer that is right as it
//! came stays as it came. How a shape is described or checked is not known here.

use std::sync::Arc;

use futures_util::stream;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::config::plan::{ProviderKind, TargetPlan};
use crate::model::call::{Call, CallRequest, Chat, Message, Role};
use crate::model::fault::Fault;
use crate::model::offload::apart;
use crate::model::reply::{Body, Reply, Usage};
use crate::model::shape::{Mismatch, Shape};
use crate::model::trail::{Reason, StepKind};
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::{Group, Registrar};
use crate::wire::format;
use crate::wire::openai::reshaped::{self, Said};

/// As it came.
pub const VALID: &str = "valid";
/// Without what the model had written around it.
const EXTRACTED: &str = "extracted";
/// The model says why it does not answer.
pub const REFUSED: &str = "refused";
/// The gateway cannot see to it: tools may be called, or several choices are wanted.
pub const SKIPPED: &str = "skipped";

/// As much of a wrong answer is shown to the model again, in bytes. Longer ones were cut short, mostly.
const MAX_SHOWN: usize = 32 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: Arc<str>,
    /// [`VALID`], [`EXTRACTED`], `repaired`, `next_target`, `invalid`, [`REFUSED`] or [`SKIPPED`].
    result: &'static str,
}

/// What came of answers that must have a shape.
pub struct StructuredMetrics(Family<Labels, Counter>);

impl Group for StructuredMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        let help = "Answers that must match a JSON Schema, by route and result: valid, extracted (from words around it), \
                    repaired (asked again), next_target, invalid (502), refused (by the model) or skipped (tools, n)";
        Self(registrar.counters("tidegate_structured_total", help))
    }
}

/// The policy.
#[derive(Clone)]
pub struct Structured {
    route: Arc<str>,
    /// Of each target whether it may be asked once more: it understands what was wrong.
    repairs: Arc<[bool]>,
    is_idempotent: bool,
    metrics: Arc<StructuredMetrics>,
}

impl Structured {
    /// Checks answers of a route's `targets`, which are asked once only unless its calls are idempotent.
    pub fn new<'a>(
        route: Arc<str>,
        targets: impl Iterator<Item = &'a TargetPlan>,
        is_idempotent: bool,
        metrics: Arc<StructuredMetrics>,
    ) -> Self {
        let repairs = targets.map(|target| target.provider.kind == ProviderKind::OpenAi).collect();
        Self { route, repairs, is_idempotent, metrics }
    }

    /// Asks until an answer is right, or nobody is left who may be asked.
    async fn ask<N: Next>(&self, call: &Call, shape: &Shape, next: &N) -> Result<(Box<Reply>, &'static str), Fault> {
        let mut reply = next.call(Box::new(call.clone())).await?;
        let (mut way, mut usage) = (None, None);
        // Targets before this one were asked once more already.
        let mut repairable = 0;
        loop {
            let wrong = match check(reply, &call.request, shape, &mut usage) {
                Ok((reply, REFUSED)) => return Ok((reply, REFUSED)),
                Ok((reply, found)) => return Ok((reply, way.unwrap_or(found))),
                Err(wrong) => wrong,
            };
            let (another, asked) = match self.again(call, &wrong, &mut repairable, next).await {
                Ok(again) => again,
                Err(Some(fault)) => return Err(fault),
                Err(None) => {
                    let mismatch = Box::new(wrong.mismatch);
                    return Err(Fault::InvalidOutput { provider: wrong.provider, mismatch });
                }
            };
            (reply, way) = (another, Some(asked));
        }
    }

    /// Asks the same target once more, or the next one. Without a fault: nobody else can be asked.
    async fn again<N: Next>(
        &self,
        call: &Call,
        wrong: &WrongAnswer,
        repairable: &mut usize,
        next: &N,
    ) -> Result<(Box<Reply>, &'static str), Option<Fault>> {
        let target = wrong.target;
        let can_repair = target >= *repairable && self.repairs.get(target) == Some(&true);
        let repair = can_repair.then(|| repaired(&call.request, wrong)).flatten();
        let repair = repair.map(|request| (target, Reason::Repair, Arc::new(request), "repaired"));
        let other = (target + 1 < self.repairs.len())
            .then(|| (target + 1, Reason::Failover, call.request.clone(), "next_target"));
        for (from_target, reason, request, result) in repair.into_iter().chain(other) {
            if let Err(why) = self.may_ask(call) {
                call.trail.note(Self::NAME, Some(&wrong.provider), StepKind::Denied(why));
                return Err(None);
            }
            let asked = Call { request, from_target, reason, hedge_after: None, ..call.clone() };
            match next.call(Box::new(asked)).await {
                Ok(reply) => {
                    if reason == Reason::Repair {
                        *repairable = reply.target + 1;
                    }
                    return Ok((reply, result));
                }
                // The caller has left, say.
                Err(fault) if fault.is_definite() => return Err(Some(fault)),
                Err(_) => {}
            }
        }
        Err(None)
    }

    fn may_ask(&self, call: &Call) -> Result<(), &'static str> {
        match (self.is_idempotent, call.attempts.any_left(), call.deadline.has_passed()) {
            (false, ..) => Err("the call must not be made twice"),
            (_, false, _) => Err("the call has no attempts left"),
            (_, _, true) => Err("the call's deadline leaves no time for it"),
            (true, true, false) => Ok(()),
        }
    }
}

impl Structured {
    /// Takes note of what came of an answer.
    fn note(&self, call: &Call, result: &'static str) {
        call.trail.say(Self::NAME, result);
        self.metrics.0.get_or_create(&Labels { route: self.route.clone(), result }).inc();
    }
}

impl Policy for Structured {
    const NAME: &'static str = "structured";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let Some(shape) = call.request.schema().cloned() else {
            if matches!(&*call.request, CallRequest::Wire(wire) if wire.contents.leaves_schema) {
                self.note(&call, SKIPPED);
            }
            return next.call(call).await;
        };
        let streamed = call.request.wants_stream().then(|| call.request.clone());
        if let Some(whole) = streamed.as_deref().and_then(unstreamed) {
            call.request = Arc::new(whole);
        }
        let outcome = self.ask(&call, &shape, next).await;
        match &outcome {
            Ok((_, result)) => self.note(&call, result),
            Err(Fault::InvalidOutput { .. }) => self.note(&call, "invalid"),
            // There was no answer to be checked.
            Err(_) => {}
        }
        let (reply, _) = outcome?;
        match streamed {
            Some(request) => in_events(&request, reply),
            None => Ok(reply),
        }
    }
}

/// The same request for an answer that comes whole.
fn unstreamed(request: &CallRequest) -> Option<CallRequest> {
    match request {
        CallRequest::Chat(chat) => Some(CallRequest::Chat(Chat { stream: false, ..chat.clone() })),
        CallRequest::Wire(wire) => reshaped::unstreamed(wire).map(CallRequest::Wire),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
    }
}

/// An answer in OpenAI's dialect as the events that its caller has asked for. Others are spelt by their callers' dialects.
fn in_events(request: &CallRequest, mut reply: Box<Reply>) -> Outcome {
    if let (CallRequest::Wire(wire), Body::Whole(body)) = (request, &reply.body) {
        let events = format::of(wire).events(wire, body).ok_or_else(|| Fault::Broken {
            provider: reply.provider.clone(),
            detail: "an answer that cannot be converted to a stream".into(),
        })?;
        reply.body = Body::Events(Box::pin(stream::iter(events.into_iter().map(Ok))));
    }
    Ok(reply)
}

/// An answer without the shape that was asked for.
struct WrongAnswer {
    target: usize,
    provider: Arc<str>,
    said: String,
    mismatch: Mismatch,
}

/// Holds an answer to its shape, and leaves nothing but the answer in it. Tokens of typed answers are those of all that was asked
/// for them.
fn check(
    mut reply: Box<Reply>,
    request: &CallRequest,
    shape: &Shape,
    usage: &mut Option<Usage>,
) -> Result<(Box<Reply>, &'static str), WrongAnswer> {
    let wrong = |reply: &Reply, said: String, mismatch: Mismatch| WrongAnswer {
        target: reply.target,
        provider: reply.provider.clone(),
        said,
        mismatch,
    };
    match &mut reply.body {
        Body::Answer(answer) => {
            *usage = match (*usage, answer.usage) {
                (Some(before), Some(own)) => Some(before.and(own)),
                (before, own) => before.or(own),
            };
            answer.usage = *usage;
            // A restaurant's assistant has a field of its own for what it understood. Callers of OpenAI's dialect do not see it.
            if answer.order.is_some() && matches!(request, CallRequest::Chat(_)) {
                return Ok((reply, VALID));
            }
            match find(shape, &answer.text, answer.finish.as_deref() == Some("length")) {
                Ok((_, VALID)) => Ok((reply, VALID)),
                Ok((found, way)) => {
                    answer.text = found.to_owned();
                    Ok((reply, way))
                }
                Err(mismatch) => {
                    let said = std::mem::take(&mut answer.text);
                    Err(wrong(&reply, said, mismatch))
                }
            }
        }
        Body::Whole(body) => match apart(body.len(), || reshaped::said(body)) {
            Some(Said::Refusal) => Ok((reply, REFUSED)),
            Some(Said::Text { text, place, is_plain, is_cut }) => match find(shape, &text, is_cut) {
                Ok((_, VALID)) if is_plain => Ok((reply, VALID)),
                Ok((found, _)) => {
                    *body = reshaped::saying(body, place, found).into();
                    Ok((reply, EXTRACTED))
                }
                Err(mismatch) => Err(wrong(&reply, text, mismatch)),
            },
            None => {
                let mismatch = Mismatch { what: "the answer has no text".into(), keywords: "text".into() };
                Err(wrong(&reply, String::new(), mismatch))
            }
        },
        // Of nothing else that is asked for a model writes the text.
        Body::Transcript(_) | Body::Bytes(_) | Body::Events(_) | Body::Socket(_) => Ok((reply, SKIPPED)),
    }
}

/// The answer in what a model said, and whether it was all of it.
fn find<'a>(shape: &Shape, said: &'a str, is_cut: bool) -> Result<(&'a str, &'static str), Mismatch> {
    match shape.find(said) {
        Ok(found) => Ok((found, if found.len() == said.len() { VALID } else { EXTRACTED })),
        Err(_) if is_cut => {
            Err(Mismatch { what: "the answer was cut off at its limit of tokens".into(), keywords: "length".into() })
        }
        Err(mismatch) => Err(mismatch),
    }
}

/// The request with the wrong answer to it, and what is wrong with that.
fn repaired(request: &CallRequest, wrong: &WrongAnswer) -> Option<CallRequest> {
    let shown = &wrong.said[..wrong.said.floor_char_boundary(MAX_SHOWN)];
    let told = format!(
        "That does not match the JSON Schema: {}. Answer with the corrected JSON alone.",
        wrong.mismatch.what.trim_end_matches('.')
    );
    // Providers refuse messages without a text.
    let shown = if shown.trim().is_empty() { "{}" } else { shown };
    match request {
        CallRequest::Chat(chat) => {
            let mut chat = chat.clone();
            chat.messages.push(Message { role: Role::Assistant, text: shown.to_owned() });
            chat.messages.push(Message { role: Role::User, text: told });
            Some(CallRequest::Chat(chat))
        }
        CallRequest::Wire(wire) => reshaped::repaired(wire, shown, &told).map(CallRequest::Wire),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
    }
}
