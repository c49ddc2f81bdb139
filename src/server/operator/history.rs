//! History: `GET /admin/history`: what the last hour or day was like, step by step, and what changed meanwhile.
//!
//! It knows neither its readers nor how it is shown.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::names::display_name;
use crate::server::operator::answer::{Problem, milliseconds, ok};
use crate::server::operator::endpoint::OperatorRequest;
use crate::state::flags::record::Change;
use crate::telemetry::histogram::Percentiles;
use crate::telemetry::history::{CallStep, Event, Mark, ProviderStep, Span, View};

/// The most marks of flags: as many as there are of the other kinds.
const FLAG_MARKS: usize = 128;

/// `GET /admin/history`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let span = span(request.parts.uri.query().unwrap_or_default())?;
    // What has happened in the step that is not over is marked already.
    request.gateway.state.sample_history();
    Ok(ok(&shown(request.gateway, span)))
}

fn span(query: &str) -> Result<Span, Problem> {
    let mut span = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != "span" {
            let detail = format!("unknown parameter `{}`; there is: span", name.escape_debug());
            return Err(Problem::bad_request(detail));
        }
        let found = Span::ALL.iter().find(|(_, word)| *word == value);
        let (known, _) = found.ok_or_else(|| Problem::bad_request("`span` must be 1h or 24h"))?;
        if span.replace(*known).is_some() {
            return Err(Problem::bad_request("the parameter `span` is given twice"));
        }
    }
    Ok(span.unwrap_or(Span::Hour))
}

fn shown(gateway: &Gateway, span: Span) -> Value {
    let view = gateway.state.history().view(span);
    let clock = gateway.world.clock();
    let now = clock.now();
    let (seconds, most) = span.steps();
    let word = Span::ALL.iter().find(|(it, _)| *it == span).map(|(_, word)| *word);
    let calls = |of: fn(&CallStep) -> Value| per_step(&view.calls, of);
    json!({
        "span": word,
        "at": time(now),
        "since": time(clock.at(view.since)),
        "from": time(clock.at(view.from)),
        "stepSeconds": view.step.as_secs(),
        "lastStepSeconds": view.last.as_secs(),
        "calls": calls(|step| step.calls.into()),
        "failed": calls(|step| step.failed.into()),
        "refused": calls(|step| step.refused.into()),
        "left": calls(|step| step.left.into()),
        "durationMs": percentiles(&view, |step| step.took),
        "firstTokenMs": percentiles(&view, |step| step.first_token),
        "lookups": calls(|step| step.lookups.into()),
        "hits": calls(|step| step.hits.into()),
        "costUsd": calls(|step| json!(step.cost)),
        "providers": view.providers.iter().map(|(name, steps)| provider(name, steps)).collect::<Vec<_>>(),
        "hasMoreProviders": view.is_full,
        "marks": marks(gateway, &view.marks, now, Duration::from_secs(seconds * most as u64)),
    })
}

fn per_step(steps: &[Option<CallStep>], of: impl Fn(&CallStep) -> Value) -> Value {
    steps.iter().map(|step| step.as_ref().map_or(Value::Null, &of)).collect()
}

fn percentiles(view: &View, of: fn(&CallStep) -> Option<Percentiles>) -> Value {
    let rank = |rank: usize| {
        per_step(&view.calls, |step| match of(step) {
            Some(percentiles) => json!(milliseconds(percentiles.durations()[rank])),
            None => Value::Null,
        })
    };
    json!({"p50": rank(0), "p95": rank(1), "p99": rank(2)})
}

fn provider(name: &str, steps: &[ProviderStep]) -> Value {
    let per_step = |of: fn(&ProviderStep) -> Value| {
        steps.iter().map(|step| step.band.map_or(Value::Null, |_| of(step))).collect::<Value>()
    };
    json!({
        "name": name,
        "attempts": per_step(|step| step.attempts.into()),
        "failures": per_step(|step| step.failures.into()),
        "breaker": per_step(|step| step.band.map(|band| band.as_str()).into()),
    })
}

/// Everything that changed, oldest first.
fn marks(gateway: &Gateway, noted: &[Mark], now: Timestamp, reaches: Duration) -> Vec<Value> {
    let clock = gateway.world.clock();
    let mut marks: Vec<(Timestamp, Value)> =
        noted.iter().map(|mark| (clock.at(mark.at), noted_mark(gateway, mark))).collect();
    let from = now.as_millisecond().saturating_sub(i64::try_from(reaches.as_millis()).unwrap_or(i64::MAX));
    let records = gateway.state.flags().records();
    let changes = records.iter().flat_map(|(key, record)| record.changes().iter().map(move |change| (key, change)));
    let mut changes: Vec<_> = changes.filter(|(_, change)| change.at_ms >= from).collect();
    changes.sort_by_key(|(_, change)| change.at_ms);
    let newest = &changes[changes.len().saturating_sub(FLAG_MARKS)..];
    // What another gateway with a clock of its own has changed is not in the future.
    let at = |change: &Change| Timestamp::from_millisecond(change.at_ms).map_or(now, |at| at.min(now));
    marks.extend(newest.iter().map(|(key, change)| (at(change), flag(key, change))));
    marks.sort_by_key(|(at, _)| *at);
    let dated = |(at, mut mark): (Timestamp, Value)| {
        mark["at"] = time(at).into();
        mark
    };
    marks.into_iter().map(dated).collect()
}

/// A mark of this process, with a time that stays the same while the wall clock is corrected.
fn noted_mark(gateway: &Gateway, mark: &Mark) -> Value {
    let mut shown = event(&mark.event);
    shown["uptimeMs"] = milliseconds(gateway.state.uptime_at(mark.at)).into();
    shown
}

fn event(event: &Event) -> Value {
    match event {
        Event::Started => json!({"kind": "start", "text": "The process started: the history begins here"}),
        Event::TookOver => json!({"kind": "start", "text": "It took over from the process before it"}),
        Event::Reloaded { generation } => {
            json!({"kind": "reload", "text": format!("Configuration {generation} applied")})
        }
        Event::ReloadFailed { problem } => {
            json!({"kind": "reloadFailed", "text": format!("Configuration refused: {problem}")})
        }
        Event::Breaker { provider, family, others, from, to, reason } => {
            let mut text = format!("Circuit breaker of {}", display_name(provider));
            // Writing to a string does not fail.
            let _ = match (&**family, others) {
                ("", 0) => Ok(()),
                (family, 0) => write!(text, ", {family}"),
                (family, 1) => write!(text, ", {family} and 1 other model"),
                (family, others) => write!(text, ", {family} and {others} other models"),
            };
            let _ = write!(text, ": {} → {}", from.as_str(), to.as_str());
            if let Some(reason) = reason {
                let _ = write!(text, " ({})", reason.replace('_', " "));
            }
            json!({"kind": "breaker", "provider": &**provider, "from": from.as_str(), "to": to.as_str(), "text": text})
        }
    }
}

fn flag(key: &str, change: &Change) -> Value {
    // Tenants are not named where those who look at the page need no token.
    let to = change.position.as_ref().map_or("as configured".to_owned(), |position| position.in_words(false));
    let note = change.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    let text = format!("Flag {key} → {to}, by {}{note}", change.by);
    json!({"kind": "flag", "flag": key, "to": to, "by": &*change.by, "text": text})
}

fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::switch::Position;
    use crate::state::flags::record::What;
    use crate::telemetry::history::Band;

    #[test]
    fn a_span_is_an_hour_or_a_day_and_nothing_else_is_asked() {
        let read = |query: &str| span(query).ok();
        assert_eq!(
            (read(""), read("span=1h"), read("span=24h")),
            (Some(Span::Hour), Some(Span::Hour), Some(Span::Day))
        );
        for wrong in ["span=", "span=2h", "span=1h&span=1h", "from=1"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn marks_say_what_changed_in_words() {
        let breaker = |family: &str, others| Event::Breaker {
            provider: "buildpanel".into(),
            family: family.into(),
            others,
            from: Band::Closed,
            to: Band::Open,
            reason: Some("consecutive_failures"),
        };
        let text = |it: &Event| event(it)["text"].as_str().unwrap().to_owned();
        assert_eq!(text(&breaker("", 0)), "Circuit breaker of BuildPanel: closed → open (consecutive failures)");
        assert!(text(&breaker("gpt-4o", 2)).starts_with("Circuit breaker of BuildPanel, gpt-4o and 2 other models: "));
        assert_eq!(text(&Event::Reloaded { generation: 3 }), "Configuration 3 applied");
        let change = |position| Change {
            version: 1,
            position,
            was_meant_to_be_on: true,
            at_ms: 0,
            by: "admin".into(),
            from: None,
            what: What::Set,
            note: None,
        };
        let to = |position| flag("use_a", &change(position))["to"].as_str().unwrap().to_owned();
        assert_eq!((to(None), to(Some(Position::plain(false)))), ("as configured".into(), "off".into()));
        let part = Position { tenants: vec!["secret".into()], ..Position::plain(true) };
        assert_eq!(to(Some(part)), "on for 1 tenant");
    }
}
