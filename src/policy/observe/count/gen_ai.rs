//! Metrics of model calls, named after OpenTelemetry's semantic conventions for generative AI (v1.41.0) in
//! Prometheus' form: dots become underscores, and the name ends with the unit.
//!
//! It does not know the content. Names of models come from requests: [`Bounded`] decides which become labels. The metrics of
//! a provider's first models are kept at hand.

use std::sync::{Arc, OnceLock};
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

/// What a provider was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The provider's name.
    pub(super) provider: &'a Arc<str>,
    /// The model; `None`: the provider chooses.
    pub(super) model: Option<&'a str>,
    /// See [`operation`].
    pub(super) name: &'static str,
}

/// One attempt at a provider, as it is counted.
#[derive(Debug)]
pub(super) struct Operation {
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

/// How many models of a provider have their metrics at hand. Those of others are looked up.
const AT_HAND: usize = 8;

/// The metrics of a provider's models, as far as they were counted: of calls that went well.
#[derive(Debug, Default)]
pub(super) struct Models([OnceLock<OneModel>; AT_HAND]);

/// The metrics of what one model was asked for.
#[derive(Debug)]
struct OneModel {
    label: Arc<str>,
    name: &'static str,
    durations: OnceLock<Histogram>,
    first_chunks: OnceLock<Histogram>,
    /// Of prompts and of answers.
    usage: [OnceLock<Histogram>; 2],
}

impl Models {
    /// The metrics of a model; `label` says by which name it is counted. `None`: they are looked up.
    fn find(&self, asked: &Asked<'_>, label: impl FnOnce() -> Arc<str>) -> Option<&OneModel> {
        // An empty name is no label, and would look like none.
        let model = asked.model.filter(|name| !name.is_empty()).or(asked.model.is_none().then_some(""))?;
        let is_it = |own: &OneModel| own.name == asked.name && *own.label == *model;
        let free = match self.0.iter().map_while(OnceLock::get).position(is_it) {
            Some(at) => return self.0[at].get(),
            None => self.0.iter().find(|slot| slot.get().is_none())?,
        };
        // A name that has no label of its own may get one.
        let label = Some(label()).filter(|label| **label == *model)?;
        let new = || OneModel {
            label,
            name: asked.name,
            durations: OnceLock::new(),
            first_chunks: OnceLock::new(),
            usage: Default::default(),
        };
        // Somebody else may have taken the slot meanwhile, for another model.
        Some(free.get_or_init(new)).filter(|own| is_it(own))
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
    /// Counts an attempt. `models` are those of its provider.
    pub(super) fn attempted(&self, models: &Models, asked: &Asked<'_>, operation: &Operation) {
        let is_real = operation.error.is_empty();
        let label = || self.label(asked.model, is_real);
        let at_hand = if is_real { models.find(asked, label) } else { None };
        let labels = || OperationLabels {
            gen_ai_provider_name: asked.provider.clone(),
            gen_ai_request_model: at_hand.map_or_else(label, |model| model.label.clone()),
            gen_ai_operation_name: asked.name,
            error_type: operation.error,
        };
        let count = |family: &Histograms<OperationLabels>, at_hand: Option<&OnceLock<Histogram>>, took: Duration| {
            let find = || family.get_or_create_owned(&labels());
            match at_hand {
                Some(own) => own.get_or_init(find).observe(took.as_secs_f64()),
                None => find().observe(took.as_secs_f64()),
            }
        };
        count(&self.durations, at_hand.map(|model| &model.durations), operation.took);
        if let Some(first) = operation.first_chunk {
            count(&self.first_chunks, at_hand.map(|model| &model.first_chunks), first);
        }
    }

    /// Counts the tokens of an answer: those of its prompt, and its own.
    pub(super) fn used(&self, models: &Models, asked: &Asked<'_>, tokens: [(&'static str, u64); 2]) {
        let label = || self.label(asked.model, true);
        let at_hand = models.find(asked, label);
        for (place, (kind, count)) in tokens.into_iter().enumerate() {
            let find = || {
                self.usage.get_or_create_owned(&UsageLabels {
                    gen_ai_provider_name: asked.provider.clone(),
                    gen_ai_request_model: at_hand.map_or_else(label, |model| model.label.clone()),
                    gen_ai_operation_name: asked.name,
                    gen_ai_token_type: kind,
                })
            };
            match at_hand.and_then(|model| model.usage.get(place)) {
                Some(own) => own.get_or_init(find).observe(count as f64),
                None => find().observe(count as f64),
            }
        }
    }

    /// The label of a model's name; none where the provider chooses.
    fn label(&self, name: Option<&str>, is_real: bool) -> Arc<str> {
        name.map(|name| self.models.label(name, is_real)).unwrap_or_default()
    }
}
