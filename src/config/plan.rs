//! Plan: what the configuration means. After this no string is compared and nothing can be missing.
//!
//! It does not know where a value came from; `reader` does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use url::Url;

pub use super::auth::{AuthMethod, AuthPlan, ClaimNames, JwksPlan, RouteAuth, TokenPlan};
pub use super::costs::{BudgetPlan, OnStop, UsagePlan};
pub use super::edge::{CompressionPlan, CorsPlan, EdgePlan, Origins, SecurityPlan};
use super::effective::Effective;
pub use super::explaining::ExplainPlan;
pub use super::flags::{FlagGuardPlan, FlagsPlan};
pub use super::guards::{GuardAction, GuardPlan};
pub use super::input::InputPlan;
pub use super::labels::MetricsPlan;
use super::leaving::LeavingPlan;
pub use super::limits::{KeyPart, KeyPlan, LimitPlan, LimitsPlan, Quantity};
pub use super::models::{ModelMap, Pattern, Price, PriceList, Prices, Quote};
use super::secret::Secret;
pub use super::sentry::SentryPlan;
pub use super::tls::TlsPlan;
pub use super::tracing::{Propagation, Protocol, TenantShown, TracingPlan};
pub use super::tunnels::TunnelPlan;
pub use super::variants::VariantPlan;
use crate::call::Pace;
use crate::store::OnStoreError;
use crate::store::redis::address::Address;

/// Everything a gateway needs to know.
#[derive(Debug)]
pub struct Plan {
    /// Listening and connections.
    pub server: ServerPlan,
    /// Logging.
    pub log: LogPlan,
    /// Where shared state lives.
    pub store: StorePlan,
    /// What browsers are told.
    pub edge: EdgePlan,
    /// Readiness.
    pub health: HealthPlan,
    /// `development`, `staging` or `production`.
    pub environment: Environment,
    /// The tenant of callers that name none.
    pub default_tenant: Arc<str>,
    /// Who may call.
    pub auth: AuthPlan,
    /// Every provider of the file, also those that cannot be used.
    pub providers: Vec<Arc<ProviderPlan>>,
    /// Every route.
    pub routes: Vec<Arc<RoutePlan>>,
    /// Attempts of one call, over all its targets and retries.
    pub attempts: u32,
    /// How much callers may ask.
    pub limits: LimitsPlan,
    /// Where answers are kept.
    pub cache: CachePlan,
    /// What is remembered of calls that are over.
    pub explain: ExplainPlan,
    /// What tokens cost.
    pub prices: Prices,
    /// Where flags outlive a restart.
    pub flags: FlagsPlan,
    /// How it is counted.
    pub usage: UsagePlan,
    /// Where spans go.
    pub tracing: TracingPlan,
    /// Where faults of the gateway's own are reported.
    pub sentry: SentryPlan,
    /// How much may be spent.
    pub budgets: Vec<Arc<BudgetPlan>>,
    /// How many names become labels of metrics.
    pub metrics: MetricsPlan,
    /// What an operator should know although nothing is wrong enough to refuse the start.
    pub warnings: Vec<String>,
    /// All of it as it was written, for those who look.
    pub effective: Effective,
}

/// Where the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// A rehearsal.
    Staging,
    /// The real thing.
    Production,
}

impl Environment {
    /// The word in the config and in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where operators connect; `None` when off.
    pub admin: Option<SocketAddr>,
    /// Until a connection's first byte, and from a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// How long a kept connection may be idle.
    pub idle_timeout: Duration,
    /// How long a caller may refuse to read.
    pub write_timeout: Duration,
    /// How it takes leave of its callers.
    pub leaving: LeavingPlan,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once of one address that is no trusted proxy's.
    pub max_connections_per_address: usize,
    /// Requests that one connection may ask.
    pub max_requests_per_connection: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of memory for all large requests.
    pub max_buffered_bytes: usize,
    /// How long a request may wait for some of it.
    pub buffer_wait: Duration,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Proxies whose word about the caller's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they give it.
    pub proxy_header: ProxyHeader,
    /// How callers' connections are encrypted; `None`: they are not.
    pub tls: Option<TlsPlan>,
}

/// The header in which proxies say for whom they forward a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogPlan {
    /// A `tracing` filter: `info`, `tidegate=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// The `service` field of each line.
    pub service: String,
    /// How many warnings and errors a minute that say the same are written; zero: all.
    pub repeats: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StorePlan {
    /// The shared store; `None` means the one inside the process.
    pub redis_url: Option<Secret>,
    /// The same, understood.
    pub address: Option<Address>,
    /// The longest that a request waits for it.
    pub timeout: Duration,
    /// What every key in it begins with.
    pub key_prefix: Arc<str>,
    /// Operations that may wait for it at once.
    pub max_in_flight: usize,
    /// What becomes of limited calls while it is out.
    pub on_store_error: OnStoreError,
    /// Gateways that share it, until it says itself.
    pub gateways: u32,
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct CachePlan {
    /// False: no route keeps answers.
    pub is_on: bool,
    /// Bytes of memory for all of them.
    pub max_bytes: usize,
    /// How long the shared store may take.
    pub redis_timeout: Duration,
    /// How long a call waits for another gateway's answer to the same.
    pub cluster_wait: Duration,
    /// What keys are made with; `None` where no other gateway needs to make the same.
    pub secret: Option<Secret>,
}

/// `[route.NAME.cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCachePlan {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How long after that it is still given, while a new one is asked for.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` it is given when no new one is to be had.
    pub stale_if_error: Duration,
    /// Who shares an answer.
    pub scope: CacheScope,
    /// Which answers are kept.
    pub when: CacheWhen,
    /// The largest answer that is kept, in bytes.
    pub max_entry: usize,
    /// Fields at the top level of a body in OpenAI's dialect that do not make two calls different.
    pub ignore: Vec<String>,
    /// The time between two events of a kept answer that is given as a stream.
    pub pace: Duration,
}

/// `scope` of a route's cache: who shares an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// Everybody.
    Shared,
    /// The callers of one tenant.
    Tenant,
    /// One user, or one session.
    User,
}

/// `when` of a route's cache: which answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheWhen {
    /// All of them.
    Always,
    /// Those whose caller asks for no chance: `temperature` 0, or a `seed`.
    Deterministic,
}

/// `[health]`
#[derive(Clone, Debug)]
pub struct HealthPlan {
    /// Readiness fails while BuildPanel is not connected.
    pub strict_readiness: bool,
    /// A probe slower than this makes the status `degraded`.
    pub slow_after: Duration,
}

/// `[provider.NAME]`
#[derive(Debug, PartialEq)]
pub struct ProviderPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The dialect it speaks.
    pub kind: ProviderKind,
    /// Its instances, at least one. No trailing slash in the path.
    pub urls: Vec<Url>,
    /// The bearer token.
    pub key: Option<Secret>,
    /// Certificates to trust besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// Where that is looked for: the name of a variable or of a file.
    pub key_source: Option<Arc<str>>,
    /// Whether calls may go there.
    pub usable: Usable,
    /// Until a connection is made (TLS included).
    pub connect: Duration,
    /// How old a connection may be for another call.
    pub connection_age: Duration,
    /// It must not be in a private network.
    pub denies_private: bool,
    /// One attempt, from start to the end of the body.
    pub total: Duration,
    /// How long it may be silent.
    pub pace: Pace,
    /// The names of models that are this provider's own.
    pub models: Vec<Pattern>,
    /// When the same provider is asked again.
    pub retry: RetryPlan,
    /// When it is left alone.
    pub breaker: BreakerPlan,
    /// How much it is asked at once.
    pub concurrency: ConcurrencyPlan,
    /// What it says about its limits, and how far that is believed.
    pub quota: QuotaPlan,
    /// Which of its instances is asked.
    pub balance: BalancePlan,
    /// The largest plain answer.
    pub max_reply: usize,
    /// Paths, for BuildPanel.
    pub endpoints: Endpoints,
    /// How its health is asked for; `None`: never.
    pub probe: Option<ProbePlan>,
    /// How much it is told of the trace that a call belongs to.
    pub trace_context: Propagation,
}

impl ProviderPlan {
    /// True when both are answered by the same servers, as far as their lists share one, and for the same customer: what
    /// one knows of their health, the other may rely on.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let shares_a_server = self.urls.iter().any(|url| other.urls.contains(url));
        self.kind == other.kind && self.key == other.key && shares_a_server
    }
}

/// `[retry]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPlan {
    /// Attempts at one target, the first included.
    pub max_attempts: u32,
    /// The longest wait that a provider may ask for.
    pub max_wait: Duration,
    /// The first pause where it asks for none; each further one is twice as long.
    pub backoff: Duration,
    /// Extra attempts, as a share of the requests of the last ten seconds.
    pub budget: f64,
    /// Extra attempts in ten seconds that are always allowed.
    pub budget_floor: u32,
}

/// `[breaker]`
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPlan {
    /// The sliding window.
    pub window: Duration,
    /// Opens at this share of failures in the window.
    pub failure_share: f64,
    /// ... once the window has this many calls.
    pub min_calls: u32,
    /// Opens at this many failures in a row, whatever the window says.
    pub consecutive: u32,
    /// An answer that begins later than this is slow.
    pub slow_after: Duration,
    /// Opens at this share of slow answers.
    pub slow_share: f64,
    /// How long it stays open the first time; each further time without a recovery in between twice as long.
    pub open_for: Duration,
    /// ... but never longer than this.
    pub open_max: Duration,
    /// Probes at once while half-open, and successes needed to go on.
    pub probes: u32,
    /// How long each step of the ramp (5, 25, 50 %) lasts.
    pub ramp_step: Duration,
}

/// `[concurrency]`
#[derive(Clone, Debug, PartialEq)]
pub struct ConcurrencyPlan {
    /// False: there is no limit.
    pub is_on: bool,
    /// Calls at once, to begin with.
    pub initial: u32,
    /// ... and never fewer than this, however slow the provider gets,
    pub min: u32,
    /// ... nor more than this, however fast it is.
    pub max: u32,
    /// The limit shrinks when answers begin this many times later than they usually do.
    pub slowdown: f64,
    /// Calls that may wait for their turn.
    pub queue: u32,
    /// How long they may wait.
    pub max_wait: Duration,
}

/// `[quota]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaPlan {
    /// False: it is asked until it refuses.
    pub is_on: bool,
    /// The longest time for which it is not asked.
    pub longest: Duration,
}

/// `[balance]`
#[derive(Clone, Debug, PartialEq)]
pub struct BalancePlan {
    /// How long a slow answer is remembered.
    pub decay: Duration,
    /// An instance is left out after this many failures in a row.
    pub eject_after: u32,
    /// How long; twice as long each further time without a success in between.
    pub eject_for: Duration,
}

/// The dialects that providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI and whatever speaks like it.
    OpenAi,
    /// BuildPanel.
    BuildPanel,
}

/// Whether calls may go to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Yes.
    Yes,
    /// No key is set.
    NoKey,
    /// It was never switched on (`USE_BUILDPANEL` is not set).
    NotEnabled,
    /// It is switched off (`USE_BUILDPANEL=false`, `enabled = false`).
    SwitchedOff,
}

/// Paths of BuildPanel's endpoints, each beginning with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Chat.
    pub chat: String,
    /// Voice to voice.
    pub voice: String,
    /// Voice to JSON.
    pub voice_metadata: String,
    /// Menu.
    pub menu: String,
    /// WebSocket.
    pub voice_stream: String,
}

/// `[provider.NAME.probe]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// Paths to ask in order; the next one only when the one before is not found.
    pub paths: Vec<String>,
    /// How often.
    pub interval: Duration,
    /// How long to wait.
    pub timeout: Duration,
}

/// `[route.NAME]`
#[derive(Debug)]
pub struct RoutePlan {
    /// Its name.
    pub name: Arc<str>,
    /// Paths, in `matchit`'s syntax: `/v1/models/{id}`, `/v1/{*rest}`.
    pub paths: Vec<String>,
    /// Methods.
    pub methods: Vec<Method>,
    /// The dialect of its callers.
    pub caller: CallerKind,
    /// What is asked for.
    pub call: CallKind,
    /// What its callers must show.
    pub auth: RouteAuth,
    /// Whom to ask, in order. Those without a key are left out.
    pub targets: Vec<TargetPlan>,
    /// The whole call, over all targets.
    pub total: Duration,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// The model of callers that name none.
    pub model: Option<Arc<str>>,
    /// What is done about a stream that breaks after its first event.
    pub resume: ResumeMode,
    /// False: the call is tried once, at one target.
    pub is_idempotent: bool,
    /// The text that callers get when nobody can answer.
    pub canned: Option<Arc<str>>,
    /// What callers get while the first target is switched off.
    pub when_disabled: WhenDisabled,
    /// A second attempt beside the first, once it is slower than this share (0.95) of the calls before; `None`: never.
    pub hedge: Option<f64>,
    /// Who gets a place first where there are not enough.
    pub priority: Priority,
    /// True: what a browser sends with a cookie must come from an allowed page.
    pub csrf: bool,
    /// What its callers may want models to read.
    pub input: InputPlan,
    /// How answers are kept; `None`: they are not.
    pub cache: Option<RouteCachePlan>,
    /// How its WebSockets are treated, where it has them.
    pub tunnel: Option<Arc<TunnelPlan>>,
    /// What must not pass, in the order in which it is looked for.
    pub guards: Vec<Arc<GuardPlan>>,
    /// What a share of its callers gets instead.
    pub variants: Vec<VariantPlan>,
}

impl RoutePlan {
    /// True when its calls make sense only for a tenant: its dialect or one of its providers names one.
    pub fn needs_tenant(&self) -> bool {
        let tells_tenant = |target: &TargetPlan| target.provider.kind == ProviderKind::BuildPanel;
        self.caller == CallerKind::Restaurant || self.targets.iter().any(tells_tenant)
    }
}

/// `when_disabled` of a route: what its callers get while the provider of its first target is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDisabled {
    /// The next target's answer.
    #[default]
    Failover,
    /// The route's canned reply.
    Reply,
    /// An error, at once.
    Reject,
}

/// `priority` of a route: who gets a place at a provider first. In the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody is listening.
    Voice,
    /// Somebody is reading.
    Chat,
    /// Nobody is waiting.
    Background,
}

impl Priority {
    /// All of them with their words.
    pub const ALL: [(Priority, &'static str); 3] =
        [(Priority::Voice, "voice"), (Priority::Chat, "chat"), (Priority::Background, "background")];
}

/// `resume` of a route: what is done about a stream of text that breaks after its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeMode {
    /// It ends in a typed error event.
    Off,
    /// The next target is asked for the same answer; where it begins with what the caller already has, it goes on from
    /// there.
    Replay,
    /// ... and where it does not, the same target is asked to go on from what the caller has, if it can.
    ReplayAndContinue,
}

/// The dialects that callers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// OpenAI's SDKs.
    OpenAi,
    /// The restaurant backend.
    Restaurant,
    /// The canvas application.
    Canvas,
    /// The website's chat widget.
    Widget,
}

impl CallerKind {
    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CallerKind::OpenAi => "openai",
            CallerKind::Restaurant => "restaurant",
            CallerKind::Canvas => "canvas",
            CallerKind::Widget => "widget",
        }
    }
}

/// What a route is for. Which of them a caller dialect and a provider kind know: [`CallKind::known_to`] and
/// [`CallKind::served_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// A conversation.
    Chat,
    /// An order in words, to be understood.
    ParseOrder,
    /// Speech to speech.
    Voice,
    /// Speech to text.
    VoiceMetadata,
    /// A spoken order.
    VoiceOrder,
    /// The menu.
    Menu,
    /// The caller's own health endpoint, answered by the gateway.
    Health,
    /// The caller's own statistics, answered by the gateway.
    Stats,
    /// OpenAI's text completions.
    Completions,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's list of models.
    Models,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's speech to text.
    Transcriptions,
    /// OpenAI's text to speech.
    Speech,
    /// Anything else under OpenAI's `/v1`.
    Any,
    /// A WebSocket to a restaurant's voice assistant.
    VoiceStream,
    /// A WebSocket to OpenAI's realtime models.
    Realtime,
}

impl CallKind {
    /// All of them with their words, in the order of documentation.
    pub const ALL: [(CallKind, &'static str); 17] = [
        (CallKind::Chat, "chat"),
        (CallKind::ParseOrder, "parse-order"),
        (CallKind::Voice, "voice"),
        (CallKind::VoiceMetadata, "voice-metadata"),
        (CallKind::VoiceOrder, "voice-order"),
        (CallKind::Menu, "menu"),
        (CallKind::Health, "health"),
        (CallKind::Stats, "stats"),
        (CallKind::Completions, "completions"),
        (CallKind::Embeddings, "embeddings"),
        (CallKind::Models, "models"),
        (CallKind::Responses, "responses"),
        (CallKind::Transcriptions, "transcriptions"),
        (CallKind::Speech, "speech"),
        (CallKind::Any, "any"),
        (CallKind::VoiceStream, "voice-stream"),
        (CallKind::Realtime, "realtime"),
    ];

    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("any", |(_, word)| word)
    }

    /// True when callers of this dialect can ask for it.
    pub fn known_to(self, caller: CallerKind) -> bool {
        use CallKind as K;
        match caller {
            CallerKind::OpenAi => matches!(
                self,
                K::Chat
                    | K::Completions
                    | K::Embeddings
                    | K::Models
                    | K::Responses
                    | K::Transcriptions
                    | K::Speech
                    | K::Any
                    | K::Realtime
            ),
            CallerKind::Restaurant => matches!(
                self,
                K::Chat
                    | K::ParseOrder
                    | K::Voice
                    | K::VoiceMetadata
                    | K::VoiceOrder
                    | K::Menu
                    | K::Health
                    | K::VoiceStream
            ),
            CallerKind::Canvas => matches!(self, K::Chat | K::Health | K::Stats),
            CallerKind::Widget => matches!(self, K::Chat),
        }
    }

    /// True when providers of this kind can answer it.
    pub fn served_by(self, provider: ProviderKind) -> bool {
        use CallKind as K;
        match provider {
            ProviderKind::BuildPanel => {
                matches!(
                    self,
                    K::Chat | K::ParseOrder | K::Voice | K::VoiceMetadata | K::VoiceOrder | K::Menu | K::VoiceStream
                )
            }
            ProviderKind::OpenAi => {
                !matches!(self, K::Voice | K::VoiceOrder | K::Menu | K::Health | K::Stats | K::VoiceStream)
            }
        }
    }

    /// How urgent it is where the route does not say.
    pub fn priority(self) -> Priority {
        use CallKind as K;
        match self {
            K::Voice | K::VoiceMetadata | K::VoiceOrder | K::Transcriptions | K::Speech => Priority::Voice,
            K::VoiceStream | K::Realtime => Priority::Voice,
            K::Embeddings | K::Any => Priority::Background,
            _ => Priority::Chat,
        }
    }

    /// True when the gateway answers by itself, without a provider.
    pub fn is_local(self) -> bool {
        matches!(self, CallKind::Health | CallKind::Stats)
    }

    /// True when it is a WebSocket.
    pub fn is_tunnel(self) -> bool {
        matches!(self, CallKind::VoiceStream | CallKind::Realtime)
    }
}

/// One entry of a route's `targets`.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// Whom to ask.
    pub provider: Arc<ProviderPlan>,
    /// A fixed model, whatever the caller named.
    pub model: Option<Arc<str>>,
    /// A model that is asked for as if the caller had named it.
    pub asked: Option<Arc<str>>,
    /// What the caller's model becomes here, by pattern.
    pub models: ModelMap,
    /// Models that other providers of the gateway call their own: never sent here unmapped.
    pub foreign: Arc<[Pattern]>,
    /// Text put before the conversation.
    pub instruction: Option<Arc<str>>,
    /// How long it may be silent: the route's wish, else the provider's.
    pub pace: Pace,
    /// One attempt: the target's own, else the provider's.
    pub total: Duration,
    /// Tokens that its model takes, where the config says so: what is too long for another target goes here when this is
    /// more. Zero: unknown.
    pub context: u64,
    /// It goes on from a partial answer that stands last in the conversation.
    pub continues: bool,
}

/// What a target does with a call that names a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelChoice {
    /// Send it as the caller wrote it.
    AsAsked,
    /// Send it with this model.
    Replace(Arc<str>),
    /// The model is not for this target.
    NotHere,
}

impl TargetPlan {
    /// What this target does with a call that names `asked`.
    ///
    /// A fixed model wins; a model that is the provider's own is sent as it is; then the map decides; what is left
    /// goes through unless it belongs to another provider, or this one serves only its own models.
    pub fn choose(&self, asked: Option<&str>) -> ModelChoice {
        match (&self.asked, self.choose_of(self.asked.as_deref().or(asked))) {
            (Some(asked), ModelChoice::AsAsked) => ModelChoice::Replace(asked.clone()),
            (_, choice) => choice,
        }
    }

    fn choose_of(&self, asked: Option<&str>) -> ModelChoice {
        if let Some(model) = &self.model {
            return ModelChoice::Replace(model.clone());
        }
        let Some(asked) = asked else { return ModelChoice::AsAsked };
        if self.provider.models.iter().any(|own| own.matches(asked)) {
            return ModelChoice::AsAsked;
        }
        if let Some(model) = self.models.lookup(asked) {
            return ModelChoice::Replace(model.clone());
        }
        if !self.provider.models.is_empty() || self.foreign.iter().any(|foreign| foreign.matches(asked)) {
            return ModelChoice::NotHere;
        }
        ModelChoice::AsAsked
    }
}
