//! Replays a cached response: as a whole body, or as a stream, whichever the caller asked for.
//!
//! It does not know why a response is cached.

use bytes::Bytes;
use futures_util::stream;

use super::super::anthropic::replay as message;
use super::super::openai::complete::Choices;
use super::super::openai::replay;
use crate::model::call::CallRequest;
use crate::model::reply::{Body, Event, EventKind};
use crate::wire::recording::Kept;
use crate::wire::sse;

impl Kept {
    /// The answer for a caller who asks like this; `None` when it lacks what this caller wants: what was recorded from a
    /// stream that did not say what it cost is no answer for who wants to know.
    pub fn replay(&self, request: &CallRequest) -> Option<Body> {
        match self {
            Kept::Answer(answer) => Some(Body::Answer(answer.clone())),
            Kept::Bytes(body) => Some(Body::Whole(body.clone())),
            Kept::Events(events) => request.wants_stream().then(|| {
                let event = |raw: &Bytes| sse::event(raw.clone(), EventKind::Piece);
                streamed(events.iter().map(event).collect())
            }),
            Kept::Message(body) => match request.wants_stream() {
                true => message::events(body).map(streamed),
                false => Some(Body::Whole(body.clone())),
            },
            Kept::Chat(body) | Kept::Completion(body) => {
                let knows_usage = !body.ends_with(replay::NO_USAGE);
                match request {
                    CallRequest::Wire(wire) if wire.stream => {
                        let wants_usage = replay::wants_usage(wire);
                        let choices = if matches!(self, Kept::Chat(_)) { Choices::Messages } else { Choices::Texts };
                        let events = replay::completion_events(choices, body, wants_usage);
                        (knows_usage || !wants_usage).then_some(events?).map(streamed)
                    }
                    _ => knows_usage.then(|| Body::Whole(body.clone())),
                }
            }
        }
    }
}

fn streamed(events: Vec<Event>) -> Body {
    Body::Events(Box::pin(stream::iter(events.into_iter().map(Ok))))
}
