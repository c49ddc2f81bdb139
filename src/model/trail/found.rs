//! What single policies found out about a call: a type for each kind of finding.
//!
//! It does not know when they are noted, nor what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use crate::model::money::Usd;
use crate::model::reply::Usage;

/// What one budget said. What the call came to is what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetFact {
    /// The budget's name.
    pub budget: Arc<str>,
    /// The most that its account may spend in a period.
    pub amount: Usd,
    /// What had been spent or reserved before.
    pub before: Usd,
    /// What this call may cost.
    pub reserved: Usd,
    /// True when that fits into what is left.
    pub fits: bool,
}

/// A WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct TunnelFact {
    /// How long it took until it could begin.
    pub opened: Duration,
    /// Messages from the caller.
    pub chunks_in: u64,
    /// Messages to the caller.
    pub chunks_out: u64,
    /// Who ended it, or what: a word of the code's own.
    pub ended_by: Option<&'static str>,
    /// The code that the caller was closed with, or gave; `None`: neither.
    pub close_code: Option<u16>,
}

/// On whose account a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The user, when it is known.
    pub user: Option<Arc<str>>,
    /// The API key, by its name.
    pub api_key: Option<Arc<str>>,
    /// The conversation, when the caller names it.
    pub session: Option<Arc<str>>,
    /// The route.
    pub route: Arc<str>,
    /// False for what the gateway asks by itself, on the tenant's account: an answer that is renewed.
    pub is_call: bool,
}

/// A cached response that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFact {
    /// Who answered when it was new.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Option<Arc<str>>,
    /// Its tokens, where they were counted.
    pub usage: Option<Usage>,
}

/// What came of finding out who calls, without who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthFact {
    /// What was shown: `jwt`, `api_key`, or `none` that the route takes.
    pub method: &'static str,
    /// `ok`, `missing`, `invalid`, `expired`, `forbidden`, `limited` or `unavailable`.
    pub result: &'static str,
}

/// What a guard found of one kind in one direction: how much, and never what.
#[derive(Clone, Debug)]
pub struct GuardFact {
    /// The guard's name.
    pub guard: Arc<str>,
    /// The pattern's name.
    pub kind: Arc<str>,
    /// In what it was.
    pub direction: Direction,
    /// What became of it: `mask`, `reject` or `report`.
    pub action: &'static str,
    /// How often.
    pub count: u64,
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a caller to a provider.
    Request,
    /// Back.
    Answer,
}

impl Direction {
    /// The word in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Request => "request",
            Direction::Answer => "answer",
        }
    }
}

/// That another target or model answered than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What led there: `failover`, `hedge`, `model_map`, `budget`, `variant` or `affinity`.
    pub why: &'static str,
    /// Who answered.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Option<Arc<str>>,
}

/// A prompt in the version that a call was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptFact {
    /// Its key.
    pub key: Arc<str>,
    /// The version.
    pub version: u32,
}

/// A variant that a call was given.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its name; `control` for what all others get.
    pub name: Arc<str>,
    /// True when it could not answer, and the route's own targets were asked instead.
    pub has_failed: bool,
}
