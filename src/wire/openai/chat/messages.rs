//! Writes turns as the messages of a request of Chat.
//!
//! Many servers take nothing but one text where OpenAI's takes a list of parts, so texts without anything between them are
//! written as one.

use std::borrow::Cow;

use serde::Serialize;

use super::super::{abilities, call_id, functions};
use super::answer::{self, Call};
use crate::model::conversation::{Conversation, Part, Source, Speaker};
use crate::wire::data_url;

/// What comes between the texts of an operator or of a user that make one.
const BETWEEN: &str = "\n\n";

/// What stands for a picture in the result of a call, which is a text: the picture itself is the next thing that is said.
const PICTURE: &str = "(The result is in the next message.)";

/// The operator's role.
const SYSTEM: &str = "system";

/// A message.
#[derive(Default, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Image<'a> },
    InputAudio { input_audio: Audio<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Image<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Audio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    file_data: String,
}

/// Writes all turns.
///
/// # Errors
/// What of them Chat cannot say.
pub(super) fn write<'a>(conversation: &'a Conversation, model: &str) -> Result<Vec<Message<'a>>, Cow<'static, str>> {
    let mut messages = Vec::with_capacity(conversation.turns.len());
    for turn in &conversation.turns {
        match turn.speaker {
            Speaker::Operator => messages.push(Message {
                role: SYSTEM,
                content: Some(Content::Text(texts(turn.parts.iter(), BETWEEN))),
                ..Message::default()
            }),
            Speaker::User => write_user(&turn.parts, &mut messages)?,
            Speaker::Model => messages.push(own(&turn.parts, model)),
        }
    }
    if let Some(told) = functions::told(&conversation.tools, model) {
        let content = Some(Content::Text(told.into()));
        let behind = messages.iter().take_while(|message| message.role == SYSTEM).count();
        messages.insert(behind, Message { role: SYSTEM, content, ..Message::default() });
    }
    Ok(messages)
}

/// What the model said.
fn own<'a>(parts: &'a [Part], model: &str) -> Message<'a> {
    let (mut calls, refusal) = (answer::calls(parts), answer::refused(parts));
    // What is no longer than it may be is borrowed still.
    for call in &mut calls {
        if let Cow::Owned(short) = call_id::short(&call.id) {
            call.id = short.into();
        }
    }
    let is_silent = !calls.is_empty() || refusal.is_some();
    Message {
        role: "assistant",
        content: answer::spoken(parts)
            .or_else(|| (!is_silent).then(String::new))
            .map(|text| Content::Text(text.into())),
        reasoning_content: answer::thought(parts).filter(|_| abilities::hears_thoughts(model)),
        refusal,
        tool_calls: calls,
        tool_call_id: None,
    }
}

/// The results of calls, each a message, then what else the user says. Pictures that are results are said by the user.
fn write_user<'a>(parts: &'a [Part], messages: &mut Vec<Message<'a>>) -> Result<(), Cow<'static, str>> {
    let mut said: Vec<&Part> = Vec::new();
    let (mut has_results, mut others) = (false, Vec::new());
    for part in parts {
        let Part::Result { id, parts, is_error } = part else {
            others.push(part);
            continue;
        };
        has_results = true;
        let shown = parts.iter().filter(|part| !is_text(part));
        let before = said.len();
        said.extend(shown);
        let mut text = texts(parts.iter(), "\n");
        if text.is_empty() && said.len() > before {
            text = PICTURE.into();
        }
        // Chat has no other way to say that a function has failed.
        if *is_error && !text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error")) {
            text = format!("Error: {text}").into();
        }
        let content = Some(Content::Text(text));
        messages.push(Message { role: "tool", content, tool_call_id: Some(call_id::short(id)), ..Message::default() });
    }
    said.append(&mut others);
    if !has_results || !said.is_empty() {
        messages.push(Message { role: "user", content: Some(content(&said)?), ..Message::default() });
    }
    Ok(())
}

/// True for what is said in words.
fn is_text(part: &Part) -> bool {
    matches!(part, Part::Text(_) | Part::Refusal(_) | Part::File { source: Source::Text(_), .. })
}

/// The words of a part.
fn words(part: &Part) -> Option<Cow<'_, str>> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(Cow::Borrowed(text)),
        Part::File { source: Source::Text(text), name: Some(name) } => Some(format!("{name}:\n\n{text}").into()),
        Part::File { source: Source::Text(text), name: None } => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// The words of all parts as one text.
fn texts<'a>(parts: impl Iterator<Item = &'a Part>, between: &str) -> Cow<'a, str> {
    parts.filter_map(words).reduce(|before, text| format!("{before}{between}{text}").into()).unwrap_or_default()
}

fn content<'a>(parts: &[&'a Part]) -> Result<Content<'a>, Cow<'static, str>> {
    if parts.iter().all(|part| is_text(part)) {
        return Ok(Content::Text(texts(parts.iter().copied(), BETWEEN)));
    }
    let mut written = Vec::with_capacity(parts.len());
    for part in parts {
        written.push(match part {
            Part::Text(text) | Part::Refusal(text) => ContentPart::Text { text },
            Part::Image { source, detail } => {
                let url = match source {
                    Source::Url(url) => Cow::Borrowed(&**url),
                    Source::Base64 { media_type, data } => data_url::write(media_type, data).into(),
                    Source::Stored(_) => return Err("pictures that are stored with another provider".into()),
                    Source::Text(_) => return Err("pictures in words".into()),
                };
                ContentPart::ImageUrl { image_url: Image { url, detail: detail.as_deref() } }
            }
            Part::Audio { data, format } => ContentPart::InputAudio { input_audio: Audio { data, format } },
            Part::File { source, name } => match source {
                Source::Base64 { media_type, data } => {
                    let file_data = data_url::write(media_type, data);
                    ContentPart::File { file: File { filename: name.as_deref(), file_data } }
                }
                Source::Text(text) => ContentPart::Text { text },
                Source::Url(_) => return Err("documents at an address in its chat API".into()),
                Source::Stored(_) => return Err("documents that are stored with another provider".into()),
            },
            // Only a model says these.
            Part::Call { .. } | Part::Result { .. } | Part::Thought { .. } | Part::HiddenThought(_) => continue,
        });
    }
    Ok(Content::Parts(written))
}
