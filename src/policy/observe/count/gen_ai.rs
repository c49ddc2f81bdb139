//! Metrics of model calls, named after OpenTelemetry's semantic conventions for generative AI (v1.41.0) in
//! Prometheus' form: dots become underscores, and the name ends with the unit.
//!
//! It does not know the content. Names of models come from requests: [`Bounded`] decides which become labels, and
//! the metrics are looked up per attempt.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::metrics::bounded::Bounded;
use crate::telemetry::metrics::{Group, Histograms, Registrar};

// The bounds are those that the conventions advise.
const DURATIONS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_CHUNKS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    gen_ai_provider_name: Arc<str>,
    /// The model that it was asked for; empty where the provider chooses.
    gen_ai_request_model: Arc<str>,
    /// See [`operation`].
    gen_ai_operation_name: &'static str,
    /// A fault's code, or `cancelled`; empty when all went well.
    error_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UsageLabels {
    gen_ai_provider_name: Arc<str>,
    gen_ai_request_model: Arc<str>,
    gen_ai_operation_name: &'static str,
    /// `input` or `output`.
    gen_ai_token_type: &'static str,
}

/// One attempt at a provider, as it is counted.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    /// The provider's name.
    pub(super) provider: &'a Arc<str>,
    /// The model that it was asked for.
    pub(super) model: Option<&'a str>,
    /// What it was asked for.
    pub(super) name: &'static str,
    /// What went wrong; empty: nothing.
    pub(super) error: &'static str,
    /// How long it took, to the end.
    pub(super) took: Duration,
    /// Until the first piece of a stream.
    pub(super) first_chunk: Option<Duration>,
}

/// The metrics.
pub(super) struct GenAi {
    /// The names of models that are labels.
    pub(super) models: Bounded,
    durations: Histograms<OperationLabels>,
    first_chunks: Histograms<OperationLabels>,
    usage: Histograms<UsageLabels>,
}

impl Group for GenAi {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            models: Bounded::new(0),
            durations: registrar.histograms(
                "gen_ai_client_operation_duration_seconds",
                "Time of an attempt to the end of the response",
                || Histogram::new(DURATIONS),
            ),
            first_chunks: registrar.histograms(
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "Time to the first chunk of a streamed response",
                || Histogram::new(FIRST_CHUNKS),
            ),
            usage: registrar.histograms(
                "gen_ai_client_token_usage",
                "Tokens of a response, as reported by the provider",
                || Histogram::new(TOKENS),
            ),
        }
    }
}

/// What a kind of call is called in the conventions; a kind that they do not know keeps its word. `None`: no model is asked,
/// or nobody knows what it is asked for.
pub(super) fn operation(call: &'static str) -> Option<&'static str> {
    match call {
        "chat" | "parse-order" | "responses" => Some("chat"),
        "completions" => Some("text_completion"),
        "menu" | "models" | "health" | "stats" | "any" => None,
        other => Some(other),
    }
}

impl GenAi {
    /// Counts an attempt.
    pub(super) fn attempted(&self, operation: &Operation<'_>) {
        let labels = OperationLabels {
            gen_ai_provider_name: operation.provider.clone(),
            gen_ai_request_model: self.model(operation.model, operation.error.is_empty()),
            gen_ai_operation_name: operation.name,
            error_type: operation.error,
        };
        self.durations.get_or_create(&labels).observe(operation.took.as_secs_f64());
        if let Some(first) = operation.first_chunk {
            self.first_chunks.get_or_create(&labels).observe(first.as_secs_f64());
        }
    }

    /// Counts the tokens of an answer.
    pub(super) fn used(
        &self,
        provider: &Arc<str>,
        model: Option<&str>,
        name: &'static str,
        tokens: [(&'static str, u64); 2],
    ) {
        let model = self.model(model, true);
        for (kind, count) in tokens {
            let labels = UsageLabels {
                gen_ai_provider_name: provider.clone(),
                gen_ai_request_model: model.clone(),
                gen_ai_operation_name: name,
                gen_ai_token_type: kind,
            };
            self.usage.get_or_create(&labels).observe(count as f64);
        }
    }

    fn model(&self, name: Option<&str>, is_real: bool) -> Arc<str> {
        name.map(|name| self.models.label(name, is_real)).unwrap_or_default()
    }
}
