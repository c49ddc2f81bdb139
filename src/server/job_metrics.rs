//! What is counted of jobs: those that submit them, work on them and tell of their ends call it.
//!
//! How many jobs there are in each state is sampled from the store instead. No label names a tenant.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::model::job::{JobKind, JobPriority};
use crate::telemetry::metrics::{Group, Histograms, Registrar};

/// Bucket bounds of attempts, in seconds: an attempt has as long as its route's timeouts say, usually two minutes.
const ATTEMPT_SECONDS: [f64; 12] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Bucket bounds of waits, in seconds, from nothing to a day: that is how long jobs may wait by default. The alert for a
/// backlog compares with a quarter of an hour.
const WAIT_SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4.0 * 3600.0, 12.0 * 3600.0, 24.0 * 3600.0];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubmittedLabels {
    kind: &'static str,
    priority: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// What came of one attempt at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It has a result.
    Completed,
    /// It failed; the job may be tried again.
    Failed,
    /// It could not begin or go on, because a limit, a budget or a provider's capacity was used up. The job waits, and
    /// no attempt is charged.
    Waiting,
    /// The job was cancelled meanwhile.
    Cancelled,
    /// The lease was lost meanwhile: another worker has the job, or will.
    Lost,
    /// The worker is leaving, and gave the job back.
    PutBack,
}

impl AttemptOutcome {
    fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Completed => "completed",
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Waiting => "waiting",
            AttemptOutcome::Cancelled => "cancelled",
            AttemptOutcome::Lost => "lost",
            AttemptOutcome::PutBack => "put_back",
        }
    }
}

/// What came of one attempt to tell a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResult {
    /// The receiver has it.
    Delivered,
    /// It was not delivered, and will be tried again.
    Failed,
    /// It was not delivered, and will not be tried again: the receiver does not want it, its address is not allowed, or
    /// it was tried for too long.
    GivenUp,
}

impl WebhookResult {
    fn as_str(self) -> &'static str {
        match self {
            WebhookResult::Delivered => "delivered",
            WebhookResult::Failed => "failed",
            WebhookResult::GivenUp => "given_up",
        }
    }
}

/// The metrics. Ask for them with `gateway.metrics.group::<JobMetrics>()`.
pub struct JobMetrics {
    submitted: Family<SubmittedLabels, Counter>,
    attempts: Family<OutcomeLabels, Counter>,
    durations: Histograms<KindLabels>,
    waits: Histogram,
    outcomes: Family<OutcomeLabels, Counter>,
    cancelled: Counter,
    fenced: Counter,
    takeovers: Counter,
    webhooks: Family<ResultLabels, Counter>,
}

impl Group for JobMetrics {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            submitted: registrar
                .counters("tidegate_jobs_submitted_total", "Jobs accepted by this gateway, by kind and priority"),
            attempts: registrar
                .counters("tidegate_jobs_attempts_total", "Attempts at jobs by this process, by kind and outcome"),
            durations: registrar.histograms(
                "tidegate_jobs_duration_seconds",
                "How long attempts that completed or failed took, by kind",
                || Histogram::new(ATTEMPT_SECONDS),
            ),
            waits: registrar.histogram(
                "tidegate_jobs_wait_seconds",
                "Time from the submission of a job to its first attempt, a requested delay included",
                || Histogram::new(WAIT_SECONDS),
            ),
            outcomes: registrar.counters(
                "tidegate_jobs_outcome_total",
                "Jobs that completed, or failed and will not be tried again, by kind and outcome",
            ),
            cancelled: registrar
                .counter("tidegate_jobs_cancelled_total", "Cancellations of jobs, by callers and by operators"),
            fenced: registrar.counter(
                "tidegate_jobs_fenced_total",
                "Results that were not written because the worker had lost the job",
            ),
            takeovers: registrar
                .counter("tidegate_jobs_takeovers_total", "Jobs taken over from a worker that did not renew its lease"),
            webhooks: registrar
                .counters("tidegate_jobs_webhooks_total", "Attempts to deliver a webhook of a job, by result"),
        }
    }
}

impl JobMetrics {
    /// Counts a job that the store has accepted; not one that was known already.
    pub fn submitted(&self, kind: JobKind, priority: JobPriority) {
        let labels = SubmittedLabels { kind: kind.as_str(), priority: priority.as_str() };
        self.submitted.get_or_create(&labels).inc();
    }

    /// Counts how long a job has waited since its submission. For first attempts only: what happened between attempts is no
    /// wait for a turn.
    pub fn began(&self, waited: Duration) {
        self.waits.observe(waited.as_secs_f64());
    }

    /// Counts one attempt that is over, and how long it took.
    pub fn attempted(&self, kind: JobKind, outcome: AttemptOutcome, took: Duration) {
        let kind = kind.as_str();
        self.attempts.get_or_create(&OutcomeLabels { kind, outcome: outcome.as_str() }).inc();
        // The others say how long something else took: the way to a limit, the caller's patience, a lease.
        if matches!(outcome, AttemptOutcome::Completed | AttemptOutcome::Failed) {
            self.durations.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
        }
    }

    /// Counts a job whose end is written: with a result, or without one for good.
    pub fn ended(&self, kind: JobKind, has_result: bool) {
        let outcome = if has_result { "completed" } else { "failed" };
        self.outcomes.get_or_create(&OutcomeLabels { kind: kind.as_str(), outcome }).inc();
    }

    /// Counts a cancellation that the store has accepted.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// Counts an end that the store refused, because the job is no longer this worker's.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// Counts a job that was another worker's before.
    pub fn taken_over(&self) {
        self.takeovers.inc();
    }

    /// Counts an attempt to deliver a webhook.
    pub fn told(&self, result: WebhookResult) {
        self.webhooks.get_or_create(&ResultLabels { result: result.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::metrics::sampled::Sampled;

    #[test]
    fn each_event_is_counted_under_its_own_name() {
        let metrics = Metrics::new();
        let jobs = metrics.group::<JobMetrics>();
        jobs.submitted(JobKind::CustomPrompt, JobPriority::High);
        jobs.began(Duration::from_secs(2));
        jobs.attempted(JobKind::CustomPrompt, AttemptOutcome::Waiting, Duration::from_secs(7));
        jobs.attempted(JobKind::CustomPrompt, AttemptOutcome::Completed, Duration::from_secs(3));
        jobs.ended(JobKind::CustomPrompt, true);
        jobs.ended(JobKind::CanvasGeneration, false);
        jobs.cancelled();
        jobs.fenced();
        jobs.fenced();
        jobs.taken_over();
        jobs.told(WebhookResult::GivenUp);
        let page = metrics.page(&Arc::new(Sampled::default()), false);
        for line in [
            "tidegate_jobs_submitted_total{kind=\"custom_prompt\",priority=\"high\"} 1",
            "tidegate_jobs_attempts_total{kind=\"custom_prompt\",outcome=\"waiting\"} 1",
            "tidegate_jobs_attempts_total{kind=\"custom_prompt\",outcome=\"completed\"} 1",
            // What waited took no time of work.
            "tidegate_jobs_duration_seconds_sum{kind=\"custom_prompt\"} 3.0",
            "tidegate_jobs_wait_seconds_sum 2.0",
            "tidegate_jobs_outcome_total{kind=\"custom_prompt\",outcome=\"completed\"} 1",
            "tidegate_jobs_outcome_total{kind=\"canvas_generation\",outcome=\"failed\"} 1",
            "tidegate_jobs_cancelled_total 1",
            "tidegate_jobs_fenced_total 2",
            "tidegate_jobs_takeovers_total 1",
            "tidegate_jobs_webhooks_total{result=\"given_up\"} 1",
        ] {
            assert!(page.lines().any(|it| it == line), "{line} is missing in:\n{page}");
        }
    }
}
