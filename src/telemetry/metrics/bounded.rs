//! Bounded labels: names that come from requests. A limited number of them become labels; all others count as one.
//!
//! It does not know what is named. A name counts only after a real response, so that invented names cannot use up
//! the labels of those that exist.

use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The label of all names that have none of their own.
pub const OTHER: &str = "other";

/// A longer name is no name that anybody wants to read.
const LONGEST: usize = 128;

/// Names that are labels.
#[derive(Debug)]
pub struct Bounded {
    max: AtomicUsize,
    names: RwLock<BTreeSet<Arc<str>>>,
    other: Arc<str>,
}

impl Bounded {
    /// At most `max` names.
    pub fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), names: RwLock::default(), other: OTHER.into() }
    }

    /// Allows another number of names. Those that are labels already stay: what they count cannot be given to others.
    pub fn allow(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// False where no name gets a label.
    pub fn is_on(&self) -> bool {
        self.max.load(Ordering::Relaxed) > 0
    }

    /// The label of a name. One that is new gets its own if it `is_real` and there is room.
    pub fn label(&self, name: &str, is_real: bool) -> Arc<str> {
        let known = self.names.read().get(name).cloned();
        if let Some(label) = known {
            return label;
        }
        let is_fine = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_real || !is_fine {
            return self.other.clone();
        }
        let mut names = self.names.write();
        // Somebody may have added it meanwhile.
        if let Some(label) = names.get(name) {
            return label.clone();
        }
        if names.len() >= self.max.load(Ordering::Relaxed) {
            return self.other.clone();
        }
        let label: Arc<str> = name.into();
        names.insert(label.clone());
        label
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_are_never_more_labels_than_allowed_and_none_that_nothing_came_of(
            max in 0_usize..8,
            names in prop::collection::vec(("[a-e]{0,2}|\\PC{0,3}|z{120,140}", any::<bool>()), 0..200),
        ) {
            let bounded = Bounded::new(max);
            let mut labels = BTreeSet::new();
            let mut real = BTreeSet::new();
            for (name, is_real) in &names {
                let label = bounded.label(name, *is_real);
                real.extend(is_real.then_some(name.as_str()));
                prop_assert!(&*label == OTHER || (*label == **name && real.contains(name.as_str())), "{name:?}: {label:?}");
                // Once a label, always a label.
                prop_assert!(&*label != OTHER || !labels.contains(&**name), "{name:?} lost its label");
                labels.insert(label);
            }
            labels.remove(OTHER);
            prop_assert!(labels.len() <= max);
        }
    }

    #[test]
    fn a_hundred_thousand_names_are_as_many_labels_as_allowed() {
        let bounded = Bounded::new(50);
        let labels: BTreeSet<Arc<str>> =
            (0..100_000).map(|number| bounded.label(&format!("m-{number}"), true)).collect();
        assert_eq!(labels.len(), 51);
        bounded.allow(60);
        assert_eq!(&*bounded.label("m-later", true), "m-later");
    }
}
