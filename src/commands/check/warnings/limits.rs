//! Limits and budgets that no call can reach: because no call is theirs, or because another limit always refuses first.
//!
//! It does not know how much anybody has used.

use std::collections::BTreeSet;
use std::sync::Arc;

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
    let known = (&Known::tiers(plan), &Known::tenants(plan));
    let warning = |rule: &LimitPlan| {
        matches_nothing(plan, rule)
            .or_else(|| without_callers(known, format!("limit.{}", rule.name), &rule.tiers, &rule.tenants))
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
            true => without_callers(known, key, &budget.tiers, &budget.tenants),
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

/// The tiers, or the tenants, that callers can have.
struct Known {
    names: BTreeSet<String>,
    /// A header, a token or a key that is made later may say any other.
    is_open: bool,
}

impl Known {
    fn tiers(plan: &Plan) -> Self {
        let keys = plan.auth.keys.iter().filter_map(|key| key.tier.as_deref());
        let names = [&**ANONYMOUS, &*plan.limits.tier].into_iter().chain(keys).map(Into::into).collect();
        Self { names, is_open: plan.limits.tier_header.is_some() || has_more_callers(plan) }
    }

    fn tenants(plan: &Plan) -> Self {
        let keys = || plan.auth.keys.iter().map(|key| &key.tenant);
        let of_key =
            |tenant: &KeyTenant| if let KeyTenant::One(tenant) = tenant { Some(tenant.to_string()) } else { None };
        // Callers of a route that asks for no credential name whom they like.
        let asks_nothing = |route: &Arc<RoutePlan>| route.auth.methods.is_empty() && route.auth.believes_headers;
        let is_open = has_more_callers(plan)
            || keys().any(|tenant| *tenant == KeyTenant::Any)
            || plan.routes.iter().any(asks_nothing);
        Self { names: keys().filter_map(of_key).collect(), is_open }
    }

    /// True when a rule is for some of them only, and no caller can be one.
    fn has_none_of(&self, wanted: &[Box<str>]) -> bool {
        !wanted.is_empty() && !self.is_open && !wanted.iter().any(|name| self.names.contains(&**name))
    }

    fn list(&self) -> String {
        words::list(&self.names.iter().collect::<Vec<_>>())
    }
}

/// Tokens, and keys that are made later, may say anything of their holders.
fn has_more_callers(plan: &Plan) -> bool {
    plan.auth.token.is_some() || plan.auth.admin_token.is_some()
}

/// A limit or budget whose tiers or tenants no caller has.
fn without_callers(
    known: (&Known, &Known),
    key: String,
    named_tiers: &[Box<str>],
    named_tenants: &[Box<str>],
) -> Option<Warning> {
    let (tiers, tenants) = known;
    let text = match (tiers.has_none_of(named_tiers), tenants.has_none_of(named_tenants)) {
        (false, false) => return None,
        (true, _) => format!(
            "no caller can have the tier {}: there are {}; give an API key this `tier`, or set limits.tier_header, so that callers \
             have it",
            words::list(named_tiers),
            tiers.list()
        ),
        (false, true) => format!(
            "no caller can have the tenant {}: API keys have {}; give an API key this `tenant`",
            words::list(named_tenants),
            if tenants.names.is_empty() { "none".into() } else { tenants.list() }
        ),
    };
    Some(Warning::new("limit_without_callers", key, text))
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
