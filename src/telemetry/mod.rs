//! Telemetry: how the gateway is observed: metrics, log lines, spans, reports of its own faults, and the call
//! history.

pub mod export_queue;
pub mod histogram;
pub mod log_level;
pub mod metrics;
pub mod repeats;
pub mod running;

pub mod log;
pub mod record;
pub mod reports;
pub mod spans;
pub mod traffic;

pub mod explain;
pub mod export;
pub mod history;
pub mod panics;
