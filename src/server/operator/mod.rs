//! Operator: the operators' API: health, metrics, configuration, flags, keys, usage, and the live page. `routes` has the one
//! table of it.

pub mod answer;

pub mod endpoint;

pub mod access;

pub mod configuration;
pub mod demo;
pub mod explain;
pub mod flags;
pub mod history;
pub mod keys;
pub mod log_level;
pub mod openapi;
pub mod purge;
pub mod usage;
pub mod what_if;

pub mod health;
pub mod jobs;
pub mod page;

pub mod routes;

pub mod reference;
pub mod serve;
