//! Limit: rate limits, in calls, tokens or dollars. All rules that match a call must admit it.
//!
//! Tokens are estimated before the call and settled when the response ends, however it ends. The rate limiter
//! counts, in this process or in a store that gateways share; the shape of a refusal belongs to the caller's
//! dialect.

mod fronts;
mod rule;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

pub use self::fronts::{Fronts, FrontsReport, sampled};
use self::rule::Rule;
use crate::config::plan::{
    Counted, LimitPlan, LimitsPlan, Price, Prices, Quantity, RoutePlan, Specificity, believed_tenant,
};
use crate::model::call::{Call, CallRequest, Head};
use crate::model::fault::{Fault, Limited};
use crate::model::reply::Usage;
use crate::model::trail;
use crate::model::trail::{Attempt, Basis, Decision, Facts, LimitFact, Trail};
use crate::stack::{Next, Outcome, Policy};
use crate::state::charge::{Charge, received};
use crate::state::estimate::Estimates;
use crate::state::store::{Acquire, RateLimiter, Reservation, RuleDecision, Source};

/// What counts, and what was learnt about tokens. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Limits {
    /// Who counts.
    pub meter: Arc<dyn RateLimiter>,
    /// What calls are expected to take.
    pub estimates: Estimates,
    /// Behind which addresses there are many callers.
    pub fronts: Fronts,
}

/// Something that was taken and must be settled.
struct Entry {
    hold: Reservation,
    quantity: Quantity,
}

/// The policy: the rules of one route.
#[derive(Clone)]
pub struct Limit {
    rules: Arc<[Rule]>,
    limits: Limits,
    prices: Prices,
}

impl Limit {
    /// The rules about this route.
    pub fn of_route(plan: &LimitsPlan, route: &RoutePlan, limits: Limits, prices: Prices) -> Self {
        Self::of(plan, limits, prices, |rule| rule.is_about(route))
    }

    /// The rules about the health pages.
    pub fn of_health(plan: &LimitsPlan, limits: Limits, prices: Prices) -> Self {
        Self::of(plan, limits, prices, LimitPlan::is_about_health)
    }

    fn of(plan: &LimitsPlan, limits: Limits, prices: Prices, is_about: impl Fn(&LimitPlan) -> bool) -> Self {
        let chosen = plan.rules.iter().filter(|rule| plan.is_on && is_about(rule));
        let scheme = limits.meter.key_scheme();
        Self { rules: chosen.map(|rule| Rule::new(rule.clone(), scheme)).collect(), limits, prices }
    }

    /// True when no rule is about it.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Admits a request that no model answers, or refuses it.
    pub async fn admit(&self, head: &Head, trail: &Trail) -> Result<(), Fault> {
        self.take(head, trail, None).await.map(drop)
    }

    /// The rules that would count a request.
    pub fn applying(&self, head: &Head) -> Vec<Arc<LimitPlan>> {
        self.known(head).iter().map(|(rule, _)| rule.plan.clone()).collect()
    }

    fn known(&self, head: &Head) -> Known<'_> {
        // Nobody to count: no part of any of a rule's keys is known.
        let counted = |rule| Some((rule, Rule::counted(rule, head)?));
        let tenant = believed_tenant(head);
        let matching = self.rules.iter().filter(|rule| rule.matches(head, tenant));
        let mut known: Known<'_> = matching.filter_map(counted).collect();
        replace(&mut known, |(rule, _)| &rule.plan);
        known
    }

    /// Takes from every rule that matches, or from none. Returns what must be settled later.
    async fn take(&self, head: &Head, trail: &Trail, request: Option<&CallRequest>) -> Result<Vec<Entry>, Fault> {
        let known = self.known(head);
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let estimate = match request {
            Some(request) if known.iter().any(|(rule, _)| rule.counts_tokens()) => {
                self.limits.estimates.usual(&head.route, request)
            }
            _ => Usage::default(),
        };
        if request.is_some() && known.iter().any(|(_, counted)| counted.is_by_place) {
            self.limits.fronts.note(head.address);
        }
        // Who will answer is not known yet: the general price is the estimate.
        let price = || self.prices.of("", request.and_then(CallRequest::model).unwrap_or_default()).price;
        let take = |(rule, counted): &(&Rule, Counted)| Acquire {
            key: counted.key,
            rate: rule.plan.rate,
            cost: units(rule.plan.quantity, estimate, price),
            // Of many callers behind one address nobody has taken too much.
            is_enforced: rule.plan.is_enforced && !(counted.is_by_place && head.is_address_shared),
        };
        let takes: SmallVec<[Acquire; FEW]> = known.iter().map(take).collect();
        let rules = known.iter().map(|(rule, _)| *rule);
        let taken = match self.limits.meter.take_at_once(&takes) {
            Some(taken) => taken,
            None => {
                let _wait = trail.begin_wait(Self::NAME, None);
                self.limits.meter.take(&takes).await.map_err(|_| Fault::StoreOut)?
            }
        };
        let is_admitted = taken.is_admitted(&takes);
        let said = rules.zip(&takes).zip(&taken.verdicts).map(|((rule, take), verdict)| Said { rule, take, verdict });
        let facts = said.clone().map(|said| fact(said, taken.source, is_admitted)).collect();
        trail.facts().limits = facts;
        if !is_admitted {
            return Err(refusal(head, said));
        }
        let entry = |Said { rule, verdict, .. }: Said<'_>| {
            let hold = verdict.hold.filter(|_| rule.counts_tokens())?;
            Some(Entry { hold, quantity: rule.plan.quantity })
        };
        Ok(said.filter_map(entry).collect())
    }
}

/// Rules that a call falls under, as a rule.
pub const FEW: usize = 4;

/// The rules that a call falls under, and whom each counts.
type Known<'r> = SmallVec<[(&'r Rule, Counted); FEW]>;

/// What one rule says of a call.
struct Said<'t> {
    rule: &'t Rule,
    take: &'t Acquire,
    verdict: &'t RuleDecision,
}

/// Leaves out the rules that a more specific one takes the place of: one of the caller's own tenant, or else of its tier.
pub fn replace<T>(known: &mut SmallVec<[T; FEW]>, plan: impl Fn(&T) -> &LimitPlan) {
    let instead: SmallVec<[(Quantity, Specificity); FEW]> = known
        .iter()
        .map(&plan)
        .filter(|plan| plan.is_instead())
        .map(|plan| (plan.quantity, plan.specificity()))
        .collect();
    let is_replaced = |plan: &LimitPlan| {
        instead.iter().any(|(quantity, specificity)| *quantity == plan.quantity && *specificity > plan.specificity())
    };
    known.retain(|one| !is_replaced(plan(one)));
}

/// How much of a rule's quantity a call takes.
fn units(quantity: Quantity, usage: Usage, price: impl Fn() -> Price) -> u64 {
    match quantity {
        Quantity::Requests => 1,
        Quantity::Tokens => usage.total(),
        // Dollars are counted in millionths here.
        Quantity::Usd => price().cost(usage).nanos().div_ceil(1_000),
    }
}

/// Corrects what was taken by what a call came to.
fn settle(entries: Vec<Entry>, came: &[(&Attempt, Usage)], meter: &dyn RateLimiter, prices: &Prices) {
    for Entry { hold, quantity } in entries {
        let of_attempt = |(attempt, usage): &(&Attempt, Usage)| {
            let price = || prices.of(&attempt.provider, attempt.model.as_deref().unwrap_or_default()).price;
            units(quantity, *usage, price)
        };
        meter.settle(hold, came.iter().map(of_attempt).fold(0, u64::saturating_add));
    }
}

/// What a call came to for its caller. A limit smooths what callers do: what a provider failed to do is none of it, and what nobody
/// knows is taken for what is usual.
fn came<'f>(
    facts: &'f Facts,
    request: &CallRequest,
    route: &Arc<str>,
    estimates: &Estimates,
) -> Vec<(&'f Attempt, Usage)> {
    // The answer that was given, else the last one that came, and was not good enough to be given.
    let given = facts.served_index().or_else(|| facts.attempts.iter().rposition(|it| it.answered.is_some()));
    let is_failure = |attempt: &Attempt| matches!(attempt.outcome, trail::Outcome::Failed(code) if trail::is_broken_off(code) || code == "provider_timeout");
    let attempts = facts.attempts.iter().enumerate();
    let charged = attempts.filter(|(index, attempt)| given == Some(*index) || !is_failure(attempt));
    let usage = |attempt: &Attempt| {
        let tokens = attempt.tokens()?;
        Some(match tokens.basis {
            Basis::Counted | Basis::Received => tokens.usage,
            Basis::Held | Basis::Later => {
                let usual = estimates.usual(route, request);
                Usage { output: usual.output.max(received(estimates, request, attempt)), ..usual }
            }
        })
    };
    charged.filter_map(|(_, attempt)| Some((attempt, usage(attempt)?))).collect()
}

fn fact(Said { rule, take, verdict }: Said<'_>, source: Source, is_admitted: bool) -> LimitFact {
    let rate = &rule.plan.rate;
    let debt = u64::try_from(verdict.debt.as_nanos()).unwrap_or(u64::MAX);
    let charged = if verdict.fits && !is_admitted { rate.price(take.cost.min(rate.burst), 1) } else { 0 };
    // What a refused call would have taken was not taken.
    let debt = debt.saturating_sub(charged);
    let interval = rate.interval();
    let decision = match (take.is_enforced, verdict.fits) {
        (true, false) => Decision::Refused,
        (true, true) if is_admitted => Decision::Admitted,
        (true, true) => Decision::NotCharged,
        (false, true) => Decision::ShadowAdmitted,
        (false, false) => Decision::ShadowRefused,
    };
    LimitFact {
        terms: rule.terms.clone(),
        key: take.key.0[0],
        remaining: rate.remaining(debt),
        more_in: match verdict.fits {
            true if debt == 0 => Duration::ZERO,
            true => Duration::from_nanos((debt.saturating_sub(1)) % interval + 1),
            false => verdict.wait,
        },
        full_in: Duration::from_nanos(debt),
        decision,
        source: source.as_str(),
    }
}

/// The refusal of the rule that makes the caller wait longest: after that, all of them admit.
fn refusal<'t>(head: &Head, said: impl Iterator<Item = Said<'t>>) -> Fault {
    let refused = said.filter(|said| said.take.is_enforced && !said.verdict.fits);
    let Some(Said { rule, verdict, .. }) = refused.max_by_key(|said| said.verdict.wait) else {
        return Fault::Internal { detail: "not refused by a rule".into() };
    };
    let plan = &rule.plan;
    Fault::Limited(Box::new(Limited {
        rule: plan.name.clone(),
        tier: head.tier.clone(),
        amount: plan.rate.count as f64 / plan.quantity.scale() as f64,
        quantity: plan.quantity.as_str(),
        window: plan.rate.period,
        retry_after: verdict.wait,
        message: plan.message.clone(),
        upgrade_url: plan.upgrade_url.clone(),
    }))
}

impl Policy for Limit {
    const NAME: &'static str = "limit";

    async fn apply<N: Next>(&self, mut call: Box<Call>, next: &N) -> Outcome {
        let entries = self.take(&call.head, &call.trail, Some(&call.request)).await?;
        if entries.is_empty() {
            return next.call(call).await;
        }
        // From here on whoever leaves, however, settles by dropping it.
        let (meter, prices) = (self.limits.meter.clone(), self.prices.clone());
        let (estimates, route, request) =
            (self.limits.estimates.clone(), call.head.route.clone(), call.request.clone());
        let charge = Charge::new(&call.trail, move |facts| {
            settle(entries, &came(facts, &request, &route, &estimates), &*meter, &prices);
        });
        call.count_text();
        Ok(charge.follow(next.call(call).await?))
    }
}
