//! Operator: the operators' API: health, metrics, configuration, flags, keys, usage, and the live page.

pub mod access;
pub mod configuration;
pub mod demo;
pub mod explain;
pub mod flags;
pub mod health;
pub mod keys;
pub mod log_level;
pub mod page;
pub mod purge;
pub mod usage;
