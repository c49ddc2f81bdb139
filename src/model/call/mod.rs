//! Call: a caller's request, typed: what is requested, by whom, and by when.
//!
//! It does not know how a caller encoded it (that is `caller/`), nor how a provider wants it (that is `provider/`).

mod chat;
mod known;
mod voice;
mod wire_request;

mod head;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use crate::model::attempts::Attempts;
use crate::model::bill::Bill;
use crate::model::reply::Terms;
use crate::model::shape::Shape;
use crate::model::signs::Signs;
use crate::model::time::Deadline;
use crate::model::trail::{Reason, Trail};

pub use self::chat::{Chat, Message, Role};
pub use self::head::{ANONYMOUS, CacheDirectives, CallerDigest, Head, Once, Principal};
pub use self::known::{KnownKey, KnownRequest};
pub use self::voice::{Audio, Voice, VoiceWanted};
pub use self::wire_request::{AnswerBounds, AskedFor, Contents, Endpoint, NamedModel, Reach, WireRequest};

/// One request on its way through the policies. Cheap to clone: an attempt at a target is a clone.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls and through which route; the same for every attempt.
    pub head: Arc<Head>,
    /// What is asked; the same for every attempt.
    pub request: Arc<CallRequest>,
    /// The model to send, where the target replaces the one that was asked for.
    pub model: Option<Arc<str>>,
    /// Text that a target puts before the conversation (its system instruction).
    pub instruction: Option<Arc<str>>,
    /// True where the target may leave out what its API cannot say.
    pub is_lossy: bool,
    /// The first of the route's targets that may be asked, counted from zero.
    pub from_target: usize,
    /// The only provider that can answer; `None`: any of the route's may.
    pub pin: Option<Pin>,
    /// The bill of the stored response that it reads: what that cost is counted once. `None`: its answer is new work.
    pub bill: Option<Arc<Bill>>,
    /// What of the answer the caller has already: the target is asked to go on from there.
    pub said: Option<Arc<str>>,
    /// What is wanted of the text of each event beside its bytes.
    pub text_use: TextUse,
    /// Why the next attempt is made.
    pub reason: Reason,
    /// True when another target may be asked if this one cannot answer.
    pub has_next: bool,
    /// After how much silence a second attempt is made beside the first; `None`: never.
    pub hedge_after: Option<Duration>,
    /// When the work must be over.
    pub deadline: Deadline,
    /// How often providers may still be asked; one count for all attempts of the call.
    pub attempts: Attempts,
    /// How long the provider may be silent.
    pub timeouts: Timeouts,
    /// How long the caller has announced to wait.
    pub patience: ClientDeadline,
    /// Where signs of life of this attempt are noted; `None`: nobody asks for them.
    pub signs: Option<Signs>,
    /// What happened so far.
    pub trail: Trail,
}

impl Call {
    /// A call that nobody has been asked for yet, with this many attempts.
    #[inline]
    pub fn new(
        head: Arc<Head>,
        request: Arc<CallRequest>,
        (deadline, patience): (Deadline, ClientDeadline),
        attempts: u32,
        trail: Trail,
    ) -> Self {
        Self {
            head,
            request,
            model: None,
            instruction: None,
            is_lossy: false,
            deadline,
            timeouts: Timeouts::UNLIMITED,
            patience,
            signs: None,
            from_target: 0,
            pin: None,
            bill: None,
            said: None,
            text_use: TextUse::Ignored,
            reason: Reason::First,
            has_next: false,
            hedge_after: None,
            attempts: Attempts::new(attempts),
            trail,
        }
    }

    /// What is known of the request, unless it is another one than its caller has sent: a guard has masked it, say.
    pub fn known(&self) -> Option<&KnownRequest> {
        self.head.known.as_deref().filter(|known| Arc::ptr_eq(&known.request, &self.request))
    }

    /// Has the text of a stream counted: what was delivered is judged by it when nobody counts tokens.
    pub fn count_text(&mut self) {
        if self.request.wants_stream() {
            self.text_use = self.text_use.max(TextUse::Counted);
        }
    }

    /// The model that the provider will see: the target's, else the caller's.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref().or_else(|| self.request.model())
    }

    /// The same, to be kept.
    pub fn model_name(&self) -> Option<Arc<str>> {
        match (&self.model, &*self.request) {
            (Some(model), _) => Some(model.clone()),
            (None, CallRequest::Wire(wire)) => wire.model.as_ref().map(|model| model.name.clone()),
            (None, request) => request.model().map(Into::into),
        }
    }
}

/// What is wanted of the texts of an answer that comes in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextUse {
    /// Nothing.
    #[default]
    Ignored,
    /// Their length, by which tokens are estimated that nobody counts.
    Counted,
    /// The texts themselves, which may have to be compared with those of another answer.
    Read,
}

/// The only provider that can answer a call, because it has what the call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The provider.
    pub provider: Arc<str>,
    /// Which of its instances, and how many it had then; `None`: it had one.
    pub instance: Option<(usize, usize)>,
}

impl Pin {
    /// The required instance, and the provider's number of instances then. If the number has changed, nobody knows which
    /// is which.
    pub fn instance_of(&self, provider: &str, count: usize) -> Option<usize> {
        let (index, of) = self.instance.filter(|_| *self.provider == *provider)?;
        // Those from the 64th on are not told apart.
        (of == count && index < count.min(63)).then_some(index)
    }
}

/// How long a provider may be silent, per phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the response head.
    pub first_byte: Duration,
    /// Until the first event of a stream.
    pub first_token: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
}

impl Timeouts {
    /// Before anybody has set a limit.
    pub const UNLIMITED: Self = Self { first_byte: Duration::MAX, first_token: Duration::MAX, idle: Duration::MAX };

    /// No limit shorter than `least`.
    #[must_use]
    pub fn at_least(self, least: Duration) -> Self {
        Self {
            first_byte: self.first_byte.max(least),
            first_token: self.first_token.max(least),
            idle: self.idle.max(least),
        }
    }
}

/// How long a caller has announced to wait. What it announces for the whole call, if that is short, is the call's deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientDeadline {
    /// Limits that are shorter than this are extended to it.
    pub whole: Duration,
    /// The longest silence of an answer that comes in pieces.
    pub silence: Option<Duration>,
}

/// What is asked.
#[derive(Debug)]
pub enum CallRequest {
    /// A conversation in the house's own words, from a caller that does not speak OpenAI's dialect.
    Chat(Chat),
    /// A request in OpenAI's dialect, kept as the caller wrote it.
    Wire(WireRequest),
    /// Speech.
    Voice(Voice),
    /// The tenant's menu.
    Menu,
    /// A WebSocket.
    Tunnel(Tunnel),
}

impl CallRequest {
    /// The model that the caller named.
    pub fn model(&self) -> Option<&str> {
        match self {
            CallRequest::Chat(chat) => chat.model.as_deref(),
            CallRequest::Wire(wire) => wire.model.as_ref().map(|model| &*model.name),
            CallRequest::Tunnel(tunnel) => tunnel.model.as_deref(),
            CallRequest::Voice(_) | CallRequest::Menu => None,
        }
    }

    /// What the answer must look like, where the gateway sees to it.
    pub fn schema(&self) -> Option<&Shape> {
        match self {
            CallRequest::Chat(chat) => chat.schema.as_ref(),
            CallRequest::Wire(wire) => wire.contents.schema.as_ref(),
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
        }
    }

    /// All models that the call names.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let others = self.contents().map_or(&[][..], |contents| &contents.other_models);
        self.model().into_iter().chain(others.iter().map(|name| &**name))
    }

    /// True when a model may be asked that the call does not name.
    pub fn hides_model(&self) -> bool {
        self.contents().is_some_and(|contents| contents.hides_model)
    }

    /// How far beyond itself the call reaches.
    pub fn reach(&self) -> Reach {
        self.contents().map_or(Reach::Call, |contents| contents.reach)
    }

    fn contents(&self) -> Option<&Contents> {
        match self {
            CallRequest::Wire(wire) => Some(&wire.contents),
            CallRequest::Tunnel(tunnel) => Some(&tunnel.contents),
            CallRequest::Chat(_) | CallRequest::Voice(_) | CallRequest::Menu => None,
        }
    }

    /// The same, asked of another model; `None` where the model cannot be replaced.
    pub fn with_model(&self, name: &str) -> Option<CallRequest> {
        match self {
            CallRequest::Chat(chat) => Some(CallRequest::Chat(Chat { model: Some(name.into()), ..chat.clone() })),
            CallRequest::Wire(wire) => wire.with_model(name).map(CallRequest::Wire),
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
        }
    }

    /// The conversation that the caller named.
    pub fn session(&self) -> Option<&str> {
        match self {
            CallRequest::Chat(chat) => chat.session.as_deref(),
            CallRequest::Wire(_) | CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => None,
        }
    }

    /// How long the caller lets the answer become.
    pub fn bounds(&self) -> AnswerBounds {
        match self {
            CallRequest::Chat(chat) => chat.max_tokens.map_or_else(AnswerBounds::default, |most| AnswerBounds {
                tokens: most.into(),
                is_open: false,
                ..AnswerBounds::default()
            }),
            CallRequest::Wire(wire) => wire.bounds,
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => AnswerBounds::default(),
        }
    }

    /// True when the body asks for a model that thinks before it speaks.
    pub fn thinks(&self) -> bool {
        matches!(self, CallRequest::Wire(wire) if wire.contents.thinks)
    }

    /// True for an answer that a model writes, and that comes in one piece: its first byte comes after its last word.
    pub fn is_written_whole(&self) -> bool {
        match self {
            CallRequest::Chat(chat) => !chat.stream,
            CallRequest::Wire(wire) => {
                let is_written = matches!(
                    wire.endpoint,
                    Endpoint::ChatCompletions
                        | Endpoint::Completions
                        | Endpoint::Responses
                        | Endpoint::Messages
                        | Endpoint::Transcriptions
                );
                is_written && !wire.stream
            }
            CallRequest::Voice(_) => true,
            CallRequest::Menu | CallRequest::Tunnel(_) => false,
        }
    }

    /// True for an answer that is passed on as it comes.
    pub fn comes_in_pieces(&self) -> bool {
        match self {
            CallRequest::Wire(wire) => wire.stream || wire.endpoint == Endpoint::Speech,
            request => request.wants_stream(),
        }
    }

    /// A number that tells this request from others, whoever makes it. Of a large body only both ends are looked at, so that it
    /// costs little whatever its size.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(self).hash(&mut hasher);
        match self {
            CallRequest::Chat(chat) => {
                chat.model.hash(&mut hasher);
                (chat.stream, chat.max_tokens, chat.messages.len()).hash(&mut hasher);
                chat.messages.iter().for_each(|message| hash_ends(message.text.as_bytes(), &mut hasher));
            }
            CallRequest::Wire(wire) => {
                (&wire.method, &wire.path).hash(&mut hasher);
                hash_ends(&wire.body, &mut hasher);
            }
            CallRequest::Voice(voice) => hash_ends(&voice.audio.bytes, &mut hasher),
            CallRequest::Tunnel(tunnel) => (&tunnel.model, &tunnel.query).hash(&mut hasher),
            CallRequest::Menu => {}
        }
        hasher.finish()
    }

    /// Gives a small body memory of its own. Otherwise it keeps all that its connection has read with it, for as long as the
    /// call takes.
    pub fn detach(&mut self) {
        /// A larger one came in pieces, and was put together, or has nearly all of that memory for itself.
        const SMALL: usize = 8 * 1024;
        if let CallRequest::Wire(wire) = self
            && wire.body.len() <= SMALL
        {
            wire.body = Bytes::copy_from_slice(&wire.body);
            wire.content_type =
                wire.content_type.take().and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        }
    }

    /// True when the caller wants the answer as a stream of events.
    pub fn wants_stream(&self) -> bool {
        match self {
            CallRequest::Chat(chat) => chat.stream,
            CallRequest::Wire(wire) => wire.stream,
            CallRequest::Voice(_) | CallRequest::Menu | CallRequest::Tunnel(_) => false,
        }
    }
}

/// Hashes the length of some bytes, and as much of both ends as tells two requests apart.
fn hash_ends(bytes: &[u8], hasher: &mut DefaultHasher) {
    const END: usize = 64 * 1024;
    bytes.len().hash(hasher);
    bytes[..bytes.len().min(END)].hash(hasher);
    bytes[bytes.len().saturating_sub(END)..].hash(hasher);
}

/// A WebSocket, before anything was said.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// What the caller's address says besides the model and its token, as it stood there: `intent=transcription`.
    pub query: Box<str>,
    /// The model that the caller named.
    pub model: Option<Box<str>>,
    /// What else the caller's address says.
    pub contents: Contents,
    /// The subprotocols that the caller offers, and that may be offered to a provider.
    pub protocols: Vec<Box<str>>,
    /// What both ends are held to.
    pub terms: Terms,
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn a_detached_request_keeps_nothing_that_was_read_with_it() {
        let read = Bytes::from([&br#"content-type: application/json {"model":"m"}"#[..], &[b'x'; 9000]].concat());
        for (size, is_kept) in [(13, false), (9000, true)] {
            let content_type = HeaderValue::from_maybe_shared(read.slice(14..30)).unwrap();
            let mut request = CallRequest::Wire(WireRequest {
                endpoint: Endpoint::ChatCompletions,
                method: Method::POST,
                path: "/chat/completions".into(),
                content_type: Some(content_type.clone()),
                body: read.slice(31..31 + size),
                model: None,
                stream: true,
                bounds: AnswerBounds::default(),
                contents: Contents::default(),
            });
            let body = read.slice(31..31 + size);
            request.detach();
            let CallRequest::Wire(wire) = &request else { panic!() };
            assert_eq!((&wire.body, wire.content_type.as_ref()), (&body, Some(&content_type)));
            assert_eq!(wire.body.as_ptr() == body.as_ptr(), is_kept, "{size}");
        }
    }
}
