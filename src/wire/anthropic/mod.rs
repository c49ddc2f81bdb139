//! Anthropic's dialect: its requests, events, errors and bodies.
//!
//! Everything that knows its field names is here; callers' and providers' dialects, and policies, use it.

pub(crate) mod messages;
pub(crate) mod pages;
