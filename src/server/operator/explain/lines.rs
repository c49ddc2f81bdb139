//! Explains a call as lines of text for a terminal: what an operator reads at three in the morning.
//!
//! It knows no HTTP.

use std::fmt::Write;
use std::time::Duration;

use super::text::Lines;
use super::{
    CallRenderer, cached, chart, ended_with_status, instances, milliseconds, named, offset, summary, timeline,
};
use crate::model::names::display_name;
use crate::model::time::in_words;
use crate::model::trail::{Attempt, LimitFact, LimitTerms, Step, StepKind};
use crate::telemetry::explain::CallRecord;

/// Where the second line of what is too long for one begins.
const INDENT: usize = 4;
const LINE_INDENT: usize = 28;

/// The calls of a list, a line each.
pub(super) fn list<'a>(renderer: &CallRenderer<'_>, records: impl Iterator<Item = &'a CallRecord>) -> String {
    let mut lines = Lines::default();
    records.for_each(|record| lines.add(&one(renderer, record)));
    lines.into_text()
}

fn one(renderer: &CallRenderer<'_>, record: &CallRecord) -> String {
    let provider = record.facts.telling().map(|attempt| display_name(&attempt.provider)).unwrap_or("-");
    // Who answered: a provider, or the cache in its place.
    let kept = match record.facts.cache {
        Some(cache) if cache.is_kept() => cache.as_str(),
        _ => provider,
    };
    let (at, took) = (renderer.came(record), milliseconds(record.took));
    let CallRecord { id, status, outcome, route, .. } = record;
    if let Some(doing) = summary::doing(record) {
        return format!("{at}  {id:<32}  {outcome:<24} {took:>10.1} ms  {doing}, {route}");
    }
    format!("{at}  {id:<32}  {status} {outcome:<20} {took:>10.1} ms  {kept:<12} {route}")
}

/// All that is known of one call.
pub(super) fn all(renderer: &CallRenderer<'_>, record: &CallRecord) -> String {
    let (facts, mut text) = (&record.facts, Lines::default());
    let tenant = record.tenant.as_deref().map_or_else(|| "unknown".to_owned(), |tenant| renderer.name(tenant));
    let CallRecord { id, method, path, route, generation, .. } = record;
    text.add(&format!("{id}  {method} {path}"));
    let key = record.api_key.as_deref().map(|key| format!(", API key {}", renderer.name(key))).unwrap_or_default();
    let came = renderer.came(record);
    text.add_wrapped(
        &format!("arrived {came}, route {route}, tenant {tenant}{key}, config generation {generation}"),
        INDENT,
    );
    text.add(&summary::took(record));
    for (about, fact) in summary::facts(renderer.gateway, record) {
        text.add_wrapped(&format!("{about}: {fact}"), INDENT);
    }
    if let Some((route, target)) = renderer.pipeline(route) {
        let policies = format!("policies: {} | each attempt: {}", route.join(" > "), target.join(" > "));
        text.add_wrapped(&policies, INDENT);
    }
    text.add("");
    chart::draw(&mut text, &timeline::rows(record));
    text.add("");
    // What happens in the same instant happens in this order: one attempt ends, policies say what they make of it, the next
    // one begins.
    let mut lines: Vec<(Duration, String)> = Vec::new();
    lines.extend(facts.limits.iter().map(|fact| (facts.decided_at("limit"), limit(fact))));
    if let Some(cache) = cached(facts) {
        lines.push((timeline::cached_at(record), format!("cache        {cache}")));
    }
    lines.extend(facts.words.iter().map(|(policy, word)| (Duration::ZERO, format!("{policy:<12} {word}"))));
    // One that took no time at all begins before it ends, too.
    let is_instant = |tried: &Attempt| tried.took == Some(Duration::ZERO);
    for (number, tried) in (1..).zip(&facts.attempts) {
        lines.extend(is_instant(tried).then(|| attempt(record, number, tried)));
        lines.push(attempt_end(record, number, tried));
    }
    lines.extend(facts.steps.iter().map(|noted| (noted.at, step(noted))));
    let lasting = (1..).zip(&facts.attempts).filter(|(_, tried)| !is_instant(tried));
    lines.extend(lasting.map(|(number, tried)| attempt(record, number, tried)));
    if let Some(first) = facts.first_token {
        lines.push((first, "response     begins".into()));
    }
    if !record.is_running() {
        lines.push((record.took, end(record)));
    }
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        text.add_wrapped(&format!("{:>10.1} ms  {line}", milliseconds(at)), LINE_INDENT);
    }
    text.into_text()
}

fn limit(fact: &LimitFact) -> String {
    let LimitFact { terms, decision, source, .. } = fact;
    let LimitTerms { rule, quantity, .. } = &**terms;
    let shown = |units: u64| units as f64 / terms.scale as f64;
    let (left, count, window) = (shown(fact.remaining), shown(terms.count), in_words(terms.window));
    format!("limit        {rule}: {}, {left} of {count} {quantity} in {window} left ({source})", decision.as_str())
}

fn attempt(record: &CallRecord, number: usize, tried: &Attempt) -> (Duration, String) {
    let (name, reason) = (display_name(&tried.provider), tried.reason.as_str());
    let model = tried.model.as_deref().map(|model| format!(", model {model}")).unwrap_or_default();
    let instances: Vec<String> = instances(tried).iter().map(u32::to_string).collect();
    let text = format!("attempt {number}    {name} ({reason}){model}, instance {}", instances.join(", "));
    (offset(record, tried), text)
}

fn attempt_end(record: &CallRecord, number: usize, tried: &Attempt) -> (Duration, String) {
    let outcome = ended_with_status(tried);
    match tried.took {
        Some(took) => {
            let text = format!("attempt {number}    {outcome} after {:.1} ms", milliseconds(took));
            (offset(record, tried) + took, text)
        }
        None if record.is_running() => (record.took, format!("attempt {number}    still {outcome}")),
        None => (record.took, format!("attempt {number}    still {outcome} when the call ended")),
    }
}

fn step(step: &Step) -> String {
    let provider = named(step.provider.as_deref());
    let what = match &step.what {
        StepKind::Refused(retry_in) => format!("refuses{provider} for the next {:.1} ms", milliseconds(*retry_in)),
        StepKind::HeldBack { failures, retry_in } => format!(
            "this same request has failed {failures} times{}; it is held back for {:.1} ms, other requests go through",
            step.provider.as_deref().map(|name| format!(" at {}", display_name(name))).unwrap_or_default(),
            milliseconds(*retry_in)
        ),
        StepKind::Waited(time) => format!("waits {:.1} ms{provider}", milliseconds(*time)),
        StepKind::Denied(why) => format!("does not retry{provider}: {why}"),
        StepKind::Skipped(why) => format!("skips{provider}: {why}"),
        StepKind::Unable(what) => format!("skips{provider}: it cannot serve {what}"),
        StepKind::Overdue(silence) => {
            format!("considers{provider} overdue: nothing for {:.1} ms", milliseconds(*silence))
        }
    };
    format!("{:<12} {what}", step.policy)
}

fn end(record: &CallRecord) -> String {
    let mut text = format!("end          {} {}, {} B", record.status, record.outcome, record.bytes_out);
    // Writing to a String cannot fail, here and below.
    if record.events > 0 {
        let _ = write!(text, " in {} events", record.events);
    }
    if record.facts.events_dropped > 0 {
        let _ = write!(text, ", {} malformed events dropped", record.facts.events_dropped);
    }
    text
}
