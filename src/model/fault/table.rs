//! The table of faults: one row for each kind, and the words for it.
//!
//! A row says what programs read (code and status), whose fault it is, what may be tried again and when, and what else is
//! true of the kind. Beside it is what the caller may read, and what only the log may say. Nobody outside this folder reads
//! a row: policies ask the Fault ([`Fault::retry`], [`Fault::is_rate_limit`]). What a provider's error answer means is a
//! table of its own, by its status, in `fault/refusal`; what is wrong with a request is in `fault/request`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode as Status;

use super::Blame::{Caller, Gateway, Provider};
use super::Nature::{Denied, Final, Illness, MaybeRequest, Outage, Partial, RateLimit, Timeout, Unasked, Unreachable};
use super::{
    Blame, CALLER_TIMEOUT, CREDENTIALS, DEFAULT_RETRY_AFTER, Denial, Fault, MODEL_UNREADABLE, NO_ACCOUNT,
    NO_ACCOUNT_OPEN, Nature, ORGANIZATION, Retry,
};
use crate::model::time::{Phase, in_words};

/// What is true of every fault of a kind.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// A stable word for programs; also the label in metrics.
    pub(super) code: &'static str,
    /// The HTTP status for a caller.
    pub(super) status: Status,
    /// Who must change something.
    pub(super) blame: Blame,
    /// The provider that it is about.
    pub(super) provider: Option<&'a Arc<str>>,
    /// What may be tried next.
    pub(super) retry: Retry,
    /// How long the caller should wait; `None`: trying again does not help.
    pub(super) retry_after: Option<Duration>,
    /// What else it is.
    pub(super) natures: &'static [Nature],
}

/// A row of a kind that nothing is tried after.
pub(super) fn row(code: &'static str, status: Status, blame: Blame) -> Row<'static> {
    Row { code, status, blame, provider: None, retry: Retry::Never, retry_after: None, natures: &[] }
}

impl<'a> Row<'a> {
    /// It is about this provider.
    pub(super) fn of(self, provider: &'a Arc<str>) -> Self {
        Self { provider: Some(provider), ..self }
    }

    /// This may be tried next.
    pub(super) fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The caller should wait this long.
    pub(super) fn after(self, retry_after: impl Into<Option<Duration>>) -> Self {
        Self { retry_after: retry_after.into(), ..self }
    }

    /// This is true of it as well.
    pub(super) fn is(self, natures: &'static [Nature]) -> Self {
        Self { natures, ..self }
    }
}

/// What callers are asked to wait while a provider is disabled: an operator must act first.
const OPERATOR: Duration = Duration::from_secs(60);
/// What callers are asked to wait for what may be over in a moment.
const MOMENT: Duration = Duration::from_secs(1);
/// The same where nothing better is known.
const USUAL: Duration = DEFAULT_RETRY_AFTER;

/// The words of a row: borrowed where nothing is put into them.
pub(super) fn words(words: fmt::Arguments<'_>) -> Cow<'static, str> {
    words.as_str().map_or_else(|| words.to_string().into(), Cow::Borrowed)
}

/// Words with the fault's own data in them.
macro_rules! say {
    ($($words:tt)+) => { $crate::model::fault::table::words(format_args!($($words)+)) };
}
pub(super) use say;

/// Spells the table as one match for each column, so that words are put together only when somebody reads them.
macro_rules! table {
    ($($fault:pat $(if $when:expr)? => $row:expr, $public:expr $(, $detail:expr)?;)+) => {
        /// What is true of the kind.
        #[allow(unused_variables, reason = "a row names what any of its columns needs")]
        pub(super) fn row(&self) -> Row<'_> {
            match self { $($fault $(if $when)? => $row,)+ }
        }

        /// What the caller may read. It names no key, no address and nothing that a provider said about credentials.
        #[allow(unused_variables, reason = "a row names what any of its columns needs")]
        pub fn public(&self) -> Cow<'_, str> {
            match self { $($fault $(if $when)? => $public,)+ }
        }

        /// What is known beyond `code`, for the log; empty: nothing. No secret and no content is in it.
        #[allow(unused_variables, reason = "a row names what any of its columns needs")]
        pub(super) fn beyond(&self) -> Cow<'_, str> {
            match self { $($fault $(if $when)? => table!(@ $($detail)?),)+ }
        }
    };
    (@) => { Cow::Borrowed("") };
    (@ $detail:expr) => { $detail };
}

#[rustfmt::skip]
impl Fault {
    table! {
        // The request, and who makes it.
        Fault::Request(fault) => fault.row(), fault.public();
        Fault::Unauthenticated { reason, .. } => row("unauthenticated", Status::UNAUTHORIZED, Caller),
            // The same text whatever was wrong: naming the part that failed would help only an attacker.
            say!("Valid credentials are required: a token or an API key."),
            say!("{reason}");
        Fault::Forbidden { reason } => row("forbidden", Status::FORBIDDEN, Caller),
            forbidden(reason).into(),
            say!("{reason}");
        Fault::Locked { retry_in, reason } =>
            row("too_many_wrong_credentials", Status::TOO_MANY_REQUESTS, Caller).after(*retry_in),
            say!("Too many failed authentications from this address. Please try again in {}.", in_words(*retry_in)),
            say!("{reason}");
        Fault::Unverifiable => row("credentials_unverifiable", Status::SERVICE_UNAVAILABLE, Gateway).after(MOMENT),
            say!("Credentials cannot be verified at the moment. Please try again.");
        Fault::Limited(limited) =>
            row("rate_limited", Status::TOO_MANY_REQUESTS, Caller).after(limited.retry_after),
            limited.public(),
            say!("limit {}", limited.rule);
        Fault::Spent(spent) => row("budget_exhausted", spent.status(), Caller).after(spent.retry_after),
            spent.public(),
            say!("budget {}", spent.budget);
        Fault::Guarded { guard, kind, is_in_answer: false } => row("guard_rejected", Status::BAD_REQUEST, Caller),
            say!("The request was rejected because it contains content that is not allowed here: {kind}."),
            say!("guard {guard}: {kind}");
        Fault::Guarded { guard, kind, is_in_answer: true } => row("guard_rejected", Status::BAD_GATEWAY, Gateway),
            say!("The response was withheld because it contains content that must not be passed on: {kind}."),
            say!("guard {guard}: {kind}");
        // That it is 504 is RFC 9111's (5.2.1.7).
        Fault::NotKept => row("not_kept", Status::GATEWAY_TIMEOUT, Caller),
            say!("No cached response matches, and the request accepts nothing else (only-if-cached).");
        Fault::CallerTimeout => row(CALLER_TIMEOUT, Status::GATEWAY_TIMEOUT, Caller),
            say!("The client's own timeout (X-Request-Timeout-Ms or x-stainless-read-timeout) expired before there was a \
                  response. Allow more time and try again.");

        // The gateway.
        Fault::StoreOut => row("store_unavailable", Status::SERVICE_UNAVAILABLE, Gateway).after(MOMENT),
            say!("The gateway cannot check rate limits at the moment. Please try again.");
        Fault::JobsOut { detail } => row("jobs_unavailable", Status::SERVICE_UNAVAILABLE, Gateway).after(MOMENT),
            say!("The store of jobs is not available at the moment. Please try again, with the same Idempotency-Key if there was one."),
            detail.into();
        Fault::JobsVolatile => row("jobs_unavailable", Status::SERVICE_UNAVAILABLE, Gateway).after(OPERATOR),
            say!("Jobs are not accepted, because their store (Redis) does not write to disk and would lose them. The operator \
                  must set `appendonly yes` there, or `jobs.volatile = true` here."),
            say!("Redis has `appendonly no`, and `jobs.volatile` is not set");
        Fault::JobsFull { limit, is_tenants: true } => row("too_many_jobs", Status::TOO_MANY_REQUESTS, Caller).after(USUAL),
            say!("Too many jobs are waiting: the limit is {limit}. Please try again when some of them have ended.");
        Fault::JobsFull { limit, is_tenants: false } => row("too_many_jobs", Status::TOO_MANY_REQUESTS, Gateway).after(USUAL),
            say!("Too many jobs are waiting, those of others included. Please try again later."),
            say!("`jobs.max_waiting` is {limit}");
        Fault::Overloaded => row("overloaded", Status::SERVICE_UNAVAILABLE, Gateway).after(MOMENT),
            say!("The gateway is at capacity. Please try again.");
        Fault::Crowded { limit } => row("too_many_connections", Status::TOO_MANY_REQUESTS, Caller).after(USUAL),
            say!("Too many connections: the limit is {limit}.");
        Fault::Leaving => row("shutting_down", Status::SERVICE_UNAVAILABLE, Gateway).after(MOMENT),
            say!("The gateway is shutting down. Please try again.");
        Fault::Internal { detail } => row("internal", Status::INTERNAL_SERVER_ERROR, Gateway),
            say!("The gateway failed with an internal error. Please try again."),
            detail.into();
        Fault::RouteDisabled => row("route_disabled", Status::SERVICE_UNAVAILABLE, Gateway).after(OPERATOR),
            say!("This endpoint is disabled at the moment. Please try again later.");

        // Nobody was asked.
        Fault::NoProvider => row("no_provider", Status::SERVICE_UNAVAILABLE, Gateway).after(OPERATOR).is(&[Outage]),
            say!("No AI provider is configured for this route.");
        Fault::Disabled { provider } =>
            row("provider_disabled", Status::SERVICE_UNAVAILABLE, Gateway).of(provider).after(OPERATOR).is(&[Outage]),
            say!("The AI provider {provider} is disabled at the moment. Please try again later.");
        Fault::Open { provider, denial: Some(denial), .. } =>
            row(CREDENTIALS, Status::BAD_GATEWAY, Gateway)
                .of(provider).retry(Retry::NextTarget).is(&[Unasked, Denied, Outage]),
            denied(provider),
            say!("{provider}: the circuit breaker is open because {}", because(*denial));
        Fault::Open { provider, retry_in, denial: None } =>
            row("breaker_open", Status::SERVICE_UNAVAILABLE, Provider)
                .of(provider).retry(Retry::NextTarget).after(*retry_in).is(&[Unasked]),
            say!("The AI provider {provider} has been failing, so its circuit breaker is open."),
            say!("{provider}: the circuit breaker is open");
        // To programs it is the breaker's word, as it is the breaker's doing.
        Fault::HeldBack { provider, failures, retry_in } =>
            row("breaker_open", Status::SERVICE_UNAVAILABLE, Provider)
                .of(provider).retry(Retry::NextTarget).after(*retry_in).is(&[Unasked]),
            say!("This same request has failed {failures} times at the AI provider {provider}, so it is not sent again yet. \
                  Other requests are."),
            say!("{provider}: this same request has failed {failures} times, and is held back; the circuit breaker is closed");
        Fault::Saturated { provider, retry_in } =>
            row("provider_saturated", Status::SERVICE_UNAVAILABLE, Gateway)
                .of(provider).retry(Retry::NextTarget).after(*retry_in).is(&[Unasked, Outage]),
            say!("The AI provider {provider} is at capacity. Please try again."),
            say!("{provider}: at its concurrency limit");
        Fault::Quota { provider, retry_in } =>
            row("provider_quota", Status::TOO_MANY_REQUESTS, Provider)
                .of(provider).retry(Retry::After(*retry_in)).after(*retry_in).is(&[Unasked, RateLimit]),
            say!("The AI provider {provider} is at its rate limit."),
            say!("{provider}: the provider's own rate limit is used up");
        Fault::Unsupported { provider, what } =>
            row("unsupported_by_provider", Status::SERVICE_UNAVAILABLE, Gateway)
                .of(provider).retry(Retry::NextTarget).after(OPERATOR).is(&[Unasked, Outage]),
            say!("The AI provider {provider} does not support {what}."),
            say!("{provider}: no support for {what}");
        // It will never pass, whoever waits.
        Fault::Untranslatable { provider, what } =>
            row("unsupported_by_provider", Status::BAD_REQUEST, Caller)
                .of(provider).retry(Retry::NextTarget).is(&[Unasked]),
            say!("The AI provider {provider} does not support {what}."),
            say!("{provider}: its API has no words for {what}");

        // A provider was asked and did not answer.
        Fault::Connect { provider, detail } =>
            row("provider_unreachable", Status::BAD_GATEWAY, Provider)
                .of(provider).retry(Retry::SameTarget).after(USUAL).is(&[Illness, Unreachable]),
            say!("The AI provider {provider} could not be reached."),
            say!("{provider}: {detail}");
        // Whatever the phase: the same model would most likely fall silent again.
        Fault::Timeout { provider, phase } =>
            row("provider_timeout", Status::GATEWAY_TIMEOUT, Provider).of(provider).retry(Retry::NextTarget).after(USUAL)
                .is(if *phase == Phase::Connect { &[Illness, Timeout, Unreachable] } else { &[Illness, Timeout] }),
            say!("The AI provider {provider} did not answer in time (timeout)."),
            say!("{provider}: {} timeout", phase.as_str());
        Fault::Closed { provider, detail } =>
            row("provider_broken", Status::BAD_GATEWAY, Provider)
                .of(provider).retry(Retry::SameTarget).after(USUAL).is(&[Illness, MaybeRequest]),
            say!("The AI provider {provider} closed the connection before it responded. It may have executed the call."),
            say!("{provider}: {detail}");
        Fault::Broken { provider, detail } =>
            row("provider_broken", Status::BAD_GATEWAY, Provider)
                .of(provider).retry(Retry::SameTarget).after(USUAL).is(&[Illness, MaybeRequest]),
            say!("The AI provider {provider} sent an invalid response."),
            say!("{provider}: {detail}");

        // A provider answered.
        Fault::Refused { provider, refusal } => refusal.row().of(provider),
            refusal.public(provider),
            refusal.detail(provider);
        Fault::Mistranslated { provider, refusal } => refusal.row().of(provider).retry(Retry::NextTarget),
            refusal.public(provider),
            say!("{} (translated for its API)", refusal.detail(provider));
        Fault::Credential { provider, denial } =>
            row(CREDENTIALS, Status::BAD_GATEWAY, Gateway)
                .of(provider).retry(Retry::NextTarget).is(&[Denied, Outage]),
            denied(provider),
            say!("{provider}: {}", because(*denial));
        Fault::Wordless { provider } =>
            row("empty_answer", Status::BAD_GATEWAY, Provider).of(provider).retry(Retry::NextTarget),
            say!("The AI provider {provider} returned an empty response. Please try again."),
            say!("{provider}: an empty response, with neither text nor a refusal");
        // The provider is well: no circuit breaker opens because of it.
        Fault::InvalidOutput { provider, mismatch } =>
            row("invalid_model_output", Status::BAD_GATEWAY, Provider).of(provider).after(USUAL),
            say!("The model's answer does not have the shape that was asked for: {}. Please try again, or ask another model.",
                 mismatch.what),
            say!("{provider}: the answer does not match its schema ({})", mismatch.keywords);
        Fault::Oversized { provider, bound } =>
            row("answer_too_large", Status::BAD_GATEWAY, Gateway).of(provider).is(&[Final]),
            say!("The gateway cannot pass on the response from the AI provider {provider}: {}. Retrying will not help.",
                 bound.words(provider)),
            say!("{provider}: {}", bound.words(provider));
        Fault::Incomplete { provider, detail } =>
            row("stream_incomplete", Status::BAD_GATEWAY, Provider)
                .of(provider).retry(Retry::NextTarget).is(&[Illness, MaybeRequest, Partial]),
            say!("The response is incomplete: the stream of the AI provider {provider} ended early."),
            say!("{provider}: {detail}");
        Fault::ErrorEvent { provider, refusal } =>
            row("stream_incomplete", Status::BAD_GATEWAY, Provider)
                .of(provider).retry(Retry::NextTarget).is(&[Illness, MaybeRequest, Partial]),
            match refusal.is_own_trouble() {
                true => say!("The response is incomplete: the stream of the AI provider {provider} ended early."),
                // What a provider says about the request is for the caller, also where it says so late.
                false => say!("The response is incomplete: {}", refusal.message),
            },
            say!("{provider}: an error event, code {}", refusal.code.as_deref().unwrap_or("unknown"));

        // The whole call.
        Fault::Deadline => row("deadline_exceeded", Status::GATEWAY_TIMEOUT, Provider).after(USUAL),
            say!("The request took too long (timeout).");
        Fault::Exhausted { last, retry_after } if matches!(**last, Fault::Timeout { .. } | Fault::Deadline) =>
            row("providers_timed_out", Status::GATEWAY_TIMEOUT, Provider).about(last).after(*retry_after),
            say!("No AI provider answered in time (timeout). Please try again."),
            last.beyond();
        Fault::Exhausted { last, retry_after } if last.status() == Status::TOO_MANY_REQUESTS =>
            row("providers_rate_limited", Status::TOO_MANY_REQUESTS, Provider).about(last).after(*retry_after),
            say!("Every AI provider is at its rate limit. Please try again later."),
            last.beyond();
        Fault::Exhausted { last, retry_after } =>
            row("providers_unavailable", Status::SERVICE_UNAVAILABLE, Provider).about(last).after(*retry_after),
            say!("No AI provider could answer. Please try again."),
            last.beyond();
    }
}

impl<'a> Row<'a> {
    /// It is about the provider that another fault is about.
    fn about(self, other: &'a Fault) -> Self {
        Self { provider: other.provider(), ..self }
    }
}

/// What callers read of our key or account, and of a breaker that is open because of them.
fn denied(provider: &str) -> Cow<'static, str> {
    say!("The AI provider {provider} rejected the gateway's own credentials. Your credentials are not involved.")
}

/// What a provider has denied the gateway, for the log.
fn because(denial: Denial) -> &'static str {
    match denial {
        Denial::Key => "the provider rejected our key",
        Denial::Account => "the provider suspended our account for non-payment",
    }
}

/// Why these credentials are not enough, where the reader can do something about it.
fn forbidden(reason: &str) -> &'static str {
    match reason {
        NO_ACCOUNT => {
            "This request uses data or settings of the operator's account at the AI provider. It needs an API key with \
             `account = true`, or a token whose role is in `auth.account_roles`."
        }
        NO_ACCOUNT_OPEN => {
            "This request uses data or settings of the operator's account at the AI provider, and this route requires no \
             credentials. The operator must set `auth`, or set `account = true` for the route."
        }
        ORGANIZATION => "The gateway does not forward requests about the organization that owns the account.",
        MODEL_UNREADABLE => "These credentials are limited to certain models, and the request does not name its model.",
        _ => "These credentials do not allow this request.",
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
