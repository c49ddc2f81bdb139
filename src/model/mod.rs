//! Model: the vocabulary of all other parts: a call, its reply, its fault, its trail, and values such as money and
//! deadlines.
//!
//! Nothing here does I/O or knows the configuration.

pub mod api_key;
pub mod attempts;
pub mod bill;
pub mod buffers;
pub mod calendar;
pub mod call;
pub mod fault;
pub mod ip_ranges;
pub mod log_context;
pub mod money;
pub mod names;
pub mod offload;
pub mod patience;
pub mod pricing;
pub mod rate;
pub mod reply;
pub mod rng;
pub mod signs;
pub mod switch;
pub mod time;
pub mod trace;
pub mod trail;
pub mod usual;
