//! A call in a few facts, as people read them: who asked for what, who answered, what it cost, and what is wrong.
//!
//! The page and the text for a terminal show the same. It does not know what either looks like.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::model::names::display_name;
use crate::model::reply::{CacheResult, Degraded, Usage};
use crate::model::trail::{Attempt, BudgetFact, Direction, GuardFact, StepKind, Waiting};
use crate::server::operator::answer::milliseconds;
use crate::telemetry::explain::CallRecord;

/// A fact: what it is about, and what it says.
pub(super) type Fact = (String, String);

/// The facts of a call, the most wanted first.
pub(super) fn facts(gateway: &Gateway, record: &CallRecord) -> Vec<Fact> {
    let facts = &record.facts;
    let mut told: Vec<Fact> = Vec::new();
    let mut tell = |about: &str, text: Option<String>| told.extend(text.map(|text| (about.to_owned(), text)));
    tell("now", doing(record));
    tell("because", facts.fault_detail.clone());
    tell("asked for model", facts.model_asked.as_deref().map(str::to_owned));
    tell("answered by", answered_by(gateway, record));
    tell("fallback", facts.fallback().map(str::to_owned));
    tell("degraded", facts.degraded.map(|degraded| Degraded::as_str(degraded).to_owned()));
    tell(
        "variant",
        facts.variant.as_ref().map(|taken| {
            let failed = if taken.has_failed { ", which could not answer" } else { "" };
            format!("{}{failed}", taken.name)
        }),
    );
    tell("prompt", facts.prompt.as_ref().map(|prompt| format!("{}@{}", prompt.key, prompt.version)));
    tell("cache", super::cached(facts));
    tell("cache key", facts.cache_key.map(|key| blake3::Hash::from_bytes(key).to_hex().to_string()));
    for fact in &facts.budgets {
        tell("budget", Some(budget(record, fact)));
    }
    for fact in &facts.guarded {
        tell("guardrail", Some(guardrail(fact)));
    }
    tell("tokens", facts.tokens().map(|usage| tokens(&usage, facts.is_estimated())));
    tell("cost", record.cost.map(|cost| format!("{cost} USD")));
    let telling = facts.telling();
    tell("provider request id", telling.and_then(|attempt| attempt.request_id.as_deref()).map(str::to_owned));
    tell("response id", telling.and_then(|attempt| attempt.answer_id.as_deref()).map(str::to_owned));
    told
}

/// `1200 + 50, of which 800 cached, 300 written to the cache`: these have prices of their own.
fn tokens(usage: &Usage, is_estimated: bool) -> String {
    let estimated = if is_estimated { " (estimated)" } else { "" };
    let parts = [(usage.cached, "cached"), (usage.written, "written to the cache")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let of_which = if parts.is_empty() { String::new() } else { format!(", of which {}", parts.join(", ")) };
    format!("{} + {}{of_which}{estimated}", usage.input, usage.output)
}

/// The same as JSON.
pub(super) fn shown(facts: &[Fact]) -> Vec<Value> {
    facts.iter().map(|(about, text)| json!({"about": about, "text": text})).collect()
}

/// Where a call that runs is now.
pub(super) fn doing(record: &CallRecord) -> Option<String> {
    if !record.is_running() {
        return None;
    }
    let facts = &record.facts;
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let since = |at: Duration| seconds(record.took.saturating_sub(at));
    let running = facts.attempts.iter().enumerate().rev().find(|(_, attempt)| attempt.is_running());
    if let Some((index, attempt)) = running {
        let (number, name) = (index + 1, display_name(&attempt.provider));
        let began = super::offset(record, attempt);
        return Some(match attempt.answered {
            Some(answered) => {
                format!("receiving the response from {name} (attempt {number}) for {}", since(began + answered))
            }
            None => format!("attempt {number} at {name} ({}) for {}", attempt.reason.as_str(), since(began)),
        });
    }
    if !facts.waiting.is_empty() {
        let wait = |waiting: &Waiting| {
            let provider =
                waiting.provider.as_deref().map(|name| format!(" for {}", display_name(name))).unwrap_or_default();
            format!("waiting{provider} in {} for {}", waiting.policy, since(waiting.at))
        };
        return Some(facts.waiting.iter().map(wait).collect::<Vec<_>>().join(", and "));
    }
    let is_resting = |step: &&crate::model::trail::Step| match step.what {
        StepKind::Waited(time) => step.policy == "retry" && step.at + time > record.took,
        _ => false,
    };
    if let Some(step) = facts.steps.last().filter(is_resting) {
        return Some(format!("waiting before the next attempt for {}", since(step.at)));
    }
    Some(match facts.first_token {
        Some(first) => format!("sending the response for {}", since(first)),
        None => "between steps".to_owned(),
    })
}

/// Who answered: a provider with its model and its place among the route's targets, or the cache.
fn answered_by(gateway: &Gateway, record: &CallRecord) -> Option<String> {
    let facts = &record.facts;
    if facts.cache.is_some_and(CacheResult::is_kept) {
        let kept = facts.kept.as_ref();
        let from = kept.map(|kept| {
            format!(", first answered by {}{}", display_name(&kept.provider), model(kept.model.as_deref()))
        });
        return Some(format!("the cache{}", from.unwrap_or_default()));
    }
    let served = facts.served()?;
    let place =
        target(gateway, record, served).map(|(number, of)| format!(", target {number} of {of}")).unwrap_or_default();
    let name = display_name(&served.provider);
    Some(format!("{name}{}{place} ({})", model(served.model.as_deref()), served.reason.as_str()))
}

fn model(name: Option<&str>) -> String {
    name.map(|name| format!(", model {name}")).unwrap_or_default()
}

/// The place of an attempt's target among those of the route, and how many there are; `None`: the configuration is another by now,
/// or it is not one of them.
pub(super) fn target(gateway: &Gateway, record: &CallRecord, tried: &Attempt) -> Option<(usize, usize)> {
    if record.generation != gateway.generation {
        return None;
    }
    let targets = &gateway.route(&record.route)?.plan.targets;
    let is_provider = |index: &usize| targets[*index].provider.name == tried.provider;
    let is_model = |index: &usize| targets[*index].model.is_none() || targets[*index].model == tried.model;
    let mut candidates = (0..targets.len()).filter(is_provider).filter(is_model);
    let place = candidates.next()?;
    Some((place + 1, targets.len()))
}

fn budget(record: &CallRecord, fact: &BudgetFact) -> String {
    let BudgetFact { budget, amount, before, reserved, fits } = fact;
    let settled = record.cost.filter(|_| *fits).map(|cost| format!(", {cost} USD spent")).unwrap_or_default();
    let fits = if *fits { "" } else { " (does not fit)" };
    format!("{budget}: {reserved} USD reserved{fits}{settled}; before, {before} of {amount} USD")
}

fn guardrail(fact: &GuardFact) -> String {
    let GuardFact { guard, kind, direction, count, .. } = fact;
    let became = super::guarded(fact);
    let place = match direction {
        Direction::Request => "request",
        Direction::Answer => "response",
    };
    format!("{guard}: {count} {kind} {became} in the {place}")
}

/// How long something took, in milliseconds.
pub(super) fn took(record: &CallRecord) -> String {
    match record.is_running() {
        true => format!("running for {:.1} s", record.took.as_secs_f64()),
        false => format!("{} {} after {:.1} ms", record.status, record.outcome, milliseconds(record.took)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_with_a_price_of_their_own_are_told_apart() {
        let usage = Usage { input: 1200, cached: 800, written: 300, output: 50, ..Usage::default() };
        assert_eq!(tokens(&usage, false), "1200 + 50, of which 800 cached, 300 written to the cache");
        assert_eq!(tokens(&Usage { input: 7, output: 5, ..Usage::default() }, true), "7 + 5 (estimated)");
    }
}
