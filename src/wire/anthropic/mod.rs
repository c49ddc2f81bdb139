//! Anthropic's dialect: its requests, events, errors and bodies.
//!
//! Everything that knows its field names is here; callers' and providers' dialects, and policies, use it.

pub(crate) mod complete;
pub(crate) mod errors;
pub(crate) mod foreign;
pub(crate) mod models;
pub(crate) mod question;
pub(crate) mod texts;
pub(crate) mod usage;

pub(crate) mod answer;
pub(crate) mod events;
pub(crate) mod record;
pub(crate) mod stitch;

pub(crate) mod replay;

pub(crate) mod messages;
pub(crate) mod pages;
