//! Further consumers of a finished call, besides metrics and log: the call history, the traffic of the last minute,
//! and reports of the gateway's own faults.
//!
//! It does not know what they do with it.

use std::time::Duration;

use tokio::time::Instant;

use super::{OPERATOR, Watch};
use crate::model::fault::{Blame, Fault};
use crate::model::reply::CacheResult;
use crate::model::time::WallClock;
use crate::model::trail::Facts;
use crate::state::ledger::row::Cost;
use crate::telemetry::explain::{CallHistory, CallRecord};
use crate::telemetry::record::Recording;
use crate::telemetry::reports::Report;
use crate::telemetry::running::RunningCall;
use crate::telemetry::traffic::{Ended, Sample, Traffic};

/// Who wants to know of each call that is over, beside metrics and log.
#[derive(Clone)]
pub struct Telling {
    /// What happened to it; `None`: that is not remembered.
    pub call_history: Option<CallHistory>,
    /// What it was like in numbers.
    pub traffic: Traffic,
    /// Who keeps its row of a traffic trace.
    pub recording: Recording,
    /// What it was, by the wall clock, when a call came.
    pub clock: WallClock,
    /// Which generation of the configuration answers.
    pub generation: u64,
}

impl Watch {
    /// Lets those who want to know look at the call while it runs.
    pub(super) fn show(&self, started: Instant) {
        let Some(telling) = &self.observe.telling else { return };
        let Some(call_history) = &telling.call_history else { return };
        let (request, by) = ((self.method, &self.path), (self.caller, telling.generation));
        let call = RunningCall::new(&self.subject, request, by, started, &self.trail);
        // A call is begun once.
        let _ = self.running.set(call_history.in_flight.begin(call, &self.trail));
    }

    /// Tells who wants to know. Probes and scrapes are nobody's call, and would push those out.
    pub(super) fn tell(&mut self, sample: &Sample, outcome: &'static str, cost: Option<Cost>) {
        let Some(telling) = self.observe.telling.as_ref().filter(|_| self.caller != OPERATOR) else { return };
        telling.traffic.note(sample);
        let Some(call_history) = &telling.call_history else { return };
        // Nearly always nobody can add to the facts any more, and they need not be copied.
        let facts = self.trail.end().unwrap_or_else(|| self.trail.facts().clone());
        call_history.tell(CallRecord {
            id: self.subject.id.clone(),
            route: self.route.route.clone(),
            caller: self.caller,
            method: self.method,
            path: self.path.clone(),
            tenant: self.tenant.take(),
            api_key: self.api_key.take(),
            generation: telling.generation,
            status: self.status,
            outcome,
            took: sample.took,
            bytes_out: self.bytes_out,
            events: self.events,
            cost: cost.map(|cost| cost.usd),
            facts,
        });
    }

    /// The call in numbers.
    pub(super) fn sample(&self, facts: &Facts, cost: Option<Cost>, took: Duration) -> Sample {
        Sample {
            ended: Ended::by(self.status, self.outcome(facts)),
            is_limited: matches!(facts.fault, Some("rate_limited" | "budget_exhausted")),
            is_degraded: facts.degraded.is_some(),
            took,
            first_token: facts.first_token,
            is_kept: facts.cache.and_then(CacheResult::has_served),
            cost: cost.map(|cost| cost.usd).unwrap_or_default(),
        }
    }

    /// Tells those who mend the gateway of a fault of its own. A panic has told of itself, with its place.
    pub(super) fn report(&self, facts: &Facts) {
        let Some(reports) = &self.observe.reports else { return };
        let (Some(code), Some(Blame::Gateway)) = (facts.fault, facts.blame) else { return };
        if facts.fault_detail.as_deref() == Some(Fault::PANIC) {
            return;
        }
        let report = Report {
            code,
            place: None,
            route: Some(self.route()),
            provider: facts.telling().map(|attempt| attempt.provider.clone()),
            request: Some(self.subject.id.clone()),
            trace: self.subject.trace.get().copied(),
        };
        reports.outbox.offer(report, 1);
    }
}
