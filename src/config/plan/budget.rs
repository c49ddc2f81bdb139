//! Budget: limits on spending, how old the prices are, and how long usage records are kept.

use std::sync::Arc;

use jiff::civil::Date;

use crate::config::plan::limit::{names_caller, names_route};
use crate::config::plan::{KeyPlan, ModelMap};
use crate::model::calendar::Period;
use crate::model::call::Head;
use crate::model::money::Usd;

/// `[usage]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsagePlan {
    /// Rows of the ledger that are kept in memory.
    pub max_rows: usize,
    /// Users who spend more in a day, or in a month, are counted for operators.
    pub user_day: Usd,
    /// See `user_day`.
    pub user_month: Usd,
}

/// `[models]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelsPlan {
    /// The day on which prices and lists of models were last compared with their sources.
    pub date: Option<Date>,
}

/// `[budget.NAME]`: how much may be spent, by whom, and what happens then.
#[derive(Clone, Debug)]
pub struct BudgetPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Names of routes, or their beginnings followed by `*`; empty means any.
    pub routes: Vec<Box<str>>,
    /// Tenants that name themselves; empty means all, and those that do not.
    pub tenants: Vec<Box<str>>,
    /// Tiers; empty means all.
    pub tiers: Vec<Box<str>>,
    /// Whose account it is: the first of these keys whose parts are all known; a key without parts: one account for everyone.
    pub key: Vec<KeyPlan>,
    /// How much.
    pub amount: Usd,
    /// In how long.
    pub period: Period,
    /// At this share somebody should know.
    pub warn: f64,
    /// What happens to calls that do not fit.
    pub on_stop: OnStop,
    /// What a refused caller reads.
    pub message: Option<Arc<str>>,
}

/// `on_stop` of a budget: what happens to calls that do not fit.
#[derive(Clone, Debug)]
pub enum OnStop {
    /// They are refused with 402.
    PaymentRequired,
    /// They are refused with 429.
    TooMany,
    /// They are asked with these models instead; those that the map does not name are refused with 402.
    Cheaper(ModelMap),
    /// They go on, and are counted.
    Report,
}

impl OnStop {
    /// What happens at a spent budget, in words.
    pub fn effect(&self) -> &'static str {
        match self {
            OnStop::PaymentRequired => "further calls get 402",
            OnStop::TooMany => "further calls get 429",
            OnStop::Cheaper(_) => "further calls get a cheaper model, or 402",
            OnStop::Report => "further calls are only counted",
        }
    }
}

impl BudgetPlan {
    /// True when it is about this route.
    pub fn is_about(&self, route: &str) -> bool {
        names_route(&self.routes, route)
    }

    /// True when it is about this caller.
    pub fn matches(&self, head: &Head) -> bool {
        let tenant = head.is_tenant_named.then_some(&*head.tenant);
        names_caller(&self.tiers, &self.tenants, &head.tier, tenant)
    }
}
