//! Job stores: what each promises, tried against one contract and a plain model; and what is left of them after a kill.
//!
//! Stores in memory run in virtual time. Where a process is killed, what is judged is what it had been told before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "jobs/bed.rs"]
mod bed;

#[macro_use]
#[path = "jobs/contract.rs"]
mod contract;

#[path = "jobs/file.rs"]
mod file;
#[path = "jobs/kill.rs"]
mod kill;
#[path = "jobs/laws.rs"]
mod laws;
#[path = "jobs/model.rs"]
mod model;
#[path = "jobs/operators.rs"]
mod operators;
#[path = "jobs/redis.rs"]
mod redis;

#[path = "store/groups.rs"]
mod groups;
#[allow(dead_code, reason = "the tests of limits need all of it")]
#[path = "store/server.rs"]
mod server;
