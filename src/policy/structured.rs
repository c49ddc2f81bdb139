//! Structured: sees to it that an answer has the shape that was asked for, or that there is none.
//!
//! An answer is taken out of what a model wrote around it and checked. If it is wrong, its target is asked once more, with
//! the answer and what is wrong with it; then the next target is asked, and so on, within the call's attempts, deadline and
//! retry budgets. Whatever is asked counts as an attempt of the call, and is paid for like one. A stream is asked for whole,
//! because nobody knows before its end whether it is right. How a shape is described or checked is not known here.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::config::plan::{ProviderKind, TargetPlan};
use crate::model::call::{Call, CallRequest, Chat, Message, Role};
use crate::model::fault::Fault;
use crate::model::reply::{Answer, Body, Reply, Usage};
use crate::model::shape::{Mismatch, Shape};
use crate::model::trail::{Reason, StepKind};
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::{Group, Registrar};

/// As much of a wrong answer is shown to the model again, in bytes. Longer ones were cut short, mostly.
const MAX_SHOWN: usize = 32 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: Arc<str>,
    /// `valid` (at once), `repaired`, `next_target` or `invalid`.
    result: &'static str,
}

/// What came of answers that must have a shape.
pub struct StructuredMetrics(Family<Labels, Counter>);

impl Group for StructuredMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        let help = "Answers that must match a JSON Schema, by route and result: valid, repaired (asked again), \
                    next_target or invalid (502)";
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
        let (mut result, mut usage) = ("valid", None);
        // Targets before this one were asked once more already.
        let mut repairable = 0;
        loop {
            let wrong = match check(reply, shape, &mut usage) {
                Ok(reply) => return Ok((reply, result)),
                Err(wrong) => wrong,
            };
            (reply, result) = match self.again(call, &wrong, &mut repairable, next).await {
                Ok(again) => again,
                Err(Some(fault)) => return Err(fault),
                Err(None) => {
                    let mismatch = Box::new(wrong.mismatch);
                    return Err(Fault::InvalidOutput { provider: wrong.provider, mismatch });
                }
            };
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

impl Policy for Structured {
    const NAME: &'static str = "structured";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let Some(shape) = call.request.schema().cloned() else { return next.call(call).await };
        if let CallRequest::Chat(chat) = &*call.request
            && chat.stream
        {
            call.request = Arc::new(CallRequest::Chat(Chat { stream: false, ..chat.clone() }));
        }
        let outcome = self.ask(&call, &shape, next).await;
        let result = match &outcome {
            Ok((_, result)) => result,
            Err(Fault::InvalidOutput { .. }) => "invalid",
            // There was no answer to be checked.
            Err(_) => return outcome.map(|(reply, _)| reply),
        };
        call.trail.say(Self::NAME, result);
        self.metrics.0.get_or_create(&Labels { route: self.route.clone(), result }).inc();
        outcome.map(|(reply, _)| reply)
    }
}

/// An answer without the shape that was asked for.
struct WrongAnswer {
    target: usize,
    provider: Arc<str>,
    said: String,
    mismatch: Mismatch,
}

/// Holds an answer to its shape, and leaves nothing but the answer in it. Its tokens are those of all that was asked for it.
fn check(mut reply: Box<Reply>, shape: &Shape, usage: &mut Option<Usage>) -> Result<Box<Reply>, WrongAnswer> {
    let Body::Answer(answer) = &mut reply.body else { return Ok(reply) };
    *usage = match (*usage, answer.usage) {
        (Some(before), Some(own)) => Some(before.and(own)),
        (before, own) => before.or(own),
    };
    answer.usage = *usage;
    // A restaurant's assistant has a field of its own for what it understood.
    if answer.order.is_some() {
        return Ok(reply);
    }
    match shape.find(&answer.text) {
        Ok(text) => {
            answer.text = text;
            Ok(reply)
        }
        Err(mismatch) => {
            let Answer { text: said, .. } = std::mem::take(answer);
            Err(WrongAnswer { target: reply.target, provider: reply.provider.clone(), said, mismatch })
        }
    }
}

/// The request with the wrong answer to it, and what is wrong with that.
fn repaired(request: &CallRequest, wrong: &WrongAnswer) -> Option<CallRequest> {
    let CallRequest::Chat(chat) = request else { return None };
    let shown = &wrong.said[..wrong.said.floor_char_boundary(MAX_SHOWN)];
    let told = format!(
        "That does not match the JSON Schema: {}. Answer with the corrected JSON alone.",
        wrong.mismatch.what.trim_end_matches('.')
    );
    let mut chat = chat.clone();
    // Providers refuse messages without a text.
    let shown = if shown.trim().is_empty() { "{}" } else { shown };
    chat.messages.push(Message { role: Role::Assistant, text: shown.to_owned() });
    chat.messages.push(Message { role: Role::User, text: told });
    Some(CallRequest::Chat(chat))
}
