//! Fault: why there is no answer. One type for the whole request path.
//!
//! Each fault answers five questions: `status`, `code`, `blame`, `retry` and `public`. It does not know the shape in
//! which a caller reads it; that is the caller's dialect. What it says is in `fault/words`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::model::time::Phase;

mod again;
mod bound;
mod denial;
mod refusal;
mod request;
mod sum;
mod words;

pub use self::bound::Bound;
pub use self::denial::{Denial, LastDenial};
pub use self::refusal::{Limited, Refusal, Spent};
pub use self::request::RequestFault;
pub use self::sum::sum_up;

/// Reasons of [`Fault::Forbidden`] that callers read about, because they or their operator can do something.
///
/// The call is about what the operator's account keeps, and the credential does not allow that.
pub const NO_ACCOUNT: &str = "account";
/// The same on a route that asks for no credential.
pub const NO_ACCOUNT_OPEN: &str = "account_without_credential";
/// The call is about the organization that owns the account.
pub const ORGANIZATION: &str = "organization";
/// The credential is for some models, and the call does not say which one it asks.
pub const MODEL_UNREADABLE: &str = "model_unreadable";

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
    /// The provider closed the connection before anything of an answer came. It may have executed the call.
    Closed {
        /// Who.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// The connection broke, or what came is not an answer.
    Broken {
        /// Whose.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// The provider answered, and said nothing that the caller could be given: no text, no refusal.
    Wordless {
        /// Who.
        provider: Arc<str>,
    },
    /// A stream ended before its answer was complete.
    Incomplete {
        /// Whose.
        provider: Arc<str>,
        /// For the log.
        detail: String,
    },
    /// The provider reported an error of its own after its answer had begun.
    ErrorEvent {
        /// Who.
        provider: Arc<str>,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// What the provider sent is larger than the gateway takes. It has done its work, and would do the same again.
    Oversized {
        /// Who.
        provider: Arc<str>,
        /// The bound.
        bound: Bound,
    },
    /// The provider answered with an error of its own.
    Refused {
        /// Who.
        provider: Arc<str>,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// The provider refused the gateway's own key, or the account behind it.
    Credential {
        /// Who.
        provider: Arc<str>,
        /// Which of the two.
        denial: Denial,
    },
    /// The provider has failed too often lately and is left alone.
    Open {
        /// Who.
        provider: Arc<str>,
        /// When it will be asked again.
        retry_in: Duration,
        /// What it denied the gateway last, if that is why it is left alone.
        denial: Option<Denial>,
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
    /// The caller announced how long it would wait, and that time is over. Nobody else has done anything wrong.
    CallerTimeout,
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

/// The code of a refusal because the account may not use the model, or nobody has it.
pub const NO_MODEL: &str = "model_not_found";

/// The code of a refusal because the provider does not want the request's content.
pub const FLAGGED: &str = "content_policy_violation";

/// The code of a fault that is about the gateway's own key or account. Callers never read which of the two.
pub const CREDENTIALS: &str = "provider_credentials";

/// What operators read of an attempt in its place when it is the account ([`Fault::attempt_code`]).
pub const UNPAID: &str = "provider_unpaid";

/// The code of a call that its caller did not wait for.
pub const CALLER_TIMEOUT: &str = "caller_timeout";

/// True for the codes of faults that say that a provider is ill (see [`Fault::is_illness`]), or that it takes no key of ours.
pub fn is_illness(code: &str) -> bool {
    const ILL: [&str; 7] = [
        "provider_unreachable",
        "provider_timeout",
        "provider_broken",
        "stream_incomplete",
        "provider_error",
        CREDENTIALS,
        UNPAID,
    ];
    ILL.contains(&code)
}

/// What callers are asked to wait when nothing better is known.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// What callers are asked to wait while a provider is switched off: an operator must act first.
const DISABLED_RETRY_AFTER: Duration = Duration::from_secs(60);

impl Fault {
    /// The detail of a mistake that ended in a panic.
    pub const PANIC: &str = "panic";

    /// An invalid request: what is wrong, and in which field.
    pub fn invalid(field: impl Into<Option<&'static str>>, message: impl Into<String>) -> Self {
        RequestFault::Invalid { field: field.into().map(Cow::Borrowed), message: message.into() }.into()
    }

    /// The whole call's time is over: the route's, or what the caller has announced.
    pub fn of_deadline(phase: Phase) -> Self {
        if phase == Phase::Caller { Fault::CallerTimeout } else { Fault::Deadline }
    }

    /// The provider that it is about; of several the one that is spoken of.
    pub fn provider(&self) -> Option<&Arc<str>> {
        match self {
            Fault::Disabled { provider }
            | Fault::Connect { provider, .. }
            | Fault::Timeout { provider, .. }
            | Fault::Closed { provider, .. }
            | Fault::Broken { provider, .. }
            | Fault::Wordless { provider }
            | Fault::Incomplete { provider, .. }
            | Fault::ErrorEvent { provider, .. }
            | Fault::Oversized { provider, .. }
            | Fault::Refused { provider, .. }
            | Fault::Credential { provider, .. }
            | Fault::Open { provider, .. }
            | Fault::Saturated { provider, .. }
            | Fault::Quota { provider, .. }
            | Fault::Unsupported { provider, .. } => Some(provider),
            Fault::Exhausted { last, .. } => last.provider(),
            _ => None,
        }
    }

    /// The HTTP status for a caller.
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::Request(fault) => fault.status(),
            Fault::Credential { .. } | Fault::Open { denial: Some(_), .. } => StatusCode::BAD_GATEWAY,
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
            Fault::Connect { .. }
            | Fault::Closed { .. }
            | Fault::Broken { .. }
            | Fault::Wordless { .. }
            | Fault::Incomplete { .. }
            | Fault::ErrorEvent { .. }
            | Fault::Oversized { .. } => StatusCode::BAD_GATEWAY,
            // That of the last is RFC 9111's (5.2.1.7).
            Fault::Timeout { .. } | Fault::Deadline | Fault::CallerTimeout | Fault::NotKept => {
                StatusCode::GATEWAY_TIMEOUT
            }
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
            | Fault::CallerTimeout
            | Fault::NotKept => Blame::Caller,
            Fault::Refused { refusal, .. } if refusal.is_own_trouble() => Blame::Provider,
            Fault::Refused { .. } => Blame::Caller,
            Fault::Connect { .. }
            | Fault::Timeout { .. }
            | Fault::Closed { .. }
            | Fault::Broken { .. }
            | Fault::Wordless { .. }
            | Fault::Incomplete { .. }
            | Fault::ErrorEvent { .. } => Blame::Provider,
            Fault::Open { denial: Some(_), .. } => Blame::Gateway,
            Fault::Open { .. } | Fault::Quota { .. } | Fault::Exhausted { .. } | Fault::Deadline => Blame::Provider,
            Fault::NoProvider
            | Fault::Disabled { .. }
            | Fault::RouteDisabled
            | Fault::Credential { .. }
            | Fault::Saturated { .. }
            | Fault::Unsupported { .. }
            | Fault::Guarded { is_in_answer: true, .. }
            | Fault::Oversized { .. }
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
            Fault::Connect { .. }
            | Fault::Timeout { .. }
            | Fault::Closed { .. }
            | Fault::Broken { .. }
            | Fault::Incomplete { .. }
            | Fault::ErrorEvent { .. } => true,
            _ => false,
        }
    }

    /// True when none of the targets has the model.
    pub fn is_unknown_model(&self) -> bool {
        matches!(self, Fault::Request(fault) if matches!(**fault, RequestFault::NoModel { .. }))
    }

    /// True when the same call would end the same way, whoever makes it.
    pub fn is_definite(&self) -> bool {
        self.blame() == Blame::Caller || matches!(self, Fault::Oversized { .. })
    }

    /// True when an answer has begun, and its provider does not finish it.
    pub fn breaks_off(&self) -> bool {
        matches!(self, Fault::Incomplete { .. } | Fault::ErrorEvent { .. })
    }

    /// True when the provider answers nobody until an operator mends the gateway's key or account there.
    pub fn is_denied(&self) -> bool {
        matches!(self, Fault::Credential { .. } | Fault::Open { denial: Some(_), .. })
    }

    /// True when the provider was not even asked.
    pub fn is_unasked(&self) -> bool {
        matches!(self, Fault::Open { .. } | Fault::Saturated { .. } | Fault::Quota { .. } | Fault::Unsupported { .. })
    }

    /// True when the request itself may be the cause of an illness: an error of the provider's own, a connection that it closes or an
    /// answer that breaks off, but not what says that the provider is out, silent or has too much to do.
    pub fn may_come_from_request(&self) -> bool {
        match self {
            Fault::Refused { refusal, .. } => {
                self.is_illness() && !matches!(refusal.status.as_u16(), 429 | 503 | 504 | 529)
            }
            Fault::Closed { .. } | Fault::Broken { .. } => true,
            fault if fault.breaks_off() => true,
            _ => false,
        }
    }

    /// True when nobody could answer, whoever is to blame for that. What is wrong with the request itself, and what only the
    /// gateway got wrong, is not among it.
    pub fn is_outage(&self) -> bool {
        match self {
            Fault::NoProvider | Fault::Disabled { .. } | Fault::Saturated { .. } | Fault::Unsupported { .. } => true,
            fault if fault.is_denied() => true,
            other => other.blame() == Blame::Provider,
        }
    }
}

/// True for statuses that say "later", and so must say when.
pub fn is_for_later(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
