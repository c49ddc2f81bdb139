//! Wire: the grammar of what crosses the network, in both directions. How events are framed, how JSON is read field by field, and
//! what OpenAI's dialect says with both.
//!
//! Pure: no I/O, no clock, no configuration. It does not know who calls, who answers, or what is done about it.

pub mod content_coding;
pub mod path;

pub mod concat;
pub mod format;
pub mod headers;
pub mod json;
pub mod media;
pub mod multipart;
pub mod openai;
pub mod recording;
pub mod redis_url;
pub mod sse;
pub mod stream;
