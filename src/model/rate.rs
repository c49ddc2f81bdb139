//! Rate: an amount per period, the key that a rate limit counts by, and what to do while the store is down.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Who is counted under which rule: 128 bits that reveal neither. Equal parts give equal keys on every gateway.
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
    /// The key of some parts. Their boundaries count: `["a", "bc"]` is not `["ab", "c"]`.
    pub fn of(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
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
