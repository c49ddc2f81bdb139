//! Metrics of the calls of prompts, by version.
//!
//! Labels are keys and versions of prompts, which the config bounds, and words of the code.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;

use super::choices::Choices;
use crate::model::trail::PromptFact;
use crate::state::ledger::row::Cost;
use crate::telemetry::metrics::{Group, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PromptLabels {
    prompt: Arc<str>,
    version: u32,
}

/// The metrics.
pub(super) struct Prompts(Choices<PromptLabels>);

impl Group for Prompts {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self(Choices {
            requests: registrar
                .counters("tidegate_prompt_requests_total", "Requests with a prompt, by prompt, version and outcome"),
            durations: registrar.histograms(
                "tidegate_prompt_duration_seconds",
                "Time to the end of the response, by prompt and version",
                seconds,
            ),
            cost: registrar.float_counters(
                "tidegate_prompt_cost_usd_total",
                "Cost of responses by prompt and version, from the price table",
            ),
        })
    }
}

impl Prompts {
    /// Counts a call: how it ended, how long it took, and what it cost by the price table where that is known.
    pub(super) fn count(&self, prompt: &PromptFact, outcome: &'static str, took: Duration, cost: Option<Cost>) {
        let labels = PromptLabels { prompt: prompt.key.clone(), version: prompt.version };
        self.0.count(&labels, outcome, took.as_secs_f64(), cost.map(|cost| cost.usd.as_f64()));
    }
}
