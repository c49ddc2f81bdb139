//! Whole answers of Chat: <https://platform.openai.com/docs/api-reference/chat/object>.
//!
//! Of several choices it reads the first: more are not asked for where answers are translated.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::call_id;
use super::super::parts;
use super::super::usage::Counted;
use super::content::{self, Message};
use super::stops::{self, Said};
use crate::model::conversation::{Completion, Part, Stop};
use crate::model::reply::Usage;
use crate::wire::grammar::Asked;
use crate::wire::json::fields::{list, text};

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    model: Option<&'a RawValue>,
    #[serde(default, borrow)]
    choices: Option<&'a RawValue>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Message<'a>,
    #[serde(default, borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stop_reason: Option<&'a RawValue>,
}

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Option<Completion> {
    parts::leniently(body, read_text)
}

fn read_text(json: &str) -> Option<Completion> {
    let whole: Whole<'_> = parts::object(json)?;
    let choice: Choice<'_> = serde_json::from_str(list(whole.choices?)?.first()?.get()).ok()?;
    let message = &choice.message;
    let mut parts = Vec::new();
    if let Some(thought) = message.thought() {
        parts.push(Part::Thought { text: thought.into_owned(), signature: None });
    }
    if let Some(content) = message.content {
        content::read(content, &mut parts, &mut Vec::new()).ok()?;
    }
    parts.extend(message.refusal().map(|refusal| Part::Refusal(refusal.into_owned())));
    let id = word(whole.id);
    for (at, call) in message.calls().enumerate() {
        parts.push(Part::Call {
            id: call.id().map_or_else(|| made_id(&id, at), Into::into),
            name: call.name().unwrap_or_default().into_owned(),
            arguments: said_arguments(call.arguments().unwrap_or_default().into_owned()),
        });
    }
    let said = said(&parts);
    let stop = match (stops::read(&word(choice.finish_reason), said), choice.stop_reason.and_then(text)) {
        // vLLM says here which of the texts came.
        (Some(Stop::End), Some(sequence)) => Stop::Sequence(Some(sequence.into_owned())),
        (stop, _) => stop.or_else(|| stops::read("stop", said)).unwrap_or_default(),
    };
    Some(Completion { id, model: word(whole.model), parts, stop, usage: whole.usage.read() })
}

fn word(value: Option<&RawValue>) -> String {
    value.and_then(text).unwrap_or_default().into_owned()
}

/// The id of a call whose provider gives it none: other APIs want one that no other call of the conversation has.
pub(super) fn made_id(answer: &str, at: usize) -> String {
    call_id::short(&format!("call_{answer}_{at}")).into_owned()
}

/// A function without arguments is called with an empty object, which not every server says.
fn said_arguments(arguments: String) -> String {
    if arguments.trim().is_empty() { "{}".into() } else { arguments }
}

fn said(parts: &[Part]) -> Said {
    Said {
        calls: parts.iter().any(|part| matches!(part, Part::Call { .. })),
        refuses: parts.iter().any(|part| matches!(part, Part::Refusal(_))),
    }
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [WrittenChoice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Tokens>,
}

#[derive(Serialize)]
struct WrittenChoice<'a> {
    index: u8,
    message: Own<'a>,
    logprobs: (),
    finish_reason: &'static str,
}

/// What the model says.
#[derive(Serialize)]
pub(super) struct Own<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

/// A call.
#[derive(Serialize)]
pub(super) struct Call<'a> {
    pub(super) id: Cow<'a, str>,
    r#type: &'static str,
    function: Called<'a>,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// What was counted.
#[derive(Serialize)]
pub(super) struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Details,
}

#[derive(Serialize)]
struct Details {
    cached_tokens: u64,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input,
            completion_tokens: usage.output,
            total_tokens: usage.total(),
            prompt_tokens_details: Details { cached_tokens: usage.cached },
        }
    }
}

/// Texts of the same kind make one.
fn joined<'a>(parts: &'a [Part], text: impl Fn(&'a Part) -> Option<&'a str>) -> Option<String> {
    let texts: Vec<&str> = parts.iter().filter_map(text).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

/// The calls among these parts.
pub(super) fn calls<'a>(parts: &'a [Part]) -> Vec<Call<'a>> {
    let call = |part: &'a Part| match part {
        Part::Call { id, name, arguments } => {
            Some(Call { id: id.into(), r#type: "function", function: Called { name, arguments } })
        }
        _ => None,
    };
    parts.iter().filter_map(call).collect()
}

/// The text among these parts; `None` where there is none.
pub(super) fn spoken(parts: &[Part]) -> Option<String> {
    joined(parts, |part| if let Part::Text(text) = part { Some(text) } else { None })
}

/// The refusal among them.
pub(super) fn refused(parts: &[Part]) -> Option<String> {
    joined(parts, |part| if let Part::Refusal(text) = part { Some(text) } else { None })
}

/// The thoughts among them that are in words.
pub(super) fn thought(parts: &[Part]) -> Option<String> {
    joined(parts, |part| if let Part::Thought { text, .. } = part { Some(text) } else { None })
        .filter(|thought| !thought.is_empty())
}

/// Writes an answer.
pub(super) fn write(completion: &Completion, asked: &Asked<'_>) -> Bytes {
    let Completion { id, model, parts, stop, usage } = completion;
    let said = said(parts);
    let message = Own {
        role: "assistant",
        // An answer without anything is an empty text.
        content: spoken(parts).or_else(|| (!said.calls && !said.refuses).then(String::new)),
        refusal: refused(parts),
        reasoning_content: thought(parts),
        tool_calls: calls(parts),
    };
    let written = Written {
        id: if id.is_empty() { asked.id } else { id },
        object: "chat.completion",
        created: asked.created,
        model,
        choices: [WrittenChoice { index: 0, message, logprobs: (), finish_reason: stops::write(stop, said) }],
        usage: usage.map(Tokens::from),
    };
    serde_json::to_vec(&written).unwrap_or_default().into()
}
