//! Keeps a stream alive while nobody says anything: what stands between may close what is silent, and a caller that waits for
//! a model which thinks, or for another target, should see that somebody is there.
//!
//! It does not know the dialect, which says what stands for a sign of life.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use crate::caller::{Answered, AnsweredBody};
use crate::model::fault::Fault;
use crate::model::reply::{Event, EventKind, EventStream};
use crate::model::time::{Alarm, later, now};
use crate::wire::sse;

/// A stream that is silent for longer looks dead to what stands between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Has a stream show that it lives, in a dialect that has a word for that.
pub(super) fn keep(answered: Answered) -> Answered {
    let body = match answered.body {
        AnsweredBody::Events(events, encoder) => match encoder.alive() {
            Some(sign) => AnsweredBody::Events(Box::pin(Alive::new(events, sign)), encoder),
            None => AnsweredBody::Events(events, encoder),
        },
        body => body,
    };
    Answered { body, ..answered }
}

struct Alive {
    events: EventStream,
    sign: Bytes,
    alarm: Alarm,
    /// When the next sign is due; `None`: nobody waits.
    due: Option<Instant>,
}

impl Alive {
    fn new(events: EventStream, sign: Bytes) -> Self {
        Self { events, sign, alarm: Alarm::default(), due: None }
    }
}

impl Stream for Alive {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(item) = self.events.as_mut().poll_next(cx) {
            self.due = None;
            return Poll::Ready(item);
        }
        let due = *self.due.get_or_insert_with(|| later(now(), KEEP_ALIVE));
        if self.alarm.poll(due, cx).is_pending() {
            return Poll::Pending;
        }
        self.due = None;
        Poll::Ready(Some(Ok(sse::event(self.sign.clone(), EventKind::Comment))))
    }
}
