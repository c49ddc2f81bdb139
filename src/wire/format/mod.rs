//! Format: what policies and dialects ask about the grammar of a request and its responses. There is one for each
//! endpoint of a dialect whose bodies are passed through.
//!
//! It does not know who asks, nor what is done with the result. Responses of an endpoint without a format are
//! passed through unread.

mod texts;
mod whole;

mod endpoint;

mod anthropic;
mod openai;
mod replay;

use self::anthropic::{CountTokens, Messages};
pub use self::endpoint::Writes;
use self::endpoint::{Format, NewStitch};
use self::openai::{Completions, Embeddings, Models, Other, Responses, Speech, Transcriptions};
pub use self::texts::Texts;
pub use self::whole::{Gathering, Recorder};
use super::anthropic::events::Events;
use super::openai::complete::{self, Choices};
use super::openai::events::{Audience, Chunks, Named, Tail};
use super::openai::question::Keyless;
use super::openai::{forms, record, stitch};
use super::recording::Kept;
use super::stream::EventReader;
use crate::model::call::{CallRequest, Endpoint, WireRequest};
use crate::model::conversation::Api;
use crate::model::reply::Body;

/// The format of a request.
pub fn of(wire: &WireRequest) -> &'static dyn Format {
    match wire.endpoint {
        Endpoint::ChatCompletions => &Completions(Choices::Messages),
        Endpoint::Completions => &Completions(Choices::Texts),
        Endpoint::Embeddings => &Embeddings,
        Endpoint::Responses => &Responses,
        Endpoint::Messages => &Messages,
        Endpoint::CountTokens => &CountTokens,
        Endpoint::Models => &Models,
        Endpoint::Transcriptions => &Transcriptions,
        Endpoint::Speech => &Speech,
        Endpoint::Other => &Other,
    }
}

/// Reads the events of an API's streams, and tells their texts.
pub(crate) fn reader(api: Api) -> Box<dyn EventReader> {
    match api {
        Api::Chat => Box::new(Chunks::new(Audience::SameWithText, 1)),
        Api::Responses => Box::new(Named::reading(Tail::Responses, Audience::SameWithText)),
        Api::Messages => Box::new(Events::new(Audience::SameWithText)),
    }
}

/// True when a field of a request's body does not count for what is answered.
pub fn is_left_out(wire: &WireRequest, field: &str, knows_model: bool, ignore: &[String]) -> bool {
    of(wire).is_about_form(field)
        // The model that answers counts, by whatever name it was asked for.
        || (field == "model" && knows_model)
        || ignore.iter().any(|ignored| ignored == field)
}

/// What is told of a stream of text to go on with another in its place; `None` for what is none, or cannot be gone on with.
pub(crate) fn stitch(request: &CallRequest) -> Option<NewStitch> {
    match request {
        CallRequest::Chat(chat) if chat.stream => Some(|| Box::new(stitch::Chunks::default())),
        // What is made in the background goes on there, and is read again.
        CallRequest::Wire(wire) if wire.stream && !wire.contents.is_background => of(wire).stitch(),
        _ => None,
    }
}

/// What is asked, as the format of the request reads it.
pub fn question(wire: &WireRequest, knows_model: bool, ignore: &[String]) -> Result<Vec<u8>, Keyless> {
    of(wire).question(wire, &|field| is_left_out(wire, field, knows_model, ignore))
}

/// Records the answer to a request, as long as it takes no more than `max` bytes.
pub fn recorder(request: &CallRequest, max: usize) -> Recorder {
    match request {
        CallRequest::Chat(_) => Recorder::openai(record::Recorder::answer(max)),
        CallRequest::Wire(wire) => of(wire).recorder(wire, max),
        CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => Recorder::nothing(max),
    }
}

/// How the texts of the events that answer a request are read.
pub fn texts(request: &CallRequest) -> Texts {
    if let CallRequest::Wire(wire) = request { of(wire).texts() } else { Texts::OpenAi }
}

/// Makes a whole body of no more than `max` bytes from the events that answer a request; `None` where nobody knows how.
pub fn gathering(request: &CallRequest, max: usize) -> Option<Gathering> {
    match request {
        CallRequest::Wire(wire) => of(wire).gathering(max),
        CallRequest::Chat(_) => Some(Gathering::openai(forms::Gathering::completion(Choices::Messages, max))),
        CallRequest::Voice(_) => Some(Gathering::openai(forms::Gathering::transcript())),
        CallRequest::Menu | CallRequest::Tunnel(_) => None,
    }
}

/// A whole answer in the form in which it is kept; `None` for one that must not be: larger than `max` bytes, cut short,
/// filtered, or not what was asked for.
pub fn kept(request: &CallRequest, body: &Body, max: usize) -> Option<Kept> {
    let kept = match (request, body) {
        (CallRequest::Chat(_) | CallRequest::Wire(_), Body::Answer(answer)) => {
            let is_complete = answer.finish.as_deref().is_none_or(|finish| matches!(finish, "stop" | "eos"));
            let says_something = !answer.text.is_empty() || answer.order.is_some();
            let is_alone = match request {
                CallRequest::Wire(wire) => Choices::Messages.wanted(wire) == Some(1),
                _ => true,
            };
            (is_complete && says_something && is_alone).then(|| Kept::Answer(answer.clone()))
        }
        // Before it is looked at: that takes its time.
        (_, Body::Whole(body)) if body.len() > max => None,
        (CallRequest::Menu, Body::Whole(body)) => complete::menu(body).then(|| Kept::Bytes(body.clone())),
        (CallRequest::Wire(wire), Body::Whole(body)) => of(wire).recording(wire, body),
        _ => None,
    };
    kept.filter(|kept| kept.bytes() <= max)
}
