//! Puts whole answers together from the events of a stream: to be kept, or because their caller asked for no stream.
//!
//! It does not know what becomes of them.

use bytes::Bytes;

use super::super::anthropic::record as message;
use super::super::openai::{forms, record};
use crate::model::reply::{Event, Usage};
use crate::wire::recording::Kept;

/// A recording of a stream, in the form in which it can be given again.
pub struct Recorder(Recording);

enum Recording {
    OpenAi(record::Recorder),
    Message(message::Recorder),
}

impl Recorder {
    pub(crate) fn openai(recorder: record::Recorder) -> Self {
        Self(Recording::OpenAi(recorder))
    }

    pub(crate) fn message(max: usize) -> Self {
        Self(Recording::Message(message::Recorder::new(max)))
    }

    /// Records nothing.
    pub(crate) fn nothing(max: usize) -> Self {
        Self::openai(record::Recorder::nothing(max))
    }

    /// Notes the next event.
    pub fn note(&mut self, event: &Event) {
        match &mut self.0 {
            Recording::OpenAi(recorder) => recorder.note(event),
            Recording::Message(recorder) => recorder.note(event),
        }
    }

    /// True when the answer has become larger than what may be kept. What was recorded is gone then.
    pub fn outgrown(&self) -> bool {
        match &self.0 {
            Recording::OpenAi(recorder) => recorder.outgrown(),
            Recording::Message(recorder) => recorder.outgrown(),
        }
    }

    /// What is kept, now that the stream has ended as it should; `None` for what was not finished, or must not be kept.
    /// `usage` is what the gateway knows of the cost where the events did not say.
    pub fn finish(self, usage: Option<Usage>) -> Option<Kept> {
        match self.0 {
            Recording::OpenAi(recorder) => recorder.finish(usage),
            Recording::Message(recorder) => recorder.finish(usage).map(Kept::Message),
        }
    }
}

/// A whole answer that is put together for a caller who asked for no stream.
pub struct Gathering(Gathered);

enum Gathered {
    OpenAi(forms::Gathering),
    Message(message::Recorder),
}

impl Gathering {
    pub(crate) fn openai(gathering: forms::Gathering) -> Self {
        Self(Gathered::OpenAi(gathering))
    }

    pub(crate) fn message(max: usize) -> Self {
        Self(Gathered::Message(message::Recorder::gathering(max)))
    }

    /// Notes the next event.
    pub fn note(&mut self, event: &Event) {
        match &mut self.0 {
            Gathered::OpenAi(gathering) => gathering.note(event),
            Gathered::Message(recorder) => recorder.note(event),
        }
    }

    /// True when the answer has become larger than allowed.
    pub fn outgrown(&self) -> bool {
        match &self.0 {
            Gathered::OpenAi(gathering) => gathering.outgrown(),
            Gathered::Message(recorder) => recorder.outgrown(),
        }
    }

    /// The whole answer, now that its stream has ended as it should; `None` where it cannot be put together with certainty.
    pub fn finish(self) -> Option<Bytes> {
        match self.0 {
            Gathered::OpenAi(gathering) => gathering.finish(),
            Gathered::Message(recorder) => recorder.gathered(),
        }
    }
}
