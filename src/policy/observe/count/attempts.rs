//! Metrics of attempts, by provider.
//!
//! Labels are names of providers, which the config bounds, and words of the code.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::gen_ai::Models;
use crate::model::trail::{Basis, Reason, Tokens};
use crate::telemetry::metrics::handles::Handles;
use crate::telemetry::metrics::{Group, Histograms, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: Arc<str>,
    /// `ok`, `cancelled` or a fault's code.
    outcome: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    provider: Arc<str>,
    /// Why it was made: `first`, `retry`, `failover`, `hedge`, `rescue` or `resume`.
    reason: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    provider: Arc<str>,
    /// `forwarded` or `dropped` (malformed).
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    provider: Arc<str>,
    /// `input` or `output`.
    kind: &'static str,
}

/// The metrics.
pub(super) struct Attempts {
    calls: Family<CallLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    durations: Histograms<ProviderLabels>,
    events: Family<EventLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    estimated: Family<TokenLabels, Counter>,
}

impl Group for Attempts {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            calls: registrar.counters("tidegate_provider_calls_total", "Attempts by provider and outcome"),
            attempts: registrar.counters("tidegate_attempts_total", "Attempts by provider and reason"),
            durations: registrar.histograms(
                "tidegate_provider_duration_seconds",
                "Time of an attempt to the end of the response body",
                seconds,
            ),
            events: registrar.counters("tidegate_stream_events_total", "Stream events by provider and result"),
            tokens: registrar.counters("tidegate_tokens_total", "Tokens of all attempts, reported or estimated"),
            estimated: registrar.counters(
                "tidegate_tokens_estimated_total",
                "Tokens in tidegate_tokens_total that no provider reported",
            ),
        }
    }
}

/// What is counted of one provider's attempts: made once, when a gateway is built.
pub(super) struct ProviderMetrics {
    pub(super) provider: Arc<str>,
    all: Arc<Attempts>,
    calls: Handles<&'static str, Counter, 4>,
    attempts: Handles<&'static str, Counter, 6>,
    durations: Handles<(), Histogram, 1>,
    events: Handles<&'static str, Counter, 2>,
    tokens: Handles<&'static str, Counter, 2>,
    estimated: Handles<&'static str, Counter, 2>,
    /// What is counted of its models.
    pub(super) models: Models,
}

impl ProviderMetrics {
    pub(super) fn new(all: &Arc<Attempts>, provider: Arc<str>) -> Self {
        Self {
            provider,
            all: all.clone(),
            calls: Handles::default(),
            attempts: Handles::default(),
            durations: Handles::default(),
            events: Handles::default(),
            tokens: Handles::default(),
            estimated: Handles::default(),
            models: Models::default(),
        }
    }

    /// Counts an attempt that is over.
    pub(super) fn attempted(&self, outcome: &'static str, reason: Reason, took: Duration) {
        let (all, provider) = (&self.all, || self.provider.clone());
        let labels = |outcome: &&'static str| CallLabels { provider: provider(), outcome };
        self.calls.get(outcome, |outcome| all.calls.get_or_create_owned(&labels(outcome))).inc();
        let labels = |reason: &&'static str| AttemptLabels { provider: provider(), reason };
        self.attempts.get(reason.as_str(), |reason| all.attempts.get_or_create_owned(&labels(reason))).inc();
        let find = |(): &()| all.durations.get_or_create_owned(&ProviderLabels { provider: provider() });
        self.durations.get((), find).observe(took.as_secs_f64());
    }

    /// Counts events of a stream, `forwarded` or `dropped`.
    pub(super) fn streamed(&self, result: &'static str, count: u64) {
        let labels = |result: &&'static str| EventLabels { provider: self.provider.clone(), result };
        self.events.get(result, |result| self.all.events.get_or_create_owned(&labels(result))).inc_by(count);
    }

    /// Counts the tokens of an attempt.
    pub(super) fn used(&self, tokens: Tokens) {
        let labels = |kind: &&'static str| TokenLabels { provider: self.provider.clone(), kind };
        for (kind, count) in [("input", tokens.usage.input), ("output", tokens.usage.output)] {
            if tokens.basis != Basis::Counted {
                let find = |kind: &_| self.all.estimated.get_or_create_owned(&labels(kind));
                self.estimated.get(kind, find).inc_by(count);
            }
            self.tokens.get(kind, |kind| self.all.tokens.get_or_create_owned(&labels(kind))).inc_by(count);
        }
    }
}
