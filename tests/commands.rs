//! The commands for operators (`flags`, `keys`, `usage`, `jobs`, `explain`) as they are used: the program asks a gateway that is
//! another process, in front of a provider of the test's own.
//!
//! What the API answers is tested elsewhere; here it counts what the commands make of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "wire/shared.rs"]
mod shared;

#[path = "commands/desk.rs"]
mod desk;
#[path = "commands/explain.rs"]
mod explain;
#[path = "commands/flags.rs"]
mod flags;
#[path = "commands/jobs.rs"]
mod jobs;
#[path = "commands/keys.rs"]
mod keys;
#[path = "commands/output.rs"]
mod output;
#[path = "commands/refused.rs"]
mod refused;
#[path = "commands/rubbish.rs"]
mod rubbish;
#[path = "commands/usage.rs"]
mod usage;

use crate::shared::{program, provider, secure, socket, words};
