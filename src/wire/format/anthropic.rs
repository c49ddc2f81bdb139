//! The formats of Anthropic's endpoints: which of this dialect's readers and writers each of them uses.

use bytes::Bytes;

use super::super::anthropic::events::Events;
use super::super::anthropic::{complete, question, replay, stitch};
use super::super::openai::events::{Named, Reading, Tail};
use super::super::openai::question as canonical;
use super::super::openai::question::Keyless;
use super::endpoint::{Format, NewStitch, Writes};
use super::texts::Texts;
use super::whole::{Gathering, Recorder};
use crate::model::call::WireRequest;
use crate::model::reply::Event;
use crate::wire::recording::Kept;
use crate::wire::stream::EventReader;

/// Messages.
pub(super) struct Messages;

impl Format for Messages {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Text
    }

    fn reader(&self, _wire: &WireRequest, reading: Reading) -> Box<dyn EventReader> {
        Box::new(Events::reading(reading))
    }

    fn stitch(&self) -> Option<NewStitch> {
        Some(|| Box::new(stitch::Blocks::default()))
    }

    fn texts(&self) -> Texts {
        Texts::Messages
    }

    fn question(&self, wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
        question::refuse_effects(&wire.body)?;
        canonical::of_body(wire, is_left_out)
    }

    fn is_about_form(&self, field: &str) -> bool {
        question::is_about_form(field)
    }

    fn is_deterministic(&self, wire: &WireRequest) -> bool {
        canonical::is_deterministic(wire)
    }

    fn recorder(&self, _wire: &WireRequest, max: usize) -> Recorder {
        Recorder::message(max)
    }

    fn recording(&self, _wire: &WireRequest, body: &Bytes) -> Option<Kept> {
        complete::message(body).then(|| Kept::Message(body.clone()))
    }

    fn events(&self, _wire: &WireRequest, body: &[u8]) -> Option<Vec<Event>> {
        replay::events(body)
    }

    fn gathering(&self, max: usize) -> Option<Gathering> {
        Some(Gathering::message(max))
    }
}

/// How many tokens a message would have. Nobody writes anything.
pub(super) struct CountTokens;

impl Format for CountTokens {
    fn writes(&self, _wire: &WireRequest) -> Writes {
        Writes::Nothing
    }

    fn reader(&self, _wire: &WireRequest, _reading: Reading) -> Box<dyn EventReader> {
        Box::new(Named::new(Tail::Any))
    }
}
