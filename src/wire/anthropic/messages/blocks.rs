//! Content blocks: of requests, of answers, and as a stream begins them.
//!
//! What Anthropic's own server tools do and find is no content here: only Anthropic runs them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::conversation::{Api, Part, Proof, Source};
use crate::wire::json::fields::{boolean, compact, list, text};
use crate::wire::openai::parts;
use crate::wire::proof;
use crate::wire::shown::shown;

/// What stands for input that is no JSON object, as Anthropic's guide to fine-grained tool streaming has it.
const INVALID: &str = "INVALID_JSON";

/// The name of what is lost, for those who ask.
pub(super) fn lost(name: &str) -> Cow<'static, str> {
    shown(name).to_owned().into()
}

/// A block as it is read. Each field as it stands there.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Read<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(default, borrow)]
    signature: Option<&'a RawValue>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    name: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    source: Option<&'a RawValue>,
    #[serde(default, borrow)]
    title: Option<&'a RawValue>,
    #[serde(default, borrow)]
    citations: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    is_error: Option<&'a RawValue>,
}

/// What a word says; nothing where it is no text.
pub(super) fn word(value: Option<&RawValue>) -> Cow<'_, str> {
    value.and_then(text).unwrap_or_default()
}

fn own(value: Option<&RawValue>) -> String {
    word(value).into_owned()
}

impl<'a> Read<'a> {
    /// A block; `None` for what is no object.
    pub(super) fn of(value: &'a RawValue) -> Option<Self> {
        parts::object(value.get())
    }

    /// Its type.
    pub(super) fn kind(&self) -> Cow<'a, str> {
        word(self.kind)
    }

    /// The id and the name of the function that it calls.
    pub(super) fn call(&self) -> (Cow<'a, str>, Cow<'a, str>) {
        (word(self.id), word(self.name))
    }

    /// Its text, its thought, or what is hidden in it.
    pub(super) fn words(&self) -> Cow<'a, str> {
        word(self.text.or(self.thinking).or(self.data))
    }

    /// What proves that it was thought; `None` before that is known, and of models that prove nothing.
    pub(super) fn signature(&self) -> Option<Proof> {
        proof::read(word(self.signature), Api::Messages, Api::Responses)
    }

    /// The input of a call, as JSON text.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        self.input.map_or(Cow::Borrowed("{}"), |input| compact(input.get()))
    }

    /// What a model says with it; `None` for what only Anthropic says.
    pub(super) fn said(&self) -> Option<Part> {
        Some(match &*self.kind() {
            "text" => Part::Text(own(self.text)),
            "thinking" => Part::Thought { text: own(self.thinking), signature: self.signature() },
            "redacted_thinking" => Part::HiddenThought(own(self.data)),
            "tool_use" => {
                Part::Call { id: own(self.id), name: own(self.name), arguments: self.arguments().into_owned() }
            }
            _ => return None,
        })
    }

    /// What it adds to a turn. What has no place in the neutral form is named in `losses`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(
        self,
        parts: &mut Vec<Part>,
        losses: &mut Vec<Cow<'static, str>>,
    ) -> Result<(), Cow<'static, str>> {
        if let Some(part) = self.said() {
            if !matches!(&part, Part::Text(text) if text.is_empty()) {
                parts.push(part);
            }
            return Ok(());
        }
        match &*self.kind() {
            "image" => parts.push(Part::Image { source: self.source()?, detail: None }),
            "document" => {
                if self.asks_citations() {
                    losses.push("messages.content.citations".into());
                }
                let name = self.title.and_then(text).map(Cow::into_owned);
                parts.push(Part::File { source: self.source()?, name });
            }
            // What a caller has found itself.
            "search_result" => {
                let name = self.title.and_then(text).map(Cow::into_owned);
                parts.push(Part::File { source: Source::Text(texts(self.content)?), name });
            }
            "tool_result" => {
                let mut result = Vec::new();
                if let Some(content) = self.content {
                    read(content, &mut result, losses)?;
                }
                let is_error = self.is_error.and_then(boolean).unwrap_or_default();
                parts.push(Part::Result { id: own(self.tool_use_id), parts: result, is_error });
            }
            kind => losses.push(format!("messages.content.{}", shown(kind)).into()),
        }
        Ok(())
    }

    fn asks_citations(&self) -> bool {
        #[derive(Deserialize)]
        struct Citations {
            #[serde(default)]
            enabled: bool,
        }
        let citations = self.citations.and_then(|value| serde_json::from_str::<Citations>(value.get()).ok());
        citations.is_some_and(|citations| citations.enabled)
    }

    fn source(&self) -> Result<Source, Cow<'static, str>> {
        #[derive(Deserialize)]
        struct Place<'a> {
            #[serde(default, rename = "type", borrow)]
            kind: Option<&'a RawValue>,
            #[serde(default, borrow)]
            media_type: Option<&'a RawValue>,
            #[serde(default, borrow)]
            data: Option<&'a RawValue>,
            #[serde(default, borrow)]
            url: Option<&'a RawValue>,
            #[serde(default, borrow)]
            file_id: Option<&'a RawValue>,
            #[serde(default, borrow)]
            content: Option<&'a RawValue>,
        }
        let place = self.source.and_then(|source| serde_json::from_str::<Place<'_>>(source.get()).ok());
        let place = place.ok_or("a picture or a document without a `source`")?;
        Ok(match &*word(place.kind) {
            "base64" => Source::Base64 { media_type: own(place.media_type), data: own(place.data) },
            "url" => Source::Url(own(place.url)),
            "text" => Source::Text(own(place.data)),
            "file" => Source::Stored(own(place.file_id)),
            "content" => Source::Text(texts(place.content)?),
            other => return Err(format!("a `source` of the type `{}`", lost(other)).into()),
        })
    }
}

/// The texts of a `content` that has nothing else, as one.
fn texts(content: Option<&RawValue>) -> Result<String, Cow<'static, str>> {
    let (mut parts, mut losses) = (Vec::new(), Vec::new());
    if let Some(content) = content {
        read(content, &mut parts, &mut losses)?;
    }
    let mut all = String::new();
    for part in parts {
        let Part::Text(text) = part else { return Err("documents that are made of more than texts".into()) };
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&text);
    }
    Ok(all)
}

/// A `content`: a text, or a list of blocks.
///
/// # Errors
/// What it is instead.
pub(super) fn read(
    content: &RawValue,
    parts: &mut Vec<Part>,
    losses: &mut Vec<Cow<'static, str>>,
) -> Result<(), Cow<'static, str>> {
    if let Some(text) = text(content) {
        if !text.is_empty() {
            parts.push(Part::Text(text.into_owned()));
        }
        return Ok(());
    }
    for block in list(content).ok_or("a message whose `content` is neither text nor a list of blocks")? {
        Read::of(block).ok_or("a content block that is no object")?.add(parts, losses)?;
    }
    Ok(())
}

/// A block as it is written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Place<'a>,
    },
    Document {
        source: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    Thinking {
        thinking: &'a str,
        signature: Cow<'a, str>,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// What a message or a result is made of.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

/// Where a picture or a document is.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Place<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: &'a str },
}

impl<'a> Block<'a> {
    /// What a model of another API says; `None` for what only others say.
    pub(super) fn said(part: &'a Part) -> Option<Self> {
        Some(match part {
            Part::Text(text) | Part::Refusal(text) => Block::Text { text },
            Part::Thought { text, signature } => {
                let marked = proof::marked(signature.as_ref().map(|proof| &*proof.data));
                Block::Thinking { thinking: text, signature: marked.into() }
            }
            Part::HiddenThought(data) => Block::RedactedThinking { data },
            Part::Call { id, name, arguments } => Block::ToolUse { id: call_id(id), name, input: input(arguments) },
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => return None,
        })
    }
}

impl<'a> From<Vec<Block<'a>>> for Content<'a> {
    fn from(blocks: Vec<Block<'a>>) -> Self {
        match &blocks[..] {
            [Block::Text { text }] => Content::Text(text),
            _ => Content::Blocks(blocks),
        }
    }
}

/// The id of a call in the letters that Anthropic takes. Its result gets the same.
pub(super) fn call_id(id: &str) -> Cow<'_, str> {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match id.chars().all(is_taken) {
        true if id.is_empty() => Cow::Borrowed("call"),
        true => Cow::Borrowed(id),
        false => id.chars().map(|c| if is_taken(c) { c } else { '_' }).collect(),
    }
}

/// The input of a call from JSON text. It has to be an object, which a model may have failed to write.
fn input(arguments: &str) -> Cow<'_, RawValue> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
    let read = || arguments.starts_with('{').then(|| serde_json::from_str::<&RawValue>(arguments).ok())?;
    match read() {
        Some(object) => Cow::Borrowed(object),
        None => {
            let kept = serde_json::value::to_raw_value(&serde_json::json!({ INVALID: arguments }));
            Cow::Owned(kept.unwrap_or_default())
        }
    }
}
