//! The parts of a message of Chat, as they are read: of requests, answers and chunks.
//!
//! It does not know who says them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::conversation::{Part, Source};
use crate::wire::data_url;
use crate::wire::json::fields::{Fields, compact, is_null, list, text};
use crate::wire::shown::shown;

/// The name of what is lost, for those who ask.
pub(super) fn lost(name: &str) -> Cow<'static, str> {
    shown(name).to_owned().into()
}

/// A `content`: a text, or a list of parts. What has no place in the neutral form is named in `losses`.
///
/// # Errors
/// What it is instead.
pub(super) fn read(
    content: &RawValue,
    parts: &mut Vec<Part>,
    losses: &mut Vec<Cow<'static, str>>,
) -> Result<(), Cow<'static, str>> {
    const WHAT: &str = "a message whose `content` is neither text nor a list of parts";
    if is_null(content) {
        return Ok(());
    }
    if let Some(text) = text(content) {
        push_text(parts, text);
        return Ok(());
    }
    for part in list(content).ok_or(WHAT)? {
        match text(part) {
            Some(text) => push_text(parts, text),
            None => read_part(part, parts, losses)?,
        }
    }
    Ok(())
}

fn push_text(parts: &mut Vec<Part>, text: Cow<'_, str>) {
    if !text.is_empty() {
        parts.push(Part::Text(text.into_owned()));
    }
}

fn read_part(
    part: &RawValue,
    parts: &mut Vec<Part>,
    losses: &mut Vec<Cow<'static, str>>,
) -> Result<(), Cow<'static, str>> {
    let fields = Fields::read(part.get()).ok_or("a part of a message that is no object")?;
    let word = |name: &str| fields.get(name).and_then(text);
    let own = |name: &str| fields.get(name).and_then(|value| Fields::read(value.get()));
    let kind = word("type").unwrap_or_default();
    match &*kind {
        "text" | "" => push_text(parts, word("text").unwrap_or_default()),
        "refusal" => parts.push(Part::Refusal(word("refusal").unwrap_or_default().into_owned())),
        "thinking" => thought(fields.get("thinking"), parts),
        "image_url" => {
            let image = own("image_url");
            let of_image = |name: &str| image.as_ref().and_then(|image| image.get(name)).and_then(text);
            let url = of_image("url").or_else(|| word("image_url")).ok_or("an `image_url` without a `url`")?;
            parts.push(Part::Image { source: source(&url), detail: of_image("detail").map(Cow::into_owned) });
        }
        "input_audio" => {
            let audio = own("input_audio").ok_or("an `input_audio` that is no object")?;
            let word = |name: &str| audio.get(name).and_then(text).map(Cow::into_owned);
            let data = word("data").ok_or("an `input_audio` without `data`")?;
            parts.push(Part::Audio { data, format: word("format").unwrap_or_else(|| "wav".into()) });
        }
        "file" => {
            let file = own("file").ok_or("a `file` that is no object")?;
            let word = |name: &str| file.get(name).and_then(text);
            let source = match (word("file_data"), word("file_id")) {
                (Some(data), _) => source(&data),
                (None, Some(id)) => Source::Stored(id.into_owned()),
                (None, None) => return Err("a `file` without `file_data` and `file_id`".into()),
            };
            parts.push(Part::File { source, name: word("filename").map(Cow::into_owned) });
        }
        kind => losses.push(format!("messages.content.{}", shown(kind)).into()),
    }
    Ok(())
}

/// What a model thinks, as Mistral writes it: among the parts of its answer, a text or texts.
fn thought(value: Option<&RawValue>, parts: &mut Vec<Part>) {
    let mut own = Vec::new();
    let read = value.map(|value| read(value, &mut own, &mut Vec::new()));
    if let Some(Ok(())) = read {
        let text: String =
            own.iter().filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None }).collect();
        parts.push(Part::Thought { text, signature: None });
    }
}

/// What a URL is of: `data:` URLs have it with them (RFC 2397).
pub(super) fn source(url: &str) -> Source {
    match data_url::read(url) {
        Some((media_type, data)) => {
            let media_type = media_type.split(';').next().unwrap_or_default();
            Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => Source::Url(url.to_owned()),
    }
}

/// What a message, or the delta of a chunk, says. Each field as it stands there.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(default, borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(default, borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(default, borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// What the model thinks. Some servers say it by both names.
    pub(super) fn thought(&self) -> Option<Cow<'a, str>> {
        let said = |value: Option<&'a RawValue>| value.and_then(text).filter(|text| !text.is_empty());
        said(self.reasoning_content).or_else(|| said(self.reasoning))
    }

    /// Why it does not answer.
    pub(super) fn refusal(&self) -> Option<Cow<'a, str>> {
        self.refusal.and_then(text).filter(|text| !text.is_empty())
    }

    /// The functions that it calls, as far as they can be read.
    pub(super) fn calls(&self) -> impl Iterator<Item = ToolCall<'a>> {
        let calls = self.tool_calls.and_then(list).unwrap_or_default();
        calls.into_iter().filter_map(|call| serde_json::from_str(call.get()).ok())
    }
}

/// A call, or a piece of one.
#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(default, borrow)]
    pub(super) index: Option<&'a RawValue>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default, borrow)]
    name: Option<&'a RawValue>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> ToolCall<'a> {
    /// Its id; `None` where it is not said, or not again.
    pub(super) fn id(&self) -> Option<Cow<'a, str>> {
        self.id.and_then(text).filter(|id| !id.is_empty())
    }

    /// The function's name; `None` where it is not said, or not again.
    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        self.function.as_ref()?.name.and_then(text).filter(|name| !name.is_empty())
    }

    /// The arguments, or a piece of them: JSON text. Some servers write the object itself.
    pub(super) fn arguments(&self) -> Option<Cow<'a, str>> {
        let value = self.function.as_ref()?.arguments?;
        text(value).or_else(|| value.get().starts_with('{').then(|| compact(value.get())))
    }
}
