//! Records a stream as the equivalent whole message.
//!
//! Values are held as they were written, so that numbers and escapes stay what they were. It discards what it cannot assemble
//! with certainty: an unknown delta, a tool's input that is no JSON, an unfinished message.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::complete;
use crate::model::reply::{Event, EventKind, Usage};
use crate::wire::json::fields::{Fields, is_null, number, quoted, text};

/// What a block takes besides its texts, about.
const OVERHEAD: usize = 128;

/// A recording of one message. It is freed as soon as it is clear that nothing will be kept.
pub(crate) struct Recorder {
    /// `None`: nothing is recorded any more.
    message: Option<Message>,
    max: usize,
    is_outgrown: bool,
    is_done: bool,
    /// True when a caller waits for it: then what can be put together is better than nothing.
    is_lenient: bool,
}

impl Recorder {
    /// Records a message of no more than `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { message: Some(Message::default()), max, is_outgrown: false, is_done: false, is_lenient: false }
    }

    /// The same for a caller who waits for it, however it ended.
    pub(crate) fn gathering(max: usize) -> Self {
        Self { is_lenient: true, ..Self::new(max) }
    }

    /// Notes the next event.
    pub(crate) fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::Comment => return,
            EventKind::Done => self.is_done = true,
            // There may be more in the answer than can be given again.
            EventKind::Unknown if !self.is_lenient => self.message = None,
            EventKind::Piece | EventKind::Text(_) | EventKind::Beside(_) | EventKind::Other | EventKind::Unknown => {}
        }
        let Some(message) = &mut self.message else { return };
        let noted = message.note(event.data());
        self.is_outgrown |= message.held > self.max;
        if (noted.is_none() && !self.is_lenient) || self.is_outgrown {
            self.message = None;
        }
    }

    /// True when the message has become larger than what may be kept. What was recorded is gone then.
    pub(crate) fn outgrown(&self) -> bool {
        self.is_outgrown
    }

    /// The message, as far as it was said.
    pub(crate) fn gathered(self) -> Option<Bytes> {
        self.message?.put_together(None)
    }

    /// The message, now that its stream has ended as it should; `None` for one that was not finished, or must not be kept.
    /// `usage` is what the gateway knows of the cost where the events did not say.
    pub(crate) fn finish(self, usage: Option<Usage>) -> Option<Bytes> {
        let whole = self.message.filter(|_| self.is_done)?.put_together(usage)?;
        complete::message(&whole).then_some(whole)
    }
}

/// A message that is being put together.
#[derive(Default)]
struct Message {
    fields: Object,
    usage: Object,
    blocks: BTreeMap<u64, Block>,
    held: usize,
}

/// A content block that is being put together.
#[derive(Default)]
struct Block {
    fields: Object,
    /// Its texts by field, as they were escaped: half of a surrogate pair may stand at the end of each piece.
    texts: Vec<(&'static str, String)>,
    /// The JSON of a tool's input.
    input: String,
    /// Citations, without the brackets of their list.
    citations: String,
}

/// Fields by name, in the order in which they came, as JSON.
#[derive(Default)]
struct Object(Vec<(String, String)>);

impl Object {
    /// Sets a field; returns how much more is held.
    fn set(&mut self, name: &str, json: &str) -> usize {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => {
                let grown = json.len().saturating_sub(own.len());
                json.clone_into(own);
                grown
            }
            None => {
                self.0.push((name.to_owned(), json.to_owned()));
                name.len() + json.len() + OVERHEAD
            }
        }
    }

    /// Sets all fields that say something.
    fn set_all(&mut self, fields: &Fields<'_>) -> usize {
        fields.iter().filter(|(_, value)| !is_null(value)).map(|(name, value)| self.set(name, value.get())).sum()
    }

    fn write(&self) -> String {
        let fields: Vec<_> = self.0.iter().map(|(name, json)| format!("{}:{json}", quoted(name))).collect();
        format!("{{{}}}", fields.join(","))
    }
}

impl Message {
    /// Adds what an event says; `None`: it cannot be put together with certainty.
    fn note(&mut self, data: &[u8]) -> Option<()> {
        if data.is_empty() {
            return Some(());
        }
        let event = Fields::read(std::str::from_utf8(data).ok()?)?;
        let kind = text(event.get("type")?)?;
        let inside = |name| Fields::read(event.get(name)?.get());
        match &*kind {
            "message_start" => {
                for (name, value) in inside("message")?.iter() {
                    self.held += match name {
                        "content" => 0,
                        "usage" => Fields::read(value.get()).map_or(0, |usage| self.usage.set_all(&usage)),
                        name => self.fields.set(name, value.get()),
                    };
                }
            }
            "content_block_start" => {
                let block = self.blocks.entry(event.get("index").and_then(number)?).or_default();
                self.held += OVERHEAD;
                for (name, value) in inside("content_block")?.iter() {
                    self.held += block.fields.set(name, value.get());
                }
            }
            "content_block_delta" => {
                let block = self.blocks.get_mut(&event.get("index").and_then(number)?)?;
                self.held += block.add(&inside("delta")?)?;
            }
            "message_delta" => {
                for (name, value) in inside("delta")?.iter() {
                    self.held += self.fields.set(name, value.get());
                }
                for (name, value) in event.iter() {
                    self.held += match name {
                        "type" | "delta" => 0,
                        "usage" => Fields::read(value.get()).map_or(0, |usage| self.usage.set_all(&usage)),
                        name => self.fields.set(name, value.get()),
                    };
                }
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            _ => return None,
        }
        Some(())
    }

    fn put_together(mut self, usage: Option<Usage>) -> Option<Bytes> {
        let blocks: Option<Vec<String>> = std::mem::take(&mut self.blocks).into_values().map(Block::finish).collect();
        if self.usage.0.is_empty() {
            let usage = usage.unwrap_or_default();
            let new = usage.input.saturating_sub(usage.cached).saturating_sub(usage.written);
            for (name, tokens) in [
                ("input_tokens", new),
                ("cache_creation_input_tokens", usage.written),
                ("cache_read_input_tokens", usage.cached),
                ("output_tokens", usage.output),
            ] {
                self.usage.set(name, &tokens.to_string());
            }
        }
        self.fields.set("content", &format!("[{}]", blocks?.join(",")));
        self.fields.set("usage", &self.usage.write());
        Some(self.fields.write().into())
    }
}

impl Block {
    /// Adds a delta; returns how much more is held.
    fn add(&mut self, delta: &Fields<'_>) -> Option<usize> {
        let value = |name| delta.get(name).map(RawValue::get);
        Some(match &*text(delta.get("type")?)? {
            "text_delta" => self.say("text", value("text")?)?,
            "thinking_delta" => self.say("thinking", value("thinking")?)?,
            "signature_delta" => self.say("signature", value("signature")?)?,
            "input_json_delta" => {
                let piece = text(delta.get("partial_json")?)?;
                self.input.push_str(&piece);
                piece.len()
            }
            "citations_delta" => {
                let citation = value("citation")?;
                if !self.citations.is_empty() {
                    self.citations.push(',');
                }
                self.citations.push_str(citation);
                citation.len() + 1
            }
            _ => return None,
        })
    }

    /// Adds to a text, a piece of which is given in its quotes.
    fn say(&mut self, field: &'static str, json: &str) -> Option<usize> {
        let piece = json.strip_prefix('"')?.strip_suffix('"')?;
        match self.texts.iter_mut().find(|(own, _)| *own == field) {
            Some((_, said)) => said.push_str(piece),
            None => {
                // Some servers begin a block with its first words.
                let begun = self.fields.0.iter().find(|(own, _)| own == field).map(|(_, begun)| begun.as_str());
                let begun = begun.and_then(|begun| begun.strip_prefix('"')?.strip_suffix('"')).unwrap_or_default();
                self.texts.push((field, format!("{begun}{piece}")));
            }
        }
        Some(piece.len())
    }

    /// The block; `None` where a tool's input is no JSON.
    fn finish(mut self) -> Option<String> {
        for (field, said) in &self.texts {
            self.fields.set(field, &format!("\"{said}\""));
        }
        if !self.input.trim().is_empty() {
            serde_json::from_str::<IgnoredAny>(&self.input).ok()?;
            self.fields.set("input", &self.input);
        }
        if !self.citations.is_empty() {
            self.fields.set("citations", &format!("[{}]", self.citations));
        }
        Some(self.fields.write())
    }
}
