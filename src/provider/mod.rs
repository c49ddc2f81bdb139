//! Provider dialects: how to encode a request for a provider and decode its responses. Pure: no I/O, no clock, no
//! state.
//!
//! A compatible provider is config only; a new dialect is one file and one line in [`dialect`].

pub mod balance;
mod passing;

mod translated;

pub mod anthropic;
pub mod buildpanel;
pub mod openai;
pub mod transport;

pub mod connector;
mod decompress;
pub mod document;
pub mod simulated;
mod stream;

pub mod exchange;
pub mod probe;
mod response;

mod socket;

pub mod network;

pub mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::config::plan::{ProviderKind, ProviderPlan};
use crate::model::call::Call;
use crate::model::fault::{Denial, Fault};
use crate::model::reply::{Degraded, Event, Reply, Usage};
pub use crate::wire::format::Gathering;
use crate::wire::openai::errors::{repeats_key, without_key};
pub use crate::wire::stream::{ByteReader, EventReader, Read};

/// One provider dialect.
pub trait Provider: Send + Sync {
    /// Spells a call for this provider. [`Fault::Unsupported`] when it cannot serve it.
    fn encode(&self, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault>;

    /// True when the first bytes of a response's body tell its form, whatever its head says.
    fn looks_at_start(&self, call: &Call, head: &ResponseHead) -> bool {
        let _ = (call, head);
        false
    }

    /// What kind of body a successful response to this call has. `start` are its first bytes, where these are looked at.
    fn expect(&self, call: &Call, head: &ResponseHead, start: &[u8]) -> Expect;

    /// The failure that a body reports which is otherwise passed on as it comes. `start` are its first bytes.
    fn reported(&self, call: &Call, provider: &ProviderPlan, start: &[u8]) -> Option<Fault> {
        let _ = (call, provider, start);
        None
    }

    /// The events of a whole body that answers this call, which asked for a stream; `None` where there are none.
    fn events_of(&self, call: &Call, body: &[u8]) -> Option<Vec<Event>> {
        let _ = (call, body);
        None
    }

    /// Puts together the whole body of an answer that came as events, though this call did not ask for a stream; `None` where
    /// that cannot be done.
    fn gather(&self, call: &Call, max: usize) -> Option<Gathering> {
        let _ = (call, max);
        None
    }

    /// Reads a whole successful body.
    fn decode(&self, call: &Call, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Result<Decoded, Fault>;

    /// Reads an error answer.
    fn refusal(&self, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Fault;

    /// Reads the events of a stream that answers this call.
    fn events(&self, call: &Call, provider: &ProviderPlan) -> Box<dyn EventReader>;

    /// Reads along what is passed on as it comes, where that may say what it cost.
    fn bytes(&self, call: &Call) -> Option<Box<dyn ByteReader>> {
        let _ = call;
        None
    }
}

/// Spells a call for this provider, and asks where the provider has what is asked.
pub fn request(dialect: &dyn Provider, call: &Call, provider: &ProviderPlan) -> Result<Request, Fault> {
    let mut request = dialect.encode(call, provider)?;
    let own = provider.request.own_path(&request.path, call.model());
    let own = own.map_err(|what| Fault::Unsupported { provider: provider.name.clone(), what: what.into() })?;
    request.path = own.unwrap_or(request.path);
    Ok(request)
}

/// Reads an error answer, or an error event under the status that it stands for. One that repeats the gateway's key is about
/// credentials, whatever it says; and no key is passed on.
pub(crate) fn refusal(dialect: &dyn Provider, provider: &ProviderPlan, head: ResponseHead, body: Bytes) -> Fault {
    let Some(key) = provider.key.as_ref().map(|key| key.expose()) else {
        return dialect.refusal(provider, head, body);
    };
    match repeats_key(&body, key) {
        true => Fault::Credential { provider: provider.name.clone(), denial: Denial::Key },
        false => dialect.refusal(provider, head, without_key(body, key)),
    }
}

/// The dialect of a kind.
pub fn dialect(kind: ProviderKind) -> &'static dyn Provider {
    match kind {
        ProviderKind::OpenAi => &openai::OpenAi,
        ProviderKind::BuildPanel => &buildpanel::BuildPanel,
        ProviderKind::Anthropic => &anthropic::Anthropic,
    }
}

/// A request to a provider, for any of its instances.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// What follows the base URL, beginning with `/`, with its query.
    pub path: String,
    /// The headers, credentials excluded: the transport adds those.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// In what way it asks for less than its caller did.
    pub degraded: Option<Degraded>,
}

/// The head of a provider's response.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// All its headers.
    pub headers: HeaderMap,
}

/// What kind of body a successful response has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Server-sent events.
    Events,
    /// A body to be read whole.
    Whole,
    /// Bytes to be passed on as they come.
    Bytes,
}

/// A reply with what it says about itself.
pub struct Decoded {
    /// The reply.
    pub reply: Box<Reply>,
    /// Tokens, when the provider counted them.
    pub usage: Option<Usage>,
    /// The answer's own id, when it has one.
    pub id: Option<Arc<str>>,
}
