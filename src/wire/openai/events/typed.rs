//! Streams whose events have a `type`: responses, transcriptions, speech, and whatever the gateway does not know.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::id::Id;
use super::super::usage::Counted;
use super::super::{errors, failures, parts};
use super::{Audience, DONE, is_blank, is_json};
use crate::model::reply::{Beside, Channel, EventKind, Usage};
use crate::wire::stream::{EventReader, Read};

/// How a stream of typed events ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// As the Responses API ends.
    Responses,
    /// With an event of this type.
    Type(&'static str),
    /// Unknown: the end of the body is the end of the answer.
    Any,
}

/// Reads streams whose events carry a `type`.
pub(crate) struct Named {
    tail: Tail,
    /// Who wants to know the texts of a response.
    audience: Audience,
    /// The messages of the response that have begun.
    messages: u32,
    /// The length of the text that was read last, where that is counted.
    length: Option<usize>,
    is_complete: bool,
    has_spoken: bool,
    usage: Option<Usage>,
    id: Option<Box<str>>,
}

impl Named {
    pub(crate) fn new(tail: Tail) -> Self {
        Self::reading(tail, Audience::Same)
    }

    /// Reads a stream for this audience. Only of responses it is known where their texts stand.
    pub(crate) fn reading(tail: Tail, audience: Audience) -> Self {
        Self {
            tail,
            audience,
            messages: 0,
            length: None,
            is_complete: tail == Tail::Any,
            has_spoken: false,
            usage: None,
            id: None,
        }
    }

    fn said(&mut self, kind: EventKind) -> Read {
        self.has_spoken = true;
        Read::Event(kind)
    }

    /// An event that is not in its usual form.
    fn odd(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        if is_blank(data) {
            return Read::Event(EventKind::Comment);
        }
        // An endpoint that the gateway does not know may send whatever it likes.
        let is_any = self.tail == Tail::Any;
        if !is_any && !is_json(data) {
            return Read::Malformed;
        }
        let kind = if is_any { EventKind::Piece } else { EventKind::Unknown };
        let Ok(Value::Object(fields)) = parts::value(data) else { return self.said(kind) };
        if let Some(error) = failures::of_object(&fields, name).filter(|_| !is_any) {
            return Read::Error(errors::in_event(&error.to_string()));
        }
        let response = fields.get("response").and_then(Value::as_object);
        if self.id.is_none() {
            self.id = response.and_then(|response| response.get("id")).and_then(Value::as_str).map(Into::into);
        }
        let usage = |fields: &Map<String, Value>| fields.get("usage").map(Counted::of);
        let counted = usage(&fields).or_else(|| usage(response?)).and_then(Counted::read);
        self.usage = counted.or(self.usage);
        let kind = fields.get("type").and_then(Value::as_str).or(name).unwrap_or_default();
        if self.is_failed(kind) {
            let error = response.and_then(|response| response.get("error")).filter(|error| failures::is_said(error));
            return Read::Error(errors::in_event(&error.map_or_else(|| failures::UNSAID.into(), Value::to_string)));
        }
        self.note_end(kind);
        self.said(if is_any { EventKind::Piece } else { EventKind::Unknown })
    }

    /// Notes whether the answer is complete after an event of this type.
    fn note_end(&mut self, kind: &str) {
        self.is_complete = match is_of_picture(kind) {
            true if self.tail == Tail::Any => kind.ends_with(".completed"),
            _ => self.is_complete || self.is_last(kind),
        };
    }

    /// What an event is to those who want texts. What belongs to no text of the one message is something else.
    fn meaning(&mut self, kind: &str, event: &TypedEvent<'_>) -> EventKind {
        if self.audience == Audience::Same || self.tail != Tail::Responses {
            return EventKind::Piece;
        }
        let item = event.item.as_ref().and_then(|item| item.kind.as_deref());
        let is_first_part = event.content_index.is_none_or(|index| index.get() == "0");
        let channel = match kind {
            "response.output_text.delta" => None,
            "response.refusal.delta" => Some(Channel::Refusal),
            "response.reasoning_summary_text.delta" => Some(Channel::Reasoning),
            "response.reasoning_text.delta" => Some(Channel::ReasoningContent),
            "response.output_item.added" if item == Some("message") => {
                self.messages += 1;
                return if self.messages > 1 { EventKind::Other } else { EventKind::Piece };
            }
            "response.output_item.added" if item == Some("reasoning") && self.messages == 0 => return EventKind::Piece,
            "response.output_item.done" if matches!(item, Some("message" | "reasoning")) => return EventKind::Piece,
            "response.content_part.added" if !is_first_part => return EventKind::Other,
            _ if is_frame(kind) => return EventKind::Piece,
            _ => return EventKind::Other,
        };
        let Some(text) = event.delta.and_then(|delta| said(delta.get())) else { return EventKind::Unknown };
        match (self.audience, channel) {
            _ if text.is_empty() => EventKind::Piece,
            (Audience::SameWithLength, None) => {
                self.length = Some(text.len());
                EventKind::Piece
            }
            (Audience::SameWithLength | Audience::Same, _) => EventKind::Piece,
            (Audience::SameWithText | Audience::TextOnly, None) => EventKind::Text(text.into()),
            (Audience::SameWithText | Audience::TextOnly, Some(channel)) => {
                EventKind::Beside([Beside { channel, text: text.into() }].into())
            }
        }
    }

    fn is_failed(&self, kind: &str) -> bool {
        self.tail == Tail::Responses && kind == "response.failed"
    }

    fn is_last(&self, kind: &str) -> bool {
        match self.tail {
            Tail::Responses => matches!(kind, "response.completed" | "response.incomplete"),
            Tail::Type(last) => kind == last,
            Tail::Any => false,
        }
    }
}

/// True for an event of a stream of pictures: each picture comes in drafts, and is complete with an event of its own.
fn is_of_picture(kind: &str) -> bool {
    kind.starts_with("image_generation.") || kind.starts_with("image_edit.")
}

impl EventReader for Named {
    fn read(&mut self, name: Option<&str>, data: &[u8]) -> Read {
        self.length = None;
        if data.trim_ascii() == DONE {
            self.is_complete = true;
            return if self.has_spoken || self.tail == Tail::Any {
                Read::Event(EventKind::Done)
            } else {
                Read::Nothing
            };
        }
        // A list would be read as the fields in their order.
        let text = std::str::from_utf8(data).ok().filter(|text| text.trim_start().starts_with('{'));
        let event = text.and_then(|text| serde_json::from_str::<TypedEvent<'_>>(text).ok());
        // One that does not say what it is may be an error that stands for itself.
        let Some(event) = event.filter(|event| event.kind.is_some() || name.is_some() || self.tail == Tail::Any) else {
            return self.odd(name, data);
        };
        let kind = event.kind.as_deref().or(name).unwrap_or_default();
        let error = event.error.map(RawValue::get).filter(|error| failures::says_something(error));
        if kind == "error" || (error.is_some() && self.tail != Tail::Any) {
            return Read::Error(errors::in_event(
                error.unwrap_or_else(|| std::str::from_utf8(data).unwrap_or_default()),
            ));
        }
        let none = InResponse::default();
        let response = event.response.as_ref().unwrap_or(&none);
        response.id.note(&mut self.id);
        if self.is_failed(kind) {
            let error = response.error.map(RawValue::get).filter(|error| failures::says_something(error));
            return Read::Error(errors::in_event(error.unwrap_or(failures::UNSAID)));
        }
        self.usage = event.usage.read().or(response.usage.read()).or(self.usage);
        self.note_end(kind);
        if self.tail == Tail::Responses && !self.has_spoken && is_opening(kind, event.item.as_ref(), event.delta) {
            return Read::Prelude(self.meaning(kind, &event));
        }
        let meaning = self.meaning(kind, &event);
        self.said(meaning)
    }

    fn text_length(&self) -> Option<usize> {
        self.length
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    fn missing_terminator(&self) -> &'static [u8] {
        b""
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// What a string of JSON says, halves of surrogate pairs mended.
fn said(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Plain<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str::<Plain<'_>>(json) {
        Ok(Plain(text)) => Some(text),
        Err(_) => parts::value(json.as_bytes()).ok()?.as_str().map(|text| Cow::Owned(text.to_owned())),
    }
}

/// True for an event that says how far a response is, or repeats what was said.
fn is_frame(kind: &str) -> bool {
    matches!(
        kind,
        "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.completed"
            | "response.incomplete"
            | "response.content_part.added"
            | "response.content_part.done"
            | "response.output_text.done"
            | "response.refusal.done"
            | "response.reasoning_text.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "keepalive"
            | "ping"
    ) || kind.ends_with("rate_limits.updated")
}

/// True for an event of a response that comes before its model has said anything.
fn is_opening(kind: &str, item: Option<&Item<'_>>, delta: Option<&RawValue>) -> bool {
    match kind {
        _ if kind.ends_with(".in_progress")
            || kind.ends_with(".searching")
            || kind.ends_with("rate_limits.updated") =>
        {
            true
        }
        _ if kind.ends_with(".delta") => delta.is_some_and(|delta| delta.get() == "\"\""),
        "response.created"
        | "response.queued"
        | "response.content_part.added"
        | "response.reasoning_summary_part.added"
        | "keepalive"
        | "ping" => true,
        "response.output_item.added" => {
            item.is_some_and(|item| matches!(item.kind.as_deref(), Some("message" | "reasoning")))
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct TypedEvent<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    usage: Counted,
    #[serde(default, borrow)]
    response: Option<InResponse<'a>>,
    #[serde(default, borrow)]
    item: Option<Item<'a>>,
    #[serde(default, borrow)]
    delta: Option<&'a RawValue>,
    #[serde(default, borrow)]
    content_index: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InResponse<'a> {
    #[serde(default, borrow)]
    id: Id<'a>,
    #[serde(default)]
    usage: Counted,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of a stream of an unknown endpoint: whether it is complete, and its tokens.
    fn read(events: &[&str]) -> (bool, Option<(u64, u64)>) {
        let mut reader = Named::new(Tail::Any);
        for data in events {
            assert!(matches!(reader.read(None, data.as_bytes()), Read::Event(EventKind::Piece)), "{data}");
        }
        (reader.is_complete(), reader.usage().map(|usage| (usage.input, usage.output)))
    }

    #[test]
    fn streams_of_pictures_end_with_a_picture_and_say_what_it_cost() {
        let draft = r#"{"type":"image_generation.partial_image","b64_json":"AA","partial_image_index":0}"#;
        for (last, ends, tokens) in [
            (
                r#"{"type":"image_generation.completed","b64_json":"AA","usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}"#,
                true,
                Some((3, 4)),
            ),
            (r#"{"usage":{"output_tokens":4.0,"input_tokens":3},"type":"image_edit.completed"}"#, true, Some((3, 4))),
            (
                r#"{"type":"image_generation.completed","usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                true,
                Some((3, 4)),
            ),
            (
                r#"{"type":"image_generation.completed","x":"\ud83d","x":1,"type":"image_generation.completed","usage":{"input_tokens":3,"output_tokens":4}}"#,
                true,
                Some((3, 4)),
            ),
            (r#"{"type":"image_generation.completed","usage":null}"#, true, None),
            (r#"{"type":"image_generation.partial_image","b64_json":"AA"}"#, false, None),
        ] {
            assert_eq!(read(&[draft, last]), (ends, tokens), "{last}");
        }
        assert_eq!(read(&[]), (true, None));
        assert_eq!(read(&["7", "no JSON", r#"{"type":"x","usage":{"input_tokens":3}}"#]), (true, Some((3, 0))));
    }
}
