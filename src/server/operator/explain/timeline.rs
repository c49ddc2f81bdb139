//! A call as rows on one time axis: limits, budgets, cache and guardrails where they decided, waits and attempts with their
//! beginning and end, and the answer.
//!
//! The page draws them, and so does the text for a terminal. It does not know what either looks like.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ended_with_status, named, offset};
use crate::model::names::display_name;
use crate::model::reply::CacheResult;
use crate::model::trail::{Attempt, Decision, Direction, Outcome, Step, StepKind};
use crate::server::operator::answer::milliseconds;
use crate::telemetry::explain::CallRecord;
use crate::telemetry::traffic::Ended;

/// How something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should.
    Good,
    /// It cost time, or the call something.
    Warn,
    /// It failed.
    Bad,
}

impl Tone {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
        }
    }
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// `call`, `decision`, `wait`, `attempt` or `answer`.
    pub(super) kind: &'static str,
    /// What it is.
    pub(super) label: String,
    /// When it began, from the call's start.
    pub(super) at: Duration,
    /// How long it took; zero for what happened in an instant.
    pub(super) took: Duration,
    /// When the first event or the whole answer came, from its beginning.
    pub(super) answered: Option<Duration>,
    /// How it ended, in a few words.
    pub(super) result: String,
    pub(super) tone: Tone,
}

impl Row {
    fn instant(label: String, at: Duration, result: String, tone: Tone) -> Self {
        Self { kind: "decision", label, at, took: Duration::ZERO, answered: None, result, tone }
    }

    pub(super) fn shown(&self) -> Value {
        json!({
            "kind": self.kind,
            "label": self.label,
            "atMs": milliseconds(self.at),
            "tookMs": milliseconds(self.took),
            "answeredMs": self.answered.map(milliseconds),
            "result": self.result,
            "tone": self.tone.as_str(),
        })
    }
}

/// The end of the axis. A shared answer may go on after the call.
pub(super) fn end(rows: &[Row]) -> Duration {
    rows.iter().map(|row| row.at + row.took).max().unwrap_or_default()
}

/// What happened, in its order: the whole call, and then each thing by its beginning.
pub(super) fn rows(record: &CallRecord) -> Vec<Row> {
    let facts = &record.facts;
    let mut rows = decisions(record);
    rows.extend(facts.steps.iter().map(step));
    rows.extend((1..).zip(&facts.attempts).map(|(number, tried)| attempt(record, number, tried)));
    for waiting in &facts.waiting {
        let took = record.took.saturating_sub(waiting.at);
        let label = format!("{}{}", waiting.policy, named(waiting.provider.as_deref()));
        rows.push(wait(label, waiting.at, took, "still waiting"));
    }
    if let Some(first) = facts.first_token {
        let is_whole = record.events == 0 && !facts.is_stream;
        rows.push(Row {
            kind: "answer",
            label: "response".into(),
            at: first,
            took: record.took.saturating_sub(first),
            answered: None,
            result: if is_whole { "whole" } else { "streamed" }.into(),
            tone: if record.is_fine() || record.is_running() { Tone::Good } else { tone(record) },
        });
    }
    // What took no time comes before what is made of it in the same instant.
    rows.sort_by_key(|row| (row.at, row.kind != "decision" && !row.took.is_zero()));
    let result = if record.is_running() { "running".into() } else { format!("{} {}", record.status, record.outcome) };
    let call = Row {
        kind: "call",
        label: "call".into(),
        at: Duration::ZERO,
        took: record.took,
        answered: facts.first_token,
        result,
        tone: tone(record),
    };
    rows.insert(0, call);
    rows
}

/// How the call went.
pub(super) fn tone(record: &CallRecord) -> Tone {
    match record.ended() {
        None => Tone::Good,
        Some(Ended::Well) if record.facts.degraded.is_none() => Tone::Good,
        Some(Ended::Well | Ended::Refused | Ended::Left) => Tone::Warn,
        Some(Ended::Failed) => Tone::Bad,
    }
}

/// What was decided before anybody was asked: when the body had been read, and the policy had waited for whom it asks.
fn decisions(record: &CallRecord) -> Vec<Row> {
    let facts = &record.facts;
    let limit = facts.limits.iter().map(|fact| {
        let tone = match fact.decision {
            Decision::Refused => Tone::Bad,
            Decision::ShadowRefused => Tone::Warn,
            Decision::Admitted | Decision::NotCharged | Decision::ShadowAdmitted => Tone::Good,
        };
        let at = facts.decided_at("limit");
        Row::instant(format!("limit {}", fact.terms.rule), at, fact.decision.as_str().into(), tone)
    });
    let budget = facts.budgets.iter().map(|fact| {
        let (word, tone) = match (fact.fits, facts.budgets_spent.contains(&fact.budget)) {
            (true, _) => ("reserved", Tone::Good),
            (false, true) => ("does not fit: refused", Tone::Bad),
            (false, false) => ("spent", Tone::Warn),
        };
        Row::instant(format!("budget {}", fact.budget), facts.decided_at("budget"), word.into(), tone)
    });
    let guarded = facts.guarded.iter().map(|fact| {
        let tone = if fact.action == "reject" { Tone::Bad } else { Tone::Warn };
        let result = format!("{} {} {}", fact.count, fact.kind, super::guarded(fact));
        let at = match fact.direction {
            Direction::Request => facts.decided_at("guard"),
            Direction::Answer => facts.first_token.unwrap_or(record.took),
        };
        Row::instant(format!("guardrail {}", fact.guard), at, result, tone)
    });
    let cache =
        facts.cache.map(|cache| Row::instant("cache".into(), cached_at(record), cache.as_str().into(), Tone::Good));
    limit.chain(budget).chain(guarded).chain(cache).collect()
}

/// When the cache had decided: before the wait for an answer that others had asked for already, after that for the shared store.
pub(super) fn cached_at(record: &CallRecord) -> Duration {
    match record.facts.cache {
        Some(CacheResult::Collapsed) => record.facts.asked_at.unwrap_or_default(),
        _ => record.facts.decided_at("cache"),
    }
}

fn attempt(record: &CallRecord, number: usize, tried: &Attempt) -> Row {
    let at = offset(record, tried);
    let tone = match (tried.outcome, tried.took) {
        (Outcome::Failed(_), _) => Tone::Bad,
        (Outcome::Pending, Some(_)) => Tone::Warn,
        (Outcome::Succeeded, _) | (Outcome::Pending, None) => Tone::Good,
    };
    Row {
        kind: "attempt",
        label: format!("{number} {} ({})", display_name(&tried.provider), tried.reason.as_str()),
        at,
        took: tried.took.unwrap_or_else(|| record.took.saturating_sub(at)),
        answered: tried.answered,
        result: ended_with_status(tried).into(),
        tone,
    }
}

fn step(step: &Step) -> Row {
    let label = format!("{}{}", step.policy, named(step.provider.as_deref()));
    match &step.what {
        // A retry is noted when its wait begins, all others when it is over.
        StepKind::Waited(time) if step.policy == "retry" => wait(label, step.at, *time, "waits"),
        StepKind::Waited(time) => wait(label, step.at.saturating_sub(*time), *time, "waited"),
        StepKind::Refused(_) => Row::instant(label, step.at, "refuses".into(), Tone::Bad),
        StepKind::HeldBack { .. } => Row::instant(label, step.at, "holds this request back".into(), Tone::Bad),
        StepKind::Denied(_) => Row::instant(label, step.at, "no more tries".into(), Tone::Warn),
        StepKind::Skipped(_) | StepKind::Unable(_) => Row::instant(label, step.at, "skipped".into(), Tone::Warn),
        StepKind::Overdue(_) => Row::instant(label, step.at, "overdue".into(), Tone::Warn),
    }
}

fn wait(label: String, at: Duration, took: Duration, result: &str) -> Row {
    Row { kind: "wait", label, at, took, answered: None, result: result.into(), tone: Tone::Warn }
}
