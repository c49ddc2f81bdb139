//! Writes pieces as the chunks of a stream of Chat.
//!
//! All that the chunks of an answer have in common is written once. It does not know who wrote the answer.

use std::borrow::Cow;

use super::super::replay;
use super::answer::Tokens;
use super::stops::{self, Said};
use crate::model::conversation::{Delta, PartKind, Piece};
use crate::model::reply::{Beside, Channel, Event, EventKind, Usage};
use crate::wire::grammar::{Asked, PieceWriter};
use crate::wire::json::fields::push_quoted;
use crate::wire::sse::compose;

/// Room for what a chunk says besides its text.
const ROOM: usize = 64;

/// Writes the chunks of one stream.
pub(super) struct Writer {
    /// What stands before the delta of each chunk.
    head: Vec<u8>,
    /// What stands behind each choice.
    tail: &'static [u8],
    id: Box<str>,
    created: i64,
    wants_text: bool,
    wants_usage: bool,
    /// True when nobody reads but the texts of events.
    is_bare: bool,
    /// The field in which the open part's texts are said; `None` for one that says none.
    field: Option<Field>,
    calls: u64,
    said: Said,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Content,
    Reasoning,
    Refusal,
}

impl Field {
    fn name(self) -> &'static [u8] {
        match self {
            Field::Content => b"\"content\":",
            Field::Reasoning => b"\"reasoning_content\":",
            Field::Refusal => b"\"refusal\":",
        }
    }
}

impl Writer {
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        let is_bare = asked.body.is_empty();
        let wants_usage = !is_bare && replay::asks_usage(asked.body);
        Self {
            head: Vec::new(),
            // With usage, every chunk but the last says that it has none.
            tail: if wants_usage { b"}],\"usage\":null}" } else { b"}]}" },
            id: asked.id.into(),
            created: asked.created,
            wants_text: asked.wants_text,
            wants_usage: wants_usage || is_bare,
            is_bare,
            field: None,
            calls: 0,
            said: Said::default(),
            usage: None,
        }
    }

    /// All that stands before the choices of a chunk.
    fn begin(&mut self, id: &str, model: &str) {
        self.head.clear();
        self.head.extend_from_slice(b"{\"id\":");
        push_quoted(&mut self.head, if id.is_empty() { &self.id } else { id });
        self.head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        self.head.extend_from_slice(itoa::Buffer::new().format(self.created).as_bytes());
        self.head.extend_from_slice(b",\"model\":");
        push_quoted(&mut self.head, model);
        self.head.extend_from_slice(b",\"choices\":[");
    }

    /// A chunk with this addition to the message.
    fn chunk(&self, size: usize, kind: EventKind, delta: impl FnOnce(&mut Vec<u8>)) -> Event {
        compose("", self.head.len() + self.tail.len() + ROOM + size, kind, |out| {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{");
            delta(out);
            out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":null");
            out.extend_from_slice(self.tail);
        })
    }

    fn text(&self, field: Field, text: Cow<'_, str>) -> Event {
        let event = self.chunk(text.len(), EventKind::Piece, |out| {
            out.extend_from_slice(field.name());
            push_quoted(out, &text);
        });
        if !self.wants_text {
            return event;
        }
        let kind = match field {
            _ if text.is_empty() => EventKind::Piece,
            Field::Content => EventKind::Text(text.into()),
            // What a model says instead of an answer is the answer, where there is no other.
            Field::Refusal if self.is_bare => EventKind::Text(text.into()),
            Field::Refusal => beside(Channel::Refusal, text),
            Field::Reasoning => beside(Channel::ReasoningContent, text),
        };
        Event { kind, ..event }
    }

    fn other(&self) -> EventKind {
        if self.wants_text { EventKind::Other } else { EventKind::Piece }
    }

    fn open(&mut self, kind: PartKind<'_>) -> Option<Event> {
        self.field = match kind {
            PartKind::Text => Some(Field::Content),
            PartKind::Thought => Some(Field::Reasoning),
            PartKind::Refusal => {
                self.said.refuses = true;
                Some(Field::Refusal)
            }
            PartKind::HiddenThought(_) | PartKind::Call { .. } => None,
        };
        let PartKind::Call { id, name } = kind else { return None };
        self.said.calls = true;
        self.calls += 1;
        Some(self.chunk(id.len() + name.len() + ROOM, self.other(), |out| {
            push_index(out, self.calls - 1);
            out.extend_from_slice(b",\"id\":");
            push_quoted(out, &id);
            out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
            push_quoted(out, &name);
            out.extend_from_slice(b",\"arguments\":\"\"}}]");
        }))
    }

    fn arguments(&self, json: &str) -> Event {
        self.chunk(json.len(), self.other(), |out| {
            push_index(out, self.calls.saturating_sub(1));
            out.extend_from_slice(b",\"function\":{\"arguments\":");
            push_quoted(out, json);
            out.extend_from_slice(b"}}]");
        })
    }

    fn tokens(&self, usage: Usage) -> Event {
        compose("", self.head.len() + 4 * ROOM, EventKind::Piece, |out| {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            // Nothing that is written to memory fails.
            let _ = serde_json::to_writer(&mut *out, &Tokens::from(usage));
            out.push(b'}');
        })
    }
}

fn beside(channel: Channel, text: Cow<'_, str>) -> EventKind {
    EventKind::Beside(Box::new([Beside { channel, text: text.into() }]))
}

fn push_index(out: &mut Vec<u8>, index: u64) {
    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
    out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
}

impl PieceWriter for Writer {
    fn write(&mut self, piece: Piece<'_>, events: &mut Vec<Event>) {
        match piece {
            Piece::Begin { id, model } => {
                self.begin(&id, &model);
                events.push(self.chunk(ROOM, EventKind::Piece, |out| {
                    out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
                }));
            }
            Piece::Open(kind) => events.extend(self.open(kind)),
            Piece::Add(Delta::Text(text)) => events.extend(self.field.map(|field| self.text(field, text))),
            Piece::Add(Delta::Arguments(json)) => events.push(self.arguments(&json)),
            // Chat has no place for it, nor for a sign of life.
            Piece::Add(Delta::Signature(_)) | Piece::Close | Piece::Alive => {}
            Piece::Stop(stop) => events.push(compose("", self.head.len() + 2 * ROOM, EventKind::Piece, |out| {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(b"{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"");
                out.extend_from_slice(stops::write(&stop, self.said).as_bytes());
                out.push(b'"');
                out.extend_from_slice(self.tail);
            })),
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::End => {
                events.extend(self.usage.filter(|_| self.wants_usage).map(|usage| self.tokens(usage)));
                events.push(Event::done());
            }
        }
    }
}
