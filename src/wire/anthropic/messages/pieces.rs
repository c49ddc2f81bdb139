//! Reads the events of a stream of Messages as pieces: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.
//!
//! What the event reader has found out of an event with nothing but text is taken from it, and the event is not parsed again.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::usage::Counted;
use super::blocks::{Read, word};
use super::stops;
use super::tokens;
use crate::model::conversation::{Delta, PartKind, Piece, Stop};
use crate::model::reply::{Beside, Channel, EventKind};
use crate::wire::grammar::PieceReader;
use crate::wire::json::fields::text;
use crate::wire::openai::parts;
use crate::wire::proof;

/// The part that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Thought,
    HiddenThought,
    /// A call, with the input that its beginning had: the whole of it, unless more follows.
    Call {
        input: Option<String>,
        has_arguments: bool,
    },
    /// What only Anthropic says.
    Unknown,
}

/// Reads the pieces of one stream.
#[derive(Default)]
pub(super) struct Reader {
    has_begun: bool,
    open: Open,
    has_called: bool,
    usage: Counted,
    has_stopped: bool,
    has_ended: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<Message<'a>>,
    #[serde(default, borrow)]
    content_block: Option<Read<'a>>,
    #[serde(default, borrow)]
    delta: Option<Change<'a>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    model: Option<&'a RawValue>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(default, borrow)]
    text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(default, borrow)]
    signature: Option<&'a RawValue>,
    #[serde(default, borrow)]
    partial_json: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_sequence: Option<&'a RawValue>,
}

impl Reader {
    fn open<'a>(&mut self, open: Open, kind: PartKind<'a>, pieces: &mut Vec<Piece<'a>>) {
        self.close(pieces);
        if !self.has_stopped {
            self.begin(None, pieces);
            self.open = open;
            pieces.push(Piece::Open(kind));
        }
    }

    fn close(&mut self, pieces: &mut Vec<Piece<'_>>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing | Open::Unknown => return,
            Open::Call { input, has_arguments: false } => {
                pieces.push(Piece::Add(Delta::Arguments(input.map_or(Cow::Borrowed("{}"), Cow::Owned))));
            }
            Open::Text | Open::Thought | Open::HiddenThought | Open::Call { .. } => {}
        }
        pieces.push(Piece::Close);
    }

    /// Adds to the part of this kind, which is opened where it is not.
    fn add<'a>(&mut self, open: Open, kind: PartKind<'a>, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        if text.is_empty() || self.has_stopped {
            return;
        }
        if self.open != open {
            self.open(open, kind, pieces);
        }
        pieces.push(Piece::Add(Delta::Text(text)));
    }

    fn text<'a>(&mut self, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        self.add(Open::Text, PartKind::Text, text, pieces);
    }

    fn thought<'a>(&mut self, text: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        self.add(Open::Thought, PartKind::Thought, text, pieces);
    }

    fn signature<'a>(&mut self, signature: Cow<'a, str>, pieces: &mut Vec<Piece<'a>>) {
        let signature = match proof::bare(&signature) {
            bare if bare.len() < signature.len() => Cow::Owned(bare.to_owned()),
            _ => signature,
        };
        if self.open == Open::Thought && !signature.is_empty() {
            pieces.push(Piece::Add(Delta::Signature(signature)));
        }
    }

    /// Reads an event; `None` for what does not look like one.
    fn event<'a>(&mut self, name: Option<&str>, json: &'a str, pieces: &mut Vec<Piece<'a>>) -> Option<()> {
        let event: Event<'a> = parts::object(json)?;
        let kind = event.kind.and_then(text);
        match kind.as_deref().or(name).unwrap_or_default() {
            "message_start" => {
                let usage = event.message.as_ref().and_then(|message| message.usage);
                self.begin(event.message, pieces);
                self.count(usage, pieces);
            }
            "content_block_start" => self.start(&event.content_block?, pieces),
            "content_block_delta" => self.change(&event.delta?, pieces),
            "content_block_stop" => self.close(pieces),
            "message_delta" => {
                self.count(event.usage, pieces);
                let delta = event.delta?;
                if let Some(reason) = delta.stop_reason.and_then(text) {
                    let sequence = delta.stop_sequence.and_then(text).map(Cow::into_owned);
                    self.stop(stops::read(&reason, sequence, self.has_called), pieces);
                }
            }
            "message_stop" => self.end(pieces),
            "ping" => pieces.push(Piece::Alive),
            _ => {}
        }
        Some(())
    }

    /// The same of a text that is not kept.
    fn mended(&mut self, name: Option<&str>, json: &str, pieces: &mut Vec<Piece<'_>>) -> Option<()> {
        let mut own = Vec::new();
        let read = self.event(name, json, &mut own);
        own.into_iter().for_each(|piece| pieces.push(piece.into_owned()));
        read
    }

    fn begin<'a>(&mut self, message: Option<Message<'a>>, pieces: &mut Vec<Piece<'a>>) {
        if !self.has_begun {
            self.has_begun = true;
            let (id, model) = message.map(|message| (word(message.id), word(message.model))).unwrap_or_default();
            pieces.push(Piece::Begin { id, model });
        }
    }

    fn count(&mut self, usage: Option<&RawValue>, pieces: &mut Vec<Piece<'_>>) {
        if let Some(usage) = usage {
            self.usage = self.usage.with(tokens::counted(usage));
            pieces.extend(self.usage.read().map(Piece::Usage));
        }
    }

    fn start<'a>(&mut self, block: &Read<'a>, pieces: &mut Vec<Piece<'a>>) {
        match &*block.kind() {
            "text" => {
                self.open(Open::Text, PartKind::Text, pieces);
                self.text(block.words(), pieces);
            }
            "thinking" => {
                self.open(Open::Thought, PartKind::Thought, pieces);
                self.thought(block.words(), pieces);
                self.signature(block.signature().map(|proof| proof.data.into()).unwrap_or_default(), pieces);
            }
            "redacted_thinking" => {
                self.open(Open::HiddenThought, PartKind::HiddenThought(block.words()), pieces);
            }
            "tool_use" => {
                let (id, name) = block.call();
                let input = Some(block.arguments().into_owned()).filter(|input| input != "{}");
                self.has_called = true;
                self.open(Open::Call { input, has_arguments: false }, PartKind::Call { id, name }, pieces);
            }
            _ => {
                self.close(pieces);
                self.open = Open::Unknown;
            }
        }
    }

    fn change<'a>(&mut self, delta: &Change<'a>, pieces: &mut Vec<Piece<'a>>) {
        if self.open == Open::Unknown {
            return;
        }
        if let Some(text) = delta.text.and_then(text) {
            self.text(text, pieces);
        }
        if let Some(thought) = delta.thinking.and_then(text) {
            self.thought(thought, pieces);
        }
        if let Some(signature) = delta.signature.and_then(text) {
            self.signature(signature, pieces);
        }
        let arguments = delta.partial_json.and_then(text).filter(|json| !json.is_empty());
        if let (Some(arguments), Open::Call { has_arguments, .. }) = (arguments, &mut self.open) {
            *has_arguments = true;
            pieces.push(Piece::Add(Delta::Arguments(arguments)));
        }
    }

    fn stop(&mut self, stop: Stop, pieces: &mut Vec<Piece<'_>>) {
        self.begin(None, pieces);
        self.close(pieces);
        if !self.has_stopped {
            self.has_stopped = true;
            pieces.push(Piece::Stop(stop));
        }
    }

    fn end(&mut self, pieces: &mut Vec<Piece<'_>>) {
        if !self.has_ended {
            self.stop(stops::read("", None, self.has_called), pieces);
            self.has_ended = true;
            pieces.push(Piece::End);
        }
    }
}

impl PieceReader for Reader {
    fn read<'a>(&mut self, kind: &'a EventKind, name: Option<&str>, data: &'a [u8], pieces: &mut Vec<Piece<'a>>) {
        if self.has_ended {
            return;
        }
        match kind {
            EventKind::Comment => {}
            EventKind::Done => self.end(pieces),
            EventKind::Text(text) => self.text(Cow::Borrowed(text), pieces),
            EventKind::Beside(asides) => {
                for Beside { channel, text } in asides {
                    match channel {
                        // Messages has none apart from the text.
                        Channel::Refusal => self.text(Cow::Borrowed(text), pieces),
                        Channel::Reasoning | Channel::ReasoningContent => self.thought(Cow::Borrowed(text), pieces),
                    }
                }
            }
            EventKind::Piece | EventKind::Other | EventKind::Unknown => {
                let read = match parts::readable(data) {
                    Cow::Borrowed(json) => self.event(name, json, pieces),
                    Cow::Owned(json) => self.mended(name, &json, pieces),
                };
                // One with a name twice: the last counts, as for most readers.
                if read.is_none()
                    && let Ok(value) = parts::value(data)
                {
                    self.mended(name, &value.to_string(), pieces);
                }
            }
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Piece<'static>>) {
        self.end(pieces);
    }
}
