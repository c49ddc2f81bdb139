//! The store: the counters of rate limits ([`RateLimiter`]) and bytes with a TTL ([`Shelf`]), in the process or
//! shared through Redis.
//!
//! It does not know what is limited or stored; only `redis` opens sockets.

pub mod gcra;
pub mod redis;

pub mod budget_account;
pub mod memory;

pub mod shared;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use smallvec::SmallVec;

use crate::model::rate::{Key, KeyScheme, Rate};

/// One rule's part of a check: this amount, from this key, at this rate.
#[derive(Clone, Copy, Debug)]
pub struct Acquire {
    /// Who is counted.
    pub key: Key,
    /// What is allowed.
    pub rate: Rate,
    /// Units to take. More than the burst is taken as the burst: a call that large gets in when nothing else was taken,
    /// and is paid for afterwards ([`RateLimiter::settle`]).
    pub cost: u64,
    /// False: it is counted, and refuses nothing.
    pub is_enforced: bool,
}

/// What became of a check.
#[derive(Clone, Debug)]
pub struct RateDecision {
    /// One for each [`Acquire`], in its order.
    pub verdicts: SmallVec<[RuleDecision; 2]>,
    /// Who counted.
    pub source: Source,
}

impl RateDecision {
    /// True when every enforced rule admits. Otherwise nothing was taken from any.
    pub fn is_admitted(&self, takes: &[Acquire]) -> bool {
        !self.verdicts.iter().zip(takes).any(|(verdict, take)| take.is_enforced && !verdict.fits)
    }
}

/// One rule's answer.
#[derive(Clone, Copy, Debug)]
pub struct RuleDecision {
    /// True when the rule admits. A rule that is not enforced and does not fit was not charged.
    pub fits: bool,
    /// How long until all that was taken has come back.
    pub debt: Duration,
    /// How long until the same would fit; zero when it does.
    pub wait: Duration,
    /// What was taken; nothing when any enforced rule refused.
    pub hold: Option<Reservation>,
}

/// Something taken that may turn out to be more or less in the end.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    pub(crate) key: Key,
    pub(crate) rate: Rate,
    /// Units taken.
    pub cost: u64,
    /// Gateways that shared the rate when it was taken.
    pub(crate) gateways: u32,
    pub(crate) place: Place,
}

/// Whose clock says when the last of a [`Reservation`] will have come back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The process's, in nanoseconds.
    Local(u64),
    /// The shared store's, in microseconds.
    SharedLimiter(u64),
    /// Nobody's: it was not counted.
    Nowhere,
}

/// Who counted a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The process, which counts alone.
    Memory,
    /// The shared store.
    Redis,
    /// The process, because the shared store is down (`on_store_error = "local"`).
    Local,
    /// Nobody, because the shared store is down (`on_store_error = "admit"`).
    Nobody,
}

impl Source {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Memory => "memory",
            Source::Redis => "redis",
            Source::Local => "local",
            Source::Nobody => "nobody",
        }
    }
}

/// Counts what is taken.
pub trait RateLimiter: Send + Sync {
    /// Takes from all keys or from none: when an enforced rule refuses, no key is charged. An error says that the shared
    /// store is out and that the config wants calls refused then.
    fn take<'a>(&'a self, takes: &'a [Acquire]) -> BoxFuture<'a, Result<RateDecision, StoreFault>>;

    /// The same without a wait, where nobody else has to be asked; `None` where somebody has.
    fn take_at_once(&self, _takes: &[Acquire]) -> Option<RateDecision> {
        None
    }

    /// How its keys are made.
    fn key_scheme(&self) -> KeyScheme;

    /// Says how much a hold came to: less is given back as far as it is still owed, more is charged and refuses later calls.
    fn settle(&self, hold: Reservation, used: u64);

    /// Its counts.
    fn tally(&self) -> Tally;
}

/// A meter's counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Keys that are remembered now.
    pub keys: u64,
    /// Keys that were forgotten early because there were too many.
    pub evicted: u64,
    /// Settlements that the shared store never got.
    pub unsettled: u64,
    /// Gateways that share the store.
    pub gateways: u32,
}

/// Keeps bytes for a while.
pub trait Shelf: Send + Sync {
    /// What is kept under a key.
    fn fetch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreFault>>;

    /// Keeps bytes for this long.
    fn keep<'a>(&'a self, key: &'a str, bytes: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Forgets a key.
    fn forget<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreFault>>;
}

/// Why the shared store did not answer. It names no address and no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// It failed lately and is not asked until it works again.
    Out,
    /// No answer in time.
    Timeout,
    /// Too much is waiting for it already.
    Busy,
    /// It answered with an error, or the connection broke.
    Broken(String),
    /// What was asked for holds something else than the gateway's. The store itself works.
    Spoilt,
    /// A stream has no such consumer group: it was not made yet, or is gone. The store itself works.
    NoGroup,
}

impl fmt::Display for StoreFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFault::Out => out.write_str("out"),
            StoreFault::Timeout => out.write_str("timeout"),
            StoreFault::Busy => out.write_str("busy"),
            StoreFault::Broken(kind) => out.write_str(kind),
            StoreFault::Spoilt => out.write_str("a key has the wrong type"),
            StoreFault::NoGroup => out.write_str("a stream has no consumer group"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_between_parts_count() {
        assert_ne!(Key::of(&["a", "bc"]), Key::of(&["ab", "c"]));
        assert_ne!(Key::of(&["a"]), Key::of(&["a", ""]));
        assert_eq!(Key::of(&["a", "bc"]).to_string().len(), 32);
    }
}
