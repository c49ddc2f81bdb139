//! Gateways that share kept answers, against real Redis servers: one call for all of them, purges that reach all, and a store
//! that fails in every way that is known. `scripts/setup` installs redis-server.
//!
//! Waits are for events. What is judged is counts and answers, and times only against limits that the gateway itself keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "cluster/gateways.rs"]
mod gateways;
#[path = "store/groups.rs"]
mod groups;
#[path = "store/server.rs"]
#[allow(dead_code, reason = "the tests of limits need all of it")]
mod server;

#[path = "cluster/clocks.rs"]
mod clocks;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/flags.rs"]
mod flags;
#[path = "cluster/once.rs"]
mod once;
#[path = "cluster/poison.rs"]
mod poison;
#[path = "cluster/shapes.rs"]
mod shapes;
#[path = "cluster/sharing.rs"]
mod sharing;
