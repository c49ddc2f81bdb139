//! Format: what policies and dialects ask about the grammar of a request and its responses. There is one for each
//! endpoint of a dialect whose bodies are passed through.
//!
//! It does not know who asks, nor what is done with the result. Responses of an endpoint without a format are
//! passed through unread.

use bytes::Bytes;

use super::super::openai::events::Reading;
use super::super::openai::question::Keyless;
use super::texts::Texts;
use super::whole::{Gathering, Recorder};
use crate::model::call::WireRequest;
use crate::model::reply::{Event, Units};
use crate::wire::recording::Kept;
use crate::wire::stitch::Stitch;
use crate::wire::stream::EventReader;

/// Makes the stitch of one stream.
pub(crate) type NewStitch = fn() -> Box<dyn Stitch>;

/// What an answer is made of, as far as it costs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Nothing that a model writes.
    Nothing,
    /// Text.
    Text,
    /// Something that nobody can count beforehand.
    Unknown,
}

/// The grammar of one endpoint.
pub trait Format: Sync {
    /// What answers are made of.
    fn writes(&self, wire: &WireRequest) -> Writes;

    /// What it takes besides tokens, where providers charge for that: at most.
    fn media(&self, wire: &WireRequest) -> Units {
        let _ = wire;
        Units::default()
    }

    /// Reads the events of a stream that answers this request.
    fn reader(&self, wire: &WireRequest, reading: Reading) -> Box<dyn EventReader>;

    /// What is told of one stream to go on with another in its place; `None` where their texts cannot be compared.
    fn stitch(&self) -> Option<NewStitch> {
        None
    }

    /// How the texts of its events are read.
    fn texts(&self) -> Texts {
        Texts::OpenAi
    }

    /// What is asked, in the one form that equal requests have. `is_left_out` says of a field that it does not count.
    fn question(&self, wire: &WireRequest, is_left_out: &dyn Fn(&str) -> bool) -> Result<Vec<u8>, Keyless> {
        let _ = (wire, is_left_out);
        Err(Keyless::Kind)
    }

    /// True for a field that changes only the form of an answer, or says who asks.
    fn is_about_form(&self, field: &str) -> bool {
        let _ = field;
        false
    }

    /// True when the same body gets the same answer, as far as a caller can ask for that.
    fn is_deterministic(&self, wire: &WireRequest) -> bool {
        let _ = wire;
        false
    }

    /// Records a stream that answers this request, as long as it takes no more than `max` bytes.
    fn recorder(&self, wire: &WireRequest, max: usize) -> Recorder {
        let _ = wire;
        Recorder::nothing(max)
    }

    /// A whole answer in the form in which it can be given again; `None` for one that is not complete.
    fn recording(&self, wire: &WireRequest, body: &Bytes) -> Option<Kept> {
        let _ = (wire, body);
        None
    }

    /// The events of a whole answer, as a stream that was asked for like this has them.
    fn events(&self, wire: &WireRequest, body: &[u8]) -> Option<Vec<Event>> {
        let _ = (wire, body);
        None
    }

    /// Puts a whole answer of no more than `max` bytes together from its events.
    fn gathering(&self, max: usize) -> Option<Gathering> {
        let _ = max;
        None
    }
}
