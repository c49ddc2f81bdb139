//! Gateways as far as the store knows them: each has its own connection, its own count and its own memory.
//!
//! It does not know what they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::model::rate::Key;
use tidegate::model::rate::{OnStoreError, Rate};
use tidegate::model::rng::SeededRng;
use tidegate::state::store::memory::Memory;
use tidegate::state::store::redis::{Reach, Redis, Settings};
use tidegate::state::store::shared::SharedLimiter;
use tidegate::state::store::{Acquire, RateLimiter, Source};
use tidegate::wire::redis_url::Address;
use tokio::task::JoinSet;

use crate::server::until;

/// Names that differ from test to test, for those that share a server.
static SEED: AtomicU64 = AtomicU64::new(1);

/// One gateway.
pub(crate) struct Member {
    pub(crate) redis: Arc<Redis>,
    pub(crate) meter: Arc<SharedLimiter>,
    keepers: JoinSet<()>,
}

/// How a test wants its gateways.
#[derive(Clone)]
pub(crate) struct CacheDirectives {
    pub(crate) timeout: Duration,
    pub(crate) on_error: OnStoreError,
    pub(crate) max_in_flight: usize,
}

impl Default for CacheDirectives {
    fn default() -> Self {
        // Longer than a busy test machine needs: what a timeout does is shown where it is the subject.
        Self { timeout: Duration::from_millis(500), on_error: OnStoreError::Local, max_in_flight: 1024 }
    }
}

impl Member {
    /// A gateway that uses this store.
    pub(crate) fn join(url: &str, wishes: &CacheDirectives) -> Self {
        let chance = SeededRng::new(SEED.fetch_add(1, Ordering::Relaxed));
        let settings = Settings {
            purpose: "limit",
            reach: Reach::Network(Address::parse(url).unwrap()),
            timeout: wishes.timeout,
            max_in_flight: wishes.max_in_flight,
            key_prefix: "test".into(),
            gateways: 1,
        };
        let redis = Arc::new(Redis::new(settings, chance.clone()));
        let meter = Arc::new(SharedLimiter::new(redis.clone(), Memory::new(10_000, &chance), wishes.on_error));
        let mut keepers = JoinSet::new();
        let (kept, settling) = (redis.clone(), meter.clone());
        keepers.spawn(async move { kept.run().await });
        keepers.spawn(async move { settling.run().await });
        Self { redis, meter, keepers }
    }

    /// True when all takes were admitted, and who counted.
    pub(crate) async fn ask(&self, takes: &[Acquire]) -> (bool, Source) {
        let taken = self.meter.take(takes).await.unwrap();
        (taken.is_admitted(takes), taken.source)
    }

    /// Leaves without a word, as a gateway that is killed does.
    pub(crate) fn vanish(mut self) {
        self.keepers.abort_all();
    }
}

/// Several gateways that know of each other.
pub(crate) async fn fleet(url: &str, size: u32, wishes: &CacheDirectives) -> Vec<Member> {
    let members: Vec<Member> = (0..size).map(|_| Member::join(url, wishes)).collect();
    until("all gateways know of each other", async || {
        members.iter().all(|member| !member.redis.is_out() && member.redis.gateways() == size)
    })
    .await;
    members
}

/// One enforced unit for this name.
pub(crate) fn one(name: &str, rate: Rate) -> Acquire {
    Acquire { key: Key::of(&[name]), rate, cost: 1, is_enforced: true }
}

/// A rate at which nothing comes back during a test: what is admitted is the burst, exactly.
pub(crate) fn in_a_month(count: u64) -> Rate {
    Rate::new(count, Duration::from_secs(30 * 24 * 3600))
}
