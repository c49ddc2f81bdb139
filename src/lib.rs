//! Tidegate: a resilient AI gateway. `ARCHITECTURE.md` is the map; the pipeline is in `pipeline.rs`.
//!
//! The modules are listed by storey: a file imports only from lower ones.

// 0 words
pub mod apart;
pub mod bill;
pub mod budget;
pub mod buffers;
pub mod calendar;
pub mod call;
pub mod chance;
pub mod coding;
pub mod fault;
pub mod money;
pub mod names;
pub mod networks;
pub mod path;
pub mod patience;
pub mod patterns;
pub mod reply;
pub mod subject;
pub mod time;
pub mod trace;
pub mod trail;
pub mod usual;

// 1 wire grammar
pub mod wire;

// 2 seam
pub mod stack;

// 3 config, shared state
pub mod charge;
pub mod config;
pub mod estimate;
pub mod explain;
pub mod flags;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod outbox;
pub mod reports;
pub mod spans;
pub mod store;
pub mod switch;
pub mod traffic;

// 4 policies
pub mod policy;

// 5 dialects
pub mod caller;
pub mod provider;

// 6 composition
pub mod gateway;
pub mod live;
pub mod pipeline;
pub mod world;

// 7 edges
pub mod server;
pub mod telemetry;

// 8 commands
pub mod commands;
