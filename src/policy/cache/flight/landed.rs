//! Landed: a flight's response once it has begun, in a form that several callers can share.
//!
//! It does not know the callers, nor what events mean.

use std::sync::Arc;

use bytes::Bytes;
use http::header;

use super::Arrival;
use crate::model::reply::{Answer, Body, EventStream, ReplyHead, Transcript};
use crate::policy::cache::Entry;

/// An answer that has begun.
#[expect(clippy::large_enum_variant, reason = "there is one for each flight")]
pub(super) enum FlightReply {
    /// A new one.
    Reply(ReplyHead, Shape),
    /// One that is kept.
    Entry(Arc<Entry>),
}

/// A reply's body as far as it can be shared.
pub(super) enum Shape {
    Answer(Answer),
    Transcript(Transcript),
    Whole(Bytes),
    Events,
    /// Bytes as they come, or a conversation; the first who looks takes them.
    Single(Option<Body>),
}

impl FlightReply {
    /// What has arrived, and its events if it has any.
    pub(super) fn new(arrival: Arrival) -> (Self, Option<EventStream>) {
        let reply = match arrival {
            Arrival::Reply(reply) => reply,
            Arrival::Entry(entry) => return (Self::Entry(entry), None),
        };
        let head = ReplyHead::of(&reply);
        let (shape, events) = match reply.body {
            Body::Answer(answer) => (Shape::Answer(answer), None),
            Body::Transcript(transcript) => (Shape::Transcript(transcript), None),
            Body::Whole(bytes) => (Shape::Whole(bytes), None),
            Body::Events(events) => (Shape::Events, Some(events)),
            single @ (Body::Bytes(_) | Body::Socket(_)) => (Shape::Single(Some(single)), None),
        };
        (Self::Reply(head, shape), events)
    }

    /// Who answers.
    pub(super) fn provider(&self) -> &Arc<str> {
        match self {
            FlightReply::Reply(head, _) => &head.provider,
            FlightReply::Entry(entry) => &entry.provider,
        }
    }

    /// The answer for one of many. `None`: it was for one alone, and that one has it.
    pub(super) fn give(&mut self, is_first: bool) -> Option<FollowerReply> {
        let (head, shape) = match self {
            FlightReply::Reply(head, shape) => (head, shape),
            FlightReply::Entry(entry) => return Some(FollowerReply::Entry(entry.clone())),
        };
        let body = match shape {
            Shape::Answer(answer) => Some(Body::Answer(answer.clone())),
            Shape::Transcript(transcript) => Some(Body::Transcript(transcript.clone())),
            Shape::Whole(bytes) => Some(Body::Whole(bytes.clone())),
            Shape::Events => None,
            Shape::Single(body) => Some(body.take()?),
        };
        let mut head = head.clone();
        if !is_first {
            // The provider's ids and limits are about the request that was made, which was another's.
            let content_type = head.headers.remove(header::CONTENT_TYPE);
            head.headers = content_type.map(|value| (header::CONTENT_TYPE, value)).into_iter().collect();
        }
        Some(FollowerReply::Reply(head, body))
    }
}

/// An answer for one of many.
#[expect(clippy::large_enum_variant, reason = "it is nearly always the large one, and passed on at once")]
pub(super) enum FollowerReply {
    /// A new one, with its body unless that is events.
    Reply(ReplyHead, Option<Body>),
    /// One that is kept.
    Entry(Arc<Entry>),
}
