//! Callers: the public listener's side of HTTP: credentials, bodies, headers and CORS, and `ingress`, which makes a call of a
//! request and an answer of its outcome. The operators' listener uses what both need: targets, bodies, responses.

pub mod present;

pub mod address;
pub mod alive;
pub mod authority;
pub mod body_reader;
pub mod cache_control;
pub mod client_deadline;
pub mod cors;
pub mod credentials;
pub mod events;
pub mod idempotency;
pub mod prompt_rules;
pub mod prompted;
pub mod ratelimit_headers;
pub mod recognition;
pub mod response;
pub mod served_by;
pub mod structured;
pub mod target;

pub mod compress;
pub mod csrf;
pub mod head;
pub mod security;

pub mod ingress;
pub mod queue;
