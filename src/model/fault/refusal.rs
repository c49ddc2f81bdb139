//! Refusals: what a provider, a limit or a budget has said with its no.
//!
//! It does not know what is done about it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

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
    /// True when `body` is in OpenAI's shape.
    pub is_openai: bool,
}

impl Refusal {
    /// True when the provider speaks of its own trouble (its limits, its insides), and not of the request.
    pub fn is_own_trouble(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 500..)
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
        format!("Rate limit exceeded: {amount} in {window} are allowed. Please try again in {wait}.").into()
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
