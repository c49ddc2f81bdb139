//! Metric of calls whose models nobody has priced, so that what they cost is a guess.
//!
//! Names of models come from requests: [`Bounded`] decides which become labels. A call at known prices comes by nothing here.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::config::plan::Prices;
use crate::model::trail::{Facts, Outcome};
use crate::telemetry::metrics::bounded::Bounded;
use crate::telemetry::metrics::{Group, Registrar};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriceLabels {
    provider: Arc<str>,
    model: Arc<str>,
}

/// The metric.
pub(super) struct DefaultPrices {
    attempts: Family<PriceLabels, Counter>,
}

impl Group for DefaultPrices {
    fn register(registrar: &mut Registrar<'_>) -> Self {
        Self {
            attempts: registrar.counters(
                "tidegate_default_priced_attempts_total",
                "Charged attempts at models that have no price but that of any model (`\"*\"`), or none",
            ),
        }
    }
}

impl DefaultPrices {
    /// Counts the attempts of a call that cost something by a default price.
    pub(super) fn count(&self, facts: &Facts, prices: &Prices, models: &Bounded) {
        for (attempt, _) in facts.spent() {
            let model = attempt.model.as_deref().unwrap_or_default();
            if prices.of(&attempt.provider, model).is_default {
                let model = models.label(model, attempt.outcome == Outcome::Succeeded);
                let labels = PriceLabels { provider: attempt.provider.clone(), model };
                self.attempts.get_or_create_owned(&labels).inc();
            }
        }
    }
}
