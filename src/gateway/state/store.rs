//! The shared store, if the plan names one: its connections and their health.
//!
//! It does not know what is stored there.

use std::sync::Arc;
use std::time::Duration;

use super::{GatewayState, Health};
use crate::config::plan::{Plan, StorePlan};
use crate::model::rng::SeededRng;
use crate::policy::cache::cluster::Cluster;
use crate::policy::limit::{Fronts, Limits};
use crate::state::estimate::Estimates;
use crate::state::store::memory::Memory;
use crate::state::store::redis::{Reach, Redis, Settings, Standing};
use crate::state::store::shared::SharedLimiter;

/// How long the shared store may take for what no call waits for.
const BEHIND: Duration = Duration::from_secs(1);

/// The shared store.
pub(super) struct Store {
    pub(super) redis: Arc<Redis>,
    pub(super) meter: Arc<SharedLimiter>,
    /// With a connection and a patience of its own: entries are large, and a call goes on without them.
    pub(super) cluster: Arc<Cluster>,
}

impl GatewayState {
    /// The shared store, where there is one.
    pub fn redis(&self) -> Option<&Arc<Redis>> {
        self.common.store.as_ref().map(|store| &store.redis)
    }

    /// Keeps the connection to the shared store. Runs until dropped.
    pub async fn keep_store(&self) {
        if let Some(Store { redis, meter, cluster }) = &self.common.store {
            let (issued, flags) = (&self.common.trust.issued, &self.common.flags);
            let entries = cluster.run(&self.entries);
            tokio::join!(
                redis.run(),
                meter.run(),
                entries,
                issued.run(),
                flags.run(),
                self.ledger().run(),
                self.accounts().run()
            );
        }
    }

    /// What the caches of all gateways share, where there is a shared store.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.common.store.as_ref().map(|store| &store.cluster)
    }

    /// The store's health, when it is a remote one.
    pub fn store(&self) -> Health {
        match self.redis().map(|redis| redis.standing()) {
            None | Some(Standing::Unknown) => Health::Unknown,
            Some(Standing::Up { latency }) => Health::Connected { latency },
            Some(Standing::Out(fault)) => Health::Disconnected { error: fault.to_string() },
        }
    }
}

/// What counts: the shared store that is reached so, with the process beside it; else the process alone.
pub(super) fn limits(plan: &Plan, reach: Option<&Reach>, chance: &SeededRng) -> (Limits, Option<Store>) {
    let chance = &chance.apart(1);
    let memory = Memory::new(plan.limits.max_keys, chance);
    let estimates = Estimates::default();
    let Some(reach) = reach else {
        return (Limits { meter: Arc::new(memory), estimates, fronts: Fronts::default() }, None);
    };
    let settings = Settings {
        purpose: "limit",
        reach: reach.clone(),
        timeout: plan.store.timeout,
        max_in_flight: plan.store.max_in_flight,
        key_prefix: plan.store.key_prefix.clone(),
        gateways: plan.store.gateways,
    };
    let kept = Settings { purpose: "cache", timeout: plan.cache.redis_timeout, ..settings.clone() };
    let cluster = Arc::new(Cluster::new(Arc::new(Redis::new(kept, chance.apart(1)))));
    let redis = Arc::new(Redis::new(settings, chance.clone()));
    let meter = Arc::new(SharedLimiter::new(redis.clone(), memory, plan.store.on_store_error));
    let limits = Limits { meter: meter.clone(), estimates, fronts: Fronts::default() };
    (limits, Some(Store { redis, meter, cluster }))
}

/// A Redis over a connection of its own, for a use that no call waits for: it may take its time without making others wait.
pub(in crate::gateway) fn apart(store: &StorePlan, reach: &Reach, purpose: &'static str, chance: SeededRng) -> Redis {
    let settings = Settings {
        purpose,
        reach: reach.clone(),
        timeout: BEHIND,
        max_in_flight: store.max_in_flight,
        key_prefix: store.key_prefix.clone(),
        gateways: store.gateways,
    };
    Redis::new(settings, chance)
}
