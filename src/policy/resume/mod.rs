//! Resume: when a text stream breaks after its first event, the request is replayed at the next target. If the new
//! response starts with what the caller already has, the stream continues seamlessly from there. If it differs, and
//! the route allows it, a target that can continue a partial answer is asked to; otherwise the stream ends with its
//! original error.
//!
//! Never with tool calls or several choices, and never beyond the call's deadline and attempts. The caller gets one
//! provider's answer, or a prefix proven equal to the beginning of the answer that completes it, or, in mode
//! `replay+continue`, a prefix that another model continued. After that no other answer can be proven equal, so a
//! further break is only continued. A token limit counts from the continuation on: its provider does not know the
//! rest.
//!
//! A stream that stalls for longer than `patience` allows is not broken: the next target is called in parallel, and
//! whichever delivers first is used. If no target can take over, the original stream is waited for.
//!
//! A replay is no extra load on a provider that the call has not used yet: like a failover, it is a request there
//! and earns its share of the retry budget. A continuation is an extra attempt, paid from the retry budget of its
//! provider (`policy/retry` handles both), and so is a parallel call for a stalled stream (`policy/failover`).

mod said;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use self::said::{AnswerTexts, Comparison};
use crate::model::call::{Call, TextUse};
use crate::model::fault::Fault;
use crate::model::reply::{Beside, Body, Event, EventKind, EventStream, Reply};
use crate::model::signs::Signs;
use crate::model::time;
use crate::model::time::{Alarm, later};
use crate::model::trail::Reason;
use crate::stack::{Next, Outcome, Policy, Stack};
use crate::wire::format;
use crate::wire::stitch::Stitch;

/// The policy. It holds the targets' stack itself, because a stream outlives the call that began it.
#[derive(Clone)]
pub struct Resume {
    again: Stack,
    targets: usize,
    continuing: Arc<[bool]>,
}

/// An answer that goes on after a silence may be silent for as many times as long before somebody else is asked again.
const USUAL_SILENCES: u32 = 3;

impl Resume {
    /// Resumes at the targets of `again`, of which there are `targets`. `continuing` says of each of them whether it can go on from a partial answer; it is
    /// empty where that is not wanted.
    pub fn new(again: Stack, targets: usize, continuing: Arc<[bool]>) -> Self {
        Self { again, targets, continuing }
    }

    /// True when targets are left that could go on with the answer of this one. Of any other nothing is kept.
    fn has_next(&self, target: usize) -> bool {
        target + 1 < self.targets
    }
}

impl Policy for Resume {
    const NAME: &'static str = "resume";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let Some(new_stitch) = format::stitch(&call.request).filter(|_| self.has_next(call.from_target)) else {
            return next.call(call).await;
        };
        call.text_use = TextUse::Read;
        let mut reply = next.call(call.clone()).await?;
        if !self.has_next(reply.target) {
            return Ok(reply);
        }
        let events = match reply.body {
            Body::Events(events) => events,
            whole => {
                reply.body = whole;
                return Ok(reply);
            }
        };
        call.from_target = reply.target + 1;
        call.reason = Reason::Resume;
        call.hedge_after = None;
        let resuming = Resuming {
            answer: Some(Answering::new(events, reply.provider.clone(), reply.signs.clone())),
            other: None,
            is_over: false,
            asked_from: reply.target + 1,
            call,
            again: self.again.clone(),
            continuing: self.continuing.clone(),
            said: AnswerTexts::default(),
            is_resumable: true,
            stitch: new_stitch(),
            ready: VecDeque::new(),
            fault: None,
            continuation: None,
            is_mixed: false,
        };
        reply.body = Body::Events(Box::pin(resuming));
        Ok(reply)
    }
}

type Asking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The answer that the caller gets. Once resumed, it is given the first answer's identity.
struct Answering {
    events: EventStream,
    provider: Arc<str>,
    signs: Option<Signs>,
    /// The silence after which somebody else is asked beside it; `None`: it is waited for.
    silent_after: Option<Duration>,
    waiting_since: Option<Instant>,
    /// When somebody was asked beside it in vain: the next is asked after as much silence again.
    asked_in_vain: Option<Instant>,
    alarm: Alarm,
}

impl Answering {
    fn new(events: EventStream, provider: Arc<str>, signs: Option<Signs>) -> Self {
        let silent_after = signs.as_ref().map(Signs::silent_after);
        let (waiting_since, asked_in_vain) = (None, None);
        Self { events, provider, signs, silent_after, waiting_since, asked_in_vain, alarm: Alarm::default() }
    }

    /// The next event; `None`: somebody else should be asked beside it.
    fn poll(&mut self, is_alone: bool, cx: &mut Context<'_>) -> Poll<Option<Option<Result<Event, Fault>>>> {
        if let Poll::Ready(item) = self.events.as_mut().poll_next(cx) {
            if let (Some(since), Some(after)) = (self.waiting_since.take(), &mut self.silent_after) {
                // It has shown that its silences are as long as this.
                *after = (*after).max(time::since(since).saturating_mul(USUAL_SILENCES));
            }
            self.asked_in_vain = None;
            return Poll::Ready(Some(item));
        }
        let Some(after) = self.silent_after else { return Poll::Pending };
        let since = *self.waiting_since.get_or_insert_with(time::now);
        if !is_alone {
            return Poll::Pending;
        }
        self.alarm.poll(later(self.asked_in_vain.unwrap_or(since), after), cx).map(|()| None)
    }
}

/// Whoever is asked beside a silent answer, or instead of one that broke.
enum Other {
    /// It is asked for the whole answer.
    Repeating(Asking),
    /// It repeats what the caller already has.
    CatchingUp(Repeat),
    /// It is asked to go on from what the caller has.
    Continuing(Asking),
}

/// A repeated answer on its way to where the first one broke.
struct Repeat {
    events: EventStream,
    so_far: AnswerTexts,
    target: usize,
    provider: Arc<str>,
    signs: Option<Signs>,
}

/// What is known of a continuation that is passed on.
struct Continuation {
    /// Texts that the caller had before it.
    texts_before: u64,
    has_spoken: bool,
}

/// What one event of a repeated answer means.
enum Step {
    /// The caller has it already.
    Known,
    /// It has caught up: this is what the caller gets next.
    CaughtUp(Event),
    /// It is not the same answer.
    Differs,
}

/// A stream that goes on at another target when it breaks, or when it is silent and another is not.
struct Resuming {
    /// `None` once it has broken.
    answer: Option<Answering>,
    other: Option<Other>,
    is_over: bool,
    /// The first target that may be asked once the answer goes on by itself after a silence.
    asked_from: usize,
    call: Box<Call>,
    again: Stack,
    continuing: Arc<[bool]>,
    /// The texts that the caller has.
    said: AnswerTexts,
    is_resumable: bool,
    /// What the caller was told of the answer: of another one it is told the rest.
    stitch: Box<dyn Stitch>,
    /// Events that the caller gets next.
    ready: VecDeque<Event>,
    /// Why the stream broke; also the mark that it was resumed.
    fault: Option<Fault>,
    /// Set while the answer comes from a target that was asked to go on.
    continuation: Option<Continuation>,
    /// What the caller has is no single provider's answer any more.
    is_mixed: bool,
}

impl Resuming {
    /// Notes what the caller is given. `None`: the caller has had it before.
    fn pass(&mut self, event: Event) -> Option<Event> {
        match (&mut self.continuation, &event.kind) {
            (Some(it), EventKind::Piece) if !it.has_spoken && self.stitch.is_opening(&event) => return None,
            (Some(it), EventKind::Text(_)) => {
                it.has_spoken = true;
                self.is_mixed = true;
            }
            _ => {}
        }
        if self.is_resumable && !self.said.note(&event.kind) {
            self.is_resumable = false;
            // Nothing is compared with it any more.
            self.said = AnswerTexts::default();
        }
        if self.fault.is_none() {
            self.stitch.note(&event);
            return Some(event);
        }
        let texts_before = self.continuation.as_ref().map_or(0, |it| it.texts_before);
        self.stitch.pass(event, texts_before, &mut self.ready);
        self.ready.pop_front()
    }

    /// True when somebody may still be asked.
    fn may_ask(&self) -> bool {
        self.call.attempts.any_left() && !self.call.deadline.has_passed()
    }

    /// The stream broke: asks another target, if that may help and none is asked already.
    fn broke(&mut self, fault: Fault) -> Result<(), Fault> {
        self.answer = None;
        if !self.is_resumable || !fault.breaks_off() {
            return Err(self.fault.take().unwrap_or(fault));
        }
        // The first reason is the one that is told in the end.
        self.fault.get_or_insert(fault);
        if self.other.is_some() { Ok(()) } else { self.ask_next() }
    }

    /// The answer is silent: asks the next target beside it, if that may help.
    fn is_silent(&mut self) {
        self.asked_from = self.call.from_target;
        if self.is_resumable && self.may_ask() && self.ask_next().is_ok() {
            return;
        }
        if let Some(answer) = &mut self.answer {
            answer.silent_after = None;
        }
    }

    /// Asks the next target: for the whole answer, or to go on where no whole answer can be right any more.
    fn ask_next(&mut self) -> Result<(), Fault> {
        if !self.may_ask() {
            return Err(self.why());
        }
        if self.is_mixed {
            let mut left = self.call.from_target..self.continuing.len();
            let target = left.find(|target| self.continuing[*target]).ok_or_else(|| self.why())?;
            self.ask_to_continue(target);
        } else {
            // Beside an answer that may still go on it is an extra request, and has to be paid for as one.
            let reason = if self.answer.is_some() { Reason::Rescue } else { Reason::Resume };
            self.other = Some(Other::Repeating(self.ask(Box::new(Call { reason, ..(*self.call).clone() }))));
        }
        Ok(())
    }

    /// A target gave another answer, or a shorter one: asks it to go on from what the caller has, if it can.
    fn differs(&mut self, target: usize) -> Result<(), Fault> {
        if self.continuing.get(target) == Some(&true) && !self.said.text().is_empty() && self.may_ask() {
            self.ask_to_continue(target);
            return Ok(());
        }
        match self.continuing.is_empty() {
            true => Err(self.why()),
            false => self.ask_next(),
        }
    }

    fn ask_to_continue(&mut self, target: usize) {
        let call = Call { said: Some(self.said.text().into()), from_target: target, ..(*self.call).clone() };
        self.call.from_target = target + 1;
        self.other = Some(Other::Continuing(self.ask(Box::new(call))));
    }

    fn ask(&self, call: Box<Call>) -> Asking {
        let again = self.again.clone();
        Box::pin(async move { again.call(call).await })
    }

    /// What the caller is told when nobody can help.
    fn why(&self) -> Fault {
        self.fault.clone().unwrap_or(Fault::Incomplete {
            provider: Arc::from("several"),
            detail: "the new answer differs from the one that broke off".into(),
        })
    }

    /// A target was asked for the whole answer.
    fn repeats(&mut self, outcome: Outcome) -> Result<(), Fault> {
        let Ok(reply) = outcome else { return Err(self.why()) };
        self.call.from_target = reply.target + 1;
        match reply.body {
            Body::Events(events) => {
                let Reply { target, provider, signs, .. } = *reply;
                let so_far = AnswerTexts::default();
                self.stitch.begin("");
                self.other = Some(Other::CatchingUp(Repeat { events, so_far, target, provider, signs }));
                Ok(())
            }
            // Nothing that could be compared piece by piece.
            _ => self.differs(reply.target),
        }
    }

    /// A target was asked to go on.
    fn continued(&mut self, outcome: Outcome) -> Result<(), Fault> {
        let reply = outcome.map(|reply| *reply);
        let Ok(Reply { body: Body::Events(events), provider, signs, .. }) = reply else { return self.ask_next() };
        self.stitch.begin(self.said.text());
        let continuation = Continuation { texts_before: self.said.pieces, has_spoken: false };
        self.goes_on(Answering::new(events, provider, signs), Some(continuation));
        Ok(())
    }

    /// What comes from now on is a continuation, or a whole answer. One that is still silent is left.
    fn goes_on(&mut self, answer: Answering, continuation: Option<Continuation>) {
        if let Some(silent) = self.answer.replace(answer) {
            if let Some(signs) = &silent.signs {
                signs.leave();
            }
            let detail = "it stalled, and another target continued".into();
            self.fault.get_or_insert(Fault::Incomplete { provider: silent.provider.clone(), detail });
        }
        let mut facts = self.call.trail.facts();
        facts.texts_before = continuation.as_ref().map_or(0, |it| it.texts_before);
        drop(facts);
        self.continuation = continuation;
    }

    /// One event of a repeated answer.
    fn catch_up(&mut self, so_far: &mut AnswerTexts, event: Event) -> Step {
        // The role at the beginning the caller has; after the texts: its finish and usage.
        if event.kind == EventKind::Piece && self.said.is_all_in(so_far) {
            let is_next = !so_far.text().is_empty() || self.stitch.is_finish(&event);
            return if is_next { Step::CaughtUp(event) } else { self.is_known(event) };
        }
        match self.said.compare(so_far, &event.kind) {
            // Its last words and its end in one: the end is new.
            Comparison::Known if self.stitch.is_finish(&event) && self.said.is_all_in(so_far) => {
                Step::CaughtUp(self.stitch.cut(Event { kind: EventKind::Piece, ..event }, (None, "")))
            }
            Comparison::Known => self.is_known(event),
            Comparison::New => Step::CaughtUp(event),
            Comparison::Differs => Step::Differs,
            Comparison::Beyond(channel, rest) => {
                let kind = match channel {
                    None => EventKind::Text(rest.as_str().into()),
                    Some(channel) => EventKind::Beside([Beside { channel, text: rest.as_str().into() }].into()),
                };
                Step::CaughtUp(self.stitch.cut(Event { kind, ..event }, (channel, &rest)))
            }
        }
    }

    /// The caller has it already.
    fn is_known(&mut self, event: Event) -> Step {
        self.stitch.skip(event);
        Step::Known
    }

    /// What came from a stream that catches up. `Some`: the caller gets it.
    fn caught(&mut self, mut repeat: Repeat, item: Option<Result<Event, Fault>>) -> Result<Option<Event>, Fault> {
        let step = match item {
            Some(Ok(event)) => self.catch_up(&mut repeat.so_far, event),
            // The next one is asked, if it broke as the answer did.
            Some(Err(fault)) if self.answer.is_none() => return self.broke(fault).map(|()| None),
            Some(Err(fault)) => return Err(fault),
            None => Step::Differs,
        };
        match step {
            Step::Known => {
                self.other = Some(Other::CatchingUp(repeat));
                Ok(None)
            }
            Step::CaughtUp(event) => {
                self.goes_on(Answering::new(repeat.events, repeat.provider, repeat.signs), None);
                Ok(self.pass(event))
            }
            Step::Differs => {
                let target = repeat.target;
                // Nobody wants the rest of it.
                drop(repeat);
                self.call.trail.differed();
                self.differs(target).map(|()| None)
            }
        }
    }

    /// What came of the answer itself. `Some`: the caller gets it.
    fn came(&mut self, item: Result<Event, Fault>) -> Result<Option<Event>, Fault> {
        match item {
            Ok(event) => {
                // It goes on by itself: whoever was asked beside it is not needed.
                if self.other.take().is_some() {
                    self.call.from_target = self.asked_from;
                }
                Ok(self.pass(event))
            }
            Err(fault) => self.broke(fault).map(|()| None),
        }
    }

    /// What came of whoever is asked beside the answer, or instead of it. `Some`: the caller gets it.
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Fault>> {
        let moved = match &mut self.other {
            None => return Poll::Pending,
            Some(Other::Repeating(asking)) => {
                let outcome = ready!(asking.as_mut().poll(cx));
                self.other = None;
                self.repeats(outcome).map(|()| None)
            }
            Some(Other::Continuing(asking)) => {
                let outcome = ready!(asking.as_mut().poll(cx));
                self.other = None;
                self.continued(outcome).map(|()| None)
            }
            Some(Other::CatchingUp(repeat)) => {
                let item = ready!(repeat.events.as_mut().poll_next(cx));
                match self.other.take() {
                    Some(Other::CatchingUp(repeat)) => self.caught(repeat, item),
                    _ => Ok(None),
                }
            }
        };
        Poll::Ready(match (moved, &mut self.answer) {
            // Nobody could go on in its place: it is waited for.
            (Err(_), Some(answer)) => {
                answer.asked_in_vain = Some(Instant::now());
                Ok(None)
            }
            (moved, _) => moved,
        })
    }
}

impl Stream for Resuming {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if this.is_over {
                return Poll::Ready(None);
            }
            let is_alone = this.other.is_none();
            let from_answer = this.answer.as_mut().map_or(Poll::Pending, |answer| answer.poll(is_alone, cx));
            let moved = match from_answer {
                Poll::Ready(Some(Some(item))) => this.came(item),
                Poll::Ready(Some(None)) => {
                    this.is_over = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => {
                    this.is_silent();
                    Ok(None)
                }
                Poll::Pending => ready!(this.poll_other(cx)),
            };
            match moved {
                Ok(None) => {}
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Err(fault) => {
                    (this.is_over, this.answer, this.other) = (true, None, None);
                    return Poll::Ready(Some(Err(fault)));
                }
            }
        }
    }
}
