//! The body of a modelled answer: whole, or few large events spread over the time that its tokens take, and where it
//! breaks off.
//!
//! It knows no dialect but through what `wire` writes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::load::Slot;
use super::text::text;
use crate::provider::transport::SendFault;
use crate::wire::openai::brief::{Brief, Kind};

/// The longest silence between two events of a stream.
const SILENCE: Duration = Duration::from_millis(500);

/// How an answer ends before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaks {
    /// The connection breaks.
    Cut,
    /// Nothing more comes.
    Stall,
}

/// A stream's answer.
pub(super) struct Events {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) model: Box<[u8]>,
    pub(super) tokens: (u64, u64),
    /// Where its text begins.
    pub(super) luck: u64,
    pub(super) with_usage: bool,
    /// When its first event comes.
    pub(super) begun: Instant,
    /// From its first event to its last.
    pub(super) takes: Duration,
}

impl Events {
    /// How many events: as many as keep silences short, and no more than there are tokens.
    fn count(&self) -> usize {
        let wanted = self.takes.as_nanos().div_ceil(SILENCE.as_nanos()) + 1;
        usize::try_from(wanted).unwrap_or(usize::MAX).max(2)
    }

    fn at(&self, event: usize, count: usize) -> Instant {
        self.begun + self.takes.mul_f64(event as f64 / (count - 1) as f64)
    }

    /// The `event`th of all.
    fn write(&self, event: usize, count: usize) -> Bytes {
        let brief = Brief { id: self.id, model: &self.model, tokens: self.tokens };
        let tokens = usize::try_from(self.tokens.1).unwrap_or(usize::MAX);
        let until = |event: usize| (tokens as u128 * event as u128 / count as u128) as usize;
        let words = text(self.luck, until(event), until(event + 1));
        let mut out = Vec::with_capacity(words.len() + 768);
        if event == 0 {
            brief.begin(self.kind, &mut out);
        }
        brief.piece(self.kind, event, &words, &mut out);
        if event + 1 == count {
            let whole = if self.kind == Kind::Response { text(self.luck, 0, tokens) } else { (&[][..]).into() };
            brief.end(self.kind, count, &whole, self.with_usage, &mut out);
        }
        out.into()
    }
}

enum Rest {
    Whole(Bytes),
    Events { events: Events, next: usize, count: usize },
    Nothing,
}

/// A body on its way.
pub(super) struct ModelledBody {
    rest: Rest,
    breaks: Option<(Instant, Breaks)>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// What is held until it is over.
    slot: Option<Slot>,
}

impl ModelledBody {
    pub(super) fn whole(body: Bytes, slot: Option<Slot>) -> Self {
        Self { rest: Rest::Whole(body), breaks: None, sleep: None, slot }
    }

    pub(super) fn events(events: Events, breaks: Option<(Instant, Breaks)>, slot: Option<Slot>) -> Self {
        let count = events.count();
        Self { rest: Rest::Events { events, next: 0, count }, breaks, sleep: None, slot }
    }

    fn end(&mut self) {
        self.rest = Rest::Nothing;
        self.slot = None;
    }

    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if at <= Instant::now() {
            return Poll::Ready(());
        }
        let sleep = match &mut self.sleep {
            None => self.sleep.insert(Box::pin(sleep_until(at))),
            Some(sleep) => {
                if sleep.deadline() != at {
                    sleep.as_mut().reset(at);
                }
                sleep
            }
        };
        sleep.as_mut().poll(cx)
    }
}

impl Stream for ModelledBody {
    type Item = Result<Bytes, SendFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let (at, next) = match &mut this.rest {
            Rest::Nothing => return Poll::Ready(None),
            Rest::Whole(body) => {
                let body = std::mem::take(body);
                this.end();
                return Poll::Ready(Some(Ok(body)));
            }
            Rest::Events { events, next, count } => (events.at(*next, *count), *next),
        };
        if let Some((break_at, breaks)) = this.breaks.filter(|(break_at, _)| next > 0 && *break_at <= at) {
            if this.poll_until(break_at, cx).is_pending() || breaks == Breaks::Stall {
                return Poll::Pending;
            }
            this.end();
            return Poll::Ready(Some(Err(SendFault::Broken("connection reset in the body".into()))));
        }
        if this.poll_until(at, cx).is_pending() {
            return Poll::Pending;
        }
        let Rest::Events { events, next, count } = &mut this.rest else { return Poll::Ready(None) };
        let bytes = events.write(*next, *count);
        *next += 1;
        if *next == *count {
            this.end();
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}
