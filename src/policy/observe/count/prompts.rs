//! Metrics of the calls of prompts, by version.
//!
//! Labels are keys and versions of prompts, which the config bounds, and words of the code. They are looked up per call,
//! because few calls have a prompt.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::model::trail::PromptFact;
use crate::state::ledger::row::Cost;
use crate::telemetry::metrics::{FloatCounter, Group, Histograms, Registrar, seconds};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    prompt: Arc<str>,
    version: u32,
    outcome: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PromptLabels {
    prompt: Arc<str>,
    version: u32,
}

/// The metrics.
pub(super) struct Prompts {
    requests: Family<CallLabels, Counter>,
    durations: Histograms<PromptLabels>,
    cost: Family<PromptLabels, FloatCounter>,
}

impl Group for Prompts {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
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
        }
    }
}

impl Prompts {
    /// Counts a call: how it ended, how long it took, and what it cost by the price table where that is known.
    pub(super) fn count(&self, prompt: &PromptFact, outcome: &'static str, took: Duration, cost: Option<Cost>) {
        let PromptFact { key, version } = prompt;
        let labels = PromptLabels { prompt: key.clone(), version: *version };
        self.requests.get_or_create(&CallLabels { prompt: key.clone(), version: *version, outcome }).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(cost) = cost {
            self.cost.get_or_create(&labels).inc_by(cost.usd.as_f64());
        }
    }
}
