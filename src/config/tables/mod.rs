//! Tables: one reader for each table of the configuration, from keys to the plan's types.

pub mod auth;
pub mod caching;
pub mod costs;
pub mod edge;
pub mod explaining;
pub mod flags;
pub mod general;
pub mod guards;
pub mod idempotency;
pub mod input;
pub mod labels;
pub mod leaving;
pub mod limits;
pub mod listing;
pub mod policies;
pub mod private;
pub mod providers;
pub mod roots;
pub mod routes;
pub mod sentry;
pub mod targets;
pub mod tls;
pub mod tracing;
pub mod tunnels;
pub mod variants;
