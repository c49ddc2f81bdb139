//! Rate: an amount per period, the key that a rate limit counts by, and what to do while the store is down.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};
use smallvec::SmallVec;

use crate::model::rng::HashKey;

/// Who is counted under which rule: 128 bits that reveal neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub(crate) [u64; 2]);

impl Hash for Key {
    /// Two words: the derived form would hash sixteen bytes one by one.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_u64(self.0[1]);
    }
}

impl Key {
    /// The key of some parts, the same on every gateway. Their boundaries count: `["a", "bc"]` is not `["ab", "c"]`.
    pub fn of(parts: &[&str]) -> Self {
        let mut bytes = Bytes::new();
        parts.iter().for_each(|part| push(&mut bytes, part.as_bytes()));
        Self::of_bytes(&bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        // The other half is not needed to tell keys apart.
        let (words, _) = hash.as_bytes().as_chunks();
        Self([u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])])
    }
}

/// The parts of a key, each with its length; as a rule there are no more bytes than these.
type Bytes = SmallVec<[u8; 96]>;

fn push(bytes: &mut Bytes, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// Who keeps the counts, and so what keys have to be. Callers choose what goes into a key, and must not find two of one key:
/// they would be counted as somebody else.
#[derive(Clone, Copy, Debug)]
pub enum KeyScheme {
    /// This process alone: a keyed hash is quick, and safe as long as nobody knows its key.
    Alone(HashKey),
    /// Gateways that share a store, in which no secret tells one's keys from another's: a hash that is safe without one. Their
    /// keys have been the same in all versions.
    Shared,
}

/// What the keys of one rule have in common.
#[derive(Clone)]
pub struct KeyPrefix(Prefix);

#[derive(Clone)]
enum Prefix {
    /// It is hashed already.
    Alone(SipHasher24),
    Shared(Arc<[u8]>),
}

/// A key in the making.
pub struct KeyParts<'p> {
    prefix: &'p Prefix,
    bytes: Bytes,
}

impl KeyPrefix {
    /// Keys that begin with `name`.
    pub fn new(scheme: KeyScheme, name: &str) -> Self {
        let mut bytes = Bytes::new();
        push(&mut bytes, name.as_bytes());
        Self(match scheme {
            KeyScheme::Alone(HashKey([first, second])) => {
                let mut hasher = SipHasher24::new_with_keys(first, second);
                hasher.write(&bytes);
                Prefix::Alone(hasher)
            }
            KeyScheme::Shared => Prefix::Shared(bytes.as_slice().into()),
        })
    }

    /// Begins a key.
    pub fn begin(&self) -> KeyParts<'_> {
        let bytes = match &self.0 {
            Prefix::Alone(_) => Bytes::new(),
            Prefix::Shared(bytes) => Bytes::from_slice(bytes),
        };
        KeyParts { prefix: &self.0, bytes }
    }
}

impl KeyParts<'_> {
    /// Adds a part of some kind, which has this number and this word.
    pub fn text(&mut self, (number, word): (u8, &str), part: &str) {
        match self.prefix {
            Prefix::Alone(_) => self.add(number, part.as_bytes()),
            Prefix::Shared(_) => {
                push(&mut self.bytes, word.as_bytes());
                push(&mut self.bytes, part.as_bytes());
            }
        }
    }

    /// Adds an address. No kind of texts has its number and its word.
    pub fn address(&mut self, kind: (u8, &str), address: IpAddr) {
        match (self.prefix, address) {
            (Prefix::Shared(_), address) => self.text(kind, &address.to_string()),
            (Prefix::Alone(_), IpAddr::V4(address)) => self.add(kind.0, &address.octets()),
            (Prefix::Alone(_), IpAddr::V6(address)) => self.add(kind.0, &address.octets()),
        }
    }

    /// Kind and length in four bytes: of an address there are one or three words then to be hashed.
    fn add(&mut self, number: u8, part: &[u8]) {
        let [a, b, c, d, high @ ..] = (part.len() as u64).to_le_bytes();
        if d == 0 && high == [0; 4] {
            self.bytes.extend_from_slice(&[number, a, b, c]);
        } else {
            // Nobody has such a name.
            self.bytes.extend_from_slice(&[u8::MAX, number]);
            self.bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        }
        self.bytes.extend_from_slice(part);
    }

    /// The key.
    pub fn key(&self) -> Key {
        match self.prefix {
            Prefix::Alone(hasher) => {
                let mut hasher = *hasher;
                hasher.write(&self.bytes);
                let hash = hasher.finish128();
                Key([hash.h1, hash.h2])
            }
            Prefix::Shared(_) => Key::of_bytes(&self.bytes),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}{:016x}", self.0[1], self.0[0])
    }
}

/// An amount per period, and the burst size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Units in a period, at least one.
    pub count: u64,
    /// The period, above zero.
    pub period: Duration,
    /// Units at once, at least one.
    pub burst: u64,
}

impl Rate {
    /// A rate that allows all of a period's units at once.
    pub fn new(count: u64, period: Duration) -> Self {
        Self { count, period, burst: count }
    }

    /// How long one unit takes to come back, in nanoseconds; rounded up, so that the rate is never exceeded.
    pub fn interval(&self) -> u64 {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        period.div_ceil(self.count.max(1)).max(1)
    }

    /// How long `units` take to come back when `gateways` share the rate.
    pub fn price(&self, units: u64, gateways: u32) -> u64 {
        self.interval().saturating_mul(units).saturating_mul(u64::from(gateways.max(1)))
    }

    /// How much may be owed, as a time.
    pub fn capacity(&self) -> u64 {
        self.interval().saturating_mul(self.burst.max(1))
    }

    /// Units that can be taken while `debt` nanoseconds are owed.
    pub fn remaining(&self, debt: u64) -> u64 {
        self.capacity().saturating_sub(debt) / self.interval()
    }
}

/// What becomes of calls while the shared store is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreError {
    /// Each gateway counts its share by itself.
    Local,
    /// They are all let through.
    Admit,
    /// They are all refused.
    Deny,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: HashKey = HashKey([1, 2]);

    const ADDRESS: (u8, &str) = (3, "address");

    /// The key of a rule for a caller, as all gateways that share a store have always computed it.
    #[test]
    fn keys_of_the_shared_store_stay_what_they_were() {
        for (address, wanted) in
            [("192.0.2.1", "ecbfd5ab752fec446080d56ae1744870"), ("2001:db8::", "33da192b9650a86e71fcb7e192b79829")]
        {
            let rule = "general [KeyPlan([Address])] requests 600 60000000000 600";
            let prefix = KeyPrefix::new(KeyScheme::Shared, rule);
            let mut parts = prefix.begin();
            parts.address(ADDRESS, address.parse().unwrap());
            assert_eq!(parts.key().to_string(), wanted);
            assert_eq!(parts.key(), Key::of(&[rule, "address", address]));
        }
    }

    /// Some parts: each a kind, and a text or an address.
    fn parts() -> impl Strategy<Value = Vec<(u8, Result<String, IpAddr>)>> {
        let text = ".{0,3}".prop_map(Ok);
        let part = prop_oneof![(0u8..3, text), (Just(3), any::<[u8; 4]>().prop_map(|it| Err(it.into())))];
        proptest::collection::vec(part, 0..4)
    }

    fn key(scheme: KeyScheme, name: &str, all: &[(u8, Result<String, IpAddr>)]) -> Key {
        let prefix = KeyPrefix::new(scheme, name);
        let mut parts = prefix.begin();
        for (kind, part) in all {
            let kind = (*kind, ["user", "tenant", "api_key", "address"][usize::from(*kind)]);
            match part {
                Ok(text) => parts.text(kind, text),
                Err(address) => parts.address(kind, *address),
            }
        }
        parts.key()
    }

    proptest! {
        #[test]
        fn keys_are_the_same_where_rule_and_parts_are(
            (name, one) in ("[ab]{0,9}", parts()), (other_name, other) in ("[ab]{0,9}", parts()),
        ) {
            for scheme in [KeyScheme::Alone(SECRET), KeyScheme::Shared] {
                let is_same = name == other_name && one == other;
                prop_assert_eq!(key(scheme, &name, &one) == key(scheme, &other_name, &other), is_same);
                prop_assert_eq!(key(scheme, &name, &one), key(scheme, &name, &one));
            }
        }
    }

    #[test]
    fn another_process_makes_other_keys() {
        let all = [(3, Err([192, 0, 2, 1].into()))];
        let keys = [SECRET, HashKey([1, 3]), HashKey([2, 2])].map(|secret| key(KeyScheme::Alone(secret), "a", &all));
        assert!(keys[0] != keys[1] && keys[0] != keys[2]);
    }
}
