//! Fault: why there is no response. One type for the whole request path.
//!
//! Each fault answers five questions: `status`, `code`, `blame`, `retry` and `public`, and says what it is: a rate
//! limit, a timeout, an illness of its provider. All of this is in one table, `fault/table`, with one row for each
//! kind. A fault does not know the shape in which a caller reads it; that is the caller's dialect.

mod bound;
mod denial;
mod sum;

mod table;

mod refusal;
mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::model::shape::Mismatch;
use crate::model::time::Phase;

pub use self::bound::Bound;
pub use self::denial::{Denial, LastDenial};
pub use self::refusal::{Dialect, Limited, Refusal, Spent};
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
    /// The route's only providers are disabled.
    Disabled {
        /// The first of them.
        provider: Arc<str>,
    },
    /// The route is disabled.
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
    /// A model answered, more than once as far as that was possible, and never in the shape that was asked for.
    InvalidOutput {
        /// Whose model gave the last such answer.
        provider: Arc<str>,
        /// What is wrong with it.
        mismatch: Box<Mismatch>,
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
    /// The provider refused what the gateway made of the call for its API. Whoever is asked in the caller's own words may take it.
    Mistranslated {
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
    /// The provider's circuit breaker is open.
    Open {
        /// Who.
        provider: Arc<str>,
        /// When it will be asked again.
        retry_in: Duration,
        /// What it denied the gateway last, if that is why the circuit breaker is open.
        denial: Option<Denial>,
    },
    /// This same request has failed at the provider again and again, and is held back by itself. Others are not.
    HeldBack {
        /// Who.
        provider: Arc<str>,
        /// How often it has failed in a row.
        failures: u32,
        /// When it may be made again.
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
        what: Cow<'static, str>,
    },
    /// This target's API cannot say what this call asks, and nothing of it may be left out: a tool that only another provider
    /// runs, say.
    Untranslatable {
        /// Who.
        provider: Arc<str>,
        /// What it cannot say.
        what: Cow<'static, str>,
    },
    /// The caller accepts only a cached response, and there is none.
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
    /// The shared store is down, and the config wants limited calls refused then.
    StoreOut,
    /// Jobs are kept in a store that is down.
    JobsOut {
        /// Why, for the log.
        detail: String,
    },
    /// Jobs are not accepted, because their store would lose them.
    JobsVolatile,
    /// The tenant, or all tenants together, have as many waiting jobs as they may have.
    JobsFull {
        /// How many that is.
        limit: u64,
        /// True when it is the tenant's own limit.
        is_tenants: bool,
    },
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

/// What a fault is, beside its code. A kind has several of these, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// See [`Fault::is_illness`].
    Illness,
    /// See [`Fault::may_come_from_request`].
    MaybeRequest,
    /// See [`Fault::is_rate_limit`].
    RateLimit,
    /// See [`Fault::is_overload`].
    Overload,
    /// See [`Fault::is_timeout`].
    Timeout,
    /// See [`Fault::is_unreachable`].
    Unreachable,
    /// See [`Fault::is_unasked`].
    Unasked,
    /// See [`Fault::is_denied`].
    Denied,
    /// See [`Fault::is_rejection`].
    Rejection,
    /// See [`Fault::is_lasting`].
    Lasting,
    /// See [`Fault::is_missing`].
    Missing,
    /// See [`Fault::is_unknown_model`].
    UnknownModel,
    /// See [`Fault::breaks_off`].
    Partial,
    /// See [`Fault::is_definite`].
    Final,
    /// See [`Fault::is_outage`].
    Outage,
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

/// The error code for a field of the request that a provider does not know. It is OpenAI's.
pub const UNKNOWN_FIELD: &str = "unknown_parameter";

/// Error codes for what a model wrote and its provider could not read: a call of a tool, JSON of a shape. They are Groq's
/// (<https://console.groq.com/docs/tool-use>, <https://console.groq.com/docs/structured-outputs>).
pub const WRITTEN_WRONG: [&str; 2] = ["tool_use_failed", "json_validate_failed"];

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
impl Fault {
    /// The detail of a mistake that ended in a panic.
    pub const PANIC: &str = "panic";

    /// An invalid request: what is wrong, and in which field.
    pub fn invalid(field: impl Into<Option<&'static str>>, message: impl Into<String>) -> Self {
        RequestFault::Invalid { field: field.into().map(Cow::Borrowed), message: message.into() }.into()
    }

    /// The same, in a field whose name is known only now.
    pub fn invalid_in(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        RequestFault::Invalid { field: Some(field.into()), message: message.into() }.into()
    }

    /// The same fault, of a field that has another name for the caller; other faults stay as they are.
    pub fn renamed(self, name: impl FnOnce(&str) -> String) -> Self {
        let Fault::Request(request) = self else { return self };
        match *request {
            RequestFault::Invalid { field: Some(field), message } => {
                let name = name(&field);
                // Each message names its field, and may name others.
                let message = message.replacen(&format!("`{field}`"), &format!("`{name}`"), 1);
                Fault::invalid_in(name, message)
            }
            other => other.into(),
        }
    }

    /// The whole call's time is over: the route's, or what the caller has announced.
    pub fn of_deadline(phase: Phase) -> Self {
        if phase == Phase::Caller { Fault::CallerTimeout } else { Fault::Deadline }
    }

    /// A stable word for programs; also the label in metrics.
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// The word for an attempt that ended so, which only operators read: it tells a key from its account.
    pub fn attempt_code(&self) -> &'static str {
        match self {
            Fault::Credential { denial: Denial::Account, .. } => UNPAID,
            fault => fault.code(),
        }
    }

    /// The HTTP status for a caller.
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// Who must change something.
    pub fn blame(&self) -> Blame {
        self.row().blame
    }

    /// The provider that it is about; of several the one that is spoken of.
    pub fn provider(&self) -> Option<&Arc<str>> {
        self.row().provider
    }

    /// What may be tried next, as long as nothing of an answer has reached the caller.
    pub fn retry(&self) -> Retry {
        self.row().retry
    }

    /// How long the caller should wait before it tries again. `None`: trying again does not help. Where the status says "later",
    /// there is always one.
    pub fn retry_after(&self) -> Option<Duration> {
        self.row().retry_after
    }

    /// What is known beyond `code`, for the log. No secret and no content is in it.
    pub fn detail(&self) -> Option<String> {
        Some(self.beyond()).filter(|words| !words.is_empty()).map(Cow::into_owned)
    }

    fn is(&self, nature: Nature) -> bool {
        self.row().natures.contains(&nature)
    }

    /// True when the provider is ill: broken, silent, or making mistakes. A limit is not an illness, a caller's mistake is an
    /// answer, and a call whose own time or attempts are up says nothing about the last provider that was asked.
    pub fn is_illness(&self) -> bool {
        self.is(Nature::Illness)
    }

    /// True when the request itself may be the cause of an illness: an error of the provider's own, a connection that it closes or an
    /// answer that breaks off, but not what says that the provider is out, silent or has too much to do.
    pub fn may_come_from_request(&self) -> bool {
        self.is(Nature::MaybeRequest)
    }

    /// True when the provider is at its rate limit: it has said so, or is known to be about to.
    pub fn is_rate_limit(&self) -> bool {
        self.is(Nature::RateLimit)
    }

    /// True when the provider has said that it has too much to do, whoever asks.
    pub fn is_overload(&self) -> bool {
        self.is(Nature::Overload)
    }

    /// True when the provider was silent for too long.
    pub fn is_timeout(&self) -> bool {
        self.is(Nature::Timeout)
    }

    /// True when there was no connection to the provider.
    pub fn is_unreachable(&self) -> bool {
        self.is(Nature::Unreachable)
    }

    /// The same of a call that was translated: what a provider says of a request that its caller has not written ends no call.
    #[must_use]
    pub fn of_translation(self) -> Self {
        match self {
            Fault::Refused { provider, refusal } if !refusal.is_own_trouble() && refusal.ends_the_call() => {
                Fault::Mistranslated { provider, refusal }
            }
            fault => fault,
        }
    }

    /// True when the target cannot serve the call, however well it is.
    pub fn is_unable(&self) -> bool {
        matches!(self, Fault::Unsupported { .. } | Fault::Untranslatable { .. })
    }

    /// True when the provider was not even asked.
    pub fn is_unasked(&self) -> bool {
        self.is(Nature::Unasked)
    }

    /// True when the provider answers nobody until an operator mends the gateway's key or account there.
    pub fn is_denied(&self) -> bool {
        self.is(Nature::Denied)
    }

    /// True when the provider is well and has answered: it says that the request is wrong.
    pub fn is_rejection(&self) -> bool {
        self.is(Nature::Rejection)
    }

    /// True for a rejection that would be the same later, whatever changes meanwhile but the request.
    pub fn is_lasting(&self) -> bool {
        self.is(Nature::Lasting)
    }

    /// True when the provider says that it does not have what was asked for: no such path, method or thing.
    pub fn is_missing(&self) -> bool {
        self.is(Nature::Missing)
    }

    /// True when none of the targets has the model.
    pub fn is_unknown_model(&self) -> bool {
        self.is(Nature::UnknownModel)
    }

    /// True when an answer has begun, and its provider does not finish it.
    pub fn breaks_off(&self) -> bool {
        self.is(Nature::Partial)
    }

    /// True when the same call would end the same way, whoever makes it.
    pub fn is_definite(&self) -> bool {
        self.blame() == Blame::Caller || self.is(Nature::Final)
    }

    /// True when trying again makes no sense, now or later: the same call would end the same way, or nothing says when it would
    /// not. A rate limit or a budget is the caller's too and no such fault for whoever can wait: ask for them first.
    pub fn is_hopeless(&self) -> bool {
        self.is_definite() || (self.retry() == Retry::Never && self.retry_after().is_none())
    }

    /// True for an outage: nobody could respond, whoever is to blame. What is wrong with the request itself, and what only the
    /// gateway got wrong, is not among it; nor is a model that responded in the wrong shape.
    pub fn is_outage(&self) -> bool {
        (self.blame() == Blame::Provider && !matches!(self, Fault::InvalidOutput { .. })) || self.is(Nature::Outage)
    }
}

/// True for statuses that say "later", and so must say when.
pub fn is_for_later(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
