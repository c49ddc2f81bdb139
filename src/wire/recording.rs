//! Recording: a response in a form that can be replayed.
//!
//! It does not know how it was recorded, nor where it is stored.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::reply::Answer;

/// An answer in the form in which it can be given again to any caller of its dialect, as a body or as a stream.
#[derive(Clone, Debug)]
pub enum Kept {
    /// In the house's own words.
    Answer(Answer),
    /// A whole `chat.completion`, in JSON.
    Chat(Bytes),
    /// A whole `text_completion`, in JSON.
    Completion(Bytes),
    /// A whole message of Anthropic's dialect, in JSON.
    Message(Bytes),
    /// Any other whole body.
    Bytes(Bytes),
    /// Events, which are given again as they were.
    Events(Vec<Bytes>),
}

impl Kept {
    /// Bytes of the answer itself.
    pub fn bytes(&self) -> usize {
        let json = |value: &Option<Box<RawValue>>| value.as_ref().map_or(0, |value| value.get().len());
        match self {
            Kept::Answer(answer) => answer.text.len() + json(&answer.suggestions) + json(&answer.order),
            Kept::Chat(body) | Kept::Completion(body) | Kept::Message(body) | Kept::Bytes(body) => body.len(),
            Kept::Events(events) => events.iter().map(Bytes::len).sum(),
        }
    }
}
