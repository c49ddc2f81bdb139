//! The words of a fault: one for programs, a sentence for callers, and what only the log may say.
//!
//! It does not know the shape in which a caller reads them.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

use super::{
    Blame, CALLER_TIMEOUT, CREDENTIALS, Denial, Fault, MODEL_UNREADABLE, NO_ACCOUNT, NO_ACCOUNT_OPEN, ORGANIZATION,
    UNPAID,
};
use crate::model::time::in_words;

impl Fault {
    /// A stable word for programs; also the label in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Request(fault) => fault.code(),
            Fault::NoProvider => "no_provider",
            Fault::Disabled { .. } => "provider_disabled",
            Fault::RouteDisabled => "route_disabled",
            Fault::Connect { .. } => "provider_unreachable",
            Fault::Timeout { .. } => "provider_timeout",
            Fault::Closed { .. } | Fault::Broken { .. } => "provider_broken",
            Fault::Incomplete { .. } | Fault::ErrorEvent { .. } => "stream_incomplete",
            Fault::Oversized { .. } => "answer_too_large",
            Fault::Refused { refusal, .. } => match refusal.status.as_u16() {
                429 => "provider_rate_limited",
                500.. => "provider_error",
                _ => "provider_rejected",
            },
            Fault::Wordless { .. } => "empty_answer",
            Fault::Credential { .. } | Fault::Open { denial: Some(_), .. } => CREDENTIALS,
            Fault::Open { .. } => "breaker_open",
            Fault::Saturated { .. } => "provider_saturated",
            Fault::Quota { .. } => "provider_quota",
            Fault::Unsupported { .. } => "unsupported_by_provider",
            Fault::NotKept => "not_kept",
            Fault::Deadline => "deadline_exceeded",
            Fault::CallerTimeout => CALLER_TIMEOUT,
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

    /// The word for an attempt that ended so, which only operators read: it tells a key from its account.
    pub fn attempt_code(&self) -> &'static str {
        match self {
            Fault::Credential { denial: Denial::Account, .. } => UNPAID,
            fault => fault.code(),
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
            Fault::Oversized { provider, bound } => format!(
                "The gateway cannot pass on the answer of the AI provider {provider}: {}. Asking again will not help.",
                bound.words(provider)
            )
            .into(),
            Fault::Closed { provider, .. } => format!(
                "The AI provider {provider} closed the connection before it answered. It may have executed the call."
            )
            .into(),
            Fault::Broken { provider, .. } => format!("The AI provider {provider} sent a broken answer.").into(),
            // What a provider says about the request is for the caller, also where it says so late.
            Fault::ErrorEvent { refusal, .. } if !refusal.is_own_trouble() => {
                format!("The answer is incomplete: {}", refusal.message).into()
            }
            Fault::Incomplete { provider, .. } | Fault::ErrorEvent { provider, .. } => {
                format!("The answer is incomplete: the stream of the AI provider {provider} ended early.").into()
            }
            // What a provider says about its own trouble (its limits, its accounts, its insides) is not the caller's to read.
            Fault::Refused { provider, refusal } if self.blame() == Blame::Provider => match refusal.status.as_u16() {
                429 => format!("The AI provider {provider} is at its rate limit.").into(),
                status => format!("The AI provider {provider} answered with an error (status {status}).").into(),
            },
            Fault::Refused { refusal, .. } => refusal.message.as_str().into(),
            Fault::Wordless { provider } => {
                format!("The AI provider {provider} answered without a word. Please try again.").into()
            }
            Fault::Credential { provider, .. } | Fault::Open { provider, denial: Some(_), .. } => format!(
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
            Fault::CallerTimeout => {
                "Your own timeout ended this request before there was an answer: the client announced it in \
                 X-Request-Timeout-Ms or x-stainless-read-timeout. Allow more time and try again."
                    .into()
            }
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
            Fault::Forbidden { reason } => forbidden(reason).into(),
            Fault::Locked { retry_in, .. } => format!(
                "Too many wrong credentials came from this address. Please try again in {}.",
                in_words(*retry_in)
            )
            .into(),
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

    /// What is known beyond `code`, for the log. No secret and no content is in it.
    pub fn detail(&self) -> Option<String> {
        match self {
            Fault::Connect { provider, detail }
            | Fault::Closed { provider, detail }
            | Fault::Broken { provider, detail }
            | Fault::Incomplete { provider, detail } => Some(format!("{provider}: {detail}")),
            Fault::ErrorEvent { provider, refusal } => {
                Some(format!("{provider}: an error event, code {}", refusal.code.as_deref().unwrap_or("unknown")))
            }
            Fault::Oversized { provider, bound } => Some(format!("{provider}: {}", bound.words(provider))),
            Fault::Timeout { provider, phase } => Some(format!("{provider}: {} timeout", phase.as_str())),
            Fault::Refused { provider, refusal } => Some(match &refusal.code {
                Some(code) => format!("{provider}: status {}, code {code}", refusal.status.as_u16()),
                None => format!("{provider}: status {}", refusal.status.as_u16()),
            }),
            Fault::Wordless { provider } => Some(format!("{provider}: an answer without text or refusal")),
            Fault::Credential { provider, denial } => Some(format!("{provider}: {}", refused(*denial))),
            Fault::Open { provider, denial: None, .. } => Some(format!("{provider}: the breaker is open")),
            Fault::Open { provider, denial: Some(denial), .. } => {
                Some(format!("{provider}: the breaker is open because {}", refused(*denial)))
            }
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
            | Fault::CallerTimeout
            | Fault::StoreOut
            | Fault::Unverifiable
            | Fault::Overloaded
            | Fault::Crowded { .. }
            | Fault::Leaving => None,
        }
    }
}

/// What a provider has denied the gateway, for the log.
fn refused(denial: Denial) -> &'static str {
    match denial {
        Denial::Key => "the provider refused our key",
        Denial::Account => "the provider refused our account until it is paid",
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
            "This request uses data or settings of the operator's account at the AI provider, and this route asks for no \
             credentials. The operator must set `auth`, or set `account = true` for the route."
        }
        ORGANIZATION => "The gateway does not pass on requests about the organization that owns the account.",
        MODEL_UNREADABLE => "These credentials are for certain models, and the request does not name its model.",
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
