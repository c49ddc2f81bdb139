//! Handles: metrics of a family that are looked up once and kept, for what is counted on every call. A family finds
//! a metric by all of its labels, under a lock; a handle is the metric.
//!
//! Whoever holds the handles fixes the labels that are known when a gateway is built (a route, a provider). The
//! part that depends on the call is the key.

use std::borrow::Cow;
use std::sync::OnceLock;

/// The metrics of the first `N` keys that come. Those of other keys are looked up each time.
///
/// A metric is looked up when it is first counted and not before, so that a page has no series of what never happened.
#[derive(Debug)]
pub struct Handles<K, M, const N: usize>([OnceLock<(K, M)>; N]);

impl<K, M, const N: usize> Default for Handles<K, M, N> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; N])
    }
}

impl<K: PartialEq + Clone, M: Clone, const N: usize> Handles<K, M, N> {
    /// The metric of a key, which `find` looks up.
    pub fn get(&self, key: K, find: impl FnOnce(&K) -> M) -> Cow<'_, M> {
        for slot in &self.0 {
            match slot.get() {
                Some((own, metric)) if *own == key => return Cow::Borrowed(metric),
                Some(_) => {}
                None => {
                    let found = find(&key);
                    // Somebody else may have taken the slot meanwhile, for another key.
                    let (own, metric) = slot.get_or_init(|| (key.clone(), found.clone()));
                    return if *own == key { Cow::Borrowed(metric) } else { Cow::Owned(found) };
                }
            }
        }
        Cow::Owned(find(&key))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;

    #[test]
    fn each_key_has_its_metric_and_the_first_are_looked_up_once() {
        let family = Family::<Vec<(String, u16)>, Counter>::default();
        let lookups = Cell::new(0);
        let find = |key: &u16| {
            lookups.set(lookups.get() + 1);
            family.get_or_create_owned(&vec![("status".to_owned(), *key)])
        };
        let handles = Handles::<u16, Counter, 2>::default();
        for status in [200, 404, 200, 500, 500, 200] {
            handles.get(status, find).inc();
        }
        let counts = [200, 404, 500].map(|status| find(&status).get());
        assert_eq!((counts, lookups.get()), ([3, 1, 2], 4 + 3));
    }
}
