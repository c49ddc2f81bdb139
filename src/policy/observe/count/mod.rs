//! Updates the metrics when a call ends: once as the caller saw it, and once for each attempt at a provider.
//!
//! It reads facts. Each file registers the metrics that it counts, with their labels, and finds those that depend on the route
//! or the provider alone when a gateway is built.

mod choices;
mod gen_ai;

mod attempts;
pub(super) mod callers;
mod pricing;
mod prompts;
pub(super) mod requests;
mod variants;

use std::sync::Arc;
use std::time::Duration;

use self::attempts::{Attempts, ProviderMetrics};
use self::callers::Callers;
use self::gen_ai::{Asked, GenAi, Operation};
use self::pricing::DefaultPrices;
use self::prompts::Prompts;
use self::requests::{Requests, RouteKind, RouteMetrics, TraceLabel};
use self::variants::{VariantCall, Variants};
use super::{CANCELLED, OK, Watch, outcome_word, spans};
use crate::config::plan::MetricsPlan;
use crate::model::fault::Blame;
use crate::model::time::since;
use crate::model::trail::{Attempt, Facts, Taken};
use crate::state::ledger::row::Cost;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traffic::Ended;

/// The metrics of calls.
pub(super) struct CallMetrics {
    pub(super) requests: Arc<Requests>,
    pub(super) callers: Arc<Callers>,
    attempts: Arc<Attempts>,
    gen_ai: Arc<GenAi>,
    variants: Arc<Variants>,
    prompts: Arc<Prompts>,
    default_prices: Arc<DefaultPrices>,
    providers: Vec<ProviderMetrics>,
    /// Of requests for which no route was found.
    pub(super) none: Arc<RouteMetrics>,
}

impl CallMetrics {
    /// Those of calls to these providers. `plan` says how many names that come with requests become labels.
    pub(super) fn new(metrics: &Metrics, plan: MetricsPlan, providers: impl Iterator<Item = Arc<str>>) -> Self {
        let (requests, attempts) = (metrics.group(), metrics.group());
        let (gen_ai, callers) = (metrics.group::<GenAi>(), metrics.group::<Callers>());
        gen_ai.models.allow(plan.max_models);
        callers.tenants.allow(plan.max_tenants);
        Self {
            none: Arc::new(RouteMetrics::new(&requests, "none".into(), RouteKind::None)),
            providers: providers.map(|provider| ProviderMetrics::new(&attempts, provider)).collect(),
            requests,
            callers,
            attempts,
            gen_ai,
            variants: metrics.group(),
            prompts: metrics.group(),
            default_prices: metrics.group(),
        }
    }

    /// Has a provider's metrics count something. One that the configuration does not have is looked up.
    fn of_provider(&self, name: &Arc<str>, count: impl FnOnce(&ProviderMetrics)) {
        match self.providers.iter().find(|own| Arc::ptr_eq(&own.provider, name) || own.provider == *name) {
            Some(provider) => count(provider),
            None => count(&ProviderMetrics::new(&self.attempts, name.clone())),
        }
    }

    /// Counts what happened at providers, when all of it has happened.
    pub(super) fn count_attempts(&self, facts: &Facts) {
        let operation = facts.call.and_then(gen_ai::operation);
        for attempt in &facts.attempts {
            let took = attempt.took.unwrap_or_else(|| since(attempt.started));
            let outcome = outcome_word(attempt);
            self.of_provider(&attempt.provider, |provider| {
                provider.attempted(outcome, attempt.reason, took);
                let Some(asked) = asked(attempt, operation) else { return };
                let operation = Operation {
                    error: Some(outcome).filter(|word| *word != OK).unwrap_or_default(),
                    took,
                    first_chunk: attempt.answered.filter(|_| facts.is_stream),
                };
                self.gen_ai.attempted(&provider.models, &asked, &operation);
            });
        }
        let Some(last) = facts.telling() else { return };
        if facts.events_dropped > 0 {
            self.of_provider(&last.provider, |provider| provider.streamed("dropped", facts.events_dropped));
        }
        for (attempt, tokens) in facts.spent() {
            self.of_provider(&attempt.provider, |provider| {
                provider.used(tokens);
                let asked = asked(attempt, operation).filter(|_| tokens.usage.total() > 0);
                if let Some(asked) = asked {
                    let usage = [("input", tokens.usage.input), ("output", tokens.usage.output)];
                    self.gen_ai.used(&provider.models, &asked, usage);
                }
            });
        }
        if let (Some(account), Some(usage)) = (&facts.account, facts.tokens()) {
            self.callers.used(&account.tenant, [("input", usage.input), ("output", usage.output)]);
        }
    }
}

/// What a provider was asked for by an attempt; `None`: that has no name in the conventions.
fn asked<'a>(attempt: &'a Attempt, operation: Option<&'static str>) -> Option<Asked<'a>> {
    Some(Asked { provider: &attempt.provider, model: attempt.model.as_deref(), name: operation? })
}

impl Watch {
    pub(super) fn count(&self, facts: &Facts, cost: Option<Cost>, whole: Duration) {
        let metrics = &self.observe.metrics;
        // How long people talk says nothing about how fast they were answered.
        let took = facts.tunnel.map_or(whole, |tunnel| tunnel.opened);
        let example = facts.trace.as_ref().filter(|_| spans::is_kept(facts));
        let example = example.map(|trace| TraceLabel { trace_id: trace.id.to_string().into() });
        self.route.count((self.method, self.status), facts, took, example);
        if self.ended(facts) == Ended::Failed {
            self.route.count_failed();
        }
        if let Some(taken) = &facts.variant {
            metrics.variants.count(&self.route.route, &taken.name, self.variant_call(facts, taken, cost, whole));
        }
        if let Some(prompt) = &facts.prompt {
            metrics.prompts.count(prompt, self.verdict(facts), took, cost);
        }
        if cost.is_some_and(|cost| cost.is_default) {
            metrics.default_prices.count(facts, &self.observe.prices, &metrics.gen_ai.models);
        }
        if self.events > 0
            && let Some(served) = facts.telling()
        {
            metrics.of_provider(&served.provider, |provider| provider.streamed("forwarded", self.events));
        }
        let outcome = match self.outcome(facts) {
            OK if self.ended_by_head() == Ended::Well => "successful",
            CANCELLED => "cancelled",
            _ => "failed",
        };
        if facts.call == Some("chat") {
            metrics.callers.chatted(outcome, took);
        }
        metrics.callers.requested(self.tenant.as_deref(), outcome);
    }

    /// How the call ended, for those who compare: `ok`, `failed`, `rejected` (the caller's mistake) or `cancelled`.
    fn verdict(&self, facts: &Facts) -> &'static str {
        match facts.blame {
            Some(Blame::Caller) => "rejected",
            Some(_) => "failed",
            None if !self.is_complete => "cancelled",
            None => "ok",
        }
    }

    fn variant_call(&self, facts: &Facts, taken: &Taken, cost: Option<Cost>, took: Duration) -> VariantCall {
        let outcome = match self.verdict(facts) {
            "ok" if taken.has_failed => "fell_back",
            outcome => outcome,
        };
        VariantCall {
            outcome,
            took: took.as_secs_f64(),
            first_token: facts.first_token.map(|first| first.as_secs_f64()),
            cost: cost.map(|cost| cost.usd.as_f64()),
        }
    }
}
