//! Bodies of provider responses with idle timeouts, and the event stream made from one.
//!
//! The timer counts only time spent waiting for the provider: a caller that reads slowly is not a stalled provider.
//! It does not know dialects; an [`EventReader`] does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use super::translated;
use super::transport::{ResponseBody, SendFault};
use super::{ByteReader, EventReader, Provider, Read, ResponseHead};
use crate::config::plan::ProviderPlan;
use crate::model::bill::Bill;
use crate::model::call::Call;
use crate::model::fault::{Bound, Fault, Refusal};
use crate::model::reply::{Event, EventKind, Usage};
use crate::model::signs::Signs;
use crate::model::time::{Alarm, Deadline, Phase, later, now};
use crate::model::trail::{AttemptNote, Outcome, Received, Trail};
use crate::wire::concat;
use crate::wire::openai::parts::without_mark;
use crate::wire::sse::{Decoder, Frame};

/// The largest single event. Images and long tool calls come in events of some hundred KiB.
const MAX_EVENT: usize = 8 * 1024 * 1024;

/// The most blanks before an answer that are read to know its form.
const MAX_BLANK: usize = 64 * 1024;

/// As many bytes tell what form an answer has: those of a field's name with its colon.
const TELLING: usize = 6;

/// The most that is kept of comments before the first event: a few, as some providers send one every second.
const MAX_EARLY: usize = 4 * 1024;

/// The most that is held of events that come before the answer says anything.
const MAX_PRELUDE: usize = 1024 * 1024;

/// For how long they are held: a caller wants to see by and by that its answer has begun.
const PRELUDE: Duration = Duration::from_secs(10);

/// How long to wait after the terminator for the provider to end its response, so that its connection can be used again.
const TAIL: Duration = Duration::from_millis(100);

/// Tells when a wait has been too long. One timer serves the idle limit and the deadline.
pub(super) struct Watchdog {
    deadline: Deadline,
    idle: Duration,
    waiting_since: Option<Instant>,
    alarm: Alarm,
}

impl Watchdog {
    pub(super) fn new(deadline: Deadline, idle: Duration) -> Self {
        Self { deadline, idle, waiting_since: None, alarm: Alarm::default() }
    }

    /// Something came: the wait is over.
    fn fed(&mut self) {
        self.waiting_since = None;
    }

    /// Ready when the current wait has been too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let began = self.waiting_since;
        let since = began.unwrap_or_else(now);
        self.waiting_since = Some(since);
        let idle_at = later(since, self.idle);
        let (due, phase) = match idle_at < self.deadline.at {
            true => (idle_at, Phase::Idle),
            false => (self.deadline.at, self.deadline.phase),
        };
        // A wait that begins just now: most alarms have been set for an earlier one already.
        if began.is_none() && self.alarm.is_set(since, due, cx) {
            return Poll::Pending;
        }
        self.alarm.poll(due, cx).map(|()| phase)
    }
}

/// A response's body under a watchdog.
pub(super) struct Bodies {
    /// `None` once it has ended.
    body: Option<ResponseBody>,
    /// What has come already, and is to be read again.
    start: Option<Bytes>,
    watchdog: Watchdog,
}

impl Bodies {
    pub(super) fn new(body: ResponseBody, watchdog: Watchdog) -> Self {
        Self { body: Some(body), start: None, watchdog }
    }

    /// The first bytes that are not blank, a line or as many as tell the form of an answer, which are not taken by that; none of an
    /// empty body. They must come before `by`, where that is sooner than the call's deadline.
    pub(super) async fn start(&mut self, by: Option<Deadline>) -> Result<Bytes, BodyEnd> {
        let call_deadline = self.watchdog.deadline;
        self.watchdog.deadline = by.unwrap_or(call_deadline);
        let mut start = Bytes::new();
        while let Some(piece) = self.next().await {
            start = concat::join(start, piece?);
            let said = without_mark(&start).trim_ascii_start();
            if start.len() > MAX_BLANK || said.len() >= TELLING || said.contains(&b'\n') {
                break;
            }
        }
        self.watchdog.deadline = call_deadline;
        self.start = Some(start.clone()).filter(|start| !start.is_empty());
        Ok(start)
    }

    /// Passes the bytes on as they come.
    pub(super) fn into_bytes(self, first: Option<Bytes>, provider: Arc<str>, note: AttemptNote) -> RawBytes {
        RawBytes { first, body: Some(self), provider, note }
    }
}

impl Stream for Bodies {
    type Item = Result<Bytes, BodyEnd>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(start)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match body.as_mut().poll_next(cx) {
            Poll::Ready(item) => {
                self.watchdog.fed();
                if item.is_none() {
                    self.body = None;
                }
                Poll::Ready(item.map(|chunk| {
                    chunk.map_err(|fault| match fault {
                        SendFault::Connect(detail) | SendFault::Closed(detail) | SendFault::Broken(detail) => {
                            BodyEnd::Cut(detail)
                        }
                        SendFault::ConnectTimeout => BodyEnd::Late(Phase::Connect),
                    })
                }))
            }
            Poll::Pending => self.watchdog.poll(cx).map(|phase| Some(Err(BodyEnd::Late(phase)))),
        }
    }
}

/// Bytes as they come, with the attempt's end noted.
pub(super) struct RawBytes {
    first: Option<Bytes>,
    body: Option<Bodies>,
    provider: Arc<str>,
    note: AttemptNote,
}

impl Stream for RawBytes {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let end = match ready!(body.poll_next_unpin(cx)) {
            Some(Ok(bytes)) => return Poll::Ready(Some(Ok(bytes))),
            None => {
                self.note.end(Outcome::Succeeded);
                None
            }
            Some(Err(end)) => Some(Err(incomplete(&self.provider, end))),
        };
        self.body = None;
        if let Some(Err(fault)) = &end {
            self.note.failed(fault);
        }
        Poll::Ready(end)
    }
}

/// Bytes as they come, with what they say of their cost noted.
pub(super) struct CountedBytes {
    pub(super) bytes: RawBytes,
    pub(super) reader: Box<dyn ByteReader>,
    pub(super) bill: Option<Arc<Bill>>,
    pub(super) counted: Option<Usage>,
}

impl Stream for CountedBytes {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.bytes.poll_next_unpin(cx));
        if let Some(Ok(piece)) = &item {
            self.reader.read(piece);
            // At once: who leaves before the end has been told all the same.
            let counted = self.reader.usage();
            if let Some(usage) = counted.filter(|_| counted != self.counted) {
                self.counted = counted;
                self.bytes.note.usage(usage, self.bill.as_ref());
            }
        }
        Poll::Ready(item)
    }
}

/// Why a body ended early.
#[derive(Debug)]
pub(super) enum BodyEnd {
    /// A deadline passed.
    Late(Phase),
    /// The connection broke.
    Cut(String),
    /// It is more than the gateway takes.
    TooLarge(Bound),
}

/// The fault for a wait that was too long. The whole call's deadline is nobody's fault in particular and ends the call.
pub(super) fn late(provider: &Arc<str>, phase: Phase) -> Fault {
    match phase {
        Phase::Call | Phase::Caller => Fault::of_deadline(phase),
        phase => Fault::Timeout { provider: provider.clone(), phase },
    }
}

/// The fault of an answer that has begun and will not be finished.
fn incomplete(provider: &Arc<str>, end: BodyEnd) -> Fault {
    match end {
        BodyEnd::Late(phase @ (Phase::Call | Phase::Caller)) => Fault::of_deadline(phase),
        BodyEnd::Late(phase) => {
            Fault::Incomplete { provider: provider.clone(), detail: format!("{} timeout", phase.as_str()) }
        }
        BodyEnd::Cut(detail) => Fault::Incomplete { provider: provider.clone(), detail },
        BodyEnd::TooLarge(bound) => Fault::Oversized { provider: provider.clone(), bound },
    }
}

/// The events of one provider's answer.
///
/// Ends with `None` only when the answer is complete; its missing terminator is supplied then. Malformed events are
/// dropped and counted.
pub(super) struct Events {
    body: Option<Bodies>,
    decoder: Decoder,
    reader: Box<dyn EventReader>,
    ready: VecDeque<Event>,
    /// The size of the comments that came before the first event, and are kept.
    early: usize,
    /// The size of the events that came before the answer says anything, and the moment until which they are held.
    prelude: usize,
    held_until: Option<Instant>,
    alarm: Alarm,
    /// The deadline of the call, while that of the first event is the watchdog's.
    call_deadline: Option<Deadline>,
    is_done: bool,
    has_id: bool,
    dropped: u64,
    received: Received,
    dialect: &'static dyn Provider,
    plan: Arc<ProviderPlan>,
    provider: Arc<str>,
    /// True for a call that was asked in another API than its caller's.
    is_translated: bool,
    trail: Trail,
    bill: Option<Arc<Bill>>,
    note: AttemptNote,
}

impl Events {
    pub(super) fn new(
        body: Bodies,
        reader: Box<dyn EventReader>,
        (dialect, plan): (&'static dyn Provider, Arc<ProviderPlan>),
        call: &Call,
        note: AttemptNote,
    ) -> Self {
        let decoder = Decoder::new(MAX_EVENT);
        Self {
            body: Some(body),
            decoder,
            reader,
            ready: VecDeque::new(),
            early: 0,
            prelude: 0,
            held_until: None,
            alarm: Alarm::default(),
            call_deadline: None,
            is_done: false,
            has_id: false,
            dropped: 0,
            received: Received::default(),
            dialect,
            provider: plan.name.clone(),
            is_translated: translated::is(call, &plan),
            plan,
            trail: call.trail.clone(),
            bill: call.bill.clone(),
            note,
        }
    }

    /// Notes that the first event is in hand.
    pub(super) fn answered(&self) {
        self.note.answered();
    }

    /// Waits until the first event that says something is in hand; the comments before it are kept with it, as far as they are few.
    /// Until then an error is a fault like that of any failed attempt.
    pub(super) async fn first(&mut self, by: Deadline, signs: Option<&Signs>) -> Result<(), Fault> {
        self.call_deadline = self.body.as_mut().map(|body| std::mem::replace(&mut body.watchdog.deadline, by));
        let result = std::future::poll_fn(|cx| self.poll_first(signs, cx)).await;
        self.has_begun();
        self.note_id();
        result.inspect_err(|fault| self.note.failed(fault))
    }

    /// The first event was not late: from now on the call's own deadline counts.
    fn has_begun(&mut self) {
        if let (Some(body), Some(deadline)) = (&mut self.body, self.call_deadline.take()) {
            body.watchdog.deadline = deadline;
        }
    }

    /// Notes the answer's own id, once it is known.
    fn note_id(&mut self) {
        if let Some(id) = self.reader.id().filter(|_| !self.has_id) {
            self.note.answer_id(id);
            self.has_id = true;
        }
    }

    /// Notes what came of the answer, and its tokens where it has said them.
    fn note_tokens(&self) {
        self.note.received(self.received);
        if let Some(usage) = self.reader.usage() {
            self.note.usage(usage, self.bill.as_ref());
        }
    }

    fn poll_first(&mut self, signs: Option<&Signs>, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let alive = || {
            if let Some(signs) = signs {
                signs.alive();
            }
        };
        loop {
            let step = match self.poll_frame(cx) {
                Poll::Ready(step) => step,
                Poll::Pending => {
                    let Some(until) = self.held_until else { return Poll::Pending };
                    return self.alarm.poll(until, cx).map(Ok);
                }
            };
            match step {
                // One hole is as good as many, and a provider may send them without end.
                Step::Event(event) if event.raw.is_empty() => {
                    if self.ready.back().is_none_or(|last| !last.raw.is_empty()) {
                        self.ready.push_back(event);
                    }
                }
                Step::Event(event) if event.kind == EventKind::Comment => {
                    // It was a sign of life. Who sends nothing else for long sends a great many.
                    let size = event.raw.len() + size_of::<Event>();
                    if self.early + size <= MAX_EARLY {
                        self.early += size;
                        self.ready.push_back(Event { raw: Bytes::copy_from_slice(&event.raw), ..event });
                    }
                    alive();
                }
                Step::Silent => {
                    alive();
                    self.has_begun();
                }
                Step::Prelude(event) => {
                    alive();
                    if self.is_held_enough(event) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Step::Translated(events, true) => {
                    alive();
                    self.has_begun();
                    if events.into_iter().any(|event| self.is_held_enough(event)) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Step::Translated(events, false) => {
                    self.ready.extend(events);
                    return Poll::Ready(Ok(()));
                }
                Step::Event(event) => {
                    self.ready.push_back(event);
                    return Poll::Ready(Ok(()));
                }
                Step::Refused(refusal) => return Poll::Ready(Err(self.refused(*refusal))),
                Step::End(BodyEnd::Late(phase)) => return Poll::Ready(Err(late(&self.provider, phase))),
                Step::End(BodyEnd::TooLarge(bound)) => {
                    return Poll::Ready(Err(Fault::Oversized { provider: self.provider.clone(), bound }));
                }
                Step::End(BodyEnd::Cut(detail)) => {
                    return Poll::Ready(Err(Fault::Broken { provider: self.provider.clone(), detail }));
                }
                Step::Complete if self.reader.has_spoken() => return Poll::Ready(Ok(())),
                Step::Complete | Step::Nothing => {
                    return Poll::Ready(Err(Fault::Wordless { provider: self.provider.clone() }));
                }
            }
        }
    }

    /// Holds an event that comes before the answer says anything. True: no more of them should be held.
    fn is_held_enough(&mut self, event: Event) -> bool {
        self.has_begun();
        self.held_until.get_or_insert_with(|| later(Instant::now(), PRELUDE));
        self.prelude += event.raw.len() + size_of::<Event>();
        self.ready.push_back(event);
        self.prelude > MAX_PRELUDE
    }

    /// What an error event means: the same as the error answer that it stands for.
    fn refused(&self, refusal: Refusal) -> Fault {
        let head = ResponseHead { status: refusal.status, headers: refusal.headers };
        let fault = super::refusal(self.dialect, &self.plan, head, refusal.body);
        if self.is_translated { fault.of_translation() } else { fault }
    }

    /// The next thing that happens to the stream.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(self.read(frame)),
                Ok(None) => {}
                Err(_) => {
                    return Poll::Ready(Step::End(BodyEnd::TooLarge(Bound::Event(MAX_EVENT))));
                }
            }
            let Some(body) = &mut self.body else { return Poll::Ready(self.ended()) };
            match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.decoder.push(chunk),
                Some(Err(end)) => {
                    self.body = None;
                    // All that matters was said: how the connection ended does not.
                    return Poll::Ready(if self.reader.is_complete() { Step::Complete } else { Step::End(end) });
                }
                None => {
                    self.body = None;
                    self.decoder.end();
                }
            }
        }
    }

    /// What a clean end of the body means.
    fn ended(&self) -> Step {
        match self.reader.is_complete() {
            true => Step::Complete,
            false => Step::End(BodyEnd::Cut("the stream ended before its answer".into())),
        }
    }

    fn read(&mut self, frame: Frame) -> Step {
        let Some(data) = frame.data() else { return Step::Event(frame.into_event(EventKind::Comment)) };
        match self.reader.read(frame.name(), data) {
            Read::Event(kind) => {
                self.received.add(&kind, self.reader.text_length());
                let rest = self.reader.is_complete().then(|| self.reader.missing_terminator());
                Step::Event(Event { rest, ..frame.into_event(kind) })
            }
            Read::Prelude(kind) => {
                self.received.add(&kind, self.reader.text_length());
                Step::Prelude(frame.into_event(kind))
            }
            Read::Translated(events, is_prelude) => {
                events.iter().for_each(|event| self.received.add(&event.kind, None));
                Step::Translated(events, is_prelude)
            }
            Read::Silent => Step::Silent,
            Read::Nothing => Step::Nothing,
            Read::Outgrown => Step::End(BodyEnd::TooLarge(Bound::Reply(self.plan.max_reply))),
            Read::Error(refusal) => Step::Refused(refusal),
            Read::Malformed => {
                self.dropped += 1;
                self.received.add(&EventKind::Unknown, None);
                // Whoever puts the answer together must know that there is a hole in it.
                Step::Event(Event::unwritten(EventKind::Unknown))
            }
        }
    }

    /// The answer is complete: what is still missing of its form, then the end.
    fn complete(&mut self) -> Option<Result<Event, Fault>> {
        self.note_tokens();
        self.note.end(Outcome::Succeeded);
        if !std::mem::replace(&mut self.is_done, true) {
            self.ready.extend(self.reader.missing_events());
        }
        self.ready.pop_front().map(Ok)
    }

    fn fail(&mut self, fault: Fault) -> Option<Result<Event, Fault>> {
        self.is_done = true;
        self.body = None;
        self.note.failed(&fault);
        Some(Err(fault))
    }

    fn pass(&mut self, event: Event) -> Option<Result<Event, Fault>> {
        if event.kind == EventKind::Done {
            self.is_done = true;
            // Before the terminator is passed on: whoever records the answer finishes at it.
            self.note_tokens();
            self.note.end(Outcome::Succeeded);
            if let Some(body) = &mut self.body {
                body.watchdog.deadline = body.watchdog.deadline.tighten(TAIL, Phase::Idle);
            }
        }
        Some(Ok(event))
    }

    /// After the terminator: reads on until the provider has ended its response, but not for long.
    fn poll_tail(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(body) = &mut self.body {
            match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.body = None,
            }
        }
        Poll::Ready(())
    }
}

enum Step {
    Event(Event),
    /// An event before the answer says anything.
    Prelude(Event),
    /// Events in the caller's words. True: the answer says nothing with them.
    Translated(Vec<Event>, bool),
    /// An event that is dropped.
    Silent,
    /// The answer ended in which nothing was said.
    Nothing,
    Refused(Box<Refusal>),
    End(BodyEnd),
    Complete,
}

impl Stream for Events {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(self.pass(event));
        }
        if self.is_done {
            ready!(self.poll_tail(cx));
            return Poll::Ready(None);
        }
        let step = loop {
            match ready!(self.poll_frame(cx)) {
                Step::Silent => {}
                Step::Translated(events, _) => {
                    self.ready.extend(events);
                    if let Some(event) = self.ready.pop_front() {
                        return Poll::Ready(self.pass(event));
                    }
                }
                step => break step,
            }
        };
        Poll::Ready(match step {
            Step::Event(event) | Step::Prelude(event) => self.pass(event),
            Step::Complete | Step::Silent | Step::Translated(..) => self.complete(),
            Step::Nothing => {
                let detail = "the stream ended without an answer".into();
                let provider = self.provider.clone();
                self.fail(Fault::Incomplete { provider, detail })
            }
            Step::End(end) => {
                let fault = incomplete(&self.provider, end);
                self.fail(fault)
            }
            Step::Refused(refusal) => {
                let fault = match self.refused(*refusal) {
                    Fault::Refused { provider, refusal } | Fault::Mistranslated { provider, refusal } => {
                        Fault::ErrorEvent { provider, refusal }
                    }
                    // What it says of the gateway's key or account is nobody's to read.
                    fault => Fault::Incomplete {
                        provider: self.provider.clone(),
                        detail: fault.detail().unwrap_or_default(),
                    },
                };
                self.fail(fault)
            }
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.note_id();
        let mut facts = self.trail.facts();
        facts.events_dropped += self.dropped;
        drop(facts);
        self.note_tokens();
    }
}
