//! Fault: why there is no answer. One type for the whole request path.
//!
//! Each fault answers five questions: `status`, `code`, `blame`, `retry` and `public`. It does not know the shape in
//! which a caller reads it; that is the caller's dialect.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::calendar::Period;
use crate::money::Usd;
use crate::time::Phase;

/// Why a call was not answered.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The request itself is wrong.
    Request(Box<RequestFault>),
    /// The route has no provider that is set up.
    NoProvider,
    /// The route's only providers are switched off.
    Disabled {
        /// The first of them.
        provider: Arc<str>,
    },
    /// The route is switched off.
    RouteDisabled,
    /// No connection: nothing of the request was sent.
    Connect {
        /// To whom.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// The provider was silent for too long.
    Timeout {
        /// Who.
        provider: Arc<str>,
        /// In which phase.
        phase: Phase,
    },
    /// The connection broke, or what came is not an answer.
    Broken {
        /// Whose.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// A stream ended before its answer was complete.
    Incomplete {
        /// Whose.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// The provider answered with an error of its own.
    Refused {
        /// Who.
        provider: Arc<str>,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// The provider refused the gateway's own key.
    Credential {
        /// Who.
        provider: Arc<str>,
    },
    /// The provider has failed too often lately and is left alone.
    Open {
        /// Who.
        provider: Arc<str>,
        /// When it will be asked again.
        retry_in: Duration,
    },
    /// The provider is asked as much at once as it can stand.
    Saturated {
        /// Who.
        provider: Arc<str>,
        /// When there may be a place.
        retry_in: Duration,
    },
    /// The provider has said that it would refuse the call now, because of its limits.
    Quota {
        /// Who.
        provider: Arc<str>,
        /// When it would take it.
        retry_in: Duration,
    },
    /// This target cannot serve this call (a picture for a text-only provider).
    Unsupported {
        /// Who.
        provider: Arc<str>,
        /// What it cannot do.
        what: &'static str,
    },
    /// The caller wants an answer that is kept, or none; and there is none.
    NotKept,
    /// The whole call took too long.
    Deadline,
    /// Several targets were tried and all failed.
    Exhausted {
        /// The last fault.
        last: Box<Fault>,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The caller has shown nothing that says who it is, or something that is not valid.
    Unauthenticated {
        /// Why not; for the log.
        reason: &'static str,
        /// True when it has shown something.
        has_credential: bool,
    },
    /// It is known who calls, and that this is not for them.
    Forbidden {
        /// Why not; for the log.
        reason: &'static str,
    },
    /// What the caller has shown may be valid, but what it is checked with was never read.
    Unverifiable,
    /// Too many wrong credentials came from the caller's address lately.
    Locked {
        /// When the next may be shown.
        retry_in: Duration,
        /// Why the last one was wrong; for the log.
        reason: &'static str,
    },
    /// A guard lets it not pass.
    Guarded {
        /// The guard.
        guard: Arc<str>,
        /// What it found: the pattern's name.
        kind: Arc<str>,
        /// False: in the request.
        is_in_answer: bool,
    },
    /// The caller asks more than a rule allows.
    Limited(Box<Limited>),
    /// A budget has not enough left for the call.
    Spent(Box<Spent>),
    /// The shared store is out, and the config wants limited calls refused then.
    StoreOut,
    /// The gateway itself cannot take the call now.
    Overloaded,
    /// The caller, or all callers together, have as many connections of this kind as they may have.
    Crowded {
        /// How many that is.
        limit: usize,
    },
    /// The gateway is shutting down and begins nothing that lasts.
    Leaving,
    /// A mistake of the gateway.
    Internal {
        /// For the log.
        detail: String,
    },
}

/// What is wrong with a request.
#[derive(Clone, Debug)]
pub enum RequestFault {
    /// The body or a header cannot be understood (400).
    Invalid {
        /// The field that is wrong.
        field: Option<Cow<'static, str>>,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// No such route (404).
    NotFound {
        /// The path that was asked for.
        path: String,
    },
    /// The route exists, with other methods (405).
    Method {
        /// The method that was used.
        method: String,
        /// The methods that are allowed, as the `Allow` header wants them.
        allow: Arc<str>,
    },
    /// The body is too large (413).
    TooLarge {
        /// The most bytes allowed.
        limit: usize,
    },
    /// The body's media type is not understood (415).
    MediaType {
        /// What is allowed.
        allowed: &'static str,
    },
    /// The body came too slowly (408).
    Slow,
    /// It has more headers than are read (431).
    TooManyHeaders {
        /// The most allowed.
        limit: usize,
    },
    /// It is a WebSocket and was not asked for as one (426).
    Upgrade,
    /// It came in the clear, and must not (403).
    Insecure,
    /// Another website's page may have made a browser send it (403).
    CrossSite {
        /// How that shows.
        what: &'static str,
    },
}

/// What a caller must know of a rule that refused it.
#[derive(Clone, Debug)]
pub struct Limited {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The caller's tier.
    pub tier: Arc<str>,
    /// What the rule allows in a window: calls, tokens or dollars.
    pub amount: f64,
    /// What that is: `requests`, `tokens` or `usd`.
    pub quantity: &'static str,
    /// The window.
    pub window: Duration,
    /// When the same call would be admitted, if nothing else is asked before.
    pub retry_after: Duration,
    /// The rule's own words.
    pub message: Option<Arc<str>>,
    /// Where there is more to be had.
    pub upgrade_url: Option<Arc<str>>,
}

/// What a caller must know of a budget that refused it.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The budget's name.
    pub budget: Arc<str>,
    /// What it has in a period.
    pub amount: Usd,
    /// The period.
    pub period: Period,
    /// When the next period begins.
    pub retry_after: Duration,
    /// True: 402, not 429.
    pub is_payment_wanted: bool,
    /// The budget's own words.
    pub message: Option<Arc<str>>,
}

/// A provider's error answer.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its status. For an error inside a 200: the status that it stands for.
    pub status: StatusCode,
    /// Its headers that may reach the caller.
    pub headers: HeaderMap,
    /// Its body as it came; passed on to callers of the same dialect.
    pub body: Bytes,
    /// Its message.
    pub message: String,
    /// Its error code, when it has one (`context_length_exceeded`).
    pub code: Option<Box<str>>,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
    /// True when `body` is in OpenAI's shape.
    pub is_openai: bool,
}

/// Who must change something for the call to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller.
    Caller,
    /// Those who run the gateway.
    Gateway,
    /// The provider.
    Provider,
}

/// What may be tried after a fault, before anything reached the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: another attempt would end the same way or do harm.
    Never,
    /// The same target again, once, at once.
    SameTarget,
    /// The same target again, after a pause of our own choice.
    Backoff,
    /// Another target.
    NextTarget,
    /// Another target whose model takes longer conversations.
    LargerContext,
    /// The same target, but not before this time.
    After(Duration),
}

/// The code of a refusal because the conversation is too long for the model, whatever the provider itself calls it.
pub const TOO_LONG: &str = "context_length_exceeded";

/// The code of a fault that is about the gateway's own key.
pub const CREDENTIALS: &str = "provider_credentials";

/// True for the codes of faults that say that a provider is ill (see [`Fault::is_illness`]), or that it takes no key of ours.
pub fn is_illness(code: &str) -> bool {
    const ILL: [&str; 6] = [
        "provider_unreachable",
        "provider_timeout",
        "provider_broken",
        "stream_incomplete",
        "provider_error",
        CREDENTIALS,
    ];
    ILL.contains(&code)
}

/// What callers are asked to wait when nothing better is known.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// What callers are asked to wait while a provider is switched off: an operator must act first.
const DISABLED_RETRY_AFTER: Duration = Duration::from_secs(60);

impl Fault {
    /// The detail of a mistake that ended in a panic.
    pub const PANIC: &str = "panic";

    /// An invalid request: what is wrong, and in which field.
    pub fn invalid(field: impl Into<Option<&'static str>>, message: impl Into<String>) -> Self {
        RequestFault::Invalid { field: field.into().map(Cow::Borrowed), message: message.into() }.into()
    }

    /// The HTTP status for a caller.
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::Request(fault) => fault.status(),
            Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::Open { .. }
            | Fault::Saturated { .. }
            | Fault::StoreOut
            | Fault::Unverifiable
            | Fault::Overloaded
            | Fault::Leaving
            | Fault::Unsupported { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Limited(_) | Fault::Quota { .. } | Fault::Crowded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Fault::Spent(spent) if spent.is_payment_wanted => StatusCode::PAYMENT_REQUIRED,
            Fault::Spent(_) => StatusCode::TOO_MANY_REQUESTS,
            Fault::Connect { .. } | Fault::Broken { .. } | Fault::Incomplete { .. } | Fault::Credential { .. } => {
                StatusCode::BAD_GATEWAY
            }
            // That of the last is RFC 9111's (5.2.1.7).
            Fault::Timeout { .. } | Fault::Deadline | Fault::NotKept => StatusCode::GATEWAY_TIMEOUT,
            Fault::Refused { refusal, .. } => refusal.status,
            Fault::Exhausted { last, .. } => match &**last {
                Fault::Timeout { .. } | Fault::Deadline => StatusCode::GATEWAY_TIMEOUT,
                last if last.status() == StatusCode::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
            Fault::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Fault::Forbidden { .. } => StatusCode::FORBIDDEN,
            Fault::Locked { .. } => StatusCode::TOO_MANY_REQUESTS,
            Fault::Guarded { is_in_answer: false, .. } => StatusCode::BAD_REQUEST,
            Fault::Guarded { is_in_answer: true, .. } => StatusCode::BAD_GATEWAY,
            Fault::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word for programs; also the label in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Request(fault) => fault.code(),
            Fault::NoProvider => "no_provider",
            Fault::Disabled { .. } => "provider_disabled",
            Fault::RouteDisabled => "route_disabled",
            Fault::Connect { .. } => "provider_unreachable",
            Fault::Timeout { .. } => "provider_timeout",
            Fault::Broken { .. } => "provider_broken",
            Fault::Incomplete { .. } => "stream_incomplete",
            Fault::Refused { refusal, .. } => match refusal.status.as_u16() {
                429 => "provider_rate_limited",
                500.. => "provider_error",
                _ => "provider_rejected",
            },
            Fault::Credential { .. } => CREDENTIALS,
            Fault::Open { .. } => "breaker_open",
            Fault::Saturated { .. } => "provider_saturated",
            Fault::Quota { .. } => "provider_quota",
            Fault::Unsupported { .. } => "unsupported_by_provider",
            Fault::NotKept => "not_kept",
            Fault::Deadline => "deadline_exceeded",
            Fault::Exhausted { last, .. } => match &**last {
                Fault::Timeout { .. } | Fault::Deadline => "providers_timed_out",
                last if last.status() == StatusCode::TOO_MANY_REQUESTS => "providers_rate_limited",
                _ => "providers_unavailable",
            },
            Fault::Unauthenticated { .. } => "unauthenticated",
            Fault::Forbidden { .. } => "forbidden",
            Fault::Unverifiable => "credentials_unverifiable",
            Fault::Locked { .. } => "too_many_wrong_credentials",
            Fault::Guarded { .. } => "guard_rejected",
            Fault::Limited(_) => "rate_limited",
            Fault::Spent(_) => "budget_exhausted",
            Fault::StoreOut => "store_unavailable",
            Fault::Overloaded => "overloaded",
            Fault::Crowded { .. } => "too_many_connections",
            Fault::Leaving => "shutting_down",
            Fault::Internal { .. } => "internal",
        }
    }

    /// Who must change something.
    pub fn blame(&self) -> Blame {
        match self {
            Fault::Request(_)
            | Fault::Unauthenticated { .. }
            | Fault::Forbidden { .. }
            | Fault::Locked { .. }
            | Fault::Guarded { is_in_answer: false, .. }
            | Fault::Limited(_)
            | Fault::Crowded { .. }
            | Fault::Spent(_)
            | Fault::NotKept => Blame::Caller,
            Fault::Refused { refusal, .. } => match refusal.status.as_u16() {
                408 | 429 | 500.. => Blame::Provider,
                _ => Blame::Caller,
            },
            Fault::Connect { .. } | Fault::Timeout { .. } | Fault::Broken { .. } | Fault::Incomplete { .. } => {
                Blame::Provider
            }
            Fault::Open { .. } | Fault::Quota { .. } | Fault::Exhausted { .. } | Fault::Deadline => Blame::Provider,
            Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::Credential { .. }
            | Fault::Saturated { .. }
            | Fault::Unsupported { .. }
            | Fault::Guarded { is_in_answer: true, .. }
            | Fault::StoreOut
            | Fault::Unverifiable
            | Fault::Overloaded
            | Fault::Leaving
            | Fault::Internal { .. } => Blame::Gateway,
        }
    }

    /// True when the fault says that the provider is ill: broken, silent, or making mistakes. A limit is not an illness, a
    /// caller's mistake is an answer, and a call whose own time or attempts are up says nothing about the last one asked.
    pub fn is_illness(&self) -> bool {
        match self {
            Fault::Refused { refusal, .. } => refusal.status.as_u16() != 429 && self.blame() == Blame::Provider,
            Fault::Connect { .. } | Fault::Timeout { .. } | Fault::Broken { .. } | Fault::Incomplete { .. } => true,
            _ => false,
        }
    }

    /// True when nobody could answer, whoever is to blame for that. What is wrong with the request itself, and what only the
    /// gateway got wrong, is not among it.
    pub fn is_outage(&self) -> bool {
        match self {
            Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::Credential { .. }
            | Fault::Saturated { .. }
            | Fault::Unsupported { .. } => true,
            other => other.blame() == Blame::Provider,
        }
    }

    /// What may be tried next, as long as nothing of an answer has reached the caller.
    pub fn retry(&self) -> Retry {
        match self {
            Fault::Connect { .. } | Fault::Broken { .. } => Retry::SameTarget,
            Fault::Refused { refusal, .. } => match (refusal.status.as_u16(), refusal.retry_after) {
                (429 | 503, Some(after)) => Retry::After(after),
                (429, None) => Retry::Backoff,
                (408 | 500.., _) => Retry::SameTarget,
                _ if refusal.code.as_deref() == Some(TOO_LONG) => Retry::LargerContext,
                _ => Retry::Never,
            },
            Fault::Quota { retry_in, .. } => Retry::After(*retry_in),
            Fault::Timeout { phase: Phase::Call, .. } => Retry::Never,
            Fault::Timeout { .. }
            | Fault::Incomplete { .. }
            | Fault::Credential { .. }
            | Fault::Open { .. }
            | Fault::Saturated { .. }
            | Fault::Unsupported { .. } => Retry::NextTarget,
            Fault::Request(_)
            | Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::NotKept
            | Fault::Deadline
            | Fault::Exhausted { .. }
            | Fault::Unauthenticated { .. }
            | Fault::Forbidden { .. }
            | Fault::Unverifiable
            | Fault::Locked { .. }
            | Fault::Guarded { .. }
            | Fault::Limited(_)
            | Fault::Spent(_)
            | Fault::StoreOut
            | Fault::Overloaded
            | Fault::Crowded { .. }
            | Fault::Leaving
            | Fault::Internal { .. } => Retry::Never,
        }
    }

    /// What the caller may read. It names no key, no address and nothing that a provider said about credentials.
    pub fn public(&self) -> Cow<'_, str> {
        match self {
            Fault::Request(fault) => fault.public(),
            Fault::NoProvider => "No AI provider is set up for this route.".into(),
            Fault::Disabled { provider } => format!(
                "The AI service for this request ({provider}) is switched off at the moment. Please try again later."
            )
            .into(),
            Fault::RouteDisabled => "This endpoint is switched off at the moment. Please try again later.".into(),
            Fault::Connect { provider, .. } => format!("The AI provider {provider} could not be reached.").into(),
            Fault::Timeout { provider, .. } => {
                format!("The AI provider {provider} did not answer in time (timeout).").into()
            }
            Fault::Broken { provider, .. } => format!("The AI provider {provider} sent a broken answer.").into(),
            Fault::Incomplete { provider, .. } => {
                format!("The answer is incomplete: the stream of the AI provider {provider} ended early.").into()
            }
            // What a provider says about its own trouble (its limits, its accounts, its insides) is not the caller's to read.
            Fault::Refused { provider, refusal } if self.blame() == Blame::Provider => match refusal.status.as_u16() {
                429 => format!("The AI provider {provider} is at its rate limit.").into(),
                status => format!("The AI provider {provider} answered with an error (status {status}).").into(),
            },
            Fault::Refused { refusal, .. } => refusal.message.as_str().into(),
            Fault::Credential { provider } => format!(
                "The AI provider {provider} refused the gateway's own credentials. Your credentials are not involved."
            )
            .into(),
            Fault::Open { provider, .. } => {
                format!("The AI provider {provider} has been failing and is not asked for the moment.").into()
            }
            Fault::Saturated { provider, .. } => {
                format!("The AI provider {provider} has as much to do as it can. Please try again.").into()
            }
            Fault::Quota { provider, .. } => format!("The AI provider {provider} is at its rate limit.").into(),
            Fault::Unsupported { provider, what } => {
                format!("The AI provider {provider} does not support {what}.").into()
            }
            Fault::NotKept => "No answer to this is kept, and the request asks for no other (only-if-cached).".into(),
            Fault::Deadline => "The request took too long (timeout).".into(),
            Fault::Exhausted { .. } => match self.status() {
                StatusCode::GATEWAY_TIMEOUT => "No AI provider answered in time (timeout). Please try again.".into(),
                StatusCode::TOO_MANY_REQUESTS => {
                    "Every AI provider is at its rate limit. Please try again later.".into()
                }
                _ => "No AI provider could answer. Please try again.".into(),
            },
            // The same words whatever was wrong: which part it was would help only who guesses.
            Fault::Unauthenticated { .. } => "Valid credentials are needed: a token or an API key.".into(),
            Fault::Unverifiable => "Credentials cannot be checked at the moment. Please try again.".into(),
            Fault::Forbidden { .. } => "These credentials do not allow this request.".into(),
            Fault::Locked { .. } => "Too many wrong credentials came from this address. Please try again later.".into(),
            Fault::Guarded { kind, is_in_answer: false, .. } => {
                format!("The request is refused because it holds something that must not be sent here: {kind}.").into()
            }
            Fault::Guarded { kind, is_in_answer: true, .. } => {
                format!("The answer is withheld because it holds something that must not be passed on: {kind}.").into()
            }
            Fault::Limited(limited) => limited.public(),
            Fault::Spent(spent) => spent.public(),
            Fault::StoreOut => "The gateway cannot count requests at the moment. Please try again.".into(),
            Fault::Overloaded => "The gateway is at its limit. Please try again.".into(),
            Fault::Crowded { limit } => format!("Too many connections: {limit} are allowed at once.").into(),
            Fault::Leaving => "The gateway is shutting down. Please try again.".into(),
            Fault::Internal { .. } => "The gateway made a mistake. Please try again.".into(),
        }
    }

    /// How long the caller should wait before it tries again. `None`: trying again does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Fault::Disabled { .. } | Fault::RouteDisabled | Fault::NoProvider => Some(DISABLED_RETRY_AFTER),
            Fault::Exhausted { retry_after, .. } => Some(*retry_after),
            Fault::Open { retry_in, .. } | Fault::Saturated { retry_in, .. } | Fault::Quota { retry_in, .. } => {
                Some(*retry_in)
            }
            Fault::Refused { refusal, .. } => {
                refusal.retry_after.or((refusal.status.as_u16() == 429).then_some(DEFAULT_RETRY_AFTER))
            }
            Fault::Locked { retry_in, .. } => Some(*retry_in),
            Fault::Limited(limited) => Some(limited.retry_after),
            Fault::Spent(spent) => Some(spent.retry_after),
            Fault::StoreOut | Fault::Unverifiable | Fault::Overloaded | Fault::Leaving => Some(Duration::from_secs(1)),
            Fault::Connect { .. } | Fault::Timeout { .. } | Fault::Broken { .. } | Fault::Deadline => {
                Some(DEFAULT_RETRY_AFTER)
            }
            _ => None,
        }
    }

    /// What is known beyond `code`, for the log. No secret and no content is in it.
    pub fn detail(&self) -> Option<String> {
        match self {
            Fault::Connect { provider, detail }
            | Fault::Broken { provider, detail }
            | Fault::Incomplete { provider, detail } => Some(format!("{provider}: {detail}")),
            Fault::Timeout { provider, phase } => Some(format!("{provider}: {} timeout", phase.as_str())),
            Fault::Refused { provider, refusal } => Some(match &refusal.code {
                Some(code) => format!("{provider}: status {}, code {code}", refusal.status.as_u16()),
                None => format!("{provider}: status {}", refusal.status.as_u16()),
            }),
            Fault::Credential { provider } => Some(format!("{provider}: the provider refused our key")),
            Fault::Open { provider, .. } => Some(format!("{provider}: the breaker is open")),
            Fault::Saturated { provider, .. } => Some(format!("{provider}: no place")),
            Fault::Quota { provider, .. } => Some(format!("{provider}: it would refuse the call now")),
            Fault::Unsupported { provider, what } => Some(format!("{provider}: no support for {what}")),
            Fault::Exhausted { last, .. } => last.detail(),
            Fault::Unauthenticated { reason, .. } | Fault::Forbidden { reason } | Fault::Locked { reason, .. } => {
                Some((*reason).into())
            }
            Fault::Internal { detail } => Some(detail.clone()),
            Fault::Guarded { guard, kind, .. } => Some(format!("guard {guard}: {kind}")),
            Fault::Limited(limited) => Some(format!("limit {}", limited.rule)),
            Fault::Spent(spent) => Some(format!("budget {}", spent.budget)),
            Fault::Request(_)
            | Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::NotKept
            | Fault::Deadline
            | Fault::StoreOut
            | Fault::Unverifiable
            | Fault::Overloaded
            | Fault::Crowded { .. }
            | Fault::Leaving => None,
        }
    }
}

impl Limited {
    fn public(&self) -> Cow<'_, str> {
        if let Some(message) = &self.message {
            return (&**message).into();
        }
        let amount = match self.quantity {
            "usd" => format!("{} USD", self.amount),
            what => format!("{} {what}", self.amount),
        };
        let seconds = self.window.as_secs();
        let window = match (seconds % 3600, seconds % 60) {
            (0, _) => format!("{} h", seconds / 3600),
            (_, 0) => format!("{} min", seconds / 60),
            _ => format!("{} s", self.window.as_secs_f64()),
        };
        let wait = self.retry_after.as_secs_f64().ceil().max(1.0);
        format!("Rate limit exceeded: {amount} in {window} are allowed. Please try again in {wait} s.").into()
    }
}

impl Spent {
    fn public(&self) -> Cow<'_, str> {
        match &self.message {
            Some(message) => (&**message).into(),
            None => format!(
                "The budget of {} USD per {} does not reach for this call. It is full again in {} s.",
                self.amount,
                self.period.as_str(),
                self.retry_after.as_secs().max(1),
            )
            .into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            Some(detail) => write!(out, "{}: {detail}", self.code()),
            None => out.write_str(self.code()),
        }
    }
}

impl From<RequestFault> for Fault {
    fn from(fault: RequestFault) -> Self {
        Fault::Request(Box::new(fault))
    }
}

impl RequestFault {
    fn status(&self) -> StatusCode {
        match self {
            RequestFault::Invalid { .. } => StatusCode::BAD_REQUEST,
            RequestFault::NotFound { .. } => StatusCode::NOT_FOUND,
            RequestFault::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            RequestFault::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            RequestFault::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            RequestFault::Slow => StatusCode::REQUEST_TIMEOUT,
            RequestFault::TooManyHeaders { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestFault::Upgrade => StatusCode::UPGRADE_REQUIRED,
            RequestFault::CrossSite { .. } | RequestFault::Insecure => StatusCode::FORBIDDEN,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            RequestFault::Invalid { .. } => "invalid_request",
            RequestFault::NotFound { .. } => "not_found",
            RequestFault::Method { .. } => "method_not_allowed",
            RequestFault::TooLarge { .. } => "request_too_large",
            RequestFault::MediaType { .. } => "unsupported_media_type",
            RequestFault::Slow => "request_timeout",
            RequestFault::Upgrade => "upgrade_required",
            RequestFault::CrossSite { .. } => "cross_site_request",
            RequestFault::Insecure => "https_required",
            RequestFault::TooManyHeaders { .. } => "too_many_headers",
        }
    }

    /// The field that is wrong, if the fault is about one.
    pub fn field(&self) -> Option<&str> {
        match self {
            RequestFault::Invalid { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    fn public(&self) -> Cow<'_, str> {
        match self {
            RequestFault::Invalid { message, .. } => message.as_str().into(),
            RequestFault::NotFound { path } => format!("There is nothing at {path}.").into(),
            RequestFault::Method { method, allow } => format!("{method} is not allowed here; allowed: {allow}.").into(),
            RequestFault::TooLarge { limit } => {
                format!("The request body is larger than the limit of {limit} bytes.").into()
            }
            RequestFault::MediaType { allowed } => {
                format!("The Content-Type is not supported here; allowed: {allowed}.").into()
            }
            RequestFault::Slow => "The request body did not arrive in time.".into(),
            RequestFault::TooManyHeaders { limit } => format!("The request has more than {limit} headers.").into(),
            RequestFault::Upgrade => "This is a WebSocket: ask for it with `Upgrade: websocket`, version 13.".into(),
            RequestFault::Insecure => "This service is reached by HTTPS only.".into(),
            RequestFault::CrossSite { what } => format!("The request is refused because {what}.").into(),
        }
    }
}
