//! Models that the configuration names and whose price it does not: their cost is counted as that of any model.
//!
//! It does not know which models callers name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Warning;
use crate::caller::canvas;
use crate::commands::check::facts::draws_on;
use crate::commands::check::words;
use crate::config::plan::{BudgetPlan, ModelChoice, OnStop, Plan, PromptPlan, RoutePlan, TargetPlan};
use crate::model::pattern::Pattern;

pub(super) fn all(plan: &Plan) -> Vec<Warning> {
    let mut unpriced: BTreeMap<(Arc<str>, Arc<str>), Vec<&str>> = BTreeMap::new();
    for route in &plan.routes {
        let mirror = route.mirror.as_ref().map(|mirror| &mirror.target);
        for target in route.all_targets().chain(mirror) {
            let provider = &target.provider.name;
            for model in
                models(plan, route, target).into_iter().filter(|model| plan.prices.of(provider, model).is_default)
            {
                let routes = unpriced.entry((provider.clone(), model)).or_default();
                if routes.last() != Some(&&*route.name) {
                    routes.push(&route.name);
                }
            }
        }
    }
    let warning = |((provider, model), routes): ((Arc<str>, Arc<str>), Vec<&str>)| {
        let price = words::price(&plan.prices.of(&provider, &model).price);
        let text = format!(
            "nothing says what it costs at {provider} (route {}): it is counted as any model, {price}; \
             set its price",
            words::few(&routes)
        );
        Warning::new("price_by_default", format!("price.{model:?}"), text)
    };
    unpriced.into_iter().map(warning).collect()
}

/// A budget that pays for models which cost nothing because nobody has said what they cost.
pub(super) fn free_of_charge(plan: &Plan) -> Vec<Warning> {
    // No configuration names it, so that only the price of any model fits.
    let anything = "a model that nobody has named";
    let takes_anything = |route: &RoutePlan| Pattern::take(&route.input.models, anything);
    let is_free = |target: &TargetPlan| {
        let is_passed_on = matches!(target.choose(Some(anything)), ModelChoice::AsAsked);
        let quote = plan.prices.of(&target.provider.name, anything);
        is_passed_on && quote.is_default && quote.price.is_nothing()
    };
    let warning = |budget: &Arc<BudgetPlan>| {
        let routes = plan.routes.iter().filter(|route| draws_on(route, budget) && takes_anything(route));
        let routes: Vec<&str> =
            routes.filter(|route| route.all_targets().any(is_free)).map(|route| &*route.name).collect();
        let text = format!(
            "calls of models without a price cost nothing, so it does not hold for them (route {}); set price.\"*\", or list the \
             route's models",
            words::few(&routes)
        );
        (!routes.is_empty()).then(|| Warning::new("budget_without_price", format!("budget.{}", budget.name), text))
    };
    plan.budgets.iter().filter_map(warning).collect()
}

/// True for a prompt that calls of a route may be made of: its own, that of its kind of call, or any that a job names.
fn is_used(prompt: &PromptPlan, route: &RoutePlan) -> bool {
    let own = route.prompt.as_deref().or(canvas::prompt_of(route.call));
    own.map_or(route.is_for_jobs(), |own| own == &*prompt.key)
}

/// The models that a target is asked for by what the configuration says, not the caller.
fn models(plan: &Plan, route: &RoutePlan, target: &TargetPlan) -> Vec<Arc<str>> {
    let of = |asked: Option<&Arc<str>>| match target.choose(asked.map(|model| &**model)) {
        ModelChoice::Replace(model) => Some(model),
        ModelChoice::AsAsked => asked.cloned(),
        ModelChoice::NotHere => None,
    };
    let usual = of(route.model.as_ref());
    let prompts = plan.prompts.iter().filter(|prompt| is_used(prompt, route));
    let versions = prompts.flat_map(|prompt| prompt.active().into_iter().chain(prompt.testing()));
    let prompted = versions.filter_map(|version| of(Some(version.model.as_ref()?)));
    let mapped = target.models.entries().map(|(_, model)| model.clone());
    let instead =
        plan.budgets.iter().filter(|budget| budget.is_about(&route.name)).filter_map(|it| match &it.on_stop {
            OnStop::Cheaper(map) => Some(map.entries().map(|(_, model)| model)),
            OnStop::PaymentRequired | OnStop::TooMany | OnStop::Report => None,
        });
    let cheaper = instead.flatten().filter_map(|model| of(Some(model)));
    let mut models: Vec<Arc<str>> = usual.into_iter().chain(prompted).chain(mapped).chain(cheaper).collect();
    models.sort();
    models.dedup();
    models
}
