//! Reply: a response, as a whole body or as a stream of events.
//!
//! It does not know which HTTP response it becomes; `caller/` encodes it and `callers/response` sends it.

use std::fmt::Display;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::value::RawValue;

use crate::model::fault::Fault;
use crate::model::signs::Signs;

mod head;
mod socket;
mod units;

pub use self::head::ReplyHead;
pub use self::socket::{Framed, Socket, Talk, Terms};
pub use self::units::Units;

/// An answer of a provider. Dropping it cancels the provider's work.
pub struct Reply {
    /// The provider's status, always a success.
    pub status: StatusCode,
    /// The provider's headers that may reach the caller.
    pub headers: HeaderMap,
    /// The name of the provider that answered.
    pub provider: Arc<str>,
    /// The model that answered, as sent to the provider.
    pub model: Option<Arc<str>>,
    /// Which of the route's targets answered, counted from zero.
    pub target: usize,
    /// Signs of life of the attempt that answered; `None`: nobody asks for them.
    pub signs: Option<Signs>,
    /// In what way it is less than what was asked for; `None`: it is not.
    pub degraded: Option<Degraded>,
    /// What the cache did; `None` where there is none.
    pub cache: Option<CacheMark>,
    /// The answer itself.
    pub body: Body,
}

/// In what way an answer is less than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Degraded {
    /// A text that the route holds ready.
    Canned,
    /// An answer that was kept for too long, because no newer one is to be had.
    Stale,
    /// A list without what one of its providers would have added, because that is out.
    Partial,
    /// A cheaper model's response, because the requested model would exceed a budget.
    Cheaper,
    /// An answer to less than was asked: the target's API cannot say all of it.
    Translated,
}

impl Degraded {
    /// The word in `X-Tidegate-Degraded`, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Degraded::Canned => "canned",
            Degraded::Stale => "stale",
            Degraded::Partial => "partial",
            Degraded::Cheaper => "cheaper",
            Degraded::Translated => "translated",
        }
    }
}

/// What the cache has to do with an answer, and how old that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// What the cache did.
    pub result: CacheResult,
    /// The age of a cached response; zero for a new one.
    pub age: Duration,
    /// The TTL of a cached response, from when it was cached.
    pub ttl: Duration,
}

/// What the cache did for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// It had a fresh answer.
    Hit,
    /// It had an answer that is not fresh any more, and gave that.
    Stale,
    /// It had none.
    Miss,
    /// It had none, but somebody else was already asking the same.
    Collapsed,
    /// Bypassed: calls like this are not cached, or the caller refuses caching.
    Bypass,
    /// It had none, and its caller wanted no other.
    Refused,
}

impl CacheResult {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Stale => "stale",
            CacheResult::Miss => "miss",
            CacheResult::Collapsed => "collapsed",
            CacheResult::Bypass => "bypass",
            CacheResult::Refused => "refused",
        }
    }

    /// Whether it was a cache hit, where the cache was consulted.
    pub fn has_served(self) -> Option<bool> {
        match self {
            CacheResult::Hit | CacheResult::Stale => Some(true),
            CacheResult::Miss | CacheResult::Collapsed | CacheResult::Refused => Some(false),
            CacheResult::Bypass => None,
        }
    }

    /// True when the answer is one that was kept.
    pub fn is_kept(self) -> bool {
        matches!(self, CacheResult::Hit | CacheResult::Stale)
    }
}

/// The forms an answer comes in.
pub enum Body {
    /// An answer in the house's own words: any caller dialect can encode it.
    Answer(Answer),
    /// What was said in a recording.
    Transcript(Transcript),
    /// The provider's own bytes, complete.
    Whole(Bytes),
    /// The provider's own bytes as they come: audio, files. Cut short, it ends in an error.
    Bytes(ByteStream),
    /// Server-sent events. The first one is in hand.
    Events(EventStream),
    /// A WebSocket. The provider has agreed to it.
    Socket(Socket),
}

/// How an answer ended.
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// Everything was said.
    Complete,
    /// It broke off.
    Failed(&'a Fault),
    /// Nobody wanted the rest.
    Abandoned,
}

impl Reply {
    /// A complete answer (200) of which no more is known than who gives it.
    pub fn new(provider: impl Into<Arc<str>>, body: Body) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            provider: provider.into(),
            model: None,
            target: 0,
            signs: None,
            degraded: None,
            cache: None,
            body,
        }
    }

    /// The same with the type of its body; `None`: it is not known.
    #[must_use]
    pub fn of_type(mut self, content_type: Option<HeaderValue>) -> Self {
        self.headers.extend(content_type.map(|value| (CONTENT_TYPE, value)));
        self
    }

    /// True when the answer is all that was asked for (200), and not a part of it or the word that it was accepted.
    pub fn is_plain_success(&self) -> bool {
        self.status == StatusCode::OK
    }

    /// Has `then` told how the answer ends, once: at the end of its body, or when that is dropped.
    #[must_use]
    pub fn on_end(mut self: Box<Self>, then: impl FnOnce(End<'_>) + Send + 'static) -> Box<Self> {
        self.body = match self.body {
            Body::Events(events) => Body::Events(Box::pin(Ending { inner: events, then: Some(Box::new(then)) })),
            Body::Bytes(bytes) => Body::Bytes(Box::pin(Ending { inner: bytes, then: Some(Box::new(then)) })),
            Body::Socket(socket) => Body::Socket(socket.on_end(then)),
            whole => {
                then(End::Complete);
                whole
            }
        };
        self
    }
}

/// What is to be done when an answer ends.
pub(crate) type Then = Box<dyn FnOnce(End<'_>) + Send>;

/// A stream whose end somebody wants to know.
struct Ending<T> {
    inner: Pin<Box<dyn Stream<Item = Result<T, Fault>> + Send>>,
    then: Option<Then>,
}

impl<T> Ending<T> {
    fn tell(&mut self, end: End<'_>) {
        if let Some(then) = self.then.take() {
            then(end);
        }
    }
}

/// An item that may be known to be the last.
trait Item {
    fn is_last(&self) -> bool;
}

impl Item for Bytes {
    fn is_last(&self) -> bool {
        false
    }
}

impl Item for Event {
    // Many callers hang up at the terminator; the answer was complete all the same.
    fn is_last(&self) -> bool {
        self.kind == EventKind::Done
    }
}

impl<T: Item> Stream for Ending<T> {
    type Item = Result<T, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.as_mut().poll_next(cx));
        match &item {
            Some(Ok(item)) if item.is_last() => self.tell(End::Complete),
            Some(Ok(_)) => {}
            Some(Err(fault)) => self.tell(End::Failed(fault)),
            None => self.tell(End::Complete),
        }
        Poll::Ready(item)
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.tell(End::Abandoned);
    }
}

/// Bytes as they come; an error ends the stream.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// Events as they come. `None` means that the answer is complete; a broken one ends in `Err`.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, Fault>> + Send>>;

/// An answer, independent of any dialect.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Why the model stopped, in OpenAI's words (`stop`, `length`, ...), when it was said.
    pub finish: Option<Box<str>>,
    /// Tokens, when the provider counted them.
    pub usage: Option<Usage>,
    /// Follow-up suggestions of a restaurant's assistant (a JSON array).
    pub suggestions: Option<Box<RawValue>>,
    /// An order understood from the conversation.
    pub order: Option<Box<RawValue>>,
}

/// What was said in a recording, and what a restaurant's assistant answered.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// What was said.
    pub text: String,
    /// The assistant's answer, when there is one.
    pub response: Option<String>,
    /// Where the spoken answer can be fetched.
    pub audio_url: Option<String>,
    /// An order understood from the recording.
    pub order: Option<Box<RawValue>>,
    /// Length of the recording in seconds, when the provider says.
    pub duration: Option<f64>,
}

/// What a call used: tokens, and what else is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: u64,
    /// Those of them that the provider had read before and charges less for, where it says so.
    pub cached: u64,
    /// Those of them that the provider has written to its cache and charges more for, where it says so.
    pub written: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// What is no token.
    pub units: Units,
}

impl Usage {
    /// The tokens of an answer that was continued. Its provider counts what had been said before as part of the prompt; that is
    /// moved to the answer. How many tokens it was nobody counted: `texts` pieces of text came, which is an estimate, as most
    /// providers send one token in each. The total is exact.
    #[must_use]
    pub fn with_said(self, texts: u64) -> Self {
        let moved = texts.min(self.input);
        let input = self.input - moved;
        let cached = self.cached.min(input);
        let written = self.written.min(input - cached);
        Self { input, cached, written, output: self.output.saturating_add(moved), units: self.units }
    }

    /// The tokens of two answers.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            written: self.written.saturating_add(other.written),
            output: self.output.saturating_add(other.output),
            units: self.units.and(other.units),
        }
    }

    /// True where there is nothing that anybody pays for.
    pub fn is_nothing(self) -> bool {
        self.total() == 0 && !self.units.has_media()
    }

    /// The tokens of prompt and answer together.
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event as it stood on the wire, its ending included, in OpenAI's dialect.
    pub raw: Bytes,
    /// Its data, so that nobody cuts its lines again.
    pub data: EventData,
    /// What it means.
    pub kind: EventKind,
    /// Where the response is complete with it: what its stream may still have behind it, to be complete in form.
    pub rest: Option<&'static [u8]>,
}

impl Event {
    /// An event with just this data, which stands on one line.
    pub fn of(data: impl Display, kind: EventKind) -> Self {
        const FIELD: &str = "data: ";
        let raw = Bytes::from(format!("{FIELD}{data}\n\n"));
        Self { data: EventData::At(FIELD.len()..raw.len() - 2), raw, kind, rest: None }
    }

    /// The terminator of a stream.
    pub fn done() -> Self {
        let raw = Bytes::from_static(b"data: [DONE]\n\n");
        Self { data: EventData::At(6..raw.len() - 2), raw, kind: EventKind::Done, rest: None }
    }

    /// What an event means that was never on the wire.
    pub fn unwritten(kind: EventKind) -> Self {
        Self { raw: Bytes::new(), data: EventData::None, kind, rest: None }
    }

    /// Its data: the `data:` lines joined. Empty for an event that has none.
    pub fn data(&self) -> &[u8] {
        self.data.of(&self.raw).unwrap_or_default()
    }
}

/// Where the data of an event stands (WHATWG HTML, 9.2.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventData {
    /// It has none: comments, a bare `id:`.
    #[default]
    None,
    /// On one line, in these bytes of the event.
    At(Range<usize>),
    /// On several lines, which are joined here.
    Joined(Box<[u8]>),
}

impl EventData {
    /// The data of the event with these bytes.
    pub fn of<'a>(&'a self, raw: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            EventData::None => None,
            EventData::At(range) => raw.get(range.clone()),
            EventData::Joined(bytes) => Some(bytes),
        }
    }
}

/// What an event means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Nothing but comment lines.
    Comment,
    /// A piece of the answer.
    Piece,
    /// A piece of the answer whose text was asked for: the caller speaks another dialect, or the answer may have to be
    /// resumed.
    Text(Box<str>),
    /// The same, of texts beside the answer's own: thoughts, the words of a refusal.
    Beside(Box<[Beside]>),
    /// A piece of the answer, where texts were asked for, that is not just text of one answer: a tool call, another choice.
    Other,
    /// Something that the gateway does not understand. The answer may have more than what is known of it.
    Unknown,
    /// The terminator (`[DONE]`).
    Done,
}

/// A piece of a text that a model says beside its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Which text.
    pub channel: Channel,
    /// The piece.
    pub text: Box<str>,
}

/// The texts that a model says beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Why it does not answer.
    Refusal,
    /// What it thinks, as most servers call it.
    Reasoning,
    /// The same, as others do.
    ReasoningContent,
}
