//! `tidegate simulate`: what it says of wrong input, that it says the same each time, and that what it says is what happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "wire/shared.rs"]
mod shared;

#[path = "simulate/command.rs"]
mod command;
#[path = "simulate/fidelity.rs"]
mod fidelity;
#[path = "simulate/laws.rs"]
mod laws;
#[path = "simulate/provider.rs"]
mod provider;
#[path = "simulate/same.rs"]
mod same;
#[path = "simulate/traffic.rs"]
mod traffic;

use crate::shared::program;
