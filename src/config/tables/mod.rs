//! Tables: one reader for each table of the configuration, from keys to the plan's types.

pub mod roots;

pub mod edge;
pub mod explaining;
pub mod idempotency;
pub mod input;
pub mod labels;
pub mod leaving;
pub mod listing;
pub mod policies;
pub mod private;
pub mod prompts;
pub mod requests;
pub mod sentry;
pub mod shapes;
pub mod tls;
pub mod tracing;
pub mod tunnels;

pub mod general;

pub mod provider_keys;

pub mod caching;
pub mod providers;
pub mod recording;
pub mod webhooks;

pub mod auth;
pub mod flags;
pub mod guards;
pub mod jobs;
pub mod targets;

pub mod mirror;
pub mod open_keys;
pub mod variants;

pub mod routes;

pub mod limits;

pub mod costs;
