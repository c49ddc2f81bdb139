//! Call: a caller's request, typed: what is requested, by whom, and by when.
//!
//! It does not know how a caller encoded it (that is `caller/`), nor how a provider wants it (that is `provider/`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::model::attempts::Attempts;
use crate::model::bill::Bill;
use crate::model::caller_headers::CallerHeaders;
use crate::model::conversation::Api;
use crate::model::ip_ranges;
use crate::model::names::customer;
use crate::model::offload::apart;
use crate::model::prompt::PromptRequest;
use crate::model::reply::Terms;
use crate::model::shape::Shape;
use crate::model::signs::Signs;
use crate::model::time::Deadline;
use crate::model::trail::{Reason, Trail};

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

/// The tier of callers that name no user, and of those from the internet that have not shown who they are.
pub static ANONYMOUS: LazyLock<Arc<str>> = LazyLock::new(|| "anonymous".into());

/// The parts of a request that stay the same whatever happens to it. Who calls is what the `auth` policy found out, and not
/// what headers say.
#[derive(Debug)]
pub struct Head {
    /// The request id, ours or the caller's.
    pub id: Arc<str>,
    /// The name of the route in the config.
    pub route: Arc<str>,
    /// The tenant (restaurant) on whose behalf the call is made.
    pub tenant: Arc<str>,
    /// False when nobody named the tenant: then it is a word that many share.
    pub is_tenant_named: bool,
    /// The user, when it is known.
    pub user: Option<Arc<str>>,
    /// What the user may do, as far as a token says.
    pub role: Option<Arc<str>>,
    /// What kind of customer the caller is: `anonymous`, or a word of the config's.
    pub tier: Arc<str>,
    /// Which API key was shown: its name. Where nothing is asked for: a digest of the key that was sent all the same, as a
    /// bearer token or in `X-Api-Key`, which nobody has checked.
    pub api_key: Option<Arc<str>>,
    /// What tells this caller from others that named neither tenant nor user: a digest of its checked key or user, else of all
    /// credentials that it sent (`Authorization`, `X-Api-Key`, ...), which nobody has checked.
    pub credential: Option<[u8; 32]>,
    /// What the caller wants of answers that are kept.
    pub wishes: CacheDirectives,
    /// True when tenant, user and key were proven. Otherwise they are what the caller says.
    pub is_proven: bool,
    /// True when the caller may use what the operator's account at a provider keeps.
    pub account: bool,
    /// What makes it a call that is executed once only; `None` where its caller has given it no `Idempotency-Key`.
    pub once: Option<Once>,
    /// What is known of the request from when its caller has sent the same before; `None`: nothing.
    pub known: Option<Arc<KnownRequest>>,
    /// The caller's address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// True when many callers are known to come from it, and nothing tells which of them this is.
    pub is_address_shared: bool,
    /// The request's method.
    pub method: Method,
    /// The request's headers, some of which may reach a provider of the caller's own dialect.
    pub headers: CallerHeaders,
    /// Wall-clock time of arrival.
    pub received: jiff::Timestamp,
    /// See [`Head::caller_digest`].
    pub digest: CallerDigest,
}

/// A digest of a caller, once somebody has asked for it: several policies do, for each attempt.
#[derive(Debug, Default)]
pub struct CallerDigest(OnceLock<u64>);

impl Head {
    /// The head of a request without headers, of which nothing is known but this: a POST from the beginning of time.
    pub fn anonymous(id: Arc<str>, route: Arc<str>, tenant: Arc<str>, address: IpAddr) -> Self {
        Self {
            id,
            route,
            tenant,
            is_tenant_named: false,
            user: None,
            role: None,
            tier: ANONYMOUS.clone(),
            api_key: None,
            credential: None,
            wishes: CacheDirectives::default(),
            is_proven: false,
            account: false,
            once: None,
            known: None,
            address,
            is_address_shared: false,
            method: Method::POST,
            headers: CallerHeaders::default(),
            received: jiff::Timestamp::UNIX_EPOCH,
            digest: CallerDigest::default(),
        }
    }

    /// A number that tells this caller from others, as far as anything is known of it.
    pub fn caller_digest(&self) -> u64 {
        *self.digest.0.get_or_init(|| {
            let mut bytes = SmallVec::<[u8; 256]>::new();
            for part in [Some(&self.tenant), self.user.as_ref(), self.api_key.as_ref()] {
                // One more than its length, so that none is not an empty one.
                bytes.extend_from_slice(&part.map_or(0, |part| part.len() as u64 + 1).to_le_bytes());
                bytes.extend_from_slice(part.map_or(&[], |part| part.as_bytes()));
            }
            bytes.push(self.credential.is_some().into());
            bytes.extend_from_slice(self.credential.as_ref().map_or(&[], |credential| &credential[..]));
            match customer(self.address) {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
            SipHasher13::new().hash(&bytes)
        })
    }
}

/// A request that was answered from the cache before, and what the cache knows of it since.
#[derive(Debug)]
pub struct KnownRequest {
    /// The request, decoded.
    pub request: Arc<CallRequest>,
    key: Mutex<Option<KnownKey>>,
}

/// A cache key, and what it holds for besides the request and its caller.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The cache that made it; each has targets of its own.
    pub cache: Arc<()>,
    /// The target that would answer, counted from zero.
    pub target: usize,
    /// The key.
    pub key: [u8; 32],
    /// What the tenant is called in entries.
    pub tenant: [u8; 16],
}

impl KnownRequest {
    /// A request of which nothing else is known yet.
    pub fn new(request: Arc<CallRequest>) -> Self {
        Self { request, key: Mutex::default() }
    }

    /// Its key in a cache, while this target would answer.
    pub fn key(&self, cache: &Arc<()>, target: usize) -> Option<KnownKey> {
        self.key.lock().clone().filter(|known| Arc::ptr_eq(&known.cache, cache) && known.target == target)
    }

    /// Takes note of its key.
    pub fn note(&self, key: KnownKey) {
        *self.key.lock() = Some(key);
    }
}

/// A request that is executed once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The caller's key, as a hash that no other caller's key has, nor the same key on another route.
    pub key: [u8; 32],
    /// The request, as a hash: two that differ are not the same, whatever key they have.
    pub request: [u8; 32],
}

/// What a caller wants of answers that are kept: the directives of its `Cache-Control` (RFC 9111, 5.2.1) that are heeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheDirectives {
    /// `no-store`: neither keep the answer nor give a kept one.
    pub leaves_no_trace: bool,
    /// `no-cache`: a new answer.
    pub wants_new: bool,
    /// `only-if-cached`: a cached response, or none.
    pub only_kept: bool,
    /// `max-age`: a cached response no older than this.
    pub max_age: Option<Duration>,
}

/// Who calls, as far as that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// See [`Head::tenant`].
    pub tenant: Arc<str>,
    /// See [`Head::is_tenant_named`].
    pub is_tenant_named: bool,
    /// See [`Head::user`].
    pub user: Option<Arc<str>>,
    /// See [`Head::role`].
    pub role: Option<Arc<str>>,
    /// See [`Head::tier`].
    pub tier: Option<Arc<str>>,
    /// See [`Head::api_key`].
    pub api_key: Option<Arc<str>>,
    /// See [`Head::account`].
    pub account: bool,
}

impl Principal {
    /// True when it is somebody. On the internet anybody can make up a user.
    pub fn is_known(&self, is_proven: bool, address: IpAddr) -> bool {
        let is_named = self.user.is_some() || self.api_key.is_some();
        is_named && (is_proven || ip_ranges::is_near(address))
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

    /// The end users that the body names, as it spells them: OpenAI's `user` and its successor `safety_identifier`, and
    /// `metadata.user_id`. `prompt_cache_key` is none: it groups prompts, and is part of what is asked.
    pub fn end_users(&self) -> Vec<&str> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(default, borrow)]
            user: Option<&'a RawValue>,
            #[serde(default, borrow)]
            safety_identifier: Option<&'a RawValue>,
            #[serde(default, borrow)]
            metadata: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(default, borrow)]
            user_id: Option<&'a RawValue>,
        }
        let CallRequest::Wire(wire) = self else { return Vec::new() };
        if wire.contents.asked_for.is_some_and(|seen| !seen.may_name_user) {
            return Vec::new();
        }
        // What cannot be read names nobody; a body that names somebody twice has no key at all.
        let named = apart(wire.body.len(), || serde_json::from_slice::<Named<'_>>(&wire.body));
        let Ok(named) = named else { return Vec::new() };
        // Metadata that cannot be read counts whole.
        let in_metadata = named.metadata.and_then(|value| match serde_json::from_str::<Metadata<'_>>(value.get()) {
            Ok(metadata) => metadata.user_id,
            Err(_) => Some(value),
        });
        let all = [named.user, named.safety_identifier, in_metadata];
        if all.iter().all(Option::is_none) {
            return Vec::new();
        }
        // With their places: a user is no other's identifier.
        all.map(|value| value.map_or("", RawValue::get)).into()
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

/// A conversation, independent of any dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The model the caller named, if any.
    pub model: Option<Box<str>>,
    /// The conversation, oldest first. Empty only as long as `prompt` is there.
    pub messages: Vec<Message>,
    /// The prompt that becomes the messages, and what else it sets, before the first policy sees the call; `None` from then on.
    pub prompt: Option<Box<PromptRequest>>,
    /// What the answer must look like; `None`: it is free.
    pub schema: Option<Shape>,
    /// Sampling temperature, when the caller set one.
    pub temperature: Option<f64>,
    /// The most tokens to generate, when the caller set a limit.
    pub max_tokens: Option<u32>,
    /// True when events are wanted.
    pub stream: bool,
    /// The tenant's menu, passed on to providers that know what to do with one.
    pub menu: Option<serde_json::Value>,
    /// The session the caller named, so that an answer can name it again.
    pub session: Option<Box<str>>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator of the service.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word OpenAI's dialect uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A request in OpenAI's dialect. The body is the caller's own bytes.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// HTTP method.
    pub method: Method,
    /// Path below `/v1` with its query, beginning with `/`: `/chat/completions`.
    pub path: Box<str>,
    /// The caller's `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// The model named in the body, and where.
    pub model: Option<NamedModel>,
    /// True when the body asks for events.
    pub stream: bool,
    /// How long the body lets the answer become.
    pub bounds: AnswerBounds,
    /// What else was found in it.
    pub contents: Contents,
}

/// How long a request lets its answer become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerBounds {
    /// The most tokens of one choice: the largest limit in the request, 0 without one.
    pub tokens: u64,
    /// True when the request has no limit, or one that providers may ignore or read differently.
    pub is_open: bool,
    /// How many choices the provider writes.
    pub choices: u64,
}

impl Default for AnswerBounds {
    fn default() -> Self {
        Self { tokens: 0, is_open: true, choices: 1 }
    }
}

impl AnswerBounds {
    /// The most tokens of the whole answer, where a choice without a limit ends after `open` tokens.
    pub fn at_most(self, open: u64) -> u64 {
        let one = if self.is_open { self.tokens.max(open) } else { self.tokens };
        one.saturating_mul(self.choices.max(1))
    }
}

/// What a request in OpenAI's dialect holds besides what routing needs.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// How far beyond itself it reaches.
    pub reach: Reach,
    /// Further models that it names: those to fall back on, and those of a batch.
    pub other_models: Box<[Box<str>]>,
    /// The stored response or conversation that it goes on from, or is about.
    pub stored: Option<Box<str>>,
    /// True when a model may be asked that it does not name.
    pub hides_model: bool,
    /// The bytes of a form that are text, in their order.
    pub texts: Box<[Range<usize>]>,
    /// True when the answer is made in the background, and read later.
    pub is_background: bool,
    /// True when the caller itself says what it wants of a stream (`stream_options`), whatever that is.
    pub has_stream_options: bool,
    /// True when thought is asked for before the answer (`reasoning_effort`, `reasoning`, `thinking`).
    pub thinks: bool,
    /// What else was seen when the body was read; `None`: whoever wants to know reads it.
    pub asked_for: Option<AskedFor>,
    /// What the answer must look like, where the gateway sees to it; `None`: that is between its caller and the provider.
    pub schema: Option<Shape>,
    /// True where the gateway would see to it, and cannot: there are tools, or several choices.
    pub leaves_schema: bool,
}

/// What a body in its usual form says beyond routing. A guard that masks its texts changes none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedFor {
    /// True when the same body gets the same answer: its temperature is zero, or it gives a seed.
    pub is_deterministic: bool,
    /// False when it names no end user, under any of the names for that.
    pub may_name_user: bool,
}

/// How far beyond itself a call reaches at its provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It is asked and answered, and that is all.
    #[default]
    Call,
    /// To what the operator's account keeps: files, stored responses, batches, assistants.
    Account,
    /// To the organization that owns the account: its keys, its users, its bills.
    Organization,
}

impl WireRequest {
    /// Bytes of memory that it takes besides its body and itself, about.
    pub fn bytes_beside_body(&self) -> usize {
        let Contents { other_models, stored, texts, .. } = &self.contents;
        let names = other_models.iter().map(|name| 2 * size_of::<Box<str>>() + name.len()).sum::<usize>();
        let model = self.model.as_ref().map_or(0, |model| model.name.len());
        let content_type = self.content_type.as_ref().map_or(0, HeaderValue::len);
        let stored = stored.as_ref().map_or(0, |id| id.len());
        self.path.len() + content_type + model + stored + names + texts.len() * size_of::<Range<usize>>()
    }

    /// How a model's name is written in this body.
    pub fn spelt(&self, model: &str) -> String {
        let start = self.model.as_ref().and_then(|model| model.span.as_ref()).map(|span| span.start);
        let is_quoted = start.is_some_and(|start| self.body.get(start) == Some(&b'"'));
        if is_quoted { serde_json::Value::from(model).to_string() } else { model.to_owned() }
    }

    /// True for what only looks at something that is there, removes it or stops it: it makes no model work.
    pub fn makes_nothing(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        self.endpoint == Endpoint::Other && (self.method != Method::POST || path.ends_with("/cancel"))
    }

    /// True when its provider stores the answer: later calls name it by its id.
    pub fn makes_stored(&self) -> bool {
        let is_conversation = || self.path.split('?').next() == Some("/conversations") && self.method == Method::POST;
        self.endpoint == Endpoint::Responses || is_conversation()
    }

    /// True for fields and files (multipart).
    pub fn is_form(&self) -> bool {
        let value = self.content_type.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        value.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    }

    /// The same body with another model in it; `None` where it is not known where the model stands.
    fn with_model(&self, name: &str) -> Option<WireRequest> {
        let span = self.model.as_ref()?.span.clone()?;
        let (before, after) = (self.body.get(..span.start)?, self.body.get(span.end..)?);
        let spelt = self.spelt(name);
        let body = [before, spelt.as_bytes(), after].concat().into();
        let moved = |at: usize| if at < span.end { at } else { at - span.len() + spelt.len() };
        let texts = self.contents.texts.iter().map(|text| moved(text.start)..moved(text.end)).collect();
        let contents = Contents { texts, ..self.contents.clone() };
        let span = Some(span.start..span.start + spelt.len());
        Some(WireRequest { body, model: Some(NamedModel { name: name.into(), span }), contents, ..self.clone() })
    }
}

/// A model's name inside a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// The name.
    pub name: Arc<str>,
    /// The bytes of the body that hold it (in JSON with its quotes), where they are known.
    pub span: Option<Range<usize>>,
}

/// The endpoints of OpenAI's dialect that the gateway treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /chat/completions`
    ChatCompletions,
    /// `POST /completions`
    Completions,
    /// `POST /embeddings`
    Embeddings,
    /// `GET /models`, `GET /models/{id}`
    Models,
    /// `POST /responses`
    Responses,
    /// Anthropic's `POST /messages`
    Messages,
    /// Anthropic's `POST /messages/count_tokens`
    CountTokens,
    /// `POST /audio/transcriptions`
    Transcriptions,
    /// `POST /audio/speech`
    Speech,
    /// Everything else; passed through.
    Other,
}

impl Endpoint {
    /// The API whose requests and answers it has, where these can be translated.
    pub fn api(self) -> Option<Api> {
        match self {
            Endpoint::ChatCompletions => Some(Api::Chat),
            Endpoint::Responses => Some(Api::Responses),
            Endpoint::Messages => Some(Api::Messages),
            Endpoint::Completions
            | Endpoint::Embeddings
            | Endpoint::Models
            | Endpoint::CountTokens
            | Endpoint::Transcriptions
            | Endpoint::Speech
            | Endpoint::Other => None,
        }
    }
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

/// Recorded speech and what is wanted of it.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The recording, in memory only.
    pub audio: Audio,
    /// What is wanted.
    pub wanted: VoiceWanted,
    /// The tenant's menu as JSON text, when the caller sent one.
    pub menu_context: Option<Box<str>>,
}

/// What a voice call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceWanted {
    /// A spoken answer (MP3), or whatever the provider answers.
    Speech,
    /// The transcription, as JSON.
    Transcript,
}

/// An uploaded recording.
#[derive(Clone, Debug)]
pub struct Audio {
    /// The bytes.
    pub bytes: Bytes,
    /// The file name the caller gave, or `audio`.
    pub file_name: Box<str>,
    /// The declared media type.
    pub content_type: Box<str>,
}

#[cfg(test)]
mod tests {
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
