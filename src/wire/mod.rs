//! Wire: the grammar of what crosses the network, in both directions: event framing, JSON fields, and OpenAI's
//! dialect built on both.
//!
//! Pure: no I/O, no clock, no configuration. It does not know who calls, who responds, or what is done about it.

pub(crate) mod span;

pub mod concat;
pub mod content_coding;
pub(crate) mod data_url;
pub mod headers;
pub mod http1;
pub mod json;
pub mod media;
pub mod multipart;
pub mod path;
pub mod recording;
pub(crate) mod recordings;
pub mod redis_url;
pub(crate) mod shown;
pub mod webhook;

pub mod sse;

pub mod stream;

pub(crate) mod grammar;
pub(crate) mod proof;
pub(crate) mod stitch;

pub mod openai;

pub mod anthropic;

pub mod format;

pub(crate) mod translation;
