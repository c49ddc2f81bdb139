//! Name map: values by names that callers choose, in bounded memory. Looking up a known name is one lock that readers
//! share and one search.
//!
//! When it is full, names that nobody has looked up since it was last full are forgotten: a flood of new names takes the
//! place of other such names, and not of those that are in use. It does not know what it holds.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Values by name, shared by its clones.
pub struct NameMap<V>(Arc<Names<V>>);

struct Names<V> {
    most: usize,
    all: RwLock<BTreeMap<Box<str>, Entry<V>>>,
}

struct Entry<V> {
    value: Arc<V>,
    /// It was looked up again after it was made.
    is_used: AtomicBool,
}

impl<V> Entry<V> {
    fn take(&self) -> Arc<V> {
        // Written only when it changes: otherwise cores would take the line from each other on each call.
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        self.value.clone()
    }
}

impl<V> NameMap<V> {
    /// An empty map for at most this many names.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Names { most: most.max(1), all: RwLock::default() }))
    }

    /// The value of a name, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<V>> {
        self.0.all.read().get(name).map(Entry::take)
    }

    /// The value of a name, which is made where there is none.
    pub fn get_or(&self, name: &str, make: impl FnOnce() -> V) -> Arc<V> {
        self.get(name).unwrap_or_else(|| self.add(name, make))
    }

    /// Forgets all names.
    pub fn clear(&self) {
        self.0.all.write().clear();
    }

    fn add(&self, name: &str, make: impl FnOnce() -> V) -> Arc<V> {
        let mut all = self.0.all.write();
        if let Some(known) = all.get(name) {
            return known.take();
        }
        if all.len() >= self.0.most {
            make_room(&mut all, self.0.most);
        }
        let value = Arc::new(make());
        all.insert(name.into(), Entry { value: value.clone(), is_used: AtomicBool::new(false) });
        value
    }
}

/// Forgets what was not used since the last time; where all was, an eighth of it. One pass pays for many new names.
fn make_room<V>(all: &mut BTreeMap<Box<str>, Entry<V>>, most: usize) {
    all.retain(|_, entry| std::mem::take(entry.is_used.get_mut()));
    while all.len() > most - most.div_ceil(8) {
        all.pop_first();
    }
}

impl<V> Clone for NameMap<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> fmt::Debug for NameMap<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NameMap of {}", self.0.all.read().len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_in_use_outlast_a_flood_of_new_ones() {
        let names = NameMap::new(100);
        let used = names.get_or("used", || 7);
        for number in 0..10_000 {
            names.get_or(&number.to_string(), || number);
            assert!(Arc::ptr_eq(&used, &names.get_or("used", || 8)), "forgotten after {number}");
        }
    }

    proptest! {
        #[test]
        fn a_name_has_one_value_and_names_are_bounded(
            most in 1usize..20, looked_up in proptest::collection::vec(0u8..40, 1..400),
        ) {
            let names = NameMap::new(most);
            for name in looked_up {
                let known = names.get(&name.to_string());
                let value = names.get_or(&name.to_string(), || name);
                prop_assert_eq!(*value, name);
                prop_assert!(known.is_none_or(|known| Arc::ptr_eq(&known, &value)));
                prop_assert!(names.0.all.read().len() <= most);
            }
            names.clear();
            prop_assert!(names.0.all.read().is_empty());
        }
    }
}
