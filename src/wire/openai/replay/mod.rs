//! Replays a whole completion as the events of a stream.
//!
//! How a stream becomes a whole body is in `record`. Neither knows why a response is cached.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::complete::Choices;
use super::parts::without_mark;
use crate::model::call::WireRequest;
use crate::model::reply::{Event, EventKind};
use crate::wire::json::fields::{Fields, compact, is_null, list, quoted};

/// How a recorded body ends whose stream did not say what it cost.
pub(crate) const NO_USAGE: &[u8] = b",\"usage\":null}";

/// True when the caller wants to know what a stream cost.
pub(crate) fn wants_usage(wire: &WireRequest) -> bool {
    asks_usage(&wire.body)
}

/// The same of a request's body.
pub(crate) fn asks_usage(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct CacheDirectives {
        #[serde(default)]
        stream_options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        #[serde(default)]
        include_usage: Option<bool>,
    }
    let wishes = serde_json::from_slice::<CacheDirectives>(body).ok();
    wishes.and_then(|wishes| wishes.stream_options?.include_usage).unwrap_or(false)
}

/// The fields of a whole body that each of its chunks repeats, and how chunks are made with them.
struct Chunks {
    head: String,
    /// With usage, every chunk but the last says that it has none.
    tail: &'static str,
    events: Vec<Event>,
}

impl Chunks {
    fn new(whole: &Fields<'_>, object: &str, wants_usage: bool) -> Self {
        let mut head = format!("\"object\":{}", quoted(object));
        for (name, value) in whole.iter().filter(|(name, _)| !matches!(*name, "object" | "choices" | "usage")) {
            head.push_str(&format!(",{}:{}", quoted(name), value.get()));
        }
        Self { head, tail: if wants_usage { ",\"usage\":null" } else { "" }, events: Vec::new() }
    }

    fn push(&mut self, choice: &str) {
        self.add(&format!("{{{},\"choices\":[{choice}]{}}}", self.head, self.tail), EventKind::Piece);
    }

    fn add(&mut self, data: &str, kind: EventKind) {
        // A provider's body may be written over many lines; an event has one.
        self.events.push(Event::of(compact(data), kind));
    }

    fn finish(mut self, usage: Option<&RawValue>) -> Vec<Event> {
        if let Some(usage) = usage.filter(|_| !self.tail.is_empty()) {
            self.add(&format!("{{{},\"choices\":[],\"usage\":{}}}", self.head, usage.get()), EventKind::Piece);
        }
        self.events.push(Event::done());
        self.events
    }
}

/// A whole completion as the chunks of a stream.
pub(crate) fn completion_events(choices: Choices, body: &[u8], wants_usage: bool) -> Option<Vec<Event>> {
    let body = without_mark(body);
    match choices {
        Choices::Messages => chat_events(body, wants_usage),
        Choices::Texts => text_events(body, wants_usage),
    }
}

/// A `chat.completion` as the chunks of a stream: for each choice its role, its text, its tool calls, and its end.
fn chat_events(body: &[u8], wants_usage: bool) -> Option<Vec<Event>> {
    let whole = Fields::read(std::str::from_utf8(body).ok()?)?;
    let mut chunks = Chunks::new(&whole, "chat.completion.chunk", wants_usage);
    for choice in list(whole.get("choices")?)? {
        let choice = Fields::read(choice.get())?;
        let message = Fields::read(choice.get("message")?.get())?;
        let index = choice.get("index").map_or("0", RawValue::get);
        let mut logprobs = choice.get("logprobs").filter(|value| !is_null(value)).map(RawValue::get);
        let mut say = |delta: &str, logprobs: Option<&str>| {
            let logprobs = logprobs.unwrap_or("null");
            chunks.push(&format!(
                "{{\"index\":{index},\"delta\":{{{delta}}},\"logprobs\":{logprobs},\"finish_reason\":null}}"
            ));
        };
        // As it was written: in parts, or with half of a surrogate pair.
        let content = message.get("content").filter(|content| !is_null(content)).map(RawValue::get);
        let mut first = format!("\"role\":{}", message.get("role").map_or("\"assistant\"", RawValue::get));
        first.push_str(if content.is_some() { ",\"content\":\"\"" } else { ",\"content\":null" });
        for (name, value) in message.iter() {
            let is_said_later = matches!(name, "role" | "content" | "tool_calls");
            // What a plain answer says by an empty list, a stream says by saying nothing.
            if !is_said_later && value.get() != "[]" {
                first.push_str(&format!(",{}:{}", quoted(name), value.get()));
            }
        }
        say(&first, None);
        if let Some(content) = content.filter(|content| !matches!(*content, "\"\"" | "[]")) {
            say(&format!("\"content\":{content}"), logprobs.take());
        }
        if let Some(calls) = message.get("tool_calls").filter(|calls| !is_null(calls)) {
            for (at, call) in list(calls)?.into_iter().enumerate() {
                let fields = Fields::read(call.get())?;
                let mut with_index = format!("\"index\":{at}");
                for (name, value) in fields.iter().filter(|(name, _)| *name != "index") {
                    with_index.push_str(&format!(",{}:{}", quoted(name), value.get()));
                }
                say(&format!("\"tool_calls\":[{{{with_index}}}]"), logprobs.take());
            }
        }
        let mut last = format!("\"index\":{index},\"delta\":{{}},\"logprobs\":{}", logprobs.unwrap_or("null"));
        for (name, value) in choice.iter().filter(|(name, _)| !matches!(*name, "index" | "message" | "logprobs")) {
            last.push_str(&format!(",{}:{}", quoted(name), value.get()));
        }
        chunks.push(&format!("{{{last}}}"));
    }
    Some(chunks.finish(whole.get("usage").filter(|usage| !is_null(usage))))
}

/// A `text_completion` as the chunks of a stream: for each choice its text and its end.
fn text_events(body: &[u8], wants_usage: bool) -> Option<Vec<Event>> {
    let whole = Fields::read(std::str::from_utf8(body).ok()?)?;
    let mut chunks = Chunks::new(&whole, "text_completion", wants_usage);
    for choice in list(whole.get("choices")?)? {
        let choice = Fields::read(choice.get())?;
        let index = choice.get("index").map_or("0", RawValue::get);
        let said = choice.get("text").map_or("\"\"", RawValue::get);
        let logprobs = choice.get("logprobs").map_or("null", RawValue::get);
        chunks.push(&format!("{{\"index\":{index},\"text\":{said},\"logprobs\":{logprobs},\"finish_reason\":null}}"));
        let mut last = format!("\"index\":{index},\"text\":\"\",\"logprobs\":null");
        for (name, value) in choice.iter().filter(|(name, _)| !matches!(*name, "index" | "text" | "logprobs")) {
            last.push_str(&format!(",{}:{}", quoted(name), value.get()));
        }
        chunks.push(&format!("{{{last}}}"));
    }
    Some(chunks.finish(whole.get("usage").filter(|usage| !is_null(usage))))
}

#[cfg(test)]
mod tests;
