//! A completion chunk as nearly all servers write it, parsed in one pass and without a list of its choices.
//!
//! What does not fit is not rejected here: `lenient` reads it again.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::failures;
use super::super::id::Id;
use super::super::usage::Counted;
use crate::model::reply::{Beside, Channel};

/// What a chunk says.
#[derive(Default)]
pub(super) struct ChunkContent<'a> {
    /// Bit i: it has something of choice i.
    pub(super) seen: u128,
    /// Bit i: choice i ends with it.
    pub(super) finished: u128,
    /// What is added to the first choice's text.
    pub(super) text: Option<Cow<'a, str>>,
    /// What is added to the first choice beside its text.
    pub(super) beside: Asides<'a>,
    /// True when more than text is added to a choice: a call of a tool, sound, sources.
    pub(super) is_more_than_text: bool,
    /// The answer's id.
    pub(super) id: Option<Cow<'a, str>>,
    /// The tokens that it counts.
    pub(super) usage: Counted,
    /// The error object, in JSON, of a chunk that reports a failure.
    pub(super) error: Option<Cow<'a, str>>,
    /// True when something was said in a form that nobody knows.
    pub(super) is_odd: bool,
}

impl ChunkContent<'_> {
    /// The bit of a choice.
    pub(super) fn bit(index: u64) -> u128 {
        1 << index.min(127)
    }
}

/// Texts beside the answer's own, by their channel.
#[derive(Default)]
pub(super) struct Asides<'a>(Vec<(Channel, Cow<'a, str>)>);

impl<'a> Asides<'a> {
    pub(super) fn push(&mut self, channel: Channel, text: Cow<'a, str>) {
        if !text.is_empty() {
            self.0.push((channel, text));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words of a refusal.
    pub(super) fn refusal(&self) -> Option<Cow<'a, str>> {
        self.0.iter().find(|(channel, _)| *channel == Channel::Refusal).map(|(_, text)| text.clone())
    }
}

impl From<Asides<'_>> for Box<[Beside]> {
    fn from(asides: Asides<'_>) -> Self {
        asides.0.into_iter().map(|(channel, text)| Beside { channel, text: text.into() }).collect()
    }
}

/// A chunk in its usual form.
#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    choices: Choices<'a>,
    #[serde(default)]
    usage: Counted,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    /// Groq's place for what others say in `usage`.
    #[serde(default)]
    x_groq: Option<InGroq>,
}

#[derive(Deserialize)]
struct InGroq {
    #[serde(default)]
    usage: Counted,
}

impl<'a> Chunk<'a> {
    /// Reads a chunk; `None` for anything that does not look as chunks usually do.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        // Text that is known to be UTF-8 is read without looking at each string for it again.
        let text = std::str::from_utf8(data).ok()?;
        // A list would be read as the fields in their order.
        if !text.trim_start().starts_with('{') {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    /// What it says.
    pub(super) fn said(self) -> ChunkContent<'a> {
        let mut said = self.choices.0;
        said.id = self.id.said().map(Into::into);
        let error = self.error.filter(|error| failures::says_something(error.get()));
        said.error = error.map(|error| error.get().into()).or(said.error);
        let in_groq = self.x_groq.map(|groq| groq.usage).unwrap_or_default();
        said.usage = self.usage.or(said.usage).or(in_groq);
        said
    }
}

/// The choices of a chunk, folded while they are read.
struct Choices<'a>(ChunkContent<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices<'de>, A::Error> {
                let mut said = ChunkContent::default();
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    let bit = ChunkContent::bit(choice.index);
                    said.seen |= bit;
                    if choice.is_finished {
                        said.finished |= bit;
                    }
                    said.is_more_than_text |= choice.delta.is_more_than_text;
                    said.usage = said.usage.or(choice.usage);
                    said.error = said.error.or(choice.error);
                    if choice.index == 0 {
                        said.text = choice.delta.content;
                        said.beside = choice.delta.beside;
                    }
                }
                Ok(Choices(said))
            }
        }
        deserializer.deserialize_seq(Fold)
    }
}

#[derive(Default)]
struct Choice<'a> {
    index: u64,
    is_finished: bool,
    delta: Delta<'a>,
    usage: Counted,
    error: Option<Cow<'a, str>>,
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// True for a reason to stop: `""` and `"null"`, which some servers send in every chunk, are none.
pub(crate) fn is_finish(reason: &str) -> bool {
    !reason.trim().is_empty() && reason != "null"
}

impl<'de> Deserialize<'de> for Choice<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A key as text would be copied.
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            Index,
            FinishReason,
            Delta,
            Text,
            Usage,
            Error,
            #[serde(other)]
            Other,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Choice<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a choice")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice<'de>, A::Error> {
                let mut choice = Choice::default();
                let mut has_failed = false;
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Index => choice.index = map.next_value()?,
                        Key::FinishReason => {
                            let reason = map.next_value::<Option<Text<'de>>>()?;
                            choice.is_finished = reason.as_ref().is_some_and(|Text(reason)| is_finish(reason));
                            has_failed = reason.is_some_and(|Text(reason)| reason == failures::FAILED);
                        }
                        Key::Delta => choice.delta = map.next_value::<Option<Delta<'de>>>()?.unwrap_or_default(),
                        Key::Text => {
                            choice.delta.content = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text)
                        }
                        Key::Usage => choice.usage = map.next_value()?,
                        Key::Error => {
                            let error: &'de RawValue = map.next_value()?;
                            choice.error = failures::says_something(error.get()).then(|| error.get().into());
                        }
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                if has_failed && choice.error.is_none() {
                    choice.error = Some(failures::UNSAID.into());
                }
                Ok(choice)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// What a chunk adds. Chat completions wrap it in `delta`, text completions have just `text`.
#[derive(Default)]
struct Delta<'a> {
    content: Option<Cow<'a, str>>,
    beside: Asides<'a>,
    is_more_than_text: bool,
}

/// The fields of a delta. Each of an `Aside` is a text of its own; those of `Noise` add nothing to an answer.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Content,
    Refusal,
    Reasoning,
    ReasoningContent,
    #[serde(alias = "name", alias = "token_id", alias = "channel", alias = "id", alias = "object", alias = "type")]
    Role,
    #[serde(other)]
    More,
}

impl<'de> Deserialize<'de> for Delta<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Delta<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an addition to a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Delta<'de>, A::Error> {
                let mut delta = Delta::default();
                while let Some(key) = map.next_key()? {
                    let channel = match key {
                        Key::Content => {
                            delta.content = map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text);
                            continue;
                        }
                        Key::Role => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        Key::More => {
                            let value: &'de RawValue = map.next_value()?;
                            delta.is_more_than_text |= is_more(value.get());
                            continue;
                        }
                        Key::Refusal => Channel::Refusal,
                        Key::Reasoning => Channel::Reasoning,
                        Key::ReasoningContent => Channel::ReasoningContent,
                    };
                    if let Some(Text(text)) = map.next_value()? {
                        delta.beside.push(channel, text);
                    }
                }
                Ok(delta)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// True for a value with something in it.
pub(super) fn is_more(json: &str) -> bool {
    !matches!(json, "null" | "false" | "\"\"" | "[]" | "{}" | "0")
}
