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

/// The parts of a key, each after its length; as a rule there are no more bytes than these.
type Bytes = SmallVec<[u8; 256]>;

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
    /// Adds a part.
    pub fn text(&mut self, part: &str) {
        push(&mut self.bytes, part.as_bytes());
    }

    /// Adds an address. A part before it has to say that it is one.
    pub fn address(&mut self, address: IpAddr) {
        match (self.prefix, address) {
            (Prefix::Shared(_), address) => self.text(&address.to_string()),
            (Prefix::Alone(_), IpAddr::V4(address)) => push(&mut self.bytes, &address.octets()),
            (Prefix::Alone(_), IpAddr::V6(address)) => push(&mut self.bytes, &address.octets()),
        }
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
    use super::*;

    const SECRET: HashKey = HashKey([1, 2]);

    /// The key of a rule for a caller, as all gateways that share a store have always computed it.
    #[test]
    fn keys_of_the_shared_store_stay_what_they_were() {
        for (address, wanted) in
            [("192.0.2.1", "ecbfd5ab752fec446080d56ae1744870"), ("2001:db8::", "33da192b9650a86e71fcb7e192b79829")]
        {
            let prefix = KeyPrefix::new(KeyScheme::Shared, "general [KeyPlan([Address])] requests 600 60000000000 600");
            let mut parts = prefix.begin();
            parts.text("address");
            parts.address(address.parse().unwrap());
            assert_eq!(parts.key().to_string(), wanted);
        }
    }

    #[test]
    fn keys_of_one_process_depend_on_rule_parts_and_secret() {
        let key = |secret, name, words: &[&str], address: &str| {
            let prefix = KeyPrefix::new(KeyScheme::Alone(secret), name);
            let mut parts = prefix.begin();
            words.iter().for_each(|word| parts.text(word));
            parts.address(address.parse().unwrap());
            parts.key()
        };
        let one = key(SECRET, "a", &["address"], "192.0.2.1");
        assert_eq!(one, key(SECRET, "a", &["address"], "192.0.2.1"));
        for other in [
            key(HashKey([1, 3]), "a", &["address"], "192.0.2.1"),
            key(SECRET, "b", &["address"], "192.0.2.1"),
            key(SECRET, "a", &["address"], "192.0.2.2"),
            key(SECRET, "a", &["address"], "::c000:201"),
            key(SECRET, "a", &["addres", "s"], "192.0.2.1"),
            key(SECRET, "a", &["address", ""], "192.0.2.1"),
        ] {
            assert_ne!(one, other);
        }
    }
}
