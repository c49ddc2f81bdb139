//! Tidegate: a resilient AI gateway. `ARCHITECTURE.md` is the map; `gateway/pipeline.rs` lists the policies of a call.
//!
//! The folders are the storeys, listed here from the lowest up: a file imports only from folders above its own in this list.
//! Every `mod.rs` does the same for its folder: modules in one group know nothing of each other, and an empty line begins the
//! next storey. `tests/tidy.rs` holds all of them to it.

pub mod model;

pub mod wire;

pub mod patterns;

pub mod prompts;

pub mod config;

pub mod state;

pub mod telemetry;

pub mod stack;

pub mod policy;

pub mod caller;

pub mod provider;

pub mod gateway;

pub mod server;

pub mod simulate;

pub mod commands;
