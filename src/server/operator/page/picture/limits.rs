//! Rate limits on the live page: what each rule allows, and its busiest keys, as far as calls are remembered.
//!
//! It does not know who may read names.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::KEYS;
use crate::config::plan::{KeyPart, KeyPlan, LimitPlan};
use crate::model::trail::Decision;
use crate::server::operator::explain::CallRenderer;
use crate::telemetry::explain::CallRecord;

/// One key of a rule, lately.
#[derive(Default)]
struct KeyTraffic {
    calls: u64,
    refused: u64,
    /// Calls that it would have refused, were it enforced.
    would_refuse: u64,
    remaining: u64,
    /// Who it is, where that is known and may be read.
    who: Option<String>,
}

/// Each rule with those who ask most, as far as calls are remembered.
pub(super) fn of(renderer: &CallRenderer<'_>, late: &[&CallRecord]) -> Vec<Value> {
    let gateway = renderer.gateway;
    let plan = &gateway.plan.limits;
    let mut rules: BTreeMap<&str, BTreeMap<u64, KeyTraffic>> = BTreeMap::new();
    // Newest first: the first one has the last word about what is left.
    for (record, fact) in late.iter().flat_map(|record| record.facts.limits.iter().map(move |fact| (record, fact))) {
        let keys = rules.entry(&fact.terms.rule).or_default();
        let busy = keys.entry(fact.key).or_insert_with(|| {
            let rule = plan.rules.iter().find(|rule| rule.name == fact.terms.rule);
            let who = rule.filter(|_| renderer.shows_names()).and_then(|rule| who(rule, record));
            KeyTraffic { remaining: fact.remaining, who, ..KeyTraffic::default() }
        });
        busy.calls += 1;
        busy.refused += u64::from(fact.decision == Decision::Refused);
        busy.would_refuse += u64::from(fact.decision == Decision::ShadowRefused);
    }
    let active = plan.rules.iter().filter(|_| plan.is_on);
    active.map(|rule| limit(renderer, rule, rules.remove(&*rule.name).unwrap_or_default())).collect()
}

fn limit(renderer: &CallRenderer<'_>, rule: &LimitPlan, keys: BTreeMap<u64, KeyTraffic>) -> Value {
    let scale = rule.quantity.scale() as f64;
    let sum = |of: fn(&KeyTraffic) -> u64| keys.values().map(of).sum::<u64>();
    let (calls, refused, would_refuse) = (sum(|it| it.calls), sum(|it| it.refused), sum(|it| it.would_refuse));
    let mut busiest: Vec<(u64, KeyTraffic)> = keys.into_iter().collect();
    busiest.sort_by_key(|(_, busy)| std::cmp::Reverse((busy.refused + busy.would_refuse, busy.calls)));
    busiest.truncate(KEYS);
    let key = |(key, busy): &(u64, KeyTraffic)| {
        json!({
            "key": renderer.pseudonym(&key.to_string()),
            "who": busy.who,
            "calls": busy.calls,
            "refused": busy.refused,
            "wouldRefuse": busy.would_refuse,
            "remaining": busy.remaining as f64 / scale,
        })
    };
    json!({
        "rule": &*rule.name,
        "quantity": rule.quantity.as_str(),
        "count": rule.rate.count as f64 / scale,
        "burst": rule.rate.burst as f64 / scale,
        "windowSeconds": rule.rate.period.as_secs_f64(),
        "isEnforced": rule.is_enforced,
        "calls": calls,
        "refused": refused,
        "wouldRefuse": would_refuse,
        "busiest": busiest.iter().map(key).collect::<Vec<_>>(),
    })
}

/// Who is counted, by the parts of the rule's key that the history has names for; `None`: by an address, or by something that it has
/// no name for.
fn who(rule: &LimitPlan, record: &CallRecord) -> Option<String> {
    let account = record.facts.account.as_ref();
    let is_proven = record.facts.auth.is_some_and(|auth| auth.result == "ok" && auth.method != "none");
    let has_address = |way: &KeyPlan| way.0.contains(&KeyPart::Address);
    // Whoever has proven nothing may be counted by the address in place of the name that was given.
    if !is_proven && rule.key.iter().any(has_address) {
        return None;
    }
    let name = |part: &KeyPart| {
        let name = match part {
            KeyPart::Tenant => record.tenant.as_deref(),
            KeyPart::User => account?.user.as_deref(),
            KeyPart::ApiKey => record.api_key.as_deref(),
            KeyPart::Address => None,
        };
        Some(format!("{} {}", part.as_str().replace('_', " "), name?))
    };
    let first = rule.key.iter().find_map(|way| way.0.iter().map(name).collect::<Option<Vec<_>>>())?;
    Some(first.join(", "))
}
