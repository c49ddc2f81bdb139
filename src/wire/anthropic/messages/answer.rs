//! Whole answers of Messages: <https://docs.anthropic.com/en/api/messages#response>.
//!
//! Who did not ask for thoughts gets none, as of Anthropic.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::blocks::{Block, Read, word};
use super::stops;
use super::tokens::{self, Tokens};
use crate::model::conversation::{Completion, Part};
use crate::wire::grammar::Asked;
use crate::wire::json::fields::{Fields, is_null, list, text};
use crate::wire::openai::parts;

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(default, borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_sequence: Option<&'a RawValue>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Option<Completion> {
    parts::leniently(body, read_text)
}

fn read_text(json: &str) -> Option<Completion> {
    let whole: Whole<'_> = parts::object(json)?;
    let blocks = list(whole.content)?;
    let parts: Vec<Part> = blocks.into_iter().filter_map(|block| Read::of(block)?.said()).collect();
    let calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    let sequence = whole.stop_sequence.and_then(text).map(Into::into);
    Some(Completion {
        id: word(whole.id).into_owned(),
        model: word(whole.model).into_owned(),
        parts,
        stop: stops::read(&word(whole.stop_reason), sequence, calls),
        usage: whole.usage.map(tokens::counted).unwrap_or_default().read(),
    })
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Tokens,
}

/// True for a request that asks for thoughts.
pub(super) fn wants_thoughts(body: &[u8]) -> bool {
    let fields = std::str::from_utf8(body).ok().and_then(Fields::read);
    let thinking = fields.and_then(|fields| fields.get("thinking")).filter(|value| !is_null(value));
    let kind = thinking.and_then(|value| Fields::read(value.get())?.get("type").and_then(text));
    kind.is_some_and(|kind| kind != "disabled")
}

/// Writes an answer. What was not counted is none.
pub(super) fn write(completion: &Completion, asked: &Asked<'_>) -> Bytes {
    let Completion { id, model, parts, stop, usage } = completion;
    let wants_thoughts = wants_thoughts(asked.body);
    let is_wanted = |part: &&Part| wants_thoughts || !matches!(part, Part::Thought { .. } | Part::HiddenThought(_));
    let (stop_reason, stop_sequence) = stops::write(stop);
    let written = Written {
        id: if id.is_empty() { asked.id } else { id },
        r#type: "message",
        role: "assistant",
        model,
        content: parts.iter().filter(is_wanted).filter_map(Block::said).collect(),
        stop_reason,
        stop_sequence,
        usage: usage.map(Tokens::from).unwrap_or_default(),
    };
    serde_json::to_vec(&written).unwrap_or_default().into()
}
