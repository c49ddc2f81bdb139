//! OpenAI's dialect: its events, errors and bodies, whichever of its many servers wrote them.
//!
//! Everything that knows its field names is here; callers' and providers' dialects, and policies, use it.

pub(crate) mod answer;
pub mod complete;
pub mod completion;
pub mod conversation;
pub mod counter;
pub mod errors;
pub mod events;
pub(crate) mod failures;
pub(crate) mod format;
pub(crate) mod formats;
pub mod forms;
pub(crate) mod id;
pub mod models;
pub(crate) mod parts;
pub mod question;
pub mod record;
pub mod replay;
pub mod stitch;
pub mod texts;
pub(crate) mod usage;
