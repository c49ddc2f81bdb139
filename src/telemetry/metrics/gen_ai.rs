//! What is asked of models, by the names of OpenTelemetry's semantic conventions for generative AI (v1.41.0) in Prometheus'
//! form: dots are underscores, and the unit is the name's end.
//!
//! It does not know what was asked. Names of models come with requests: [`Bounded`] decides which become labels.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::Bounded;

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

/// The labels of an operation: one attempt at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabels {
    /// The provider's name in the configuration.
    pub gen_ai_provider_name: Arc<str>,
    /// The model that it was asked for; empty where the provider chooses.
    pub gen_ai_request_model: Arc<str>,
    /// What it was asked for; see [`operation`].
    pub gen_ai_operation_name: &'static str,
    /// A fault's code, or `cancelled`; empty when all went well.
    pub error_type: &'static str,
}

/// The labels of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UsageLabels {
    /// See [`OperationLabels`].
    pub gen_ai_provider_name: Arc<str>,
    /// See [`OperationLabels`].
    pub gen_ai_request_model: Arc<str>,
    /// See [`OperationLabels`].
    pub gen_ai_operation_name: &'static str,
    /// `input` or `output`.
    pub gen_ai_token_type: &'static str,
}

/// One attempt at a provider, as it is counted.
#[derive(Debug)]
pub struct Operation<'a> {
    /// The provider's name.
    pub provider: &'a Arc<str>,
    /// The model that it was asked for.
    pub model: Option<&'a str>,
    /// What it was asked for.
    pub name: &'static str,
    /// What went wrong; empty: nothing.
    pub error: &'static str,
    /// How long it took, to the end.
    pub took: Duration,
    /// Until the first piece of a stream.
    pub first_chunk: Option<Duration>,
}

/// The metrics.
pub struct GenAiMetrics {
    /// The names of models that are labels.
    pub models: Bounded,
    /// `gen_ai_client_operation_duration_seconds`
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    /// `gen_ai_client_operation_time_to_first_chunk_seconds`
    first_chunks: Family<OperationLabels, Histogram, fn() -> Histogram>,
    /// `gen_ai_client_token_usage`
    usage: Family<UsageLabels, Histogram, fn() -> Histogram>,
}

impl Default for GenAiMetrics {
    fn default() -> Self {
        Self {
            models: Bounded::new(0),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            first_chunks: Family::new_with_constructor(|| Histogram::new(FIRST_CHUNKS)),
            usage: Family::new_with_constructor(|| Histogram::new(TOKENS)),
        }
    }
}

/// What a kind of call is called in the conventions; a kind that they do not know keeps its word. `None`: no model is asked,
/// or nobody knows what it is asked for.
pub fn operation(call: &'static str) -> Option<&'static str> {
    match call {
        "chat" | "parse-order" | "responses" => Some("chat"),
        "completions" => Some("text_completion"),
        "menu" | "models" | "health" | "stats" | "any" => None,
        other => Some(other),
    }
}

impl GenAiMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let durations = self.durations.clone();
        let about = "Attempts at providers, to the end of the answer";
        registry.register_with_unit("gen_ai_client_operation_duration", about, Unit::Seconds, durations);
        let first = self.first_chunks.clone();
        let about = "Time to the first piece of a streamed answer";
        registry.register_with_unit("gen_ai_client_operation_time_to_first_chunk", about, Unit::Seconds, first);
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens of an answer, as its provider counts",
            self.usage.clone(),
        );
    }

    /// One of each, for the reference.
    pub(super) fn fill(&self) {
        super::one(&self.durations);
        super::one(&self.first_chunks);
        super::one(&self.usage);
    }

    /// Counts an attempt.
    pub fn attempted(&self, operation: &Operation<'_>) {
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
    pub fn used(&self, provider: &Arc<str>, model: Option<&str>, name: &'static str, tokens: [(&'static str, u64); 2]) {
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
