//! Idempotency: a call with an `Idempotency-Key` is executed once. A repeat gets the response of that execution.
//! While it runs a repeat gets 409; a different request under the same key gets 422.
//!
//! Complete responses and definite refusals of providers are stored. After any other end (a provider failure, a
//! timeout, a caller that left) the same request may be executed again under its key. This file does not know the
//! scope of a key, nor what makes two requests identical; storage is in `memory`, `shared` and `record`.

mod record;

pub mod memory;
mod recording;
pub mod shared;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use self::memory::{Claim, ExecutionRight, Memory};
use self::record::{Record, StoredOutcome};
use self::recording::recorded;
use self::shared::{FetchResult, Right, SharedRecords};
use crate::config::plan::IdempotencyPlan;
use crate::model::call::{Call, Once};
use crate::model::fault::RequestFault;
use crate::model::reply::Reply;
use crate::model::trail::Trail;
use crate::stack::{Next, Outcome, Policy};
use crate::telemetry::metrics::{Group, Metrics, Registrar};

/// The policy, one for all routes.
#[derive(Clone)]
pub struct Idempotency {
    memory: Memory,
    shared: Option<Arc<SharedRecords>>,
    ttl: Duration,
    max_entry: usize,
    metrics: Arc<KeyMetrics>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    route: Arc<str>,
    /// `executed`, `replayed`, `running` or `reused`.
    result: &'static str,
}

/// What is counted of calls that have a key.
pub struct KeyMetrics(Family<KeyLabels, Counter>);

impl Group for KeyMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        let help =
            "Calls with an Idempotency-Key: executed, replayed, still running (409) or reused for another call (422)";
        Self(registrar.counters("tidegate_idempotency_keys_total", help))
    }
}

impl Idempotency {
    /// Remembers as the plan says, in this process, and for all gateways that share a store.
    pub fn new(plan: IdempotencyPlan, memory: Memory, shared: Option<Arc<SharedRecords>>, metrics: &Metrics) -> Self {
        Self { memory, shared, ttl: plan.ttl, max_entry: plan.max_entry, metrics: metrics.group() }
    }

    /// Notes what came of a call's key.
    fn note(&self, call: &Call, result: &'static str) {
        call.trail.say(Self::NAME, result);
        self.metrics.0.get_or_create(&KeyLabels { route: call.head.route.clone(), result }).inc();
    }

    /// The right to execute a request, or what is known of it already.
    async fn claim(&self, once: &Once) -> Claim<Execution> {
        let running = match self.memory.take(once, self.ttl) {
            Claim::Free(running) => running,
            Claim::Kept(kept) => return Claim::Kept(kept),
            Claim::Running => return Claim::Running,
            Claim::Other => return Claim::Other,
        };
        // From here on whoever leaves gives the right back by dropping it.
        let right = match &self.shared {
            None => None,
            Some(shared) => match shared.take(once).await {
                FetchResult::Free(right) => right,
                FetchResult::Kept(kept) => {
                    running.release();
                    return Claim::Kept(kept);
                }
                FetchResult::Running => {
                    running.release();
                    return Claim::Running;
                }
                FetchResult::Other => {
                    running.release();
                    return Claim::Other;
                }
            },
        };
        let shared = right.zip(self.shared.clone());
        Claim::Free(Execution { once: *once, running: Some(running), shared, ttl: self.ttl })
    }
}

/// A request that is being executed. Dropped, it has failed: its key may be used again for the same request.
pub(in crate::policy::idempotency) struct Execution {
    once: Once,
    running: Option<ExecutionRight>,
    shared: Option<(Right, Arc<SharedRecords>)>,
    ttl: Duration,
}

impl Execution {
    /// The execution has ended.
    fn ended(mut self, kept: StoredOutcome) {
        self.note(Some(kept));
    }

    fn note(&mut self, kept: Option<StoredOutcome>) {
        let Some(running) = self.running.take() else { return };
        let record = Arc::new(Record { request: self.once.request, kept });
        if let Some((right, shared)) = self.shared.take() {
            shared.keep(self.once.key, record.clone(), self.ttl, right);
        }
        running.ended(record);
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.note(None);
    }
}

impl Policy for Idempotency {
    const NAME: &'static str = "idempotency";

    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let Some(once) = call.head.once else { return next.call(call).await };
        // Boxed: few calls have a key, and all would hold the room for it.
        let execution = match Box::pin(self.claim(&once)).await {
            Claim::Free(execution) => execution,
            Claim::Kept(kept) => {
                self.note(&call, "replayed");
                return kept.replay();
            }
            Claim::Running => {
                self.note(&call, "running");
                return Err(RequestFault::StillRunning.into());
            }
            Claim::Other => {
                self.note(&call, "reused");
                return Err(RequestFault::KeyReused.into());
            }
        };
        self.note(&call, "executed");
        match next.call(call).await {
            Ok(reply) => Ok(self.follow(reply, execution)),
            Err(fault) => {
                if let Some(kept) = StoredOutcome::of_fault(&fault) {
                    execution.ended(kept);
                }
                Err(fault)
            }
        }
    }
}

impl Idempotency {
    /// Keeps an answer when it is complete.
    fn follow(&self, reply: Box<Reply>, execution: Execution) -> Box<Reply> {
        recorded(reply, self.max_entry, execution)
    }
}

/// True when an answer was given before, to the call that was executed.
pub fn was_replayed(trail: &Trail) -> bool {
    trail.facts().word(Idempotency::NAME) == Some("replayed")
}
