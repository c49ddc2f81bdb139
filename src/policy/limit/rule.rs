//! A rule as it is applied to a request: does it match, and who is counted?
//!
//! It does not know how much was taken already.

use std::sync::Arc;

use crate::call::Head;
use crate::config::plan::{KeyPart, LimitPlan, Quantity};
use crate::names::customer;
use crate::store::Key;

/// One rule.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) plan: Arc<LimitPlan>,
    fingerprint: Arc<str>,
}

impl Rule {
    pub(super) fn new(plan: Arc<LimitPlan>) -> Self {
        let fingerprint = plan.fingerprint().into();
        Self { plan, fingerprint }
    }

    /// True when the rule is about this request. That it is about the request's route is known.
    pub(super) fn matches(&self, head: &Head) -> bool {
        let plan = &self.plan;
        let is_tier = plan.tiers.is_empty() || plan.tiers.iter().any(|tier| **tier == *head.tier);
        is_tier && (plan.methods.is_empty() || plan.methods.contains(&head.method))
    }

    /// True when what is counted is known only when the answer has ended.
    pub(super) fn counts_tokens(&self) -> bool {
        self.plan.quantity != Quantity::Requests
    }

    /// Who is counted: the first of the rule's keys of which every part is known.
    pub(super) fn key(&self, head: &Head) -> Option<Key> {
        self.plan.key.iter().find_map(|choice| {
            let mut parts = Vec::with_capacity(1 + 2 * choice.0.len());
            for part in &choice.0 {
                parts.push((part.as_str(), value(*part, head)?));
            }
            let words = parts.iter().flat_map(|(name, value)| [*name, &**value]);
            Some(Key::of(&std::iter::once(&*self.fingerprint).chain(words).collect::<Vec<_>>()))
        })
    }
}

fn value(part: KeyPart, head: &Head) -> Option<Arc<str>> {
    match part {
        KeyPart::User => head.user.clone(),
        // Everybody who names none has the default one: it is not who they are.
        KeyPart::Tenant => head.is_tenant_named.then(|| head.tenant.clone()),
        KeyPart::ApiKey => head.api_key.clone(),
        KeyPart::Address => Some(customer(head.address).to_string().into()),
    }
}
