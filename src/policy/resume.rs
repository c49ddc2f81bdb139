//! Resume: a stream of text that breaks after its first event is asked for again at the next target. Where the new answer
//! begins with what the caller already has, it goes on seamlessly from there; where it differs, the stream ends in the
//! error that it would have ended in anyway.
//!
//! Never with tool calls or several choices, never beyond the call's deadline and attempts. What the caller gets is one
//! provider's answer, or a prefix proven equal to the beginning of the answer that completes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;

use crate::call::{Ask, Call, Endpoint};
use crate::fault::Fault;
use crate::reply::{Body, Event, EventKind, EventStream, Reply};
use crate::stack::{Next, Outcome, Policy, Stack};
use crate::trail::Reason;

/// The policy. It holds the targets' stack itself, because a stream outlives the call that began it.
#[derive(Clone)]
pub struct Resume {
    again: Stack,
}

/// The most text that is remembered: what is longer is not resumed. Some 16,000 tokens, within the memory that a stream may
/// take.
const MAX_TEXT: usize = 64 * 1024;

impl Resume {
    /// Resumes at the targets of `again`.
    pub fn new(again: Stack) -> Self {
        Self { again }
    }
}

impl Policy for Resume {
    const NAME: &'static str = "resume";

    async fn apply<N: Next>(&self, mut call: Call, next: &N) -> Outcome {
        if !is_text_stream(&call.ask) {
            return next.call(call).await;
        }
        call.reads_text = true;
        let reply = next.call(call.clone()).await?;
        let Body::Events(events) = reply.body else { return Ok(reply) };
        call.from_target = reply.target + 1;
        call.reason = Reason::Resume;
        call.hedge_after = None;
        let resuming = Resuming {
            state: State::Live(events),
            call,
            again: self.again.clone(),
            said: String::new(),
            is_resumable: true,
            first: None,
            fault: None,
        };
        Ok(Reply { body: Body::Events(Box::pin(resuming)), ..reply })
    }
}

fn is_text_stream(ask: &Ask) -> bool {
    match ask {
        Ask::Chat(chat) => chat.stream,
        Ask::Wire(wire) => wire.stream && wire.endpoint == Endpoint::ChatCompletions,
        Ask::Voice(_) | Ask::Menu => false,
    }
}

type Asking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum State {
    /// Events are passed on; once resumed, with the first answer's identity.
    Live(EventStream),
    /// Another target is being asked.
    Asking(Asking),
    /// Another target repeats what the caller already has, so far this much of it.
    CatchingUp(EventStream, String),
    Over,
}

/// A stream that goes on at another target when it breaks.
struct Resuming {
    state: State,
    call: Call,
    again: Stack,
    /// The text that the caller has.
    said: String,
    is_resumable: bool,
    /// Who the caller believes to be answering: the fields of the first event that later ones must repeat.
    first: Option<Identity>,
    /// Why the stream broke; also the mark that it was resumed.
    fault: Option<Fault>,
}

/// What identifies an answer to its caller.
struct Identity {
    fields: Vec<(&'static str, Value)>,
}

impl Identity {
    fn of(event: &Event) -> Option<Self> {
        let data = data(&event.raw)?;
        let fields = ["id", "created", "model", "system_fingerprint"];
        let known = fields.into_iter().filter_map(|name| data.get(name).map(|value| (name, value.clone())));
        Some(Self { fields: known.collect() })
    }

    /// The event as if it came from the first answer's provider; with `text` instead of its own, if given.
    fn impose(&self, event: Event, text: Option<&str>) -> Event {
        let Some(mut data) = data(&event.raw) else { return event };
        for (name, value) in &self.fields {
            data[*name] = value.clone();
        }
        if let Some(text) = text {
            data["choices"][0]["delta"]["content"] = text.into();
        }
        Event { raw: Bytes::from(format!("data: {data}\n\n")), ..event }
    }
}

/// The JSON of an event that has just one `data:` line, as all chat chunks do.
fn data(raw: &[u8]) -> Option<Value> {
    let line = raw.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"))?;
    serde_json::from_slice(line).ok().filter(Value::is_object)
}

impl Resuming {
    /// Notes what the caller is given.
    fn pass(&mut self, event: Event) -> Event {
        match &event.kind {
            EventKind::Text(text) if self.said.len() + text.len() <= MAX_TEXT => self.said.push_str(text),
            EventKind::Text(_) | EventKind::Other => self.is_resumable = false,
            EventKind::Comment | EventKind::Piece | EventKind::Done => {}
        }
        if self.first.is_none() {
            self.first = Identity::of(&event);
        }
        match (&self.fault, &self.first, &event.kind) {
            (Some(_), Some(first), EventKind::Text(_) | EventKind::Piece) => first.impose(event, None),
            _ => event,
        }
    }

    /// The stream broke: asks another target, if that may help.
    fn ask_again(&mut self, fault: Fault) -> Result<(), Fault> {
        let may_help = self.is_resumable && matches!(fault, Fault::Incomplete { .. });
        if !may_help || !self.call.attempts.any_left() || self.call.deadline.has_passed() {
            return Err(self.fault.take().unwrap_or(fault));
        }
        // The first reason is the one that is told in the end.
        self.fault.get_or_insert(fault);
        let (again, call) = (self.again.clone(), self.call.clone());
        self.state = State::Asking(Box::pin(async move { again.call(call).await }));
        Ok(())
    }

    fn give_up(&mut self) -> Poll<Option<Result<Event, Fault>>> {
        self.state = State::Over;
        let fault = self.fault.take().unwrap_or(Fault::Incomplete {
            provider: Arc::from("several"),
            detail: "another answer differs from the one that broke".into(),
        });
        Poll::Ready(Some(Err(fault)))
    }

    /// One event of a repeated answer. `Some`: it has caught up, and this is what the caller gets next.
    fn catch_up(&self, so_far: &mut String, event: Event) -> Result<Option<Event>, ()> {
        let has_all = so_far.len() == self.said.len();
        match &event.kind {
            EventKind::Comment => Ok(None),
            EventKind::Text(text) => {
                so_far.push_str(text);
                if self.said.starts_with(&**so_far) {
                    return Ok(None);
                }
                let Some(rest) = so_far.strip_prefix(&*self.said) else { return Err(()) };
                let event = Event { kind: EventKind::Text(rest.into()), ..event };
                Ok(Some(match &self.first {
                    Some(first) => first.impose(event, Some(rest)),
                    None => event,
                }))
            }
            // The role at the beginning, which the caller has; after the text: its finish and usage.
            EventKind::Piece if has_all && !so_far.is_empty() => Ok(Some(event)),
            EventKind::Piece => Ok(None),
            EventKind::Done if has_all => Ok(Some(event)),
            EventKind::Done | EventKind::Other => Err(()),
        }
    }
}

impl Stream for Resuming {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Live(events) => match ready!(events.as_mut().poll_next(cx)) {
                    Some(Ok(event)) => return Poll::Ready(Some(Ok(this.pass(event)))),
                    None => return Poll::Ready(None),
                    Some(Err(fault)) => {
                        if let Err(fault) = this.ask_again(fault) {
                            this.state = State::Over;
                            return Poll::Ready(Some(Err(fault)));
                        }
                    }
                },
                State::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Ok(Reply { body: Body::Events(events), target, .. }) => {
                        this.call.from_target = target + 1;
                        this.state = State::CatchingUp(events, String::new());
                    }
                    Ok(_) | Err(_) => return this.give_up(),
                },
                State::CatchingUp(events, _) => {
                    let item = ready!(events.as_mut().poll_next(cx));
                    let State::CatchingUp(events, mut so_far) = std::mem::replace(&mut this.state, State::Over) else {
                        return Poll::Ready(None);
                    };
                    match item {
                        Some(Ok(event)) => match this.catch_up(&mut so_far, event) {
                            Ok(None) => this.state = State::CatchingUp(events, so_far),
                            Ok(Some(event)) => {
                                this.state = State::Live(events);
                                return Poll::Ready(Some(Ok(this.pass(event))));
                            }
                            Err(()) => return this.give_up(),
                        },
                        Some(Err(fault)) => {
                            if this.ask_again(fault).is_err() {
                                return this.give_up();
                            }
                        }
                        None => return this.give_up(),
                    }
                }
            }
        }
    }
}
