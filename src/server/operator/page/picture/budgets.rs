//! Budgets on the live page: how much of each budget's fullest account is spent, and whom that affects.
//!
//! It does not know whose account it is.

use serde_json::{Value, json};

use crate::config::plan::BudgetPlan;
use crate::gateway::Gateway;
use crate::telemetry::explain::CallRecord;

/// Each budget of the configuration; one of which nobody has spent anything in this period is there too.
pub(super) fn of(gateway: &Gateway, late: &[&CallRecord]) -> Vec<Value> {
    let shares = gateway.state.accounts().shares(gateway.world.now());
    let shown = |plan: &BudgetPlan| {
        let share = shares.get(&plan.name).copied().unwrap_or_default();
        let refused = refused_by(plan, late);
        json!({
            "budget": &*plan.name,
            "amountUsd": plan.amount,
            "period": plan.period.as_str(),
            "share": share,
            "state": state(plan, share, refused),
            "then": plan.on_stop.effect(),
            "refused": refused,
        })
    };
    gateway.plan.budgets.iter().map(|plan| shown(plan)).collect()
}

/// How many of these calls it refused.
pub(super) fn refused_by(plan: &BudgetPlan, late: &[&CallRecord]) -> usize {
    late.iter().filter(|record| record.facts.budgets_spent.contains(&plan.name)).count()
}

/// A call is refused that does not fit in what is left at its most, so that a budget refuses before all of it is spent.
fn state(plan: &BudgetPlan, share: f64, refused: usize) -> &'static str {
    match share {
        _ if share >= 1.0 => "spent",
        _ if refused > 0 => "refusing",
        _ if share >= plan.warn => "warned",
        _ => "ok",
    }
}
