//! Updates the metrics when a call ends: once as the caller saw it, and once for each attempt at a provider.
//!
//! It reads facts. It does not know the names of metrics.

use std::time::Duration;

use super::{CANCELLED, OK, Watch, outcome_word, spans};
use crate::model::fault::Blame;
use crate::model::trail::{AuthFact, Basis, Facts, GuardFact, Taken, Tokens};
use crate::state::ledger::row::Cost;
use crate::telemetry::metrics::auth::AuthLabels;
use crate::telemetry::metrics::caches::CacheLabels;
use crate::telemetry::metrics::callers::{ChatLabels, TenantLabels, TenantTokenLabels};
use crate::telemetry::metrics::flags::VariantCall;
use crate::telemetry::metrics::gen_ai;
use crate::telemetry::metrics::gen_ai::Operation;
use crate::telemetry::metrics::guards::GuardLabels;
use crate::telemetry::metrics::idempotency::KeyLabels;
use crate::telemetry::metrics::limits::{BudgetLabels, CheckLabels, DecisionLabels};
use crate::telemetry::metrics::outboxes::TraceLabel;
use crate::telemetry::metrics::{
    AttemptLabels, DegradedLabels, EventLabels, Metrics, ProviderCallLabels, ProviderLabels, RequestLabels,
    RouteLabels, TokenLabels, as_seconds,
};
use crate::telemetry::traffic::Ended;

impl Watch {
    pub(super) fn count(&self, facts: &Facts, cost: Option<Cost>) {
        let metrics = &self.observe.metrics;
        let labels = RequestLabels { route: self.route.clone(), method: self.method, status: self.status };
        metrics.requests.get_or_create(&labels).inc();
        let route = RouteLabels { route: self.route.clone() };
        // How long people talk says nothing about how fast they were answered.
        let took = facts.tunnel.map_or_else(|| facts.started.elapsed(), |tunnel| tunnel.opened);
        let example = facts.trace.as_ref().filter(|_| spans::is_kept(facts));
        let example = example.map(|trace| TraceLabel { trace_id: trace.id.to_string().into() });
        metrics.durations.get_or_create(&route).observe(as_seconds(took), example, None);
        if let Some(first) = facts.first_token {
            metrics.first_tokens.get_or_create(&route).observe(as_seconds(first));
        }
        if let Some(degraded) = facts.degraded {
            let labels = DegradedLabels { route: self.route.clone(), how: degraded.as_str() };
            metrics.degraded.get_or_create(&labels).inc();
        }
        if let Some(result) = facts.cache {
            let labels = CacheLabels { route: self.route.clone(), result: result.as_str() };
            metrics.caches.results.get_or_create(&labels).inc();
        }
        if let Some(taken) = &facts.variant {
            metrics.flags.count(&self.route, &taken.name, self.variant_call(facts, taken, cost));
        }
        for fact in &facts.limits {
            let labels = DecisionLabels { limit: fact.rule.clone(), decision: fact.decision.as_str() };
            metrics.limits.decisions.get_or_create(&labels).inc();
        }
        if let Some(AuthFact { method, result }) = facts.auth {
            let labels = AuthLabels { route: self.route.clone(), method, result };
            metrics.auth.results.get_or_create(&labels).inc();
        }
        for GuardFact { guard, kind, direction, action, count } in facts.guarded.iter().cloned() {
            let labels = GuardLabels { guard, kind, direction: direction.as_str(), action };
            metrics.guards.matches.get_or_create(&labels).inc_by(count);
        }
        if let Some(result) = facts.idempotency {
            let labels = KeyLabels { route: self.route.clone(), result };
            metrics.idempotency.keys.get_or_create(&labels).inc();
        }
        for budget in &facts.budgets_spent {
            metrics.limits.budgets_refused.get_or_create(&BudgetLabels { budget: budget.clone() }).inc();
        }
        if let Some(first) = facts.limits.first() {
            metrics.limits.checks.get_or_create(&CheckLabels { store: first.source }).inc();
        }
        if self.events > 0
            && let Some(served) = facts.telling()
        {
            let labels = EventLabels { provider: served.provider.clone(), result: "forwarded" };
            metrics.stream_events.get_or_create(&labels).inc_by(self.events);
        }
        self.count_caller(facts, took);
    }

    /// The numbers of those whose calls they are.
    fn count_caller(&self, facts: &Facts, took: Duration) {
        let metrics = &self.observe.metrics.callers;
        let outcome = match self.outcome(facts) {
            OK if self.ended() == Ended::Well => "successful",
            CANCELLED => "cancelled",
            _ => "failed",
        };
        if facts.call == Some("chat") {
            metrics.chats.get_or_create(&ChatLabels { outcome }).inc();
            metrics.chat_durations.observe(as_seconds(took));
        }
        if let Some(tenant) = self.tenant.as_deref().filter(|_| metrics.tenants.is_on()) {
            let tenant = metrics.tenants.label(tenant, outcome == "successful");
            metrics.tenant_requests.get_or_create(&TenantLabels { tenant, outcome }).inc();
        }
    }

    fn variant_call(&self, facts: &Facts, taken: &Taken, cost: Option<Cost>) -> VariantCall {
        let outcome = match facts.blame {
            Some(Blame::Caller) => "rejected",
            Some(_) => "failed",
            None if !self.is_complete => "cancelled",
            None if taken.has_failed => "fell_back",
            None => "ok",
        };
        VariantCall {
            outcome,
            took: as_seconds(facts.started.elapsed()),
            first_token: facts.first_token.map(as_seconds),
            cost: cost.map(|cost| cost.usd.as_f64()),
        }
    }
}

/// What happened at providers, when all of it has happened.
pub(super) fn count_attempts(metrics: &Metrics, facts: &Facts) {
    for attempt in &facts.attempts {
        let labels = ProviderCallLabels { provider: attempt.provider.clone(), outcome: outcome_word(attempt) };
        metrics.provider_calls.get_or_create(&labels).inc();
        let labels = AttemptLabels { provider: attempt.provider.clone(), reason: attempt.reason.as_str() };
        metrics.attempts.get_or_create(&labels).inc();
        let labels = ProviderLabels { provider: attempt.provider.clone() };
        let took = attempt.took.unwrap_or_else(|| attempt.started.elapsed());
        metrics.provider_durations.get_or_create(&labels).observe(as_seconds(took));
        if let Some(name) = facts.call.and_then(gen_ai::operation) {
            metrics.gen_ai.attempted(&Operation {
                provider: &attempt.provider,
                model: attempt.model.as_deref(),
                name,
                error: Some(outcome_word(attempt)).filter(|word| *word != "ok").unwrap_or_default(),
                took,
                first_chunk: attempt.answered.filter(|_| facts.is_stream),
            });
        }
    }
    let Some(last) = facts.telling() else { return };
    if facts.events_dropped > 0 {
        let labels = EventLabels { provider: last.provider.clone(), result: "dropped" };
        metrics.stream_events.get_or_create(&labels).inc_by(facts.events_dropped);
    }
    for (attempt, Tokens { usage, basis }) in facts.spent() {
        let tokens = [("input", usage.input), ("output", usage.output)];
        for (kind, count) in tokens {
            let labels = TokenLabels { provider: attempt.provider.clone(), kind };
            if basis != Basis::Counted {
                metrics.tokens_estimated.get_or_create(&labels).inc_by(count);
            }
            metrics.tokens.get_or_create(&labels).inc_by(count);
        }
        if let Some(name) = facts.call.and_then(gen_ai::operation) {
            metrics.gen_ai.used(&attempt.provider, attempt.model.as_deref(), name, tokens);
        }
    }
    let account = facts.account.as_ref().filter(|_| metrics.callers.tenants.is_on());
    if let (Some(account), Some(usage)) = (account, facts.tokens()) {
        let tenant = metrics.callers.tenants.label(&account.tenant, true);
        for (kind, count) in [("input", usage.input), ("output", usage.output)] {
            let labels = TenantTokenLabels { tenant: tenant.clone(), kind };
            metrics.callers.tenant_tokens.get_or_create(&labels).inc_by(count);
        }
    }
}
