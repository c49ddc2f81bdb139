//! The shared store against real Redis servers: exactness, failures and recovery. `scripts/setup` installs redis-server.
//!
//! Each test has its own servers on free ports. Waits are for events; what is judged is counts, and times only against the
//! limits that the store itself keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "store/fleet.rs"]
mod fleet;
#[path = "store/groups.rs"]
mod groups;
#[path = "store/server.rs"]
mod server;

#[path = "store/costs.rs"]
mod costs;
#[path = "store/exact.rs"]
mod exact;
#[path = "store/failures.rs"]
mod failures;
#[path = "store/gateway.rs"]
mod gateway;
#[path = "store/keys.rs"]
mod keys;
#[path = "store/partitions.rs"]
mod partitions;
#[path = "store/poison.rs"]
mod poison;
#[path = "store/shapes.rs"]
mod shapes;
#[path = "store/simulated.rs"]
mod simulated;
#[path = "store/tls.rs"]
mod tls;
#[path = "store/transactions.rs"]
mod transactions;
