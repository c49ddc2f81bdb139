//! Keys, what they hold, and when they expire.
//!
//! It does not know commands, nor where the time comes from.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

/// Below this many keys nobody looks for those that have expired.
const FEW: usize = 1_024;

/// Milliseconds since 1970.
pub(super) type Milliseconds = i64;

/// What a key can hold here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A sorted set, by member.
    Ranked(BTreeMap<Vec<u8>, f64>),
}

impl Stored {
    /// The word for its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Stored::Text(_) => "string",
            Stored::Hash(_) => "hash",
            Stored::Ranked(_) => "zset",
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Stored::Text(_) => false,
            Stored::Hash(fields) => fields.is_empty(),
            Stored::Ranked(members) => members.is_empty(),
        }
    }
}

struct Held {
    value: Stored,
    ends: Option<Milliseconds>,
}

impl Held {
    /// A key is still there in the millisecond in which it ends.
    fn is_over(&self, now: Milliseconds) -> bool {
        self.ends.is_some_and(|ends| now > ends)
    }
}

/// All keys.
pub(super) struct Keyspace {
    keys: HashMap<Vec<u8>, Held, FixedState>,
    /// At this many keys those that have expired are removed.
    sweep_at: usize,
}

impl Keyspace {
    /// No keys.
    pub(super) fn new() -> Self {
        Self { keys: HashMap::with_hasher(FixedState::with_seed(0)), sweep_at: FEW }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// What a key holds.
    pub(super) fn find(&self, key: &[u8], now: Milliseconds) -> Option<&Stored> {
        self.keys.get(key).filter(|held| !held.is_over(now)).map(|held| &held.value)
    }

    /// What a key holds, to be changed; `fresh` where it is not there.
    pub(super) fn find_or(&mut self, key: &[u8], now: Milliseconds, fresh: impl FnOnce() -> Stored) -> &mut Stored {
        self.sweep(now);
        let fresh = || Held { value: fresh(), ends: None };
        let held = match self.keys.entry(key.to_vec()) {
            Entry::Vacant(free) => free.insert(fresh()),
            Entry::Occupied(taken) => {
                let held = taken.into_mut();
                if held.is_over(now) {
                    *held = fresh();
                }
                held
            }
        };
        &mut held.value
    }

    /// Has a key hold something, until then.
    pub(super) fn set(&mut self, key: &[u8], value: Stored, ends: Option<Milliseconds>, now: Milliseconds) {
        self.sweep(now);
        self.keys.insert(key.to_vec(), Held { value, ends });
    }

    /// When a key ends; the inner `None`: never, the outer: there is none.
    pub(super) fn ends(&self, key: &[u8], now: Milliseconds) -> Option<Option<Milliseconds>> {
        self.keys.get(key).filter(|held| !held.is_over(now)).map(|held| held.ends)
    }

    /// Has a key end then. False: there is none.
    pub(super) fn end(&mut self, key: &[u8], ends: Milliseconds, now: Milliseconds) -> bool {
        match self.keys.get_mut(key).filter(|held| !held.is_over(now)) {
            Some(held) => {
                held.ends = Some(ends);
                true
            }
            None => false,
        }
    }

    /// Removes a key. False: there was none.
    pub(super) fn remove(&mut self, key: &[u8], now: Milliseconds) -> bool {
        self.keys.remove(key).is_some_and(|held| !held.is_over(now))
    }

    /// Removes a key that holds nothing any more.
    pub(super) fn tidy(&mut self, key: &[u8]) {
        if self.keys.get(key).is_some_and(|held| held.value.is_empty()) {
            self.keys.remove(key);
        }
    }

    /// Removes what has expired whenever the keys have doubled: keys that nobody asks for again take room for no longer.
    fn sweep(&mut self, now: Milliseconds) {
        if self.keys.len() >= self.sweep_at {
            self.keys.retain(|_, held| !held.is_over(now));
            self.sweep_at = (self.keys.len() * 2).max(FEW);
        }
    }
}
