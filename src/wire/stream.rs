//! Readers of streamed responses: what an event means, when a response is complete, and its usage.
//!
//! It does not know how pieces are framed, nor where they come from.

use crate::model::fault::Refusal;
use crate::model::reply::{Event, EventKind, Usage};
use crate::wire::sse;

/// Reads the events of one stream and knows when the answer is complete.
pub trait EventReader: Send {
    /// Reads one event's data (its `data:` lines joined) and its `event:` name.
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read;

    /// Bytes of text that the event read last adds to the answer, where they are counted and the text itself is not wanted.
    fn text_length(&self) -> Option<usize> {
        None
    }

    /// True once an event has said something to those who get the answer.
    fn has_spoken(&self) -> bool {
        true
    }

    /// True when what was read so far is a complete answer.
    fn is_complete(&self) -> bool;

    /// What to append when the answer is complete but its terminator never came; empty when nothing is missing.
    fn missing_terminator(&self) -> &'static [u8];

    /// The events to append when the answer is complete but its terminator never came.
    fn missing_events(&mut self) -> Vec<Event> {
        sse::terminator(self.missing_terminator()).into_iter().collect()
    }

    /// Tokens, when an event counted them.
    fn usage(&self) -> Option<Usage>;

    /// The answer's own id, when an event named it.
    fn id(&self) -> Option<&str> {
        None
    }
}

/// Reads along a body that is passed on as it comes.
pub trait ByteReader: Send {
    /// Reads the next bytes.
    fn read(&mut self, piece: &[u8]);

    /// Tokens, when the body counted them.
    fn usage(&self) -> Option<Usage>;
}

/// What an event's data turned out to be.
pub enum Read {
    /// Part of the answer.
    Event(EventKind),
    /// Part of the answer, in other words than the provider's: the events that say it to the caller. True: they come before the
    /// answer says anything.
    Translated(Vec<Event>, bool),
    /// Comes before the answer says anything. It is passed on once something was said: until then another may still be asked.
    Prelude(EventKind),
    /// Means nothing to those who get the response, and is dropped.
    Silent,
    /// The end of an answer in which nothing was said.
    Nothing,
    /// No JSON: to be dropped and counted. Nobody knows what it would have said.
    Malformed,
    /// More than may be kept of an answer that has to be kept for its last event.
    Outgrown,
    /// The provider reports an error in its stream.
    Error(Box<Refusal>),
}

#[cfg(test)]
impl Read {
    /// What it is, in a word, for tests that compare many.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Read::Event(EventKind::Done) => "done",
            Read::Event(EventKind::Text(_)) => "text",
            Read::Event(EventKind::Beside(_)) => "beside",
            Read::Event(EventKind::Other) => "other",
            Read::Event(EventKind::Unknown) => "unknown",
            Read::Event(EventKind::Comment) => "comment",
            Read::Event(EventKind::Piece) => "piece",
            Read::Prelude(_) => "prelude",
            Read::Silent => "silent",
            Read::Nothing => "nothing",
            Read::Outgrown => "outgrown",
            Read::Malformed => "malformed",
            Read::Translated(..) => "translated",
            Read::Error(_) => "error",
        }
    }
}
