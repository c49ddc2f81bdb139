//! Caller dialects: how a request is encoded and how its response must look. Pure: no I/O, no clock, no state.
//!
//! Adding one takes a file and a line in [`dialect`]. A dialect returns data; `callers/response` alone makes an HTTP
//! response of it.

mod bounds;
pub(crate) mod comeback;
mod json;

mod answer;
pub mod jobs;
mod upload;
mod wire;

pub mod anthropic;
pub mod canvas;
pub mod openai;
pub mod restaurant;
pub mod widget;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::config::plan::{CallKind, CallerKind, RoutePlan, TunnelPlan};
use crate::model::call::{CallRequest, Head};
use crate::model::fault::Fault;
use crate::model::reply::{ByteStream, Event, EventStream, Reply, Socket};
use crate::model::trail::Trail;

/// One caller dialect.
pub trait Caller: Send + Sync {
    /// Reads a request. A fault says which field is wrong and what is allowed.
    fn decode(&self, incoming: &Incoming<'_>) -> Result<CallRequest, Fault>;

    /// Spells an answer. A fault means that the reply cannot be spelt in this dialect.
    fn encode(&self, about: &About<'_>, reply: Reply) -> Result<Answered, Fault>;

    /// Spells a fault.
    fn refuse(&self, about: &About<'_>, fault: &Fault) -> Answered;

    /// Answers what the gateway answers by itself ([`CallKind::is_local`]).
    fn local(&self, about: &About<'_>, snapshot: &Snapshot) -> Result<Answered, Fault> {
        let _ = (about, snapshot);
        Err(Fault::Internal { detail: "this dialect answers no call by itself".into() })
    }

    /// The body that asks a question, for simulated callers; `None`: nobody simulates such calls.
    fn ask(&self, call: CallKind, question: &Question<'_>) -> Option<Bytes> {
        let _ = (call, question);
        None
    }

    /// Its endpoints for jobs ([`CallKind::is_about_jobs`]); `None`: it has none.
    fn jobs(&self) -> Option<&dyn JobCaller> {
        None
    }
}

/// The dialect of a kind.
pub fn dialect(kind: CallerKind) -> &'static dyn Caller {
    match kind {
        CallerKind::OpenAi => &openai::OpenAi,
        CallerKind::Anthropic => &anthropic::Anthropic,
        CallerKind::Restaurant => &restaurant::Restaurant,
        CallerKind::Canvas => &canvas::Canvas,
        CallerKind::Widget => &widget::Widget,
    }
}

/// The dialect in which a request is read and answered: that of its route. Only Anthropic's SDKs are answered in their own on
/// OpenAI's routes that have no API of one dialect alone: the list of models is at the same path in both, and whatever else
/// these SDKs ask there is in no API of OpenAI's.
pub fn of_request(route: &RoutePlan, headers: &HeaderMap) -> &'static dyn Caller {
    let is_shared = route.caller == CallerKind::OpenAi && matches!(route.call, CallKind::Models | CallKind::Any);
    match is_shared && speaks_anthropic(headers) {
        true => &anthropic::Anthropic,
        false => dialect(route.caller),
    }
}

/// True for a request of Anthropic's SDKs, whatever it asks.
pub fn speaks_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key(anthropic::VERSION)
}

/// A request as it came.
pub struct Incoming<'a> {
    /// The route it matched.
    pub route: &'a RoutePlan,
    /// Its method.
    pub method: &'a Method,
    /// Its path, with the query.
    pub path_and_query: &'a str,
    /// All its headers.
    pub headers: &'a HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// What a simulated caller asks.
pub struct Question<'a> {
    /// The text: ASCII, without anything that JSON escapes. Of one that is too long for the dialect the beginning has to do.
    pub text: &'a str,
    /// The model, for dialects whose callers name one; as it stands within a JSON string.
    pub model: &'a str,
    /// True for an answer in events, where the dialect has such.
    pub stream: bool,
}

/// What a dialect may want to mention in an answer.
pub struct About<'a> {
    /// What was asked for.
    pub call: CallKind,
    /// The caller, once the request was understood that far.
    pub head: &'a Head,
    /// What was asked, once it was understood.
    pub request: Option<&'a CallRequest>,
    /// Wall-clock time.
    pub now: jiff::Timestamp,
    /// Time since the request arrived.
    pub elapsed: Duration,
    /// Looks up what a model costs, in USD per million tokens (prompt, answer).
    pub prices: &'a crate::config::plan::Prices,
    /// When the caller may come back if it is refused.
    pub comeback: Comeback,
    /// What happened to the call so far.
    pub trail: &'a Trail,
}

/// An answer, spelt.
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The headers that the dialect sets or passes on. `Content-Length` and framing are not its business.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnsweredBody,
}

/// The body of an answer.
pub enum AnsweredBody {
    /// Complete.
    Full(Bytes),
    /// As it comes.
    Bytes(ByteStream),
    /// Events, each spelt by the encoder as it comes.
    Events(EventStream, Box<dyn EventEncoder>),
    /// A WebSocket, with the route's limits.
    Socket(Socket, Arc<TunnelPlan>),
}

/// Spells events one after the other.
pub trait EventEncoder: Send {
    /// One event; empty when this dialect has nothing to say for it.
    fn event(&mut self, event: Event) -> Bytes;

    /// What follows the last event of a complete answer; may be empty.
    fn end(&mut self) -> Bytes;

    /// What says in the place of an event that the stream lives; `None`: a stream may be silent in this dialect.
    fn alive(&self) -> Option<Bytes> {
        None
    }

    /// A typed error event that says that the answer is incomplete.
    fn fault(&mut self, fault: &Fault) -> Bytes;
}

/// The gateway's own state, for callers whose dialect has endpoints about it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Each provider of the config, in its order.
    pub providers: Vec<ProviderSnapshot>,
    /// Items on the tenant's menu when it was last read; `None` when it never was.
    pub menu_items: Option<usize>,
    /// Cache hits and misses.
    pub cache: (u64, u64),
}

/// One provider's state.
#[derive(Clone, Debug)]
pub struct ProviderSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// True when its last probe succeeded.
    pub is_connected: bool,
    /// True when calls may go there.
    pub is_enabled: bool,
    /// The breaker's state: `closed`, `open` or `half-open`.
    pub breaker: &'static str,
    /// Attempts.
    pub calls: u64,
    /// Attempts that answered.
    pub successes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Calls that it answered after another provider had failed.
    pub fallbacks: u64,
    /// Calls not sent because its breaker was open.
    pub rejects: u64,
}

pub(crate) use self::answer::unspellable;
pub use self::comeback::Comeback;
use self::jobs::JobCaller;
