//! A rate limit rule applied to a request: whether it matches, and which key it counts.
//!
//! It does not know how much is used.

use std::sync::{Arc, OnceLock};

use crate::config::plan::{Counted, KeyPlan, LimitPlan, Quantity};
use crate::model::call::Head;
use crate::model::rate::{KeyPrefix, KeyScheme};
use crate::model::trail::LimitTerms;

/// One rule.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) plan: Arc<LimitPlan>,
    /// What is told of it.
    pub(super) terms: Arc<LimitTerms>,
    prefix: KeyPrefix,
}

impl Rule {
    pub(super) fn new(plan: Arc<LimitPlan>, scheme: KeyScheme) -> Self {
        let prefix = KeyPrefix::new(scheme, &plan.fingerprint());
        let terms = Arc::new(LimitTerms {
            rule: plan.name.clone(),
            quantity: plan.quantity.as_str(),
            scale: plan.quantity.scale(),
            count: plan.rate.count,
            window: plan.rate.period,
            burst: plan.rate.burst,
            announced: OnceLock::new(),
        });
        Self { plan, terms, prefix }
    }

    /// True when the rule is about this request, of a caller with this tenant. That it is about the request's route is known.
    pub(super) fn matches(&self, head: &Head, tenant: Option<&str>) -> bool {
        let plan = &self.plan;
        plan.is_for(&head.tier, tenant) && (plan.methods.is_empty() || plan.methods.contains(&head.method))
    }

    /// True when what is counted is known only when the answer has ended.
    pub(super) fn counts_tokens(&self) -> bool {
        self.plan.quantity != Quantity::Requests
    }

    /// Who is counted: the first of the rule's keys of which every part is known.
    pub(super) fn counted(&self, head: &Head) -> Option<Counted> {
        KeyPlan::first(&self.plan.key, &self.prefix, head)
    }
}
