//! What is counted: one call of each kind that matters, byte for byte.
//!
//! It does not know what a call costs.

use crate::wire::{EVENTS, Pace, Question, prose};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// A chat call of 1 KB each way that its provider answers.
    Chat,
    /// The same, answered from the cache.
    Hit,
    /// An event of a stream; its share of the call's own cost is in it.
    Event,
    /// The same of a stream that its caller gets in another API: a provider's chat completion as Anthropic's messages.
    Translated,
    /// A call that is refused before any provider is asked: its body names no model.
    Refused,
}

impl Row {
    pub(crate) const ALL: [Self; 5] = [Self::Chat, Self::Hit, Self::Event, Self::Translated, Self::Refused];

    /// As the budget spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Hit => "hit",
            Self::Event => "event",
            Self::Translated => "translated",
            Self::Refused => "refused",
        }
    }

    /// Calls that are counted.
    pub(crate) fn calls(self) -> usize {
        if self.is_stream() { 20 } else { 1000 }
    }

    /// Calls whose copied bytes are counted: enough that what a gateway copies in its life beside them does not matter.
    pub(crate) fn copying(self) -> usize {
        if self.is_stream() { 100 } else { 1000 }
    }

    /// What one of these calls is counted as: a stream as its events.
    pub(crate) fn units(self) -> usize {
        if self.is_stream() { EVENTS } else { 1 }
    }

    /// True for a call that is answered in events.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Event | Self::Translated)
    }

    /// True for an event that its provider waits for. Translated, one event of a provider's may be several.
    pub(crate) fn is_waited_for(self, event: &[u8]) -> bool {
        self == Self::Event
            || !(event.starts_with(b"event: message_start") || event.starts_with(b"event: message_delta"))
    }

    pub(crate) fn request(self, authority: &str) -> Vec<u8> {
        match self {
            Self::Chat => Question::Chat.request(authority),
            Self::Hit => Question::Repeated.request(authority),
            Self::Event => Question::Stream(Pace::Arrival, 0).request(authority),
            Self::Translated => messages(authority),
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
            Self::Chat | Self::Event | Self::Translated => ("HTTP/1.1 200 ", None),
        }
    }
}

/// A stream as the Anthropic SDK for Python asks for it, of about the length of the other questions. The provider finds its pace
/// by the end user.
fn messages(authority: &str) -> Vec<u8> {
    let question = prose(820);
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",\"max_tokens\":256,\"stream\":true,\"system\":\"You take orders at a restaurant and \
         answer in one paragraph.\",\"messages\":[{{\"role\":\"user\",\"content\":\"{question}\"}}],\"temperature\":0.7,\
         \"metadata\":{{\"user_id\":\"arrival-00000000\"}}}}"
    );
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {authority}\r\naccept-encoding: gzip, deflate\r\nconnection: keep-alive\r\n\
         accept: application/json\r\ncontent-type: application/json\r\nuser-agent: Anthropic/Python 0.60.0\r\n\
         anthropic-version: 2023-06-01\r\nx-api-key: the-caller\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}
