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
use crate::telemetry::traffic::{Sample, Traffic};

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
        let (id, route, path) = (self.subject.id.clone(), self.route.route.clone(), self.path.clone());
        let (caller, method, status) = (self.caller, self.method, self.status);
        let (tenant, api_key, generation) = (self.tenant.take(), self.api_key.take(), telling.generation);
        let (took, bytes_out, events) = (sample.took, self.bytes_out, self.events);
        let cost = cost.map(|cost| cost.usd);
        // Nearly always nobody can add to the facts any more, and they need not be copied.
        self.trail.hand_over(|facts| {
            call_history.tell(CallRecord {
                id,
                route,
                caller,
                method,
                path,
                tenant,
                api_key,
                generation,
                status,
                outcome,
                took,
                bytes_out,
                events,
                cost,
                facts,
            });
        });
    }

    /// The call in numbers.
    pub(super) fn sample(&self, facts: &Facts, cost: Option<Cost>, took: Duration) -> Sample {
        Sample {
            ended: self.ended(facts),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread::{JoinHandle, spawn};

    use parking_lot::Mutex;

    use super::*;
    use crate::config::plan::ExplainPlan;
    use crate::config::{self, Variables};
    use crate::model::call::CallRequest;
    use crate::model::trail::Account;
    use crate::policy::observe::Observe;
    use crate::state::estimate::Estimates;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn a_call_that_ends_is_found_all_the_time() {
        let call_history = CallHistory::default();
        call_history.bound(ExplainPlan { keep: 10, max_bytes: 1 << 20 });
        let telling = Telling {
            call_history: Some(call_history.clone()),
            traffic: Traffic::default(),
            recording: Recording::default(),
            clock: WallClock::new(Arc::new(|| jiff::Timestamp::UNIX_EPOCH)),
            generation: 1,
        };
        // Looked for by another thread at the moment in which its end is counted.
        let look: Arc<Mutex<Option<JoinHandle<bool>>>> = Arc::default();
        let (looking, history) = (look.clone(), call_history.clone());
        let count = move |_: &Facts| {
            let (history, (begins, begun)) = (history.clone(), channel());
            *looking.lock() = Some(spawn(move || begins.send(()).is_ok() && history.find_any("c").is_some()));
            begun.recv().unwrap();
            // What it does not have to wait for it has done by then.
            (0..100).for_each(|_| std::thread::yield_now());
        };
        let plan = config::load(Some(("x.toml", "defaults = false")), &Variables::default()).unwrap();
        let observe = Observe::new(&Metrics::new(), &plan, Estimates::default(), count, None, None).telling(telling);
        let watch = observe.watch("c".into(), &http::Method::GET, "/");
        let (tenant, route) = ("t".into(), "r".into());
        let account = Account { tenant, user: None, api_key: None, session: None, route, is_call: true };
        watch.asked(&CallRequest::Menu, account);
        assert_eq!((call_history.in_flight.count(), call_history.fill().0), (1, 0));
        drop(watch);
        assert_eq!((call_history.in_flight.count(), call_history.fill().0), (0, 1));
        let look = look.lock().take().unwrap();
        assert!(look.join().unwrap(), "the call was neither in flight nor over");
    }
}
