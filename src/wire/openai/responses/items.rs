//! The items of a request of the Responses API, and the turns of a conversation, in both directions.
//!
//! An item is what is said at once, or one call, one result, one thought; a turn is all of them that one side says before the
//! other one does. It does not know what else a request has.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::call_id;
use super::foreign::is_unstored_item;
use super::refused::{Refused, typed};
use super::tools;
use crate::model::conversation::{Api, Part, Proof, Source, Speaker, Turn};
use crate::wire::data_url;
use crate::wire::json::fields::{list, text};
use crate::wire::proof;
use crate::wire::shown::shown;

/// What stands before a thought that nobody but its provider reads, where this API has one place for it and for the proof of a
/// thought.
const HIDDEN: &str = "redacted_thinking:";

/// Between the parts of a thought's summary.
pub(super) const BETWEEN: &str = "\n\n";

/// One item as it is sent.
#[derive(Default, Deserialize)]
struct Item<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    call_id: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    arguments: Option<String>,
    input: Option<String>,
    #[serde(default, borrow)]
    output: Option<&'a RawValue>,
    #[serde(default, borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(flatten)]
    thought: Thought,
}

/// What a model thought, as an item of the kind `reasoning` has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Thought {
    #[serde(default)]
    summary: Option<Vec<Said>>,
    #[serde(default)]
    encrypted_content: Option<String>,
}

/// A text among those of a thought.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    text: Option<String>,
}

/// A part of a message or of a result.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    detail: Option<String>,
    file_id: Option<String>,
    file_url: Option<String>,
    file_data: Option<String>,
    filename: Option<String>,
    input_audio: Option<Sound>,
}

#[derive(Deserialize)]
struct Sound {
    data: String,
    format: String,
}

impl Said {
    pub(super) fn of(text: String) -> Self {
        Self { text: Some(text) }
    }
}

impl Thought {
    /// What it says, and with what it is proven. `content` is what models say that hide nothing.
    pub(super) fn part(self, content: Option<Vec<Said>>) -> Part {
        let texts = self.summary.into_iter().chain(content).flatten().filter_map(|said| said.text);
        let text = texts.collect::<Vec<_>>().join(BETWEEN);
        let said = self.encrypted_content.unwrap_or_default();
        match proof::read(said.into(), Api::Responses, Api::Messages) {
            Some(Proof { api: Api::Messages, data }) if text.is_empty() && data.starts_with(HIDDEN) => {
                Part::HiddenThought(data[HIDDEN.len()..].to_owned())
            }
            signature => Part::Thought { text, signature },
        }
    }
}

/// An item of the kind `reasoning` without its id.
pub(super) fn thought(text: &str, proof: &str) -> Value {
    let summary: Vec<Value> = Some(text).filter(|text| !text.is_empty()).map(summary).into_iter().collect();
    json!({"type": "reasoning", "summary": summary, "encrypted_content": proof})
}

/// A text among those of a thought.
pub(super) fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// A thought that nobody reads, in the place for the proof of one.
pub(super) fn hidden(data: &str) -> String {
    format!("{HIDDEN}{data}")
}

/// The kind of an item that is read no further.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// The turns of `input`: a text, or items. What a provider's own tools did is lost.
pub(super) fn turns(input: &RawValue, lost: &mut Vec<Cow<'static, str>>) -> Result<Vec<Turn>, Refused> {
    if let Some(text) = text(input) {
        return Ok(vec![Turn { speaker: Speaker::User, parts: vec![Part::Text(text.into_owned())] }]);
    }
    let items = list(input).ok_or("a request whose `input` is neither a text nor a list of items")?;
    let mut turns = Vec::new();
    for item in items {
        let kind = serde_json::from_str::<Kind<'_>>(item.get()).ok();
        if let Some(Kind { kind }) = kind.filter(|it| tools::is_said_by_providers(&it.kind)) {
            tools::lose(lost, "input", &kind);
            continue;
        }
        let item: Item<'_> = serde_json::from_str(item.get()).map_err(
            |_| "a request with an item in `input` that is no object, or has a field of another type than it should",
        )?;
        let (speaker, parts) = of_item(item)?;
        add(&mut turns, speaker, parts);
    }
    Ok(turns)
}

/// Adds what an item says: to the turn before, where both are one.
fn add(turns: &mut Vec<Turn>, speaker: Speaker, parts: Vec<Part>) {
    let is_call = |part: &Part| matches!(part, Part::Call { .. });
    let is_result = |part: &Part| matches!(part, Part::Result { .. });
    let is_thought = |part: &Part| matches!(part, Part::Thought { .. } | Part::HiddenThought(_));
    let goes_on = |before: &Turn| match speaker {
        _ if before.speaker != speaker => false,
        Speaker::Operator => false,
        Speaker::User => before.parts.iter().all(is_result),
        // What stands among calls belongs to them: their results have yet to come.
        Speaker::Model => {
            before.parts.iter().any(is_call) || before.parts.iter().all(is_thought) || parts.iter().all(is_call)
        }
    };
    match turns.last_mut().filter(|before| goes_on(before)) {
        Some(before) => before.parts.extend(parts),
        None => turns.push(Turn { speaker, parts }),
    }
}

/// Who says an item, and what.
fn of_item(item: Item<'_>) -> Result<(Speaker, Vec<Part>), Refused> {
    let kind = item.kind.as_deref().or(item.role.is_some().then_some("message")).unwrap_or("item_reference");
    let without = |field: &str| Cow::Owned(format!("an item of the type `{kind}` without its `{field}`"));
    Ok(match kind {
        "message" => {
            let speaker = match item.role.as_deref() {
                Some("user") => Speaker::User,
                Some("assistant") => Speaker::Model,
                Some("system" | "developer") => Speaker::Operator,
                _ => {
                    return Err(
                        "a message whose `role` is none of `user`, `assistant`, `system` and `developer`".into()
                    );
                }
            };
            (speaker, parts(item.content.ok_or_else(|| without("content"))?)?)
        }
        "function_call" | "custom_tool_call" => {
            let (id, name) =
                (item.call_id.ok_or_else(|| without("call_id"))?, item.name.ok_or_else(|| without("name"))?);
            let name = tools::joined(item.namespace.as_deref(), &name);
            let arguments = match kind {
                "function_call" => item.arguments.unwrap_or_default(),
                _ => tools::arguments(&item.input.ok_or_else(|| without("input"))?),
            };
            (Speaker::Model, vec![Part::Call { id, name, arguments }])
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id = item.call_id.ok_or_else(|| without("call_id"))?;
            let parts = parts(item.output.ok_or_else(|| without("output"))?)?;
            (Speaker::User, vec![Part::Result { id, parts, is_error: item.status.as_deref() == Some("incomplete") }])
        }
        "reasoning" => {
            let content =
                item.content.map(|content| typed("input[].content", content, "a list of texts")).transpose()?;
            (Speaker::Model, vec![item.thought.part(content.flatten())])
        }
        "item_reference" if item.id.as_deref().is_some_and(is_unstored_item) => {
            return Err("an item that is stored nowhere (`item_reference`)".into());
        }
        "item_reference" => return Err("an item that the provider keeps (`item_reference`)".into()),
        other => return Err(format!("an item of the type `{}`", shown(other)).into()),
    })
}

/// The parts of a content: a text, or a list.
fn parts(content: &RawValue) -> Result<Vec<Part>, Refused> {
    if let Some(text) = text(content) {
        return Ok(vec![Part::Text(text.into_owned())]);
    }
    let parts: Vec<Content> = typed("content", content, "a text or a list of parts")?;
    parts.into_iter().map(of_content).collect()
}

fn of_content(part: Content) -> Result<Part, Refused> {
    let without = |field: &str| Cow::Owned(format!("a part of the type `{}` without its `{field}`", part.kind));
    let stored = part.file_id.clone().map(Source::Stored);
    Ok(match &*part.kind {
        "input_text" | "output_text" | "text" => Part::Text(part.text.ok_or_else(|| without("text"))?),
        "refusal" => Part::Refusal(part.refusal.ok_or_else(|| without("refusal"))?),
        "input_image" => {
            let source = part.image_url.as_deref().map(at).or(stored).ok_or_else(|| without("image_url"))?;
            Part::Image { source, detail: part.detail }
        }
        "input_file" => {
            let here = part.file_data.as_deref().map(|data| inline(data, part.filename.as_deref()));
            let there = part.file_url.map(Source::Url);
            let source = here.or(there).or(stored).ok_or_else(|| without("file_data"))?;
            Part::File { source, name: part.filename }
        }
        "input_audio" => {
            let Sound { data, format } = part.input_audio.ok_or_else(|| without("input_audio"))?;
            Part::Audio { data, format }
        }
        other => return Err(format!("a part of the type `{}`", shown(other)).into()),
    })
}

/// What stands behind an address: a `data:` URL (RFC 2397) has it in itself.
fn at(address: &str) -> Source {
    match of_data_url(address) {
        Some(source) => source,
        None => Source::Url(address.to_owned()),
    }
}

fn of_data_url(address: &str) -> Option<Source> {
    let (media_type, data) = data_url::read(address)?;
    Some(Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() })
}

/// A file's own bytes, with or without their type.
fn inline(data: &str, name: Option<&str>) -> Source {
    of_data_url(data).unwrap_or_else(|| {
        let is_text = name.is_some_and(|name| name.to_ascii_lowercase().ends_with(".txt"));
        let media_type = if is_text { "text/plain" } else { "application/pdf" };
        Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
    })
}

/// The items that say a turn.
pub(super) fn of_turn(turn: &Turn, items: &mut Vec<Value>) -> Result<(), Refused> {
    let mut message = Vec::new();
    let end = |message: &mut Vec<Value>, items: &mut Vec<Value>| {
        if !message.is_empty() {
            let role = match turn.speaker {
                Speaker::Operator => "system",
                Speaker::User => "user",
                Speaker::Model => "assistant",
            };
            items.push(json!({"type": "message", "role": role, "content": std::mem::take(message)}));
        }
    };
    for part in &turn.parts {
        let item = match part {
            Part::Call { id, name, arguments } => {
                json!({"type": "function_call", "call_id": call_id::short(id), "name": name, "arguments": arguments})
            }
            Part::Result { id, parts, is_error } => {
                let mut item =
                    json!({"type": "function_call_output", "call_id": call_id::short(id), "output": result(parts)?});
                if *is_error {
                    item["status"] = "incomplete".into();
                }
                item
            }
            // What another API's provider has signed, or nobody, is refused.
            Part::Thought { text, signature: Some(Proof { api: Api::Responses, data }) } => thought(text, data),
            Part::Thought { .. } | Part::HiddenThought(_) => continue,
            part => {
                message.push(content(part, turn.speaker == Speaker::Model)?);
                continue;
            }
        };
        end(&mut message, items);
        items.push(item);
    }
    end(&mut message, items);
    Ok(())
}

/// What a call gave: a text, or parts.
fn result(parts: &[Part]) -> Result<Value, Refused> {
    match parts {
        [] => Ok("".into()),
        [Part::Text(text)] => Ok(text.as_str().into()),
        parts => parts.iter().map(|part| content(part, false)).collect::<Result<Vec<_>, _>>().map(Value::from),
    }
}

/// A part of a message or of a result.
fn content(part: &Part, is_model: bool) -> Result<Value, Refused> {
    Ok(match part {
        Part::Text(text) if is_model => json!({"type": "output_text", "text": text, "annotations": []}),
        Part::Refusal(text) if is_model => json!({"type": "refusal", "refusal": text}),
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } if is_model => {
            return Err("pictures, recordings and files that the model says".into());
        }
        Part::Text(text) | Part::Refusal(text) | Part::File { source: Source::Text(text), .. } => {
            json!({"type": "input_text", "text": text})
        }
        Part::Image { source, detail } => image(source, detail.as_deref())?,
        Part::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Part::File { source: Source::Url(url), .. } => json!({"type": "input_file", "file_url": url}),
        Part::File { source: Source::Stored(_), .. } => {
            return Err("documents that are stored with another provider".into());
        }
        Part::File { source: Source::Base64 { media_type, data }, name } => {
            // A name is required here: it tells what the bytes are.
            let own = if media_type == "text/plain" { "file.txt" } else { "file.pdf" };
            json!({"type": "input_file", "filename": name.as_deref().unwrap_or(own), "file_data": data_url::write(media_type, data)})
        }
        Part::Call { .. } | Part::Result { .. } | Part::Thought { .. } | Part::HiddenThought(_) => {
            return Err("a call, a result or a thought within a result".into());
        }
    })
}

fn image(source: &Source, detail: Option<&str>) -> Result<Value, Refused> {
    let (field, address) = match source {
        Source::Url(url) => ("image_url", url.clone()),
        Source::Base64 { media_type, data } => ("image_url", data_url::write(media_type, data)),
        Source::Stored(_) => return Err("pictures that are stored with another provider".into()),
        Source::Text(_) => return Err("a picture that is a text".into()),
    };
    let mut image = json!({"type": "input_image", field: address});
    if let Some(detail) = detail {
        image["detail"] = detail.into();
    }
    Ok(image)
}
