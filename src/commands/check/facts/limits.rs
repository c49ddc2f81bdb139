//! Limits of a route: which rules count whom, the tightest first.
//!
//! It does not know how much anybody has used.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::Serialize;
use smallvec::SmallVec;

use crate::commands::check::words;
use crate::config::plan::{KeyPlan, LimitPlan, Plan, RoutePlan};
use crate::policy::limit::{FEW, replace};

/// The rules that hold for some callers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::commands::check) struct LimitsOf {
    /// The tier of these callers; `None`: any that has no rules of its own.
    pub(in crate::commands::check) tier: Option<Box<str>>,
    /// Their tenant; `None`: any that has no rules of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands::check) tenant: Option<Box<str>>,
    /// The tightest first.
    pub(in crate::commands::check) limits: Vec<LimitFacts>,
    /// Rules for more callers in whose place these stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::commands::check) instead_of: Vec<Arc<str>>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::commands::check) struct LimitFacts {
    pub(in crate::commands::check) name: Arc<str>,
    pub(in crate::commands::check) allows: String,
    pub(in crate::commands::check) quantity: &'static str,
    /// In the quantity's units; of dollars in millionths.
    count: u64,
    period_s: f64,
    burst: u64,
    /// Who is counted: the first of these of which every part is known.
    pub(in crate::commands::check) key: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::commands::check) methods: Vec<String>,
    /// False: in shadow mode.
    pub(in crate::commands::check) is_enforced: bool,
}

impl LimitFacts {
    pub(in crate::commands::check) fn of(plan: &LimitPlan) -> Self {
        Self {
            name: plan.name.clone(),
            allows: words::rate(plan),
            quantity: plan.quantity.as_str(),
            count: plan.rate.count,
            period_s: plan.rate.period.as_secs_f64(),
            burst: plan.rate.burst,
            key: plan.key.iter().map(KeyPlan::as_written).collect(),
            methods: plan.methods.iter().map(ToString::to_string).collect(),
            is_enforced: plan.is_enforced,
        }
    }

    /// `ai 30 per min`, with what is special about it.
    pub(in crate::commands::check) fn in_words(&self) -> String {
        let methods = if self.methods.is_empty() { String::new() } else { format!(" ({})", self.methods.join("|")) };
        let shadow = if self.is_enforced { "" } else { " (shadow: refuses nothing)" };
        format!("{} {}{methods}{shadow}", self.name, self.allows)
    }
}

/// What allows less in the long run comes first; quantities stay together.
pub(in crate::commands::check) fn tightest_first(one: &LimitPlan, other: &LimitPlan) -> Ordering {
    let per_second = |plan: &LimitPlan| plan.rate.count as f64 / plan.rate.period.as_secs_f64();
    let by_rate = || per_second(one).total_cmp(&per_second(other));
    let by_burst = || one.rate.burst.cmp(&other.rate.burst);
    (one.quantity as u8).cmp(&(other.quantity as u8)).then_with(by_rate).then_with(by_burst)
}

/// Whom a rule names: a tier, a tenant, a tier of a tenant, or nobody.
type Named<'p> = (Option<&'p str>, Option<&'p str>);

fn named(rule: &LimitPlan) -> Vec<Named<'_>> {
    fn each(names: &[Box<str>]) -> Vec<Option<&str>> {
        if names.is_empty() { vec![None] } else { names.iter().map(|name| Some(&**name)).collect() }
    }
    let of_tenant = |tenant| each(&rule.tiers).into_iter().map(move |tier| (tier, tenant));
    each(&rule.tenants).into_iter().flat_map(of_tenant).collect()
}

/// The rules about a route: for each tier and tenant that one of them names, and for everybody else.
pub(super) fn of(plan: &Plan, route: &RoutePlan) -> Vec<LimitsOf> {
    let limits = &plan.limits;
    let about: Vec<&Arc<LimitPlan>> = limits.rules.iter().filter(|rule| limits.is_on && rule.is_about(route)).collect();
    let mut callers: Vec<Named<'_>> = vec![(None, None)];
    for named in about.iter().flat_map(|rule| named(rule)) {
        if !callers.contains(&named) {
            callers.push(named);
        }
    }
    callers.sort_by_key(|(_, tenant)| tenant.is_some());
    let of_callers = |(tier, tenant): Named<'_>| {
        // No tier is called by the empty text.
        let matches = |rule: &&&Arc<LimitPlan>| rule.is_for(tier.unwrap_or_default(), tenant);
        let all: SmallVec<[&Arc<LimitPlan>; FEW]> = about.iter().filter(matches).copied().collect();
        let mut holding = all.clone();
        replace(&mut holding, |rule| rule);
        let is_replaced = |rule: &&&Arc<LimitPlan>| !holding.iter().any(|it| it.name == rule.name);
        let instead_of = all.iter().filter(is_replaced).map(|rule| rule.name.clone()).collect();
        holding.sort_by(|one, other| tightest_first(one, other));
        let limits = holding.iter().map(|rule| LimitFacts::of(rule)).collect();
        LimitsOf { tier: tier.map(Into::into), tenant: tenant.map(Into::into), limits, instead_of }
    };
    callers.into_iter().map(of_callers).filter(|it| !it.limits.is_empty()).collect()
}
