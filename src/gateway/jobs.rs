//! Jobs: opens the job store that a plan asks for: Redis, a file, or memory in simulated worlds.
//!
//! It does not know what jobs are.

use std::sync::Arc;

use crate::config::plan::{JobsPlan, Plan};
use crate::gateway::state::store;
use crate::gateway::world::World;
use crate::state::jobs::file::FileStore;
use crate::state::jobs::process::Jobs;
use crate::state::jobs::redis::RedisJobs;
use crate::state::jobs::seal::Seal;
use crate::state::jobs::{JobStore, JobTerms};
use crate::state::store::redis::Reach;

/// The jobs of a process. No file is opened and no connection is made yet.
pub(super) fn open(plan: &Plan, world: &World) -> Jobs {
    let (shared, plan, chance) = (&plan.store, &plan.jobs, world.chance().apart(7));
    let store: Arc<dyn JobStore> = match (world.simulation(), &plan.address) {
        (Some(_), _) => Arc::new(FileStore::in_memory(world.clock(), terms(plan))),
        (None, Some(address)) => {
            let reach = Reach::Network(address.clone());
            Arc::new(RedisJobs::new(
                store::apart(shared, &reach, "jobs", chance.apart(1)),
                store::apart(shared, &reach, "jobs-replicated", chance.apart(2)),
                terms(plan),
            ))
        }
        (None, None) => Arc::new(FileStore::new(plan.state_file.clone(), world.clock(), terms(plan))),
    };
    Jobs::new(store, Seal::new(plan.secret.as_ref().map(|secret| secret.expose().as_bytes()), chance))
}

/// What the config says to a store.
pub(super) fn terms(plan: &JobsPlan) -> JobTerms {
    JobTerms {
        lease: plan.lease,
        keep_results: plan.keep_results,
        keep_failures: plan.keep_failures,
        max_waiting: plan.max_waiting as u64,
        max_waiting_per_tenant: plan.max_waiting_per_tenant as u64,
        replicas: plan.replicas,
        is_volatile: plan.is_volatile,
    }
}
