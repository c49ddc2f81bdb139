//! A conversation in the gateway's own terms: its messages, and how the answer must be.
//!
//! It knows no dialect.

use crate::model::prompt::PromptRequest;
use crate::model::shape::Shape;

/// A conversation, independent of any dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The model the caller named, if any.
    pub model: Option<Box<str>>,
    /// The conversation, oldest first. Empty only as long as `prompt` is there.
    pub messages: Vec<Message>,
    /// The prompt that becomes the messages, and what else it sets, before the first policy sees the call; `None` from then on.
    pub prompt: Option<Box<PromptRequest>>,
    /// What the answer must look like; `None`: it is free.
    pub schema: Option<Shape>,
    /// Sampling temperature, when the caller set one.
    pub temperature: Option<f64>,
    /// The most tokens to generate, when the caller set a limit.
    pub max_tokens: Option<u32>,
    /// True when events are wanted.
    pub stream: bool,
    /// The tenant's menu, passed on to providers that know what to do with one.
    pub menu: Option<serde_json::Value>,
    /// The session the caller named, so that an answer can name it again.
    pub session: Option<Box<str>>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator of the service.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word OpenAI's dialect uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}
