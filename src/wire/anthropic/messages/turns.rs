//! Writes turns as the messages of a request: neighbours of one role make one, results come first, and what the operator says
//! stands before all of them.
//!
//! Anthropic refuses texts of nothing but blanks, thoughts that it has not signed, and thoughts where thinking is off: they are left
//! out.

use std::borrow::Cow;

use serde::Serialize;

use super::blocks::{Block, Content, Place, call_id};
use crate::model::conversation::{Api, Conversation, Part, Proof, Source, Speaker};

/// A message.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// What is said, in the two places that a request has for it.
pub(super) struct Written<'a> {
    /// What the operator says; `None`: nothing.
    pub(super) system: Option<Content<'a>>,
    /// What the others say.
    pub(super) messages: Vec<Message<'a>>,
}

/// Writes all turns, with thoughts where the model `thinks`, for one that `continues` its own turn or not.
///
/// # Errors
/// What of them Messages cannot say.
pub(super) fn write(
    conversation: &Conversation,
    thinks: bool,
    continues: bool,
) -> Result<Written<'_>, Cow<'static, str>> {
    let mut system: Vec<Block<'_>> = Vec::new();
    let mut turns: Vec<(Speaker, Vec<Block<'_>>)> = Vec::with_capacity(conversation.turns.len());
    for turn in &conversation.turns {
        let blocks = blocks(&turn.parts, thinks)?;
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            _ if turn.speaker == Speaker::Operator => system.extend(blocks),
            Some((speaker, before)) if *speaker == turn.speaker => before.extend(blocks),
            _ => turns.push((turn.speaker, blocks)),
        }
    }
    // Somebody has to say something.
    if turns.is_empty() && !system.is_empty() {
        turns.push((Speaker::User, std::mem::take(&mut system)));
    }
    if let Some((Speaker::Model, last)) = turns.last_mut() {
        if !continues {
            return Err("conversations that end with the model's own turn, from which this model does not go on".into());
        }
        // What ends with blanks is refused.
        if let Some(Block::Text { text }) = last.last_mut() {
            *text = text.trim_end();
        }
    }
    let system = Some(system).filter(|blocks| !blocks.is_empty()).map(Content::from);
    Ok(Written { system, messages: turns.into_iter().map(message).collect() })
}

/// What one side says at once, the results of calls first.
fn message((speaker, mut blocks): (Speaker, Vec<Block<'_>>)) -> Message<'_> {
    blocks.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
    Message { role: if speaker == Speaker::Model { "assistant" } else { "user" }, content: blocks.into() }
}

fn blocks(parts: &[Part], thinks: bool) -> Result<Vec<Block<'_>>, Cow<'static, str>> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(block) = block(part, thinks)? {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

/// What a part is written as; `None`: it is left out.
fn block(part: &Part, thinks: bool) -> Result<Option<Block<'_>>, Cow<'static, str>> {
    Ok(match part {
        Part::Text(text) | Part::Refusal(text) if text.trim().is_empty() => None,
        Part::Thought { .. } | Part::HiddenThought(_) if !thinks => None,
        Part::Thought { text, signature: Some(Proof { api: Api::Messages, data }) } => {
            Some(Block::Thinking { thinking: text, signature: data.into() })
        }
        Part::Thought { .. } => None,
        Part::Image { source, .. } => Some(Block::Image { source: picture(source)? }),
        Part::File { source, name } => Some(match source {
            Source::Base64 { media_type, .. } if media_type.starts_with("image/") => {
                Block::Image { source: picture(source)? }
            }
            _ => Block::Document { source: document(source)?, title: name.as_deref() },
        }),
        Part::Audio { .. } => return Err("sound in a conversation".into()),
        Part::Result { id, parts, is_error } => {
            let content = Some(blocks(parts, thinks)?).filter(|blocks| !blocks.is_empty()).map(Content::from);
            Some(Block::ToolResult { tool_use_id: call_id(id), content, is_error: *is_error })
        }
        part => Block::said(part),
    })
}

fn picture(source: &Source) -> Result<Place<'_>, Cow<'static, str>> {
    match source {
        Source::Url(url) if url.starts_with("data:") => Err("pictures whose data is not in base64".into()),
        Source::Url(url) => Ok(Place::Url { url }),
        Source::Base64 { media_type, data } => Ok(Place::Base64 { media_type, data }),
        Source::Stored(_) => Err("pictures that are stored with another provider".into()),
        Source::Text(_) => Err("pictures in words".into()),
    }
}

fn document(source: &Source) -> Result<Place<'_>, Cow<'static, str>> {
    match source {
        Source::Url(url) if url.starts_with("data:") => Err("documents whose data is not in base64".into()),
        Source::Url(url) => Ok(Place::Url { url }),
        Source::Base64 { media_type, data } if media_type == "application/pdf" => {
            Ok(Place::Base64 { media_type, data })
        }
        Source::Base64 { .. } => Err("documents that are no PDF".into()),
        Source::Text(data) => Ok(Place::Text { media_type: "text/plain", data }),
        Source::Stored(_) => Err("documents that are stored with another provider".into()),
    }
}
