//! State that policies keep beyond a call, by its type and by route. A policy brings its own type; nothing here
//! names one.
//!
//! It is looked up when a gateway is built, never by a call. State that the next generation of the configuration
//! looks up again is the same state; the rest is dropped.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What policies keep, as one generation of the configuration sees it.
#[derive(Default)]
pub struct PolicyStates(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    own: States,
    before: States,
}

type States = BTreeMap<(TypeId, Box<str>), Arc<dyn Any + Send + Sync>>;

impl PolicyStates {
    /// The state of a type that belongs to `owner`: a route's name, or nothing where there is one for all.
    pub fn get<T: Default + Clone + Send + Sync + 'static>(&self, owner: &str) -> T {
        self.get_or(owner, Option::unwrap_or_default)
    }

    /// The same where it cannot be made of nothing, or where the configuration has a say. `make` gets the state of the
    /// generation before, if there was one.
    pub fn get_or<T: Clone + Send + Sync + 'static>(&self, owner: &str, make: impl FnOnce(Option<T>) -> T) -> T {
        let mut generations = self.0.lock();
        let key = (TypeId::of::<T>(), owner.into());
        if let Some(own) = read(&generations.own, &key) {
            return own;
        }
        let state = make(read(&generations.before, &key));
        generations.own.insert(key, Arc::new(state.clone()));
        state
    }

    /// What the next generation begins with.
    #[must_use]
    pub fn next(&self) -> Self {
        let generations = self.0.lock();
        let before = generations.before.iter().chain(&generations.own);
        let before = before.map(|(key, state)| (key.clone(), state.clone())).collect();
        Self(Mutex::new(Generations { own: States::new(), before }))
    }

    /// Everybody has asked: what was not asked for is forgotten.
    pub fn settle(&self) {
        self.0.lock().before.clear();
    }
}

fn read<T: Clone + 'static>(states: &States, key: &(TypeId, Box<str>)) -> Option<T> {
    states.get(key)?.downcast_ref::<T>().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Count(Arc<u32>);

    #[test]
    fn the_next_generation_has_what_it_asks_for_and_no_more() {
        let first = PolicyStates::default();
        let count = |states: &PolicyStates, owner, number| {
            states.get_or(owner, |before| before.unwrap_or_else(|| Count(Arc::new(number))))
        };
        assert_eq!(count(&first, "chat", 1), Count(1.into()));
        assert_eq!(count(&first, "chat", 2), Count(1.into()), "there is one");
        assert_eq!(count(&first, "voice", 3), Count(3.into()), "another owner has another");
        assert_eq!(first.get::<u32>("chat"), 0, "another type is another state");
        let second = first.next();
        assert_eq!(count(&second, "chat", 4), Count(1.into()));
        second.settle();
        let third = second.next();
        assert_eq!((count(&third, "chat", 5), count(&third, "voice", 6)), (Count(1.into()), Count(6.into())));
        assert_eq!(count(&first, "voice", 7), Count(3.into()), "who still uses the first sees no change");
    }
}
