//! Model: the vocabulary of all other parts: a call, its reply, its fault, its trail, and values such as money and
//! deadlines.
//!
//! Nothing here does I/O or knows the configuration.

pub mod attempts;
pub mod bill;
pub mod buffers;
pub mod calendar;
pub mod caller_headers;
pub mod ip_ranges;
pub mod money;
pub mod name_map;
pub mod names;
pub mod operator_paths;
pub mod pattern;
pub mod prompt;
pub mod recorded;
pub mod rng;
pub mod shape;
pub mod text;
pub mod time;
pub mod trace;
pub mod usual;
pub mod uuid;

pub mod fault;
pub mod log_context;
pub mod offload;
pub mod rate;
pub mod signs;
pub mod webhook_url;

pub mod reply;

pub mod conversation;

pub mod pricing;
pub mod trail;

pub mod api_key;
pub mod call;

pub mod job;
pub mod patience;
pub mod switch;
