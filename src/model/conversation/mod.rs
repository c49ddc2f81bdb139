//! Conversation: what a model is asked, and what it says, in no dialect's words.
//!
//! The one form through which requests, answers and streams are translated (`wire/translation`). It holds what more than one
//! dialect can say; a dialect's reader names what else it found ([`Conversation::lost`]). It does not know how any dialect spells
//! it, nor what a target can do.

mod said;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use self::said::{Completion, Delta, PartKind, Piece, Stop};

/// A request to a model.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The model's name; empty where the request names none.
    pub model: String,
    /// What was said, oldest first. What the operator says (`system`, `developer`, `instructions`) stands at its place.
    pub turns: Vec<Turn>,
    /// The functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, or must.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once; `None`: the request says nothing.
    pub parallel_tools: Option<bool>,
    /// The most tokens of the answer, thoughts included; `None`: no limit.
    pub max_tokens: Option<u64>,
    /// How its words are drawn.
    pub sampling: Sampling,
    /// Texts at which the answer stops, and which are not part of it.
    pub stop: Vec<String>,
    /// How many answers are wanted; 1 where the request says nothing.
    pub choices: Choices,
    /// What the answer must look like.
    pub output: Output,
    /// How much the model should think; `None`: the request says nothing.
    pub thinking: Option<Thinking>,
    /// True when events are wanted.
    pub stream: bool,
    /// True when the request itself asks for the tokens of a stream. (Of a whole answer every dialect says them, and of a stream
    /// all but one, whose providers are asked only where they are known to understand it.)
    pub wants_stream_usage: bool,
    /// The end user, as an opaque name.
    pub user: Option<String>,
    /// Fields that change the answer and have no place in this form, as the request spells them. A translation without them is
    /// lossy. What only hints (a cache key, metadata, a service tier) is not among them.
    pub lost: Vec<Cow<'static, str>>,
}

impl Conversation {
    /// What the person said last, for those who take one text and nothing else.
    ///
    /// # Errors
    /// What it has that one text cannot say, in words that complete "it cannot serve ...".
    pub fn last_said(&self) -> Result<String, &'static str> {
        if !self.tools.is_empty() {
            return Err("tools");
        }
        if self.choices.0 > 1 {
            return Err("several choices at once");
        }
        // Pictures said earlier matter to what is said last, so every turn is looked at.
        if let Some(cannot) = self.turns.iter().flat_map(|turn| &turn.parts).find_map(Part::beyond_text) {
            return Err(cannot);
        }
        let last = self.turns.last().filter(|turn| turn.speaker == Speaker::User);
        let texts = last.into_iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        match text.trim().is_empty() {
            true => Err("a conversation without a last user message"),
            false => Ok(text),
        }
    }
}

/// How many answers are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices(pub u64);

impl Default for Choices {
    fn default() -> Self {
        Self(1)
    }
}

/// What one side said at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who.
    pub speaker: Speaker,
    /// What. A turn of the model's may have thoughts, then texts, then calls; a person's may have the results of calls, first.
    pub parts: Vec<Part>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The operator of the service: OpenAI's `system` and `developer`, Anthropic's `system`.
    Operator,
    /// The person, and the programs that answer calls.
    User,
    /// The model.
    Model,
}

/// A part of what is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// How closely it is looked at (OpenAI's `detail`), where that is said.
        detail: Option<String>,
    },
    /// A recording.
    Audio {
        /// Base64.
        data: String,
        /// `wav`, `mp3`.
        format: String,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source,
        /// Its name or title, where that is said.
        name: Option<String>,
    },
    /// The model calls a function.
    Call {
        /// By which its result names it.
        id: String,
        /// The function.
        name: String,
        /// JSON text: an object, unless the model made a mistake.
        arguments: String,
    },
    /// What a call gave.
    Result {
        /// The call's id.
        id: String,
        /// Texts and pictures.
        parts: Vec<Part>,
        /// True when the function failed, where that is said.
        is_error: bool,
    },
    /// What the model thought.
    Thought {
        /// In words; may be empty, and may be a summary.
        text: String,
        /// What proves that it thought so.
        signature: Option<Proof>,
    },
    /// What the model thought, which nobody but its provider reads (Anthropic's `redacted_thinking`).
    HiddenThought(String),
    /// Why the model does not answer.
    Refusal(String),
}

/// What proves to a provider that its model thought so: Anthropic's `signature`, OpenAI's `encrypted_content`. Only a provider
/// with the same API reads it, and another one refuses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The API of its provider.
    pub api: Api,
    /// The proof, as the provider spells it.
    pub data: String,
}

impl Part {
    /// What it is, where one plain text cannot say it; thoughts of an earlier answer need not be said.
    fn beyond_text(&self) -> Option<&'static str> {
        match self {
            Part::Text(_) | Part::Thought { .. } | Part::HiddenThought(_) | Part::Refusal(_) => None,
            Part::Image { .. } => Some("pictures"),
            Part::Audio { .. } => Some("audio in a conversation"),
            Part::File { .. } => Some("documents"),
            Part::Call { .. } | Part::Result { .. } => Some("tools"),
        }
    }
}

/// Where a picture or a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an address.
    Url(String),
    /// Here.
    Base64 {
        /// Its type: `image/png`, `application/pdf`.
        media_type: String,
        /// Base64.
        data: String,
    },
    /// Plain text, here (a document).
    Text(String),
    /// With the provider that gave it this id.
    Stored(String),
}

/// A function that the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; `None`: it takes none.
    pub parameters: Option<Box<RawValue>>,
    /// Whether arguments must match the schema exactly, where that is said.
    pub is_strict: Option<bool>,
}

impl PartialEq for Tool {
    fn eq(&self, other: &Self) -> bool {
        let schema = |tool: &Self| tool.parameters.as_ref().map(|schema| schema.get().to_owned());
        (&self.name, &self.description, self.is_strict) == (&other.name, &other.description, other.is_strict)
            && schema(self) == schema(other)
    }
}

/// Whether the model may call functions, or must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The request says nothing: it may where there are any.
    #[default]
    Unsaid,
    /// It may.
    Auto,
    /// It may not.
    None,
    /// It must call one (`required`, `any`).
    Any,
    /// It must call this one.
    Named(String),
}

/// How the words of an answer are drawn; `None`: the request says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; Anthropic takes 0 to 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// The number of words to draw from (not in OpenAI's own API).
    pub top_k: Option<u64>,
    /// For the same words again.
    pub seed: Option<i64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
}

/// What an answer must look like.
#[derive(Clone, Debug, Default)]
pub enum Output {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    Json,
    /// JSON that matches a schema.
    Schema {
        /// What the schema is called; empty where its dialect names none.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The JSON Schema.
        schema: Box<RawValue>,
        /// Whether it must match exactly, where that is said.
        is_strict: Option<bool>,
    },
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Output::Text, Output::Text) | (Output::Json, Output::Json) => true,
            (
                Output::Schema { name, description, schema, is_strict },
                Output::Schema { name: its, description: its_description, schema: its_schema, is_strict: its_strict },
            ) => (name, description, is_strict, schema.get()) == (its, its_description, its_strict, its_schema.get()),
            _ => false,
        }
    }
}

/// How much the model should think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As much as it likes (Anthropic's `adaptive`).
    Free,
    /// With some effort: `minimal`, `low`, `medium`, `high`, or a word that is new.
    Effort(String),
    /// At most this many tokens (Anthropic's `budget_tokens`).
    Tokens(u64),
}

/// The APIs in which a model is asked something, and answers: each has a grammar of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's chat completions, which nearly every provider speaks.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

impl Api {
    /// All of them with their words in the config.
    pub const ALL: [(Api, &'static str); 3] =
        [(Api::Chat, "chat"), (Api::Responses, "responses"), (Api::Messages, "messages")];

    /// The word in the config, in logs and in explain.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Chat => "chat",
            Api::Responses => "responses",
            Api::Messages => "messages",
        }
    }
}
