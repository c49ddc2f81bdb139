//! Policies, one file each, in the order of the pipeline. Which of them a route has is in `gateway/pipeline.rs`
//! alone.

pub mod admit;
pub mod affinity;
pub mod auth;
pub mod breaker;
pub mod budget;
pub mod cache;
pub mod catalog;
pub mod concurrency;
pub mod deadline;
pub mod degrade;
pub mod failover;
pub mod guard;
pub mod hedge;
pub mod idempotency;
pub mod limit;
pub mod mirror;
pub mod observe;
pub mod quota;
pub mod resume;
pub mod retry;
pub mod structured;
pub mod switched;
pub mod timeout;
pub mod variant;
