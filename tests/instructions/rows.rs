//! What is counted: one call of each kind that matters, byte for byte.
//!
//! It does not know what a call costs.

use crate::wire::{EVENTS, Pace, Question};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// A chat call of 1 KB each way that its provider answers.
    Chat,
    /// The same, answered from the cache.
    Hit,
    /// An event of a stream; its share of the call's own cost is in it.
    Event,
    /// A call that is refused before any provider is asked: its body names no model.
    Refused,
}

impl Row {
    pub(crate) const ALL: [Self; 4] = [Self::Chat, Self::Hit, Self::Event, Self::Refused];

    /// As the budget spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Hit => "hit",
            Self::Event => "event",
            Self::Refused => "refused",
        }
    }

    /// Calls that are counted.
    pub(crate) fn calls(self) -> usize {
        if self == Self::Event { 20 } else { 1000 }
    }

    /// Calls whose copied bytes are counted: enough that what a gateway copies in its life beside them does not matter.
    pub(crate) fn copying(self) -> usize {
        if self == Self::Event { 100 } else { 1000 }
    }

    /// What one of these calls is counted as: a stream as its events.
    pub(crate) fn units(self) -> usize {
        if self == Self::Event { EVENTS } else { 1 }
    }

    pub(crate) fn request(self, authority: &str) -> Vec<u8> {
        match self {
            Self::Chat => Question::Chat.request(authority),
            Self::Hit => Question::Repeated.request(authority),
            Self::Event => Question::Stream(Pace::Arrival, 0).request(authority),
            Self::Refused => {
                let request = String::from_utf8_lossy(&Question::Chat.request(authority)).into_owned();
                // Of the same length.
                request.replace("\"model\":\"gpt-4o-mini\"", "\"model\":[12345678901]").into_bytes()
            }
        }
    }

    /// What must be in the head of every answer.
    pub(crate) fn expected(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Hit => ("HTTP/1.1 200 ", Some("cache-status: tidegate; hit")),
            Self::Refused => ("HTTP/1.1 400 ", None),
            Self::Chat | Self::Event => ("HTTP/1.1 200 ", None),
        }
    }
}
