//! The access log: one line per finished call, with its metadata and no content.
//!
//! It does not know who reads it, nor in which format.

use std::time::Duration;

use super::{Watch, outcome_word};
use crate::model::names::display_name;
use crate::model::reply::{CacheResult, Degraded};
use crate::model::trail::{Attempt, Decision, Facts, GuardFact};
use crate::state::ledger::row::Cost;
use crate::telemetry::traffic::Ended;

/// The policy whose word has a field of its own.
const IDEMPOTENCY: &str = "idempotency";

impl Watch {
    pub(super) fn log(&self, facts: &Facts, cost: Option<Cost>) {
        let last = facts.telling();
        let provider = last.map(|attempt| display_name(&attempt.provider));
        let line = AccessLine {
            outcome: self.outcome(facts),
            attempts: AttemptList(&facts.attempts).to_string(),
            bought_twice: facts.attempts.iter().filter(|attempt| attempt.reason.is_beside()).count(),
            guarded: guarded(facts),
            noted: noted(facts),
            milliseconds: milliseconds(facts.started.elapsed()),
        };
        macro_rules! access {
            ($level:ident) => {
                tracing::$level!(
                    target: "tidegate::access",
                    req_id = &*self.subject.id,
                    trace_id = facts.trace.as_ref().map(|trace| tracing::field::display(trace.id)),
                    method = self.method,
                    path = &*self.path,
                    route = &*self.route(),
                    caller = self.caller,
                    tenant = self.tenant.as_deref(),
                    api_key = self.api_key.as_deref(),
                    status = self.status,
                    outcome = line.outcome,
                    provider,
                    model = last.and_then(|attempt| attempt.model.as_deref()),
                    attempts = facts.attempts.len(),
                    bought_twice = (line.bought_twice > 0).then_some(line.bought_twice),
                    tried = (!line.attempts.is_empty()).then_some(line.attempts.as_str()),
                    duration = line.milliseconds,
                    first_token = facts.first_token.map(milliseconds),
                    bytes_in = facts.bytes_in,
                    bytes_out = self.bytes_out,
                    events = (self.events > 0).then_some(self.events),
                    events_dropped = (facts.events_dropped > 0).then_some(facts.events_dropped),
                    chunks_in = facts.tunnel.map(|tunnel| tunnel.chunks_in),
                    chunks_out = facts.tunnel.map(|tunnel| tunnel.chunks_out),
                    ended_by = facts.tunnel.and_then(|tunnel| tunnel.ended_by),
                    close_code = facts.tunnel.and_then(|tunnel| tunnel.close_code),
                    tokens_in = facts.tokens().map(|usage| usage.input),
                    tokens_out = facts.tokens().map(|usage| usage.output),
                    tokens = facts.is_estimated().then_some("estimated"),
                    cost_usd = cost.map(|cost| cost.usd.as_f64()),
                    price = cost.filter(|cost| cost.is_default).map(|_| "default"),
                    provider_request_id = last.and_then(|attempt| attempt.request_id.as_deref()),
                    answer_id = last.and_then(|attempt| attempt.answer_id.as_deref()),
                    cache = facts.cache.map(CacheResult::as_str),
                    variant = facts.variant.as_ref().map(|taken| &*taken.name),
                    degraded = facts.degraded.map(Degraded::as_str),
                    fallback = facts.fallback(),
                    model_asked = facts.model_asked.as_deref(),
                    limited_by = rule_that(facts, Decision::Refused),
                    budget = facts.budgets_spent.first().map(|budget| &**budget),
                    shadow_limited_by = rule_that(facts, Decision::ShadowRefused),
                    idempotency = facts.word(IDEMPOTENCY),
                    guarded = (!line.guarded.is_empty()).then_some(line.guarded.as_str()),
                    noted = (!line.noted.is_empty()).then_some(line.noted.as_str()),
                    detail = facts.fault_detail.as_deref(),
                    "request"
                )
            };
        }
        if self.ended() == Ended::Failed { access!(warn) } else { access!(info) }
    }
}

struct AccessLine {
    outcome: &'static str,
    attempts: String,
    bought_twice: usize,
    guarded: String,
    noted: String,
    milliseconds: f64,
}

/// The attempts of a call that needed more than one, as `BuildPanel:provider_timeout together:ok`.
struct AttemptList<'a>(&'a [Attempt]);

impl std::fmt::Display for AttemptList<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.len() < 2 {
            return Ok(());
        }
        for (index, attempt) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(out, "{space}{}:{}", display_name(&attempt.provider), outcome_word(attempt))?;
        }
        Ok(())
    }
}

/// The first rule that decided so.
fn rule_that(facts: &Facts, decision: Decision) -> Option<&str> {
    facts.limits.iter().find(|fact| fact.decision == decision).map(|fact| &*fact.terms.rule)
}

/// What guards found, as `pii:request:email:2`.
fn guarded(facts: &Facts) -> String {
    let word = |it: &GuardFact| format!("{}:{}:{}:{}", it.guard, it.direction.as_str(), it.kind, it.count);
    facts.guarded.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What policies made of the call in a word, as `mirror:sent`.
fn noted(facts: &Facts) -> String {
    let words = facts.words.iter().filter(|(policy, _)| *policy != IDEMPOTENCY);
    words.map(|(policy, word)| format!("{policy}:{word}")).collect::<Vec<_>>().join(" ")
}

/// Milliseconds with three decimals: enough for a cache hit, and short in a log.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
