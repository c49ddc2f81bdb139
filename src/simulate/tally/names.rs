//! Names: something for each of a few names, in their order. What a trace calls a route or a provider is not to be trusted to
//! be few, or short.
//!
//! It does not know what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The most names; a configuration has fewer routes, providers and rules, and the gateway fewer codes.
const MOST: usize = 256;
/// The longest name, in bytes; the rest is cut off.
const LONGEST: usize = 200;
/// Whose all that has no room is. No name of the gateway's own has a parenthesis.
const OTHERS: &str = "(others)";

/// The name, cut where it is too long to be kept.
pub(super) fn clipped(name: &Arc<str>) -> Arc<str> {
    if name.len() <= LONGEST {
        return name.clone();
    }
    format!("{}…", &name[..name.floor_char_boundary(LONGEST)]).into()
}

/// A value for each name.
#[derive(Clone, Debug)]
pub struct Names<V>(BTreeMap<Arc<str>, V>);

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Names<V> {
    /// The value of a name, made where there is none yet.
    pub fn of(&mut self, name: &Arc<str>, make: impl FnOnce() -> V) -> &mut V {
        let name = match self.0.contains_key(name) {
            true => name.clone(),
            false if self.0.len() < MOST => clipped(name),
            false => OTHERS.into(),
        };
        self.0.entry(name).or_insert_with(make)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.0.iter()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_most_share_one_value_and_long_ones_are_cut() {
        let mut names = Names::default();
        for number in 0..10_000 {
            *names.of(&format!("route-{number}").into(), u64::default) += 1;
        }
        *names.of(&"route-0".into(), u64::default) += 1;
        assert_eq!(names.iter().count(), MOST + 1);
        assert_eq!((names.get("route-0"), names.get(OTHERS)), (Some(&2), Some(&(10_000 - MOST as u64))));
        let long: Arc<str> = "ü".repeat(1000).into();
        assert_eq!(clipped(&long).len(), LONGEST + "…".len());
    }
}
