//! Keyring: finds an API key by the hash of what a caller presented; the keys themselves are stored nowhere.
//!
//! It does not know where keys come from, nor what a key permits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{ApiKey, Digest};

/// Keys by the places of their hashes.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<Arc<str>, Arc<ApiKey>>,
    places: BTreeMap<u64, Vec<Arc<ApiKey>>>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A key that is valid now.
    Valid(Arc<ApiKey>),
    /// One that was valid once.
    Expired,
    /// None.
    Unknown,
}

impl Keyring {
    /// A ring with these keys.
    pub fn new(keys: impl IntoIterator<Item = Arc<ApiKey>>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            for hash in &key.hashes {
                ring.places.entry(hash.digest.place()).or_default().push(key.clone());
            }
            ring.keys.insert(key.name.clone(), key);
        }
        ring
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<ApiKey>> {
        self.keys.get(name)
    }

    /// All keys, by name.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this hash.
    pub fn find(&self, shown: &Digest, now: Timestamp) -> Found {
        let mut found = Found::Unknown;
        for key in self.places.get(&shown.place()).into_iter().flatten() {
            for hash in key.hashes.iter().filter(|hash| hash.digest.is(shown)) {
                let is_over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
                match is_over(hash.until) || is_over(key.expires) {
                    true => found = Found::Expired,
                    false => return Found::Valid(key.clone()),
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::{KeyHash, KeyTenant};

    fn key(name: &str, hashes: &[(&str, Option<&str>)], expires: Option<&str>) -> Arc<ApiKey> {
        let time = |text: &str| text.parse().unwrap();
        let hash = |(key, until): &(&str, Option<&str>)| KeyHash { digest: Digest::of(key), until: until.map(time) };
        Arc::new(ApiKey {
            name: name.into(),
            hashes: hashes.iter().map(hash).collect(),
            tenant: KeyTenant::Nobody,
            tier: None,
            routes: Vec::new(),
            models: Vec::new(),
            expires: expires.map(time),
            names_users: false,
            account: false,
        })
    }

    #[test]
    fn a_key_is_found_by_any_of_its_hashes_while_they_are_valid() {
        let end = Some("2026-01-01T00:00:00Z");
        let ring = Keyring::new([key("a", &[("old", end), ("new", None)], None), key("b", &[("other", None)], end)]);
        let (before, after) = ("2025-12-31T23:59:59Z".parse().unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
        let found = |shown: &str, now| match ring.find(&Digest::of(shown), now) {
            Found::Valid(key) => key.name.to_string(),
            other => format!("{other:?}"),
        };
        for (shown, at_first, later) in
            [("old", "a", "Expired"), ("new", "a", "a"), ("other", "b", "Expired"), ("x", "Unknown", "Unknown")]
        {
            assert_eq!((&*found(shown, before), &*found(shown, after)), (at_first, later), "{shown}");
        }
    }
}
