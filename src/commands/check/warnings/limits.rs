//! Limits and budgets that no call can reach: because no call is theirs, or because another limit always refuses first.
//!
//! It does not know how much anybody has used.

use std::collections::BTreeSet;

use super::Warning;
use crate::commands::check::facts::draws_on;
use crate::commands::check::words;
use crate::config::plan::{KeyPlan, LimitPlan, Plan, RoutePlan};
use crate::model::api_key::KeyTenant;
use crate::model::call::ANONYMOUS;
use crate::model::rate::Rate;

pub(super) fn all(plan: &Plan) -> Vec<Warning> {
    // Budgets hold without limits too.
    let enforced = if plan.limits.is_on { &plan.limits.rules[..] } else { &[] };
    let rules = || enforced.iter().map(|rule| &**rule);
    let (tiers, tenants) = (Tiers::of(plan), Tenants::of(plan));
    let objection = |named_tiers: &[Box<str>], named_tenants: &[Box<str>]| {
        tiers.objection(named_tiers).or_else(|| tenants.objection(named_tenants))
    };
    let warning = |rule: &LimitPlan| {
        matches_nothing(plan, rule)
            .or_else(|| objection(&rule.tiers, &rule.tenants).map(|why| nobody(&format!("limit.{}", rule.name), why)))
            .or_else(|| {
                rules().find(|other| comes_first(plan, other, rule)).map(|other| never_reached(plan, rule, other))
            })
    };
    let budgets = plan.budgets.iter().filter_map(|budget| {
        let key = format!("budget.{}", budget.name);
        match plan.routes.iter().any(|route| draws_on(route, budget)) {
            false => {
                let text = "no enabled route that asks a provider, and is no WebSocket, has its name in `routes`";
                Some(Warning::new("limit_without_calls", key, text))
            }
            true => objection(&budget.tiers, &budget.tenants).map(|why| nobody(&key, why)),
        }
    });
    rules().filter_map(warning).chain(budgets).collect()
}

/// A rule about no route at all.
fn matches_nothing(plan: &Plan, rule: &LimitPlan) -> Option<Warning> {
    if rule.is_about_health() || routes(plan, rule).next().is_some() {
        return None;
    }
    let text =
        "no enabled route fits its `routes`, `calls`, `callers`, `methods` and `jobs` together: it counts nothing";
    Some(Warning::new("limit_without_calls", format!("limit.{}", rule.name), text))
}

fn routes<'p>(plan: &'p Plan, rule: &LimitPlan) -> impl Iterator<Item = &'p RoutePlan> {
    plan.routes.iter().map(|route| &**route).filter(|route| rule.is_about(route))
}

/// The tiers that callers can have.
struct Tiers {
    known: BTreeSet<String>,
    /// A header, a token or a key that is made later may say any other.
    is_open: bool,
}

impl Tiers {
    fn of(plan: &Plan) -> Self {
        let keys = plan.auth.keys.iter().filter_map(|key| key.tier.as_deref());
        let known = [&**ANONYMOUS, &*plan.limits.tier].into_iter().chain(keys).map(Into::into).collect();
        let says_it = plan.limits.tier_header.is_some() || plan.auth.token.is_some() || plan.auth.admin_token.is_some();
        Self { known, is_open: says_it }
    }

    /// Why no caller has any of these tiers.
    fn objection(&self, tiers: &[Box<str>]) -> Option<String> {
        if tiers.is_empty() || self.is_open || tiers.iter().any(|tier| self.known.contains(&**tier)) {
            return None;
        }
        let known: Vec<&String> = self.known.iter().collect();
        let (tiers, known) = (words::list(tiers), words::list(&known));
        Some(format!(
            "no caller can have the tier {tiers}: there are {known}; give an API key this `tier`, or set limits.tier_header, so \
             that callers have it"
        ))
    }
}

/// The tenants that callers can have.
struct Tenants {
    known: BTreeSet<String>,
    /// A header, a token or a key that is made later may say any other.
    is_open: bool,
}

impl Tenants {
    fn of(plan: &Plan) -> Self {
        let mut known = BTreeSet::new();
        // Callers of a route that asks for no credential name whom they like.
        let mut is_open = plan.auth.token.is_some()
            || plan.auth.admin_token.is_some()
            || plan.routes.iter().any(|route| route.auth.methods.is_empty() && route.auth.believes_headers);
        for key in &plan.auth.keys {
            match &key.tenant {
                KeyTenant::One(tenant) => drop(known.insert(tenant.to_string())),
                KeyTenant::Any => is_open = true,
                KeyTenant::Nobody => {}
            }
        }
        Self { known, is_open }
    }

    /// Why no caller has any of these tenants.
    fn objection(&self, tenants: &[Box<str>]) -> Option<String> {
        if tenants.is_empty() || self.is_open || tenants.iter().any(|tenant| self.known.contains(&**tenant)) {
            return None;
        }
        let known: Vec<&String> = self.known.iter().collect();
        let there_are = if known.is_empty() { "none".into() } else { words::list(&known) };
        let tenants = words::list(tenants);
        Some(format!(
            "no caller can have the tenant {tenants}: API keys have {there_are}; give an API key this `tenant`"
        ))
    }
}

fn nobody(key: &str, why: String) -> Warning {
    Warning::new("limit_without_callers", key, why)
}

/// True when `first` refuses every call that `rule` would refuse: it counts the same calls and perhaps more under a key that is
/// the same or has more callers, and allows less.
fn comes_first(plan: &Plan, first: &LimitPlan, rule: &LimitPlan) -> bool {
    first.name != rule.name
        && first.is_enforced
        && first.quantity == rule.quantity
        && is_tighter(first.rate, rule.rate)
        && counts_at_least(&first.key, &rule.key)
        && covers(plan, first, rule)
        && still_holds(plan, first, rule)
}

fn is_tighter(one: Rate, other: Rate) -> bool {
    let per = |rate: Rate, of: Rate| u128::from(rate.count) * of.period.as_nanos();
    let (slow, fast) = (per(one, other), per(other, one));
    slow <= fast && one.burst <= other.burst && (slow < fast || one.burst < other.burst)
}

/// True when callers that share a count under `key` share one under `wide` too, whoever calls.
fn counts_at_least(wide: &[KeyPlan], key: &[KeyPlan]) -> bool {
    let has_address = |ways: &[KeyPlan]| ways.iter().any(KeyPlan::has_address);
    let is_part = |wide: &KeyPlan| key.iter().all(|way| wide.0.iter().all(|part| way.0.contains(part)));
    match wide {
        _ if wide == key => true,
        // Whether a name is believed that nobody has checked depends on whether an address is among the ways.
        [one] => is_part(one) && has_address(wide) == has_address(key),
        _ => false,
    }
}

/// True when every call that `rule` counts is one that `first` counts; what jobs ask for aside, where callers ask too.
fn covers(plan: &Plan, first: &LimitPlan, rule: &LimitPlan) -> bool {
    let tiers = has_all(&first.tiers, &rule.tiers);
    let tenants = has_all(&first.tenants, &rule.tenants);
    let methods = has_all(&first.methods, &rule.methods);
    let health = !rule.is_about_health() || first.is_about_health();
    let is_for_callers = routes(plan, rule).any(|route| !route.is_for_jobs());
    let mut wanted = routes(plan, rule).filter(|route| !is_for_callers || !route.is_for_jobs());
    tiers && tenants && methods && health && wanted.all(|route| first.is_about(route))
}

/// True when one list names all that the other names; an empty one names everything.
fn has_all<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.is_empty() || (!other.is_empty() && other.iter().all(|it| one.contains(it)))
}

/// True when two lists have a name in common; an empty one names everything.
fn share<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|it| other.contains(it))
}

/// True when no more specific rule takes the place of `first` where `rule` counts.
fn still_holds(plan: &Plan, first: &LimitPlan, rule: &LimitPlan) -> bool {
    let takes_its_place = |other: &LimitPlan| {
        // The rule itself may be the one. A rule as wide as `first` goes at the same time.
        let leaves_rule = rule.specificity() >= other.specificity();
        other.is_instead()
            && other.quantity == first.quantity
            && other.specificity() > first.specificity()
            && leaves_rule
            && share(&other.tiers, &rule.tiers)
            && share(&other.tenants, &rule.tenants)
            && routes(plan, other).any(|route| rule.is_about(route))
    };
    !plan.limits.rules.iter().any(|other| takes_its_place(other))
}

fn never_reached(plan: &Plan, rule: &LimitPlan, first: &LimitPlan) -> Warning {
    let (own, other) = (words::rate(rule), words::rate(first));
    let is_for_both =
        routes(plan, rule).any(RoutePlan::is_for_jobs) && routes(plan, rule).any(|route| !route.is_for_jobs());
    let but = if is_for_both { " (but perhaps by jobs)" } else { "" };
    let name = &first.name;
    let key = format!("limit.{}", rule.name);
    if rule.specificity() <= first.specificity() {
        let text = format!(
            "{own} is never reached{but}: limit.{name} ({other}) counts the same calls and always refuses first; lower this one \
             below it, or remove it"
        );
        return Warning::new("limit_never_reached", key, text);
    }
    let why = match rule.is_enforced {
        true => "`also = true` keeps it; remove `also`, so that this one takes its place",
        false => "a rule in shadow mode replaces nothing; set `mode = \"enforce\"`, so that this one takes its place",
    };
    let text = format!(
        "{own} is never reached{but}: limit.{name} ({other}), which is for more callers, still holds for its callers, as {why}, or \
         raise limit.{name}"
    );
    Warning::new("tier_limit_never_reached", key, text)
}
