//! Policies: retry, breaker, concurrency, quota, balance and patience of a provider.

use std::time::Duration;

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
    /// How many failures of one and the same request count, where the request may be the cause; zero: all of them.
    pub same_request: u32,
    /// No answer that comes within this time is slow,
    pub slow_after: Duration,
    /// ... nor one that does not take this many times as long as its model usually does.
    pub slowdown: f64,
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
    /// Calls of one model family at once, to begin with.
    pub initial: u32,
    /// ... and never fewer than this, however much the provider refuses.
    pub min: u32,
    /// Calls at once of all models together.
    pub max: u32,
    /// A call whose time is up is a sign of overload if its model usually answers in this part of that time.
    pub slowdown: f64,
    /// Calls that may wait for their turn.
    pub queue: u32,
    /// How long they may wait; `None`: longer where no other target can be asked.
    pub max_wait: Option<Duration>,
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
    /// An instance is ejected after this many consecutive failures.
    pub eject_after: u32,
    /// How long; twice as long each further time without a success in between.
    pub eject_for: Duration,
}
