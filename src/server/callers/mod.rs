//! Callers: the public listener's side of HTTP: credentials, bodies, headers and CORS, and `ingress`, which turns a
//! request into a call and its outcome into a response.

pub mod address;
pub mod authority;
pub mod body_reader;
pub mod cache_control;
pub mod client_deadline;
pub mod compress;
pub mod cors;
pub mod credentials;
pub mod csrf;
pub mod idempotency;
pub mod ingress;
pub mod prompt_rules;
pub mod ratelimit_headers;
pub mod security;
pub mod served_by;
pub mod target;
