//! Streams whose events have a `type`: responses, transcriptions, speech, and whatever the gateway does not know.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::id::Id;
use super::super::usage::Counted;
use super::super::{errors, failures, parts};
use super::{DONE, is_blank, is_json};
use crate::model::reply::{EventKind, Usage};
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
    is_complete: bool,
    has_spoken: bool,
    usage: Option<Usage>,
    id: Option<Box<str>>,
}

impl Named {
    pub(crate) fn new(tail: Tail) -> Self {
        Self { tail, is_complete: tail == Tail::Any, has_spoken: false, usage: None, id: None }
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
        let response = event.response.unwrap_or_default();
        response.id.note(&mut self.id);
        if self.is_failed(kind) {
            let error = response.error.map(RawValue::get).filter(|error| failures::says_something(error));
            return Read::Error(errors::in_event(error.unwrap_or(failures::UNSAID)));
        }
        self.usage = event.usage.read().or(response.usage.read()).or(self.usage);
        self.note_end(kind);
        if self.tail == Tail::Responses && !self.has_spoken && is_opening(kind, event.item.as_ref(), event.delta) {
            return Read::Prelude(EventKind::Piece);
        }
        self.said(EventKind::Piece)
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
