//! Names: what the digests of a trace stand for, as far as somebody says so: the names in a configuration, whose limits and budgets
//! then hold, and a list of names.
//!
//! It needs the secret with which the trace was recorded. It does not know who is called what in the simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::plan::Plan;
use crate::model::api_key::KeyTenant;
use crate::model::recorded::RecordedCall;
use crate::telemetry::record::digest::{Digests, NameKind};

/// Names by their digests.
#[derive(Clone, Debug, Default)]
pub struct Names {
    tenants: BTreeMap<Arc<str>, Arc<str>>,
    users: BTreeMap<Arc<str>, Arc<str>>,
    keys: BTreeMap<Arc<str>, Arc<str>>,
}

impl Names {
    /// Adds the names in a configuration, and `listed` ones of tenants, users or keys. None where its `[record]` has no secret.
    pub fn add(&mut self, plan: &Plan, listed: &[Arc<str>]) {
        let Some(secret) = &plan.record.secret else { return };
        let digests = Digests::new(secret.expose());
        let keys = plan.auth.keys.iter().map(|key| key.name.clone());
        let of_keys = plan.auth.keys.iter().filter_map(|key| match &key.tenant {
            KeyTenant::One(tenant) => Some(tenant.clone()),
            KeyTenant::Nobody | KeyTenant::Any => None,
        });
        let of_budgets =
            plan.budgets.iter().flat_map(|budget| budget.tenants.iter().map(|tenant| Arc::from(&**tenant)));
        let tenants = of_keys.chain(of_budgets).chain([plan.default_tenant.clone()]);
        let listed = || listed.iter().cloned();
        let by_digest = |kind| move |name: Arc<str>| (digests.name(kind, &name), name);
        self.tenants.extend(tenants.chain(listed()).map(by_digest.clone()(NameKind::Tenant)));
        self.users.extend(listed().map(by_digest.clone()(NameKind::User)));
        self.keys.extend(keys.chain(listed()).map(by_digest(NameKind::Key)));
    }

    /// The row with names in the place of the digests that are known.
    #[must_use]
    pub fn told(&self, mut call: RecordedCall) -> RecordedCall {
        let parts = [(&self.tenants, &mut call.tenant), (&self.users, &mut call.user), (&self.keys, &mut call.key)];
        for (names, word) in parts {
            if let Some(name) = word.as_ref().and_then(|word| names.get(word)) {
                *word = Some(name.clone());
            }
        }
        call
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{self, Variables};

    #[test]
    fn digests_are_told_where_the_secret_is_the_traces() {
        let named = |secret: &str| {
            let text = "[record]\nsecret_env = \"S\"\n[budget.small]\namount = 1\nper = \"day\"\nkey = [\"tenant\"]\ntenants = [\"bakery\"]\n";
            let variables = Variables::new([("S".to_owned(), secret.to_owned())].into(), [].into());
            let plan = config::load(Some(("x.toml", text)), &variables).unwrap();
            let mut names = Names::default();
            names.add(&plan, &["ann".into()]);
            names
        };
        let digests = Digests::new("a secret of the trace");
        let hidden = digests.hide(RecordedCall {
            tenant: Some("bakery".into()),
            user: Some("ann".into()),
            key: Some("nobody's".into()),
            ..RecordedCall::default()
        });
        let told = named("a secret of the trace").told(hidden.clone());
        assert_eq!((told.tenant.as_deref(), told.user.as_deref()), (Some("bakery"), Some("ann")));
        assert_eq!(told.key, hidden.key);
        assert_eq!(named("another secret, as long").told(hidden.clone()), hidden);
    }
}
