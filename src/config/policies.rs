//! Policies: the tables `[retry]`, `[breaker]`, `[concurrency]`, `[quota]`, `[balance]` and `[patience]`. What a provider's own table leaves open comes
//! from the one at the top of the file.
//!
//! It does not know what the policies do with these numbers.

use std::time::Duration;

use super::reader::Section;
use super::value;
use crate::patience::PatiencePlan;

/// A limit of calls at once does not fall below this by itself: one caller whose calls are refused for reasons of their own
/// must not hold up all others.
const LEAST_CALLS: u32 = 4;

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
    /// An instance is left out after this many failures in a row.
    pub eject_after: u32,
    /// How long; twice as long each further time without a success in between.
    pub eject_for: Duration,
}

/// What surrounds every attempt at a provider.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    pub(super) retry: RetryPlan,
    pub(super) breaker: BreakerPlan,
    pub(super) concurrency: ConcurrencyPlan,
    pub(super) quota: QuotaPlan,
    pub(super) balance: BalancePlan,
    pub(super) patience: PatiencePlan,
}

impl Policies {
    /// Reads them from a provider's table, or from the top of the file where there is nothing `above`.
    pub(super) fn read(section: &mut Section<'_>, above: Option<&Policies>) -> Self {
        Self {
            retry: retry(section, above.map(|it| it.retry)),
            breaker: breaker(section, above.map(|it| &it.breaker)),
            concurrency: concurrency(section, above.map(|it| &it.concurrency)),
            quota: quota(section, above.map(|it| it.quota)),
            balance: balance(section, above.map(|it| &it.balance)),
            patience: patience(section, above.map(|it| &it.patience)),
        }
    }
}

/// `[patience]`
fn patience(section: &mut Section<'_>, above: Option<&PatiencePlan>) -> PatiencePlan {
    let mut table = section.section("patience");
    let own = table.list("reasoning_models", value::wildcard);
    let own = own.map(|models| models.into_iter().map(|at| at.value).collect());
    let plan = PatiencePlan {
        is_on: table.inherited("enabled", value::boolean, above.map(|it| it.is_on)),
        first: table.inherited("first", value::duration, above.map(|it| it.first)),
        whole: table.inherited("whole", value::duration, above.map(|it| it.whole)),
        reasoning: table.inherited("reasoning", value::duration, above.map(|it| it.reasoning)),
        silence: table.inherited("silence", value::duration, above.map(|it| it.silence)),
        factor: table.inherited("factor", value::factor, above.map(|it| it.factor)),
        reasoning_models: own.or_else(|| above.map(|it| it.reasoning_models.clone())).unwrap_or_default(),
    };
    table.close();
    plan
}

/// `[quota]`
fn quota(section: &mut Section<'_>, above: Option<QuotaPlan>) -> QuotaPlan {
    let mut table = section.section("quota");
    let plan = QuotaPlan {
        is_on: table.inherited("enabled", value::boolean, above.map(|it| it.is_on)),
        longest: table.inherited("longest", value::duration, above.map(|it| it.longest)),
    };
    table.close();
    plan
}

/// `[retry]`
fn retry(section: &mut Section<'_>, above: Option<RetryPlan>) -> RetryPlan {
    let mut table = section.section("retry");
    let plan = RetryPlan {
        max_attempts: table.inherited("max_attempts", value::few(1), above.map(|it| it.max_attempts)),
        max_wait: table.inherited("max_wait", value::duration, above.map(|it| it.max_wait)),
        backoff: table.inherited("backoff", value::duration, above.map(|it| it.backoff)),
        budget: table.inherited("budget", value::share, above.map(|it| it.budget)),
        budget_floor: table.inherited("budget_floor", value::few(0), above.map(|it| it.budget_floor)),
    };
    table.close();
    plan
}

/// `[breaker]`
fn breaker(section: &mut Section<'_>, above: Option<&BreakerPlan>) -> BreakerPlan {
    let mut table = section.section("breaker");
    let plan = BreakerPlan {
        window: table.inherited("window", value::duration, above.map(|it| it.window)),
        failure_share: table.inherited("failure_share", value::share, above.map(|it| it.failure_share)),
        min_calls: table.inherited("min_calls", value::few(1), above.map(|it| it.min_calls)),
        consecutive: table.inherited("consecutive", value::few(1), above.map(|it| it.consecutive)),
        same_request: table.inherited("same_request", value::few(0), above.map(|it| it.same_request)),
        slow_after: table.inherited("slow_after", value::duration, above.map(|it| it.slow_after)),
        slowdown: table.inherited("slowdown", value::factor, above.map(|it| it.slowdown)),
        slow_share: table.inherited("slow_share", value::share, above.map(|it| it.slow_share)),
        open_for: table.inherited("open_for", value::duration, above.map(|it| it.open_for)),
        open_max: table.inherited("open_max", value::duration, above.map(|it| it.open_max)),
        probes: table.inherited("probes", value::few(1), above.map(|it| it.probes)),
        ramp_step: table.inherited("ramp_step", value::duration, above.map(|it| it.ramp_step)),
    };
    table.close();
    plan
}

/// `[concurrency]`
fn concurrency(section: &mut Section<'_>, above: Option<&ConcurrencyPlan>) -> ConcurrencyPlan {
    // What is wrong above is reported there, once.
    let says_something = above.is_none() || section.has("concurrency");
    let mut table = section.section("concurrency");
    let max = table.inherited("max", value::many, above.map(|it| it.max));
    // What the table above says of the beginning holds as far as this one's `max` lets it.
    let initial = table.optional("initial", value::many).unwrap_or(above.map_or(max, |it| it.initial.min(max)));
    let min = table.optional("min", value::many).unwrap_or(above.map_or(LEAST_CALLS, |it| it.min).min(max));
    let plan = ConcurrencyPlan {
        is_on: table.inherited("enabled", value::boolean, above.map(|it| it.is_on)),
        initial,
        min,
        max,
        slowdown: table.inherited("slowdown", value::factor, above.map(|it| it.slowdown)),
        queue: table.inherited("queue", value::many_or_none, above.map(|it| it.queue)),
        max_wait: table.optional("max_wait", value::duration_or_zero).or(above.and_then(|it| it.max_wait)),
    };
    if says_something && plan.min > plan.max {
        table.problem("min", format!("{} is more than `max`, which is {}", plan.min, plan.max));
    } else if says_something && !(plan.min..=plan.max).contains(&plan.initial) {
        let message = format!("{} is not between `min` ({}) and `max` ({})", plan.initial, plan.min, plan.max);
        table.problem("initial", message);
    }
    table.close();
    plan
}

/// `[balance]`
fn balance(section: &mut Section<'_>, above: Option<&BalancePlan>) -> BalancePlan {
    let mut table = section.section("balance");
    let plan = BalancePlan {
        decay: table.inherited("decay", value::duration, above.map(|it| it.decay)),
        eject_after: table.inherited("eject_after", value::few(1), above.map(|it| it.eject_after)),
        eject_for: table.inherited("eject_for", value::duration, above.map(|it| it.eject_for)),
    };
    table.close();
    plan
}
