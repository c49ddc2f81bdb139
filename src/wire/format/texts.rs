//! The texts of a stream's events, in the grammar of its API.
//!
//! It does not know what is searched for in texts, nor what becomes of them.

use super::super::anthropic::texts as message;
use super::super::openai::texts::{self, EventTexts, TextKey};

/// Whose events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// OpenAI's, of either of its APIs, and of whoever is like them.
    OpenAi,
    /// Those of Messages.
    Messages,
}

impl Texts {
    /// The texts of an event with this data; `None` for what is no JSON. `name` is the event's, for data that says no type.
    pub(crate) fn read<'a>(self, data: &'a str, name: impl FnOnce() -> Option<String>) -> Option<EventTexts<'a>> {
        match self {
            Texts::OpenAi => EventTexts::read(data, name),
            Texts::Messages => message::read(data, name),
        }
    }

    /// The data of an event like one that had some of a text, with just the rest of it, as it stands between quotes.
    pub(crate) fn rest(self, data: &str, text: &TextKey, id: Option<&str>, rest: &str) -> String {
        let of_message = if self == Texts::Messages { message::rest(text, rest) } else { None };
        of_message.unwrap_or_else(|| texts::rest(data, text, id, rest))
    }
}
