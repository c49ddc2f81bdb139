//! Policies: the tables `[retry]`, `[breaker]`, `[concurrency]`, `[quota]` and `[balance]`. What a provider's own table leaves open comes
//! from the one at the top of the file.
//!
//! It does not know what the policies do with these numbers.

use super::plan::{BalancePlan, BreakerPlan, ConcurrencyPlan, QuotaPlan, RetryPlan};
use super::reader::Section;
use super::value;

/// What surrounds every attempt at a provider.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    pub(super) retry: RetryPlan,
    pub(super) breaker: BreakerPlan,
    pub(super) concurrency: ConcurrencyPlan,
    pub(super) quota: QuotaPlan,
    pub(super) balance: BalancePlan,
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
        }
    }
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
        slow_after: table.inherited("slow_after", value::duration, above.map(|it| it.slow_after)),
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
    let plan = ConcurrencyPlan {
        is_on: table.inherited("enabled", value::boolean, above.map(|it| it.is_on)),
        initial: table.inherited("initial", value::many, above.map(|it| it.initial)),
        min: table.inherited("min", value::many, above.map(|it| it.min)),
        max: table.inherited("max", value::many, above.map(|it| it.max)),
        slowdown: table.inherited("slowdown", value::factor, above.map(|it| it.slowdown)),
        queue: table.inherited("queue", value::few(0), above.map(|it| it.queue)),
        max_wait: table.inherited("max_wait", value::duration_or_zero, above.map(|it| it.max_wait)),
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
