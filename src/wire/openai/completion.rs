//! Writes completions, whole ones and chunks, for responses that did not come in OpenAI's dialect.
//!
//! It does not know where a response came from.

use serde_json::{Value, json};

use crate::model::reply::{Answer, Event, EventKind};

/// What identifies a completion to its caller.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Which model wrote it.
    pub model: &'a str,
}

impl Identity<'_> {
    /// A `chat.completion` with one message; `usage` is an object, or `null` for one that says nothing of it.
    pub fn chat(&self, message: &Value, finish: &str, usage: Value) -> Value {
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
        self.whole("chat.completion", &json!([choice]), usage)
    }

    /// A `chat.completion.chunk` with this addition to the message.
    pub fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.whole("chat.completion.chunk", &json!([choice]), Value::Null)
    }

    /// The chunk that tells what the others cost.
    pub fn usage_chunk(&self, usage: Value) -> Value {
        self.whole("chat.completion.chunk", &json!([]), usage)
    }

    /// A `text_completion`, or a chunk of one.
    pub fn text(&self, text: &str, finish: Option<&str>, usage: Value) -> Value {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish});
        self.whole("text_completion", &json!([choice]), usage)
    }

    fn whole(&self, object: &str, choices: &Value, usage: Value) -> Value {
        let Self { id, created, model } = self;
        let mut whole = json!({"id": id, "object": object, "created": created, "model": model, "choices": choices});
        if !usage.is_null() {
            whole["usage"] = usage;
        }
        whole
    }
}

/// An answer in the house's own words as a whole `chat.completion`.
pub fn whole(identity: Identity<'_>, said: &Answer) -> Value {
    let message = json!({"role": "assistant", "content": said.text, "refusal": null});
    let usage = said.usage.map_or(
        Value::Null,
        |usage| json!({"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.total()}),
    );
    identity.chat(&message, finish(said), usage)
}

/// The same as the events of a stream.
pub fn events(identity: Identity<'_>, said: &Answer) -> [Event; 3] {
    let chunk = |delta: &Value, finish| Event::of(identity.chunk(delta, finish), EventKind::Piece);
    let first = chunk(&json!({"role": "assistant", "content": said.text}), None);
    let last = chunk(&json!({}), Some(finish(said)));
    [first, last, Event::done()]
}

fn finish(said: &Answer) -> &str {
    said.finish.as_deref().unwrap_or("stop")
}
