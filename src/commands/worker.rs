//! `tidegate worker`: works on jobs that gateways have accepted, until SIGTERM or SIGINT. Operators can connect to it,
//! callers cannot.
//!
//! It does not know what working on a job is.

use std::path::Path;
use std::process::ExitCode;

use super::serve::{Role, run_as};
use crate::config::plan::Plan;

/// Works by a config file, or without one.
pub fn run(file: Option<&Path>) -> ExitCode {
    run_as(&Role { has_callers: false, check }, file)
}

/// A worker that would never get a job says so at once.
fn check(plan: &Plan) -> Result<(), String> {
    let jobs = &plan.jobs;
    if !jobs.is_on {
        return Err("there are no jobs to work on: `jobs.enabled` is false; set it to true".to_owned());
    }
    if jobs.address.is_none() {
        return Err("a worker takes jobs from the Redis that it shares with the gateways: set REDIS_URL (or \
                    `store.redis_url`, or JOBS_REDIS_URL for jobs alone), here and at the gateways. Without Redis a \
                    gateway keeps its jobs in a file of its own (`jobs.state_file`) and works on them itself"
            .to_owned());
    }
    if jobs.concurrency == 0 {
        return Err(
            "a worker with `jobs.concurrency = 0` (JOBS_CONCURRENCY) would never take a job: set it to the number \
                    of jobs that it may work on at once, such as 10"
                .to_owned(),
        );
    }
    Ok(())
}
