//! Failed authentications: limits them per client address.
//!
//! governor decides by GCRA. Its own tables keep every address until somebody cleans them, so addresses are kept in
//! the bounded table of rate limits, which also follows the runtime's clock.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::model::names::customer;
use crate::model::rate::{Key, Rate};
use crate::model::rng::SeededRng;
use crate::state::store::memory::Memory;

/// Client addresses that are remembered; those with the fewest recent failures are forgotten first.
const MAX_ADDRESSES: usize = 10_000;

/// The failures of all addresses. Shared by its clones, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Failures(Arc<Memory>);

impl Failures {
    /// No failures yet.
    pub fn new(chance: &SeededRng) -> Self {
        Self(Arc::new(Memory::new(MAX_ADDRESSES, chance)))
    }
}

impl StateStore for Failures {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.update(*key, |debt| decide(Some(debt.into())).map(|(outcome, debt)| (outcome, debt.into())))
    }
}

/// The clock of governor: always zero, because the table counts debts from now.
struct Now;

impl Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}

/// How many failures the config allows, applied to all addresses.
pub(super) struct FailureLimit(RateLimiter<Key, Failures, Now, NoOpMiddleware<Nanos>>);

impl FailureLimit {
    /// A limit over failures that may have been counted before.
    pub(super) fn new(rate: Rate, failures: Failures) -> Self {
        let burst = u32::try_from(rate.burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let quota = Quota::with_period(Duration::from_nanos(rate.interval()));
        let quota = quota.unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        Self(RateLimiter::new(quota, failures, Now))
    }

    /// Counts a failure. When it is one too many: how long until the next attempt is allowed.
    pub(super) fn note(&self, address: IpAddr) -> Option<Duration> {
        let key = Key::of(&["wrong-credentials", &customer(address).to_string()]);
        self.0.check_key(&key).err().map(|until| until.wait_time_from(Nanos::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[tokio::test(start_paused = true)]
    async fn each_address_may_fail_so_often_and_a_refusal_names_the_wait() {
        let failures = Failures::new(&SeededRng::new(7));
        let limit = FailureLimit::new(Rate::new(2, Duration::from_secs(60)), failures.clone());
        assert_eq!([limit.note(address(1)), limit.note(address(1))], [None, None]);
        assert_eq!(limit.note(address(1)), Some(Duration::from_secs(30)));
        assert_eq!(limit.note(address(2)), None, "another address");
        tokio::time::advance(Duration::from_secs(29)).await;
        let after_reload = FailureLimit::new(Rate::new(2, Duration::from_secs(60)), failures);
        assert_eq!(after_reload.note(address(1)), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(after_reload.note(address(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_stays_bounded_and_does_not_free_a_refused_one() {
        let failures = Failures::new(&SeededRng::new(7));
        let limit = FailureLimit::new(Rate::new(5, Duration::from_secs(60)), failures.clone());
        (0..5).for_each(|_| assert_eq!(limit.note(address(1)), None));
        (2..50_000).for_each(|number| assert_eq!(limit.note(address(number)), None));
        assert!(failures.0.len() <= MAX_ADDRESSES + 64, "{} addresses", failures.0.len());
        assert!(limit.note(address(1)).is_some());
    }
}
