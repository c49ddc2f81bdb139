//! OpenAI's dialect: its events, errors and bodies, whichever of its many servers wrote them.
//!
//! Everything that knows its field names is here; callers' and providers' dialects, and policies, use it.

mod abilities;
pub mod brief;
mod call_id;
pub mod complete;
pub mod completion;
pub mod conversation;
pub(crate) mod id;
pub mod models;
pub(crate) mod parts;
pub mod question;
pub(crate) mod structured;
pub(crate) mod usage;

pub mod counter;
pub mod errors;
pub(crate) mod failures;
mod functions;
pub mod replay;

pub(crate) mod answer;
pub mod events;

pub mod record;
pub(crate) mod reshaped;
pub(crate) mod stitch;
pub mod texts;

pub mod forms;

pub(crate) mod chat;

pub(crate) mod responses;
