//! Jobs: opens the job store that a plan asks for: a file, or memory in simulated worlds.
//!
//! It does not know what jobs are.

use std::sync::Arc;

use crate::config::plan::{JobsPlan, Plan};
use crate::gateway::world::World;
use crate::state::jobs::file::FileStore;
use crate::state::jobs::process::Jobs;
use crate::state::jobs::seal::Seal;
use crate::state::jobs::{JobStore, JobTerms};

/// The jobs of a process. No file is opened yet.
pub(super) fn open(plan: &Plan, world: &World) -> Jobs {
    let (plan, chance) = (&plan.jobs, world.chance().apart(7));
    let store: Arc<dyn JobStore> = match world.simulation() {
        Some(_) => Arc::new(FileStore::in_memory(world.clock(), terms(plan))),
        None => Arc::new(FileStore::new(plan.state_file.clone(), world.clock(), terms(plan))),
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
