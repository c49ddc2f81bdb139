//! Costs: reads `[usage]`, `[models]` and `[budget.NAME]`.
//!
//! It does not know what a call costs, nor who counts.

use std::sync::Arc;

use jiff::civil::Date;

use crate::config::engine::amounts::amount;
use crate::config::engine::document::Value;
use crate::config::engine::problem::Report;
use crate::config::engine::reader::{At, Section};
use crate::config::engine::shape::Shape;
use crate::config::engine::value;
use crate::config::engine::value as values;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::KeyPlan;
use crate::config::plan::budget::{BudgetPlan, ModelsPlan, OnStop, UsagePlan};
use crate::config::tables::general::model_map;
use crate::config::tables::limits;
use crate::config::tables::limits::check_routes;
use crate::config::tables::providers;
use crate::model::calendar::Period;
use crate::model::money::Usd;

/// `[usage]`
pub(in crate::config) fn usage(root: &mut Section<'_>) -> UsagePlan {
    let mut section = root.section("usage");
    let max_rows = section.required("max_rows", value::integer("a number", 1_000, 10_000_000)).unwrap_or(1_000);
    let user_day = section.required("user_day", usd).unwrap_or_default();
    let user_month = section.required("user_month", usd).unwrap_or_default();
    section.close();
    UsagePlan { max_rows: usize::try_from(max_rows).unwrap_or(1_000), user_day, user_month }
}

/// `[models]`
pub(in crate::config) fn models(root: &mut Section<'_>) -> ModelsPlan {
    let mut section = root.section("models");
    let date = section.optional("date", day);
    // Read before the layers were merged: see `models_file`.
    section.optional("file", value::text);
    section.close();
    ModelsPlan { date }
}

fn day(value: &Value) -> Parsed<Date> {
    let parsed = value::text(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Expected::new("a day", "a text such as \"2026-01-31\""))
}

/// `[budget.NAME]`
pub(in crate::config) fn budgets(root: &mut Section<'_>, report: &Report) -> Vec<Arc<BudgetPlan>> {
    let known: Vec<Arc<str>> = root.names("route").into_iter().map(|(name, _)| name.value).collect();
    let mut budgets = Vec::new();
    for (name, node) in root.names("budget") {
        if !providers::is_name(&name.value) {
            let message = format!("{:?} is not a name: {}", name.value, providers::NAME_RULE);
            report.add(&name.origin, "budget", message);
            continue;
        }
        let mut section = Section::at(node, format!("budget.{}", name.value), report);
        if section.optional("enabled", value::boolean) != Some(false) {
            budgets.extend(budget(name.value, section, &known, report).map(Arc::new));
        }
    }
    budgets
}

/// The words of `on_stop`.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    PaymentRequired,
    TooMany,
    Cheaper,
    Report,
}

const STOPS: &[(Stop, &str)] =
    &[(Stop::PaymentRequired, "402"), (Stop::TooMany, "429"), (Stop::Cheaper, "cheaper"), (Stop::Report, "report")];

/// The share at which somebody should know, unless the config says.
const WARN: f64 = 0.8;

fn budget(name: Arc<str>, mut section: Section<'_>, known: &[Arc<str>], report: &Report) -> Option<BudgetPlan> {
    let routes = section.list("routes", value::text).unwrap_or_default();
    check_routes(&section, &routes, known, &[], report);
    let tenants = section.list("tenants", value::text).unwrap_or_default();
    let tiers = section.list("tiers", value::text).unwrap_or_default();
    let key = section.required_list("key", key_choice).unwrap_or_default();
    let amount = section.required("amount", usd);
    let period = section.required("per", value::word("a period", &Period::ALL));
    let warn = section.optional("warn", values::share).unwrap_or(WARN);
    let stop = section.optional("on_stop", value::word("what to do", STOPS)).unwrap_or(Stop::PaymentRequired);
    let path = section.path_of("cheaper");
    let cheaper = section.node("cheaper").map(|node| model_map(node, path, report));
    match (stop == Stop::Cheaper, &cheaper) {
        (true, None) => {
            section.problem("on_stop", "`on_stop = \"cheaper\"` needs a map `cheaper = { \"MODEL\" = \"MODEL\" }`")
        }
        (false, Some(_)) => section.problem("cheaper", "only with `on_stop = \"cheaper\"`"),
        _ => {}
    }
    let message = section.optional("message", value::text).map(Arc::from);
    section.close();
    let values = |items: Vec<At<String>>| items.into_iter().map(|at| at.value.into()).collect();
    Some(BudgetPlan {
        name,
        routes: values(routes),
        tenants: values(tenants),
        tiers: values(tiers),
        key: key.into_iter().map(|at| at.value).collect(),
        amount: amount?,
        period: period?,
        warn,
        on_stop: match stop {
            Stop::PaymentRequired => OnStop::PaymentRequired,
            Stop::TooMany => OnStop::TooMany,
            Stop::Cheaper => OnStop::Cheaper(cheaper?),
            Stop::Report => OnStop::Report,
        },
        message,
    })
}

/// `all`, or whom limits count.
fn key_choice(value: &Value) -> Parsed<KeyPlan> {
    match value::text(value) {
        Ok(text) if text == "all" => Ok(KeyPlan(Vec::new())),
        _ => limits::key_choice(value).map_err(|_| {
            Expected::new("a key", "all, user, tenant, api_key, address, or several of the last four with `+` between")
        }),
    }
}

/// The most that a budget may have: what counts it is exact up to there.
const MOST: Usd = Usd::from_nanos(1_000_000 * crate::model::money::NANOS);

fn usd(value: &Value) -> Parsed<Usd> {
    let shape = || Shape::Number { min: 0.0, max: Some(1_000_000.0) };
    let wanted =
        || Expected::new("an amount", "USD, above 0 and at most 1000000, with up to six decimals").shaped(shape());
    let millionths = amount(value).map_err(|_| wanted())?;
    let amount = millionths.checked_mul(1_000).map(Usd::from_nanos);
    amount.filter(|amount| *amount > Usd::default() && *amount <= MOST).ok_or_else(wanted)
}
