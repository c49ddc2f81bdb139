//! Budget: limits spending per hour, day or month, and decides what happens when a budget is exhausted.
//!
//! It reserves the maximum cost of a call in every budget that applies, before the call is sent, and settles the
//! reservation when the response ends. It does not know who keeps the accounts (this process, or a store that
//! gateways share), nor the shape of a refusal.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::config::plan::{BudgetPlan, KeyPlan, ModelChoice, OnStop, Prices, RoutePlan, TargetPlan};
use crate::model::call::{Call, CallRequest, Head};
use crate::model::fault::{Fault, Spent};
use crate::model::money::Usd;
use crate::model::rate::{Key, KeyPrefix, KeyScheme};
use crate::model::reply::Degraded;
use crate::model::trail::{Attempt, Basis, BudgetFact, Facts};
use crate::stack::{Next, Outcome, Policy};
use crate::state::charge::Charge;
use crate::state::estimate::Estimates;
use crate::state::store::budget_account::{BudgetAccounts, BudgetDecision, BudgetRequest, Reservation};

/// The policy: the budgets of one route.
#[derive(Clone)]
pub struct Budget {
    budgets: Arc<[PeriodicBudget]>,
    targets: Arc<[TargetPlan]>,
    /// The most tokens of an answer on this route to a request without a limit.
    max_answer: Option<u64>,
    accounts: Arc<BudgetAccounts>,
    estimates: Estimates,
    prices: Prices,
}

/// A budget, and the period that calls fall into at present.
struct PeriodicBudget {
    plan: Arc<BudgetPlan>,
    current: Mutex<Option<Current>>,
}

/// A period, and the keys of a budget's accounts in it.
#[derive(Clone)]
struct Current {
    start: Timestamp,
    end: Timestamp,
    keys: KeyPrefix,
}

/// A caller's account of one budget.
#[derive(Clone, Copy)]
struct Account<'p> {
    plan: &'p Arc<BudgetPlan>,
    key: Key,
    ends: Timestamp,
}

impl PeriodicBudget {
    fn new(plan: Arc<BudgetPlan>) -> Self {
        Self { plan, current: Mutex::default() }
    }

    /// The period of a moment. It is kept until a call comes outside it: later, or earlier, as the clock may be set back.
    fn period(&self, moment: Timestamp) -> Current {
        let mut current = self.current.lock();
        if let Some(known) = current.as_ref().filter(|known| known.start <= moment && moment < known.end) {
            return known.clone();
        }
        let BudgetPlan { name, period, .. } = &*self.plan;
        let (start, end) = (period.start(moment), period.end(moment));
        // A changed amount keeps the account: raising a budget does not reset everyone's spending.
        let name = format!("budget {name} {} {}", period.as_str(), start.as_second());
        let keys = KeyPrefix::new(KeyScheme::Shared, &name);
        current.insert(Current { start, end, keys }).clone()
    }

    /// The account of a caller; `None`: the budget is not about it, or no part of any of the budget's keys is known.
    fn account(&self, head: &Head) -> Option<Account<'_>> {
        if !self.plan.matches(head) {
            return None;
        }
        let Current { end, keys, .. } = self.period(head.received);
        let counted = KeyPlan::first(&self.plan.key, &keys, head)?;
        Some(Account { plan: &self.plan, key: counted.key, ends: end })
    }
}

/// What becomes of a call.
enum Decision {
    /// It goes on; what was taken must be settled.
    On(Vec<Reservation>),
    /// It goes on as another one, with a cheaper model.
    Cheaper(Arc<CallRequest>, Vec<Reservation>),
}

impl Budget {
    /// The budgets about this route.
    pub fn of_route(
        plans: &[Arc<BudgetPlan>],
        route: &RoutePlan,
        accounts: Arc<BudgetAccounts>,
        estimates: Estimates,
        prices: Prices,
    ) -> Self {
        let plans = plans.iter().filter(|plan| plan.is_about(&route.name)).cloned();
        let (budgets, targets) = (plans.map(PeriodicBudget::new).collect(), route.targets.as_slice().into());
        Self { budgets, targets, max_answer: route.max_answer, accounts, estimates, prices }
    }

    /// True when no budget is about it.
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }

    /// What a call may cost: at the dearest of the route's targets, since any of them may have to answer.
    fn estimate(&self, request: &CallRequest) -> Usd {
        let cost = |target: &TargetPlan| {
            let model = match target.choose(request.model()) {
                ModelChoice::AsAsked => request.model().unwrap_or_default().into(),
                ModelChoice::Replace(model) => model,
                ModelChoice::NotHere => return Usd::default(),
            };
            self.cost(request, &target.provider.name, &model)
        };
        self.targets.iter().map(cost).max().unwrap_or_default()
    }

    /// What a call may cost at a provider with a model.
    fn cost(&self, request: &CallRequest, provider: &str, model: &str) -> Usd {
        let longest = self.max_answer.unwrap_or_else(|| self.prices.max_answer(provider, model));
        let once = self.prices.of(provider, model).price.most(self.estimates.at_most(request, longest));
        // An answer that does not match its schema is asked for once more.
        if request.schema().is_some() { once + once } else { once }
    }

    /// Takes what a call may cost from every budget that is about it, or refuses it.
    async fn take(&self, call: &Call) -> Result<Decision, Fault> {
        let head = &call.head;
        let accounts: Vec<Account<'_>> = self.budgets.iter().filter_map(|budget| budget.account(head)).collect();
        if accounts.is_empty() {
            return Ok(Decision::On(Vec::new()));
        }
        let mut draws = draws(&accounts, &call.request, self.estimate(&call.request));
        let (drawn, held) = self.draw(call, &draws).await?;
        warn(&accounts, &draws, &drawn);
        note(call, &draws, &drawn);
        let refusing: Vec<&BudgetPlan> = refusing(&accounts, &draws, &drawn);
        if refusing.is_empty() {
            return Ok(Decision::On(held));
        }
        if let Some(request) = cheaper(&refusing, &call.request) {
            // The others still have to agree to what the cheaper model costs.
            let cost = self.estimate(&request);
            for (Account { plan, .. }, draw) in accounts.iter().zip(&mut draws) {
                draw.cost = cost;
                draw.is_enforced &= !matches!(plan.on_stop, OnStop::Cheaper(_));
            }
            let (drawn, held) = self.draw(call, &draws).await?;
            note(call, &draws, &drawn);
            let still = self::refusing(&accounts, &draws, &drawn);
            if still.is_empty() {
                return Ok(Decision::Cheaper(Arc::new(request), held));
            }
            return Err(refusal(&still, call));
        }
        Err(refusal(&refusing, call))
    }

    async fn draw(
        &self,
        call: &Call,
        draws: &[BudgetRequest],
    ) -> Result<(Vec<BudgetDecision>, Vec<Reservation>), Fault> {
        let _wait = self.accounts.is_shared().then(|| call.trail.begin_wait(Self::NAME, None));
        self.accounts.draw(draws, call.head.received).await.map_err(|_| Fault::StoreOut)
    }

    fn charge(&self, call: &Call, held: Vec<Reservation>) -> Charge {
        let (accounts, prices) = (self.accounts.clone(), self.prices.clone());
        Charge::new(&call.trail, move |facts| settle(&held, facts, &accounts, &prices))
    }
}

/// Corrects what was taken by what the call came to. Of an answer that is made in the background that is an estimate, which is
/// given back when somebody reads what it cost, and pays that.
fn settle(held: &[Reservation], facts: &Facts, accounts: &Arc<BudgetAccounts>, prices: &Prices) {
    let cost = |attempt: &Attempt| {
        let model = attempt.model.as_deref().unwrap_or_default();
        attempt.tokens().map(|tokens| prices.of(&attempt.provider, model).price.cost(tokens.usage))
    };
    let cost: Usd = facts.attempts.iter().filter_map(cost).sum();
    let is_later = |attempt: &Attempt| attempt.tokens().is_some_and(|tokens| tokens.basis == Basis::Later);
    let bill = facts.bill.as_ref().filter(|bill| bill.is_open() && facts.attempts.iter().any(is_later));
    for held in held {
        accounts.settle(held, cost);
        if let Some(bill) = bill {
            let (taken, accounts) = (held.now(cost), accounts.clone());
            bill.on_close(move || accounts.settle(&taken, Usd::default()));
        }
    }
}

fn draws(accounts: &[Account<'_>], request: &CallRequest, cost: Usd) -> Vec<BudgetRequest> {
    // A caller that asks for several choices can ask for fewer.
    let may_exceed = request.bounds().choices <= 1;
    let draw = |Account { plan, key, ends }: &Account<'_>| BudgetRequest {
        key: *key,
        budget: plan.name.clone(),
        ends: *ends,
        amount: plan.amount,
        cost,
        may_exceed,
        is_enforced: !matches!(plan.on_stop, OnStop::Report),
        warn_at: Usd::from_nanos((plan.amount.nanos() as f64 * plan.warn) as u64),
    };
    accounts.iter().map(draw).collect()
}

fn refusing<'p>(accounts: &[Account<'p>], draws: &[BudgetRequest], drawn: &[BudgetDecision]) -> Vec<&'p BudgetPlan> {
    let all = accounts.iter().zip(draws.iter().zip(drawn));
    all.filter(|(_, (draw, drawn))| draw.is_enforced && !drawn.fits).map(|(account, _)| &**account.plan).collect()
}

/// Notes what the budgets said: of a call that is asked with a cheaper model, what they said of that, and which of them the
/// call did not fit into before.
fn note(call: &Call, draws: &[BudgetRequest], drawn: &[BudgetDecision]) {
    let fact = |(draw, drawn): (&BudgetRequest, &BudgetDecision)| BudgetFact {
        budget: draw.budget.clone(),
        amount: draw.amount,
        before: drawn.before,
        reserved: draw.cost,
        fits: drawn.fits,
    };
    let budgets = &mut call.trail.facts().budgets;
    budgets.retain(|fact| !fact.fits);
    budgets.extend(draws.iter().zip(drawn).map(fact));
}

/// The same with a cheaper model, if all that refuse it know one for it: the first one's.
fn cheaper(refusing: &[&BudgetPlan], request: &CallRequest) -> Option<CallRequest> {
    let known = |plan: &&BudgetPlan| match &plan.on_stop {
        OnStop::Cheaper(models) => models.lookup(request.model()?).cloned(),
        _ => None,
    };
    let models: Option<Vec<Arc<str>>> = refusing.iter().map(known).collect();
    request.with_model(models?.first()?)
}

/// The refusal of the budget that makes the caller wait longest: after that, all of them may admit.
fn refusal(refusing: &[&BudgetPlan], call: &Call) -> Fault {
    let mut facts = call.trail.facts();
    facts.budgets_spent.extend(refusing.iter().map(|plan| plan.name.clone()));
    let now = call.head.received;
    let ends = |plan: &BudgetPlan| plan.period.end(now);
    let Some(plan) = refusing.iter().max_by_key(|plan| (ends(plan), Reverse(&plan.name))) else {
        return Fault::Internal { detail: "not refused by a budget".into() };
    };
    let left = now.duration_until(ends(plan));
    Fault::Spent(Box::new(Spent {
        budget: plan.name.clone(),
        amount: plan.amount,
        period: plan.period,
        retry_after: Duration::try_from(left).unwrap_or_default(),
        is_payment_wanted: !matches!(plan.on_stop, OnStop::TooMany),
        message: plan.message.clone(),
    }))
}

/// Warns operators once per period of each account above its `warn` share. The account appears as a hash.
fn warn(accounts: &[Account<'_>], draws: &[BudgetRequest], drawn: &[BudgetDecision]) {
    for (Account { plan, key, .. }, (draw, drawn)) in accounts.iter().zip(draws.iter().zip(drawn)) {
        if drawn.is_news {
            tracing::warn!(
                budget = &*plan.name,
                key = %key,
                period = plan.period.as_str(),
                spent_usd = drawn.before.as_f64(),
                amount_usd = draw.amount.as_f64(),
                "a budget is nearly exhausted"
            );
        }
    }
}

impl Policy for Budget {
    const NAME: &'static str = "budget";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        // Boxed: where there are no budgets each call would hold the room for it.
        let (held, is_cheaper) = match Box::pin(self.take(&call)).await? {
            Decision::On(held) => (held, false),
            Decision::Cheaper(request, held) => {
                call.request = request;
                (held, true)
            }
        };
        if held.is_empty() {
            return next.call(call).await;
        }
        // From here on whoever leaves, however, settles by dropping it.
        let charge = self.charge(&call, held);
        call.count_text();
        let trail = call.trail.clone();
        let mut reply = charge.follow(next.call(call).await?);
        if !is_cheaper || reply.degraded.is_some() {
            return Ok(reply);
        }
        trail.facts().degraded = Some(Degraded::Cheaper);
        reply.degraded = Some(Degraded::Cheaper);
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::calendar::Period;

    proptest! {
        /// The clock may go back, and calls come at the ends of periods.
        #[test]
        fn a_call_falls_into_the_period_of_its_moment_whatever_came_before(
            moments in proptest::collection::vec((-100..100_i64, -1..2_i32), 1..50),
        ) {
            for (period, _) in Period::ALL {
                let plan = BudgetPlan {
                    name: "a".into(),
                    routes: Vec::new(),
                    tenants: Vec::new(),
                    tiers: Vec::new(),
                    key: Vec::new(),
                    amount: Usd::default(),
                    period,
                    on_stop: OnStop::Report,
                    warn: 0.8,
                    message: None,
                };
                let budget = PeriodicBudget::new(Arc::new(plan));
                for (hours, nanos) in &moments {
                    let hour = Timestamp::from_second(1_767_225_600 + hours * 3600).unwrap();
                    let moment = hour.checked_add(jiff::SignedDuration::from_nanos((*nanos).into())).unwrap();
                    let found = budget.period(moment);
                    prop_assert_eq!((found.start, found.end), (period.start(moment), period.end(moment)));
                    let name = format!("budget a {} {}", period.as_str(), period.start(moment).as_second());
                    let wanted = KeyPrefix::new(KeyScheme::Shared, &name);
                    prop_assert_eq!(found.keys.begin().key(), wanted.begin().key());
                }
            }
        }
    }
}
