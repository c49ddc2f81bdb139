//! Turns: whose job is next. Tenants that have jobs waiting are served one job each, round after round.
//!
//! It does not know jobs, priorities, or where either is kept.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// The tenants that have jobs waiting, in the order in which they are served.
///
/// A tenant joins at the end. So one that has just come waits for one job of each tenant that was there before it,
/// whatever they have waiting, and no stream of newcomers can put off a tenant that waits.
#[derive(Debug, Default)]
pub struct Turns {
    ring: VecDeque<Arc<str>>,
    present: HashSet<Arc<str>, foldhash::quality::FixedState>,
}

impl Turns {
    /// Has a tenant served after all others that wait; nothing changes for one that waits already.
    pub fn join(&mut self, tenant: &Arc<str>) {
        if self.present.insert(tenant.clone()) {
            self.ring.push_back(tenant.clone());
        }
    }

    /// Whose turn it is. The tenant has had it with that: if it has more jobs waiting it must [join](Self::join) again.
    pub fn serve(&mut self) -> Option<Arc<str>> {
        let tenant = self.ring.pop_front()?;
        self.present.remove(&tenant);
        Some(tenant)
    }

    /// How many tenants wait.
    pub fn tenants(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Submit(u8, u8),
        Take,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let submit = (0u8..6, 1u8..30).prop_map(|(tenant, count)| Step::Submit(tenant, count));
        proptest::collection::vec(prop_oneof![1 => submit, 4 => Just(Step::Take)], 0..300)
    }

    proptest! {
        /// Between two turns of one tenant, and before the first of a newcomer, no other tenant has two.
        #[test]
        fn no_tenant_waits_for_more_than_one_round(steps in steps()) {
            let (mut turns, mut waiting) = (Turns::default(), BTreeMap::<Arc<str>, u32>::new());
            // What others have had since a tenant began to wait for its turn.
            let mut since: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Submit(tenant, count) => {
                        let tenant: Arc<str> = tenant.to_string().into();
                        *waiting.entry(tenant.clone()).or_default() += u32::from(count);
                        since.entry(tenant.clone()).or_default();
                        turns.join(&tenant);
                    }
                    Step::Take => {
                        let next = turns.serve();
                        prop_assert_eq!(next.is_some(), !waiting.is_empty());
                        let Some(tenant) = next else { continue };
                        let left = waiting.get_mut(&tenant).unwrap();
                        *left -= 1;
                        since.remove(&tenant);
                        for had in since.values_mut() {
                            let count = had.entry(tenant.clone()).or_default();
                            *count += 1;
                            prop_assert!(*count <= 1, "{} had two turns while another waited", tenant);
                        }
                        if *left == 0 {
                            waiting.remove(&tenant);
                        } else {
                            turns.join(&tenant);
                            since.insert(tenant, BTreeMap::new());
                        }
                    }
                }
                prop_assert_eq!(turns.tenants(), waiting.len());
            }
        }
    }
}
