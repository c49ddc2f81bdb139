//! The row of a finished call in a traffic trace, made of the facts.
//!
//! It does not know who keeps it, nor in which form.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Observe, Observing, Watch, outcome_word};
use crate::model::call::Head;
use crate::model::ip_ranges::is_near;
use crate::model::names::customer;
use crate::model::recorded::{RecordedAttempt, RecordedCall};
use crate::model::reply::{CacheResult, Usage};
use crate::model::time::since;
use crate::model::trail::{Attempt, Basis, Decision, Facts, StepKind, Trail};
use crate::state::ledger::row::cost;
use crate::telemetry::record::Recorder;

/// What a row needs of a call beside its facts. Only calls that are recorded have it.
pub(super) struct Recorded {
    recorder: Arc<dyn Recorder>,
    /// Who calls.
    asker: RecordedCall,
    question: OnceLock<Arc<str>>,
}

impl Recorded {
    pub(super) fn new(recorder: Arc<dyn Recorder>, head: &Head) -> Self {
        let asker = RecordedCall {
            route: head.route.clone(),
            tenant: head.is_tenant_named.then(|| head.tenant.clone()),
            user: head.user.clone(),
            key: head.api_key.clone(),
            address: Some(customer(head.address).to_string().into()),
            near: is_near(head.address),
            tier: Some(head.tier.clone()),
            ..RecordedCall::default()
        };
        Self { recorder, asker, question: OnceLock::new() }
    }
}

impl Watch {
    /// What is asked, in the form that equal questions have; asked for only where the call is recorded.
    #[inline]
    pub fn question(&self, canonical: impl Fn() -> Option<Vec<u8>>) {
        if let Some(recorded) = &self.recorded
            && let Some(question) = recorded.recorder.question(&canonical)
        {
            // A call is begun once.
            let _ = recorded.question.set(question);
        }
    }

    /// Has the row written as soon as nobody can add to the facts any more: an answer that others share goes on.
    pub(super) fn record(&self, recorded: Recorded, facts: &Facts, took: Duration) {
        let Recorded { recorder, asker, question } = recorded;
        let row = RecordedCall {
            question: question.into_inner(),
            model: facts.model_asked.clone(),
            bytes_in: facts.bytes_in,
            stream: facts.is_stream,
            status: self.status,
            outcome: self.outcome(facts).into(),
            refused_by: refused_by(facts),
            cache: facts.cache.map(|cache| cache.as_str().into()),
            first_ms: facts.first_token.map(milliseconds),
            took_ms: milliseconds(took),
            waited_ms: milliseconds(waited(facts)),
            ..asker
        };
        let observing = self.observe.clone();
        self.trail.at_end(move |facts| recorder.note(observing.completed(row, facts)));
    }
}

impl Observe {
    /// Has a row written of work that no caller waits for, if anybody is asked for it.
    pub(super) fn record_renewal(&self, trail: &Trail) {
        let Some(recorder) = self.all.recorder() else { return };
        let observing = self.all.clone();
        trail.at_end(move |facts| {
            if let Some(row) = renewal(facts) {
                recorder.note(observing.completed(row, facts));
            }
        });
    }
}

impl Observing {
    /// Who keeps the rows of calls that begin now.
    pub(super) fn recorder(&self) -> Option<Arc<dyn Recorder>> {
        self.telling.as_ref()?.recording.recorder()
    }

    /// A row with what is known only when all attempts are over.
    fn completed(&self, row: RecordedCall, facts: &Facts) -> RecordedCall {
        let tokens = facts.tokens().unwrap_or_default();
        let kept = facts.kept.as_ref().filter(|_| facts.cache.is_some_and(CacheResult::is_kept));
        let at = self.telling.as_ref().map(|telling| telling.clock.at(facts.started));
        RecordedCall {
            at: at.unwrap_or_default(),
            saved: kept.and_then(|kept| kept.usage).map_or(0, Usage::total),
            tokens_in: tokens.input,
            tokens_out: tokens.output,
            cost: cost(facts, &self.prices).map(|cost| cost.usd.as_f64()),
            attempts: facts.attempts.iter().map(|it| attempt(it, facts)).collect(),
            ..row
        }
    }
}

/// The row of a cached response that is renewed.
fn renewal(facts: &Facts) -> Option<RecordedCall> {
    let (account, last) = (facts.account.as_ref()?, facts.telling()?);
    Some(RecordedCall {
        route: account.route.clone(),
        renewal: true,
        stream: facts.is_stream,
        status: last.status.unwrap_or_default(),
        outcome: outcome_word(last).into(),
        took_ms: milliseconds(since(facts.started)),
        ..RecordedCall::default()
    })
}

fn attempt(attempt: &Attempt, facts: &Facts) -> RecordedAttempt {
    // What is made in the background is counted by whoever reads it.
    let tokens = attempt.tokens().filter(|tokens| tokens.basis != Basis::Later);
    let usage = tokens.map(|tokens| tokens.usage).unwrap_or_default();
    RecordedAttempt {
        provider: attempt.provider.clone(),
        model: attempt.model.clone(),
        reason: attempt.reason.as_str().into(),
        start_ms: milliseconds(attempt.started.saturating_duration_since(facts.started)),
        first_ms: attempt.answered.map(milliseconds),
        took_ms: milliseconds(attempt.took.unwrap_or_else(|| since(attempt.started))),
        status: attempt.status,
        outcome: outcome_word(attempt).into(),
        tokens_in: usage.input,
        tokens_out: usage.output,
    }
}

fn refused_by(facts: &Facts) -> Vec<Arc<str>> {
    let limits = facts.limits.iter().filter(|fact| fact.decision == Decision::Refused);
    limits.map(|fact| &fact.terms.rule).chain(&facts.budgets_spent).cloned().collect()
}

fn waited(facts: &Facts) -> Duration {
    let waits = facts.steps.iter().map(|step| match step.what {
        // For another's answer to the same: that is no permit, no quota and no retry.
        StepKind::Waited(_) if step.policy == "cache" => Duration::ZERO,
        StepKind::Waited(time) => time,
        StepKind::Refused(_)
        | StepKind::HeldBack { .. }
        | StepKind::Denied(_)
        | StepKind::Skipped(_)
        | StepKind::Unable(_)
        | StepKind::Overdue(_) => Duration::ZERO,
    });
    waits.fold(Duration::ZERO, Duration::saturating_add)
}

/// Whole milliseconds, to the nearest.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from((time.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}
