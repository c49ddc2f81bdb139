//! Refusals: the details of a rejection by a provider (429 and others), a rate limit or a budget.
//!
//! It does not know what is done about it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Blame::{Caller, Provider};
use super::Nature::{Illness, Lasting, MaybeRequest, Missing, Overload, RateLimit, Rejection};
use super::table::{Row, row, say};
use super::{Blame, DEFAULT_RETRY_AFTER, FLAGGED, Nature, Retry, TOO_LONG, UNKNOWN_FIELD, WRITTEN_WRONG, is_for_later};
use crate::model::calendar::Period;
use crate::model::money::Usd;
use crate::model::time::in_words;

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
    /// The dialect whose callers can read `body` as it is; `None`: it is in no such shape.
    pub dialect: Option<Dialect>,
}

/// The dialects in whose shape a provider's error may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's: an object `error` with a `message`.
    OpenAi,
    /// Anthropic's: the same beside `"type": "error"`.
    Anthropic,
}

/// Groq's code for limits of the account.
const TOKEN_LIMIT: &str = "rate_limit_exceeded";

/// What an error answer means, by its status.
fn by_status(status: u16) -> (&'static str, Blame, &'static [Nature]) {
    match status {
        429 => ("provider_rate_limited", Provider, &[RateLimit]),
        503 | 529 => ("provider_error", Provider, &[Illness, Overload]),
        504 => ("provider_error", Provider, &[Illness]),
        501 => ("provider_error", Provider, &[Illness, MaybeRequest, Missing]),
        500.. => ("provider_error", Provider, &[Illness, MaybeRequest]),
        408 => ("provider_rejected", Provider, &[Illness, MaybeRequest]),
        404 | 405 => ("provider_rejected", Caller, &[Rejection, Lasting, Missing]),
        // Who may do what, and what somebody else is changing, may be different later.
        401 | 403 | 409 | 423 | 425 => ("provider_rejected", Caller, &[Rejection]),
        _ => ("provider_rejected", Caller, &[Rejection, Lasting]),
    }
}

impl Refusal {
    /// True when the provider speaks of its own trouble (its limits, its insides), and not of the request.
    pub fn is_own_trouble(&self) -> bool {
        by_status(self.status.as_u16()).1 == Provider
    }

    /// True when no other target would be asked after it, and that because of what was asked: what is flagged stays flagged.
    pub(super) fn ends_the_call(&self) -> bool {
        self.retry() == Retry::Never && self.code.as_deref() != Some(FLAGGED)
    }

    pub(super) fn row(&self) -> Row<'static> {
        let (code, blame, natures) = by_status(self.status.as_u16());
        let wait = self.retry_after.or(is_for_later(self.status).then_some(DEFAULT_RETRY_AFTER));
        row(code, self.status, blame).retry(self.retry()).after(wait).is(natures)
    }

    fn retry(&self) -> Retry {
        match (self.status.as_u16(), self.retry_after) {
            (429 | 503 | 529, Some(after)) => Retry::After(after),
            (429, None) => Retry::Backoff,
            (408 | 500.., _) => Retry::SameTarget,
            _ if self.code.as_deref() == Some(TOO_LONG) => Retry::LargerContext,
            // It would not pass elsewhere either, and nobody else needs to see it.
            (403, _) if self.code.as_deref() == Some(FLAGGED) => Retry::Never,
            // This account may not use the model, or not from here; another provider's may.
            (403, _) => Retry::NextTarget,
            // More tokens than a minute's limit of this account has: waiting does not help (https://console.groq.com/docs/errors).
            (413, _) if self.code.as_deref() == Some(TOKEN_LIMIT) => Retry::NextTarget,
            // Another provider may know the field, and another model writes something else.
            _ if self.code.as_deref().is_some_and(|code| code == UNKNOWN_FIELD || WRITTEN_WRONG.contains(&code)) => {
                Retry::NextTarget
            }
            _ => Retry::Never,
        }
    }

    /// What a provider says about the request is for the caller. What it says about its own trouble (its limits, its accounts,
    /// its insides) is not.
    pub(super) fn public(&self, provider: &str) -> Cow<'_, str> {
        match self.status.as_u16() {
            429 => say!("The AI provider {provider} is at its rate limit."),
            status if self.is_own_trouble() => {
                say!("The AI provider {provider} returned an error (status {status}).")
            }
            _ => self.message.as_str().into(),
        }
    }

    pub(super) fn detail(&self, provider: &str) -> Cow<'static, str> {
        let status = self.status.as_u16();
        match &self.code {
            Some(code) => say!("{provider}: status {status}, code {code}"),
            None => say!("{provider}: status {status}"),
        }
    }
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

impl Limited {
    pub(super) fn public(&self) -> Cow<'_, str> {
        if let Some(message) = &self.message {
            return (&**message).into();
        }
        let amount = match self.quantity {
            "usd" => format!("{} USD", self.amount),
            what => format!("{} {what}", self.amount),
        };
        let (window, wait) = (in_words(self.window), in_words(self.retry_after));
        format!("Rate limit exceeded: at most {amount} in {window}. Please try again in {wait}.").into()
    }
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

impl Spent {
    pub(super) fn status(&self) -> StatusCode {
        if self.is_payment_wanted { StatusCode::PAYMENT_REQUIRED } else { StatusCode::TOO_MANY_REQUESTS }
    }

    pub(super) fn public(&self) -> Cow<'_, str> {
        match &self.message {
            Some(message) => (&**message).into(),
            None => format!(
                "This call would exceed the budget of {} USD per {}. The budget resets in {}.",
                self.amount,
                self.period.as_str(),
                in_words(self.retry_after),
            )
            .into(),
        }
    }
}
