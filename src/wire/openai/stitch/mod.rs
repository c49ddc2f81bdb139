//! The events of resumed streams, in each of OpenAI's APIs whose streams can be resumed.

pub(crate) mod object;

mod chat;
mod responses;

pub(crate) use self::chat::Chunks;
pub(crate) use self::responses::Frames;
