//! State that gateways keep and share: rate limits, budgets, the usage ledger, flags and issued keys, in memory or
//! in Redis.

pub mod estimate;
pub mod store;

pub mod charge;
pub mod flags;
pub mod issued_keys;
pub mod jobs;
pub mod ledger;
