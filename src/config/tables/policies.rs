//! Policies: reads `[retry]`, `[breaker]`, `[concurrency]`, `[quota]`, `[balance]` and `[patience]`. A provider's
//! own table inherits from the top-level one.
//!
//! It does not know how the policies use these numbers.

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::plan::policies::{BalancePlan, BreakerPlan, ConcurrencyPlan, QuotaPlan, RetryPlan};
use crate::model::patience::PatiencePlan;

/// A limit of calls at once does not fall below this by itself: one caller whose calls are refused for reasons of their own
/// must not hold up all others.
const LEAST_CALLS: u32 = 4;

/// What surrounds every attempt at a provider.
#[derive(Clone, Debug)]
pub(in crate::config) struct Policies {
    pub(in crate::config) retry: RetryPlan,
    pub(in crate::config) breaker: BreakerPlan,
    pub(in crate::config) concurrency: ConcurrencyPlan,
    pub(in crate::config) quota: QuotaPlan,
    pub(in crate::config) balance: BalancePlan,
    pub(in crate::config) patience: PatiencePlan,
}

impl Policies {
    /// Reads them from a provider's table, or from the top of the file where there is nothing `above`.
    pub(in crate::config) fn read(section: &mut Section<'_>, above: Option<&Policies>) -> Self {
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
