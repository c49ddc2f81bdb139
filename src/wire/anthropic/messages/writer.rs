//! Writes pieces as the events of a stream of Messages.
//!
//! Why the answer ends is said with its tokens, which may come later: both wait for the end. It does not know who wrote the
//! answer.

use std::borrow::Cow;

use serde::Serialize;

use super::answer;
use super::blocks::call_id;
use super::stops;
use super::tokens::Tokens;
use crate::model::conversation::{Delta, PartKind, Piece, Stop};
use crate::model::reply::{Beside, Channel, Event, EventKind, Usage};
use crate::wire::grammar::{Asked, PieceWriter};
use crate::wire::json::fields::push_quoted;
use crate::wire::proof;
use crate::wire::sse::compose;

/// Room for what an event says besides its text.
const ROOM: usize = 96;

const DELTA: &str = "content_block_delta";

const SIGNATURE: &[u8] = b"signature_delta\",\"signature\":";

/// Writes the events of one stream.
pub(super) struct Writer {
    id: Box<str>,
    wants_text: bool,
    wants_thoughts: bool,
    /// How many blocks have begun.
    blocks: u64,
    open: Open,
    stop: Stop,
    usage: Option<Usage>,
}

/// The block that is open.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Open {
    /// None, or one that nobody asked for.
    #[default]
    Nothing,
    Text,
    Thought,
    /// A thought whose signature was said.
    Signed,
    /// One that has all it says with its beginning, or its input in pieces.
    Other,
}

#[derive(Serialize)]
struct Ending<'a> {
    r#type: &'static str,
    delta: Reason<'a>,
    usage: Counted,
}

#[derive(Serialize)]
struct Reason<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Counted {
    All(Tokens),
    Unknown { output_tokens: u64 },
}

impl Writer {
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            id: asked.id.into(),
            wants_text: asked.wants_text,
            wants_thoughts: answer::wants_thoughts(asked.body),
            blocks: 0,
            open: Open::Nothing,
            stop: Stop::End,
            usage: None,
        }
    }

    fn begin(&self, id: &str, model: &str) -> Event {
        compose("message_start", id.len() + model.len() + 3 * ROOM, EventKind::Piece, |out| {
            out.extend_from_slice(b"{\"type\":\"message_start\",\"message\":{\"id\":");
            push_quoted(out, if id.is_empty() { &self.id } else { id });
            out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
            push_quoted(out, model);
            // What a prompt has cost is known at the end.
            out.extend_from_slice(
                b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}",
            );
        })
    }

    /// An event about the block that began last.
    fn of_block(&self, name: &str, size: usize, kind: EventKind, rest: impl FnOnce(&mut Vec<u8>)) -> Event {
        compose(name, size + ROOM, kind, |out| {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\",\"index\":");
            out.extend_from_slice(itoa::Buffer::new().format(self.blocks.saturating_sub(1)).as_bytes());
            rest(out);
            out.push(b'}');
        })
    }

    fn open(&mut self, kind: PartKind<'_>, events: &mut Vec<Event>) {
        let is_thought = matches!(kind, PartKind::Thought | PartKind::HiddenThought(_));
        if is_thought && !self.wants_thoughts {
            // Whoever waits for it sees at least that somebody thinks.
            events.push(ping());
            return;
        }
        self.blocks += 1;
        let mut is_call = false;
        let (open, size) = match &kind {
            PartKind::Text | PartKind::Refusal => (Open::Text, 0),
            PartKind::Thought => (Open::Thought, 0),
            PartKind::HiddenThought(data) => (Open::Other, data.len()),
            PartKind::Call { id, name } => {
                is_call = true;
                (Open::Other, id.len() + name.len())
            }
        };
        self.open = open;
        let event_kind = if is_call && self.wants_text { EventKind::Other } else { EventKind::Piece };
        events.push(self.of_block("content_block_start", size, event_kind, |out| {
            out.extend_from_slice(b",\"content_block\":");
            match kind {
                PartKind::Text | PartKind::Refusal => out.extend_from_slice(b"{\"type\":\"text\",\"text\":\"\"}"),
                PartKind::Thought => {
                    out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
                }
                PartKind::HiddenThought(data) => {
                    out.extend_from_slice(b"{\"type\":\"redacted_thinking\",\"data\":");
                    push_quoted(out, &data);
                    out.push(b'}');
                }
                PartKind::Call { id, name } => {
                    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
                    push_quoted(out, &call_id(&id));
                    out.extend_from_slice(b",\"name\":");
                    push_quoted(out, &name);
                    out.extend_from_slice(b",\"input\":{}}");
                }
            }
        }));
    }

    /// A delta of this type with one text.
    fn delta(&self, kind: &[u8], text: &str) -> Event {
        self.of_block(DELTA, text.len(), EventKind::Piece, |out| {
            out.extend_from_slice(b",\"delta\":{\"type\":\"");
            out.extend_from_slice(kind);
            push_quoted(out, text);
            out.push(b'}');
        })
    }

    fn text(&self, text: Cow<'_, str>) -> Event {
        let event = self.delta(b"text_delta\",\"text\":", &text);
        let is_said = self.wants_text && !text.is_empty();
        let kind = if is_said { EventKind::Text(text.into()) } else { EventKind::Piece };
        Event { kind, ..event }
    }

    fn thought(&self, text: Cow<'_, str>) -> Event {
        let event = self.delta(b"thinking_delta\",\"thinking\":", &text);
        let is_said = self.wants_text && !text.is_empty();
        let beside = |text: Cow<'_, str>| [Beside { channel: Channel::Reasoning, text: text.into() }];
        let kind = if is_said { EventKind::Beside(beside(text).into()) } else { EventKind::Piece };
        Event { kind, ..event }
    }

    fn end(&self, events: &mut Vec<Event>) {
        let (stop_reason, stop_sequence) = stops::write(&self.stop);
        let usage = self.usage.map_or(Counted::Unknown { output_tokens: 0 }, |usage| Counted::All(usage.into()));
        let ending = Ending { r#type: "message_delta", delta: Reason { stop_reason, stop_sequence }, usage };
        events.push(compose(ending.r#type, 3 * ROOM, EventKind::Piece, |out| {
            // Nothing that is written to memory fails.
            let _ = serde_json::to_writer(out, &ending);
        }));
        events.push(compose("message_stop", ROOM, EventKind::Done, |out| {
            out.extend_from_slice(b"{\"type\":\"message_stop\"}");
        }));
    }
}

fn ping() -> Event {
    compose("ping", ROOM, EventKind::Piece, |out| out.extend_from_slice(b"{\"type\":\"ping\"}"))
}

impl PieceWriter for Writer {
    fn write(&mut self, piece: Piece<'_>, events: &mut Vec<Event>) {
        match piece {
            Piece::Begin { id, model } => events.push(self.begin(&id, &model)),
            Piece::Open(kind) => self.open(kind, events),
            Piece::Add(Delta::Text(text)) => match self.open {
                Open::Text => events.push(self.text(text)),
                Open::Thought => events.push(self.thought(text)),
                Open::Nothing | Open::Signed | Open::Other => {}
            },
            Piece::Add(Delta::Arguments(json)) => {
                let event = self.delta(b"input_json_delta\",\"partial_json\":", &json);
                let kind = if self.wants_text { EventKind::Other } else { EventKind::Piece };
                events.push(Event { kind, ..event });
            }
            Piece::Add(Delta::Signature(signature)) if self.open == Open::Thought => {
                self.open = Open::Signed;
                events.push(self.delta(SIGNATURE, &proof::marked(Some(&signature))));
            }
            Piece::Add(Delta::Signature(_)) => {}
            Piece::Close => {
                if self.open == Open::Thought {
                    events.push(self.delta(SIGNATURE, proof::MARK));
                }
                if std::mem::take(&mut self.open) != Open::Nothing {
                    events.push(self.of_block("content_block_stop", 0, EventKind::Piece, |_| {}));
                }
            }
            Piece::Stop(stop) => self.stop = stop,
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::End => self.end(events),
            Piece::Alive => events.push(ping()),
        }
    }
}
