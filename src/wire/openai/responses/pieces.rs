//! Reads the pieces of a response's stream.
//!
//! What is said in pieces is not said again when it is repeated whole; what never came in pieces is taken from the whole of it. It
//! does not know who hears the pieces, nor when a stream is complete (`events/typed`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Response, item_of};
use super::items::BETWEEN;
use crate::model::conversation::{Delta, Part, PartKind, Piece, Stop};
use crate::model::reply::{Channel, EventKind};
use crate::wire::grammar::PieceReader;
use crate::wire::openai::parts;

/// Reads one stream.
#[derive(Default)]
pub(super) struct Reader {
    has_begun: bool,
    /// The part that is open.
    open: Option<Open>,
    /// The item that is being said: its place, and whether anything of it has come in pieces.
    item: Option<Item>,
    /// The items that were said, by their place.
    said: Vec<u64>,
    calls: bool,
    refuses: bool,
    is_over: bool,
}

/// The kinds of parts that grow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Refusal,
    Thought,
    Call,
}

struct Item {
    index: u64,
    has_grown: bool,
}

/// An event, as far as it is read.
#[derive(Deserialize)]
struct TypedEvent<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    output_index: Option<u64>,
    #[serde(default, borrow)]
    delta: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    arguments: Option<Cow<'a, str>>,
    #[serde(default)]
    item: Option<Value>,
    #[serde(default)]
    response: Option<Value>,
}

impl Reader {
    /// Begins, where the stream has not said that it does.
    fn begin(&mut self, pieces: &mut Vec<Piece<'_>>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            pieces.push(Piece::Begin { id: "".into(), model: "".into() });
        }
    }

    fn close(&mut self, pieces: &mut Vec<Piece<'_>>) {
        if self.open.take().is_some() {
            pieces.push(Piece::Close);
        }
    }

    /// A part of the item that is being said grows.
    fn grow<'a>(&mut self, kind: Open, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        // What is said beside a call is told when it is whole.
        if self.open == Some(Open::Call) && kind != Open::Call {
            return;
        }
        self.begin(pieces);
        if self.open != Some(kind) {
            self.close(pieces);
            pieces.push(Piece::Open(match kind {
                Open::Text => PartKind::Text,
                Open::Refusal => PartKind::Refusal,
                Open::Thought => PartKind::Thought,
                // A call has a name, with which it was opened.
                Open::Call => return,
            }));
            self.open = Some(kind);
        }
        self.refuses |= kind == Open::Refusal;
        if let Some(item) = &mut self.item {
            item.has_grown = true;
        }
        pieces.push(Piece::Add(match kind {
            Open::Call => Delta::Arguments(text),
            Open::Text | Open::Refusal | Open::Thought => Delta::Text(text),
        }));
    }

    /// True for a piece of an item that another one was begun before, and has not ended. It is told when it is whole.
    fn is_aside(&self, index: Option<u64>) -> bool {
        matches!((&self.item, index), (Some(item), Some(index)) if item.index != index)
    }

    fn begin_item(&mut self, index: u64, item: &Value, pieces: &mut Vec<Piece<'_>>) {
        if self.item.is_some() {
            return;
        }
        self.close(pieces);
        self.item = Some(Item { index, has_grown: false });
        if let Some(item) = item_of(item).filter(|item| item.kind == "function_call") {
            self.calls = true;
            let (id, name) = (item.call_id.unwrap_or_default().into(), item.name.unwrap_or_default().into());
            pieces.push(Piece::Open(PartKind::Call { id, name }));
            self.open = Some(Open::Call);
        }
    }

    /// An item is whole.
    fn end_item(&mut self, index: u64, item: &Value, pieces: &mut Vec<Piece<'_>>) {
        let open = self.item.take_if(|open| open.index == index);
        if self.item.is_some() || self.said.contains(&index) {
            return;
        }
        self.said.push(index);
        let parts = item_of(item).map(super::answer::Item::parts).unwrap_or_default();
        if !open.is_some_and(|open| open.has_grown) {
            match (self.open.take(), parts.as_slice()) {
                // It was called, and has not said with what.
                (Some(Open::Call), [Part::Call { arguments, .. }]) => {
                    if !arguments.is_empty() {
                        pieces.push(Piece::Add(Delta::Arguments(arguments.clone().into())));
                    }
                    pieces.push(Piece::Close);
                }
                _ => parts.into_iter().for_each(|part| self.say(part, pieces)),
            }
            return;
        }
        if let [Part::Thought { signature: Some(proof), .. }] = parts.as_slice()
            && self.open == Some(Open::Thought)
        {
            pieces.push(Piece::Add(Delta::Signature(proof.data.clone().into())));
        }
        self.close(pieces);
    }

    /// Says a part at once.
    fn say(&mut self, part: Part, pieces: &mut Vec<Piece<'_>>) {
        let (kind, text, proof) = match part {
            Part::Text(text) => (PartKind::Text, Some(Delta::Text(text.into())), None),
            Part::Refusal(text) => {
                self.refuses = true;
                (PartKind::Refusal, Some(Delta::Text(text.into())), None)
            }
            Part::Thought { text, signature } => {
                let text = Some(text).filter(|text| !text.is_empty()).map(|text| Delta::Text(text.into()));
                (PartKind::Thought, text, signature.map(|proof| Delta::Signature(proof.data.into())))
            }
            Part::HiddenThought(data) => (PartKind::HiddenThought(data.into()), None, None),
            Part::Call { id, name, arguments } => {
                self.calls = true;
                (PartKind::Call { id: id.into(), name: name.into() }, Some(Delta::Arguments(arguments.into())), None)
            }
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => return,
        };
        pieces.push(Piece::Open(kind));
        pieces.extend(text.into_iter().chain(proof).map(Piece::Add));
        pieces.push(Piece::Close);
    }

    /// The answer is complete: what of it never came in pieces, its tokens and why it ends.
    fn end(&mut self, response: Response, pieces: &mut Vec<Piece<'_>>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.begin(pieces);
        // What is open was never said to end.
        if let Some(item) = self.item.take() {
            match response.output.as_ref().and_then(|output| output.get(usize::try_from(item.index).ok()?)) {
                Some(whole) => {
                    let index = item.index;
                    self.item = Some(item);
                    self.end_item(index, whole, pieces);
                }
                None => self.said.push(item.index),
            }
        }
        self.close(pieces);
        for (index, item) in (0..).zip(response.output.iter().flatten()) {
            self.end_item(index, item, pieces);
        }
        pieces.extend(response.usage.read().map(Piece::Usage));
        pieces.push(Piece::Stop(response.stop_where(self.calls, self.refuses)));
        pieces.push(Piece::End);
    }
}

impl PieceReader for Reader {
    fn read<'a>(&mut self, kind: &'a EventKind, name: Option<&str>, data: &'a [u8], pieces: &mut Vec<Piece<'a>>) {
        match kind {
            EventKind::Text(text) => return self.grow(Open::Text, (&**text).into(), pieces),
            EventKind::Beside(all) => {
                for one in all {
                    let kind = if one.channel == Channel::Refusal { Open::Refusal } else { Open::Thought };
                    self.grow(kind, (&*one.text).into(), pieces);
                }
                return;
            }
            EventKind::Comment => return,
            EventKind::Piece | EventKind::Other | EventKind::Unknown | EventKind::Done => {}
        }
        let event = std::str::from_utf8(data).ok().and_then(|text| serde_json::from_str::<TypedEvent<'a>>(text).ok());
        let Some(event) = event.or_else(|| mended(data)) else { return };
        let kind = event.kind.as_deref().or(name).unwrap_or_default();
        match (kind, event.output_index) {
            ("response.created", _) if !self.has_begun => {
                self.has_begun = true;
                let response = event.response.and_then(|value| Response::deserialize(value).ok()).unwrap_or_default();
                let (id, model) = (response.id.unwrap_or_default(), response.model.unwrap_or_default());
                pieces.push(Piece::Begin { id: id.into(), model: model.into() });
            }
            ("response.output_item.added", Some(index)) => {
                self.begin(pieces);
                self.begin_item(index, &event.item.unwrap_or_default(), pieces);
            }
            ("response.output_item.done", Some(index)) => {
                self.begin(pieces);
                self.end_item(index, &event.item.unwrap_or_default(), pieces);
            }
            ("response.content_part.done", index) if !self.is_aside(index) => self.close(pieces),
            // A thought has one text, however many there are in its summary.
            ("response.reasoning_summary_part.added", _) if self.open == Some(Open::Thought) => {
                pieces.push(Piece::Add(Delta::Text(BETWEEN.into())));
            }
            ("response.output_text.delta", index) if !self.is_aside(index) => {
                event.delta.into_iter().for_each(|text| self.grow(Open::Text, text, pieces));
            }
            ("response.refusal.delta", index) if !self.is_aside(index) => {
                event.delta.into_iter().for_each(|text| self.grow(Open::Refusal, text, pieces));
            }
            ("response.reasoning_summary_text.delta" | "response.reasoning_text.delta", index)
                if !self.is_aside(index) =>
            {
                event.delta.into_iter().for_each(|text| self.grow(Open::Thought, text, pieces));
            }
            ("response.function_call_arguments.delta", index)
                if !self.is_aside(index) && self.open == Some(Open::Call) =>
            {
                event.delta.into_iter().for_each(|text| self.grow(Open::Call, text, pieces));
            }
            ("response.function_call_arguments.done", index)
                if !self.is_aside(index) && self.open == Some(Open::Call) =>
            {
                let has_grown = self.item.as_ref().is_some_and(|item| item.has_grown);
                event.arguments.into_iter().filter(|text| !has_grown && !text.is_empty()).for_each(|text| {
                    self.grow(Open::Call, text, pieces);
                });
            }
            ("response.completed" | "response.incomplete", _) => {
                let response = event.response.and_then(|value| Response::deserialize(value).ok()).unwrap_or_default();
                self.end(response, pieces);
            }
            _ => {}
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Piece<'static>>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.begin(pieces);
        self.close(pieces);
        pieces.push(Piece::Stop(match (self.calls, self.refuses) {
            (true, _) => Stop::Calls,
            (false, true) => Stop::Refusal,
            (false, false) => Stop::End,
        }));
        pieces.push(Piece::End);
    }
}

/// An event in no usual form, field by field.
fn mended<'a>(data: &[u8]) -> Option<TypedEvent<'a>> {
    let Value::Object(mut fields) = parts::value(data).ok()? else { return None };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(Cow::Owned(text)),
        _ => None,
    };
    Some(TypedEvent {
        kind: text(fields.shift_remove("type")),
        output_index: fields.get("output_index").and_then(Value::as_u64),
        delta: text(fields.shift_remove("delta")),
        arguments: text(fields.shift_remove("arguments")),
        item: fields.shift_remove("item"),
        response: fields.shift_remove("response"),
    })
}
