//! The formats of OpenAI's endpoints: which of this dialect's readers and writers each of them uses.

use bytes::Bytes;

use super::super::openai::complete::{self, Choices};
use super::super::openai::events::{Chunks, Named, Reading, Tail};
use super::super::openai::question::{self, Keyless};
use super::super::openai::{forms, record, replay, stitch};
use super::endpoint::{Format, NewStitch, Writes};
use super::whole::{Gathering, Recorder};
use crate::model::call::WireRequest;
use crate::model::reply::{Event, Units};
use crate::wire::recording::Kept;
use crate::wire::recordings;
use crate::wire::stream::EventReader;

/// Chat and text completions.
pub(super) struct Completions(pub(super) Choices);

impl Format for Completions {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Text
    }

    fn reader(&self, wire: &WireRequest, reading: Reading) -> Box<dyn EventReader> {
        Box::new(Chunks::reading(reading, wire.bounds.choices))
    }

    fn stitch(&self) -> Option<NewStitch> {
        (self.0 == Choices::Messages).then_some(|| Box::new(stitch::Chunks::default()))
    }

    fn question(&self, wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
        question::of_body(wire, is_left_out)
    }

    fn is_about_form(&self, field: &str) -> bool {
        question::is_about_form(field)
    }

    fn is_deterministic(&self, wire: &WireRequest) -> bool {
        question::is_deterministic(wire)
    }

    fn recorder(&self, wire: &WireRequest, max: usize) -> Recorder {
        Recorder::openai(record::Recorder::completion(self.0, self.0.wanted(wire), max))
    }

    fn recording(&self, wire: &WireRequest, body: &Bytes) -> Option<Kept> {
        let kept = match self.0 {
            Choices::Messages => Kept::Chat,
            Choices::Texts => Kept::Completion,
        };
        complete::completion(body, self.0, self.0.wanted(wire)).then(|| kept(body.clone()))
    }

    fn events(&self, wire: &WireRequest, body: &[u8]) -> Option<Vec<Event>> {
        replay::completion_events(self.0, body, replay::wants_usage(wire))
    }

    fn gathering(&self, max: usize) -> Option<Gathering> {
        Some(Gathering::openai(forms::Gathering::completion(self.0, max)))
    }
}

/// Vectors. They are not sampled, and come as a whole.
pub(super) struct Embeddings;

impl Format for Embeddings {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Nothing
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Any))
    }

    fn question(&self, wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
        question::of_body(wire, is_left_out)
    }

    fn is_about_form(&self, field: &str) -> bool {
        question::is_about_form(field)
    }

    fn is_deterministic(&self, _wire: &WireRequest) -> bool {
        true
    }

    fn recording(&self, wire: &WireRequest, body: &Bytes) -> Option<Kept> {
        complete::embeddings(body, wire).then(|| Kept::Bytes(body.clone()))
    }
}

/// Responses. One repeats what it was asked with, and its events are kept as they were: every field counts.
pub(super) struct Responses;

impl Format for Responses {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Text
    }

    fn reader(&self, _wire: &WireRequest, reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::reading(Tail::Responses, reading.audience))
    }

    fn stitch(&self) -> Option<NewStitch> {
        Some(|| Box::new(stitch::Frames::default()))
    }

    fn question(&self, wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
        question::refuse_effects(&wire.body)?;
        question::of_body(wire, is_left_out)
    }

    fn is_deterministic(&self, wire: &WireRequest) -> bool {
        question::is_deterministic(wire)
    }

    fn recorder(&self, _wire: &WireRequest, max: usize) -> Recorder {
        Recorder::openai(record::Recorder::events(max))
    }

    fn recording(&self, _wire: &WireRequest, body: &Bytes) -> Option<Kept> {
        complete::response(body).then(|| Kept::Bytes(body.clone()))
    }

    fn events(&self, _wire: &WireRequest, body: &[u8]) -> Option<Vec<Event>> {
        forms::response_events(body)
    }

    fn gathering(&self, _max: usize) -> Option<Gathering> {
        Some(Gathering::openai(forms::Gathering::response()))
    }
}

/// What was heard in a recording.
pub(super) struct Transcriptions;

impl Format for Transcriptions {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Unknown
    }

    fn media(&self, wire: &WireRequest) -> Units {
        Units { milliseconds: recordings::longest(&wire.body), ..Units::default() }
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Type(forms::TRANSCRIPT_DONE)))
    }

    fn events(&self, _wire: &WireRequest, body: &[u8]) -> Option<Vec<Event>> {
        forms::transcript_events(body)
    }

    fn gathering(&self, _max: usize) -> Option<Gathering> {
        Some(Gathering::openai(forms::Gathering::transcript()))
    }
}

/// Speech, which comes as sound or in events.
pub(super) struct Speech;

impl Format for Speech {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Unknown
    }

    fn media(&self, wire: &WireRequest) -> Units {
        Units { characters: question::spoken_characters(&wire.body), ..Units::default() }
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Type("speech.audio.done")))
    }
}

/// Lists of models.
pub(super) struct Models;

impl Format for Models {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Nothing
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Any))
    }
}

/// Where images are made: as many as `n` says.
const IMAGES: [&str; 3] = ["/images/generations", "/images/edits", "/images/variations"];

/// Whatever is passed through.
pub(super) struct Other;

impl Format for Other {
    fn writes(&self, wire: &WireRequest) -> Writes {
        if wire.makes_nothing() { Writes::Nothing } else { Writes::Unknown }
    }

    fn media(&self, wire: &WireRequest) -> Units {
        let is_image = || wire.path.split('?').next().is_some_and(|path| IMAGES.contains(&path));
        let images = if !wire.makes_nothing() && is_image() { wire.bounds.choices.max(1) } else { 0 };
        Units { images: images.try_into().unwrap_or(u32::MAX), ..Units::default() }
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Any))
    }
}
