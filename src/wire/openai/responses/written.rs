//! Writes a request of the Responses API.
//!
//! Nothing of it is stored with the provider: neither a chat completion nor a message is. It does not know whose request it is.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::{abilities, functions};
use super::items;
use super::refused::Refused;
use crate::model::conversation::{Choices, Conversation, Output, Part, Speaker, Thinking, Tool, ToolChoice, Turn};
use crate::wire::grammar::{Target, Written};

/// The smallest limit of an answer that the API takes.
const MIN_TOKENS: u64 = 16;

/// What a schema is called that has no name: one is required.
const SCHEMA_NAME: &str = "answer";

/// What only its provider reads of a thought, which goes back to it with the results of calls.
const PROOFS: [&str; 1] = ["reasoning.encrypted_content"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<Cow<'a, str>>,
    input: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    store: bool,
    stream: bool,
}

#[derive(Serialize)]
struct Function<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Option<&'a RawValue>,
    strict: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Default, Serialize)]
struct Format<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// A request with this model.
pub(super) fn request(asked: &Conversation, target: &Target<'_>) -> Result<Written, Refused> {
    if asked.choices != Choices(1) {
        return Err("several answers to one request".into());
    }
    functions::check(&asked.tools, target.model)?;
    let (instructions, turns) = instructions(&asked.turns);
    let instructions = match (instructions, functions::told(&asked.tools, target.model)) {
        (Some(said), Some(told)) => Some(Cow::Owned(format!("{said}\n\n{told}"))),
        (said, told) => said.map(Cow::Borrowed).or(told.map(Cow::Owned)),
    };
    let mut input = Vec::with_capacity(turns.len());
    turns.iter().try_for_each(|turn| items::of_turn(turn, &mut input))?;
    let model = target.model;
    let mut lost = lost(asked);
    let mut drawn = |name, value| abilities::drawn(model, (name, value), 1.0, &mut lost);
    let (temperature, top_p) = (drawn("temperature", asked.sampling.temperature), drawn("top_p", asked.sampling.top_p));
    let can_think = abilities::takes_effort(model);
    let thinks = can_think && asked.thinking.as_ref().is_some_and(|thinking| *thinking != Thinking::Off);
    let body = Body {
        model,
        instructions,
        input,
        tools: asked.tools.iter().map(|tool| function(tool, model)).collect(),
        tool_choice: choice(&asked.tool_choice),
        parallel_tool_calls: asked.parallel_tools,
        text: format(&asked.output).map(|format| Text { format }),
        reasoning: asked
            .thinking
            .as_ref()
            .and_then(|thinking| effort(thinking, model))
            .map(|effort| json!({ "effort": effort })),
        // Models that do not think refuse to be asked for it.
        include: thinks.then_some(PROOFS),
        max_output_tokens: target.bounded(asked.max_tokens).map(|most| most.max(MIN_TOKENS)),
        temperature,
        top_p,
        user: asked.user.as_deref(),
        store: false,
        stream: asked.stream,
    };
    let body = serde_json::to_vec(&body).map_err(|_| "a request that cannot be written as JSON")?;
    Ok(Written { body: body.into(), lost })
}

/// What an operator says before a conversation, and the conversation.
fn instructions(turns: &[Turn]) -> (Option<&str>, &[Turn]) {
    match turns {
        [Turn { speaker: Speaker::Operator, parts }, rest @ ..] => match &**parts {
            [Part::Text(text)] => (Some(text), rest),
            _ => (None, turns),
        },
        _ => (None, turns),
    }
}

/// A function. One that says nothing about it is strict in this API, and in no other.
fn function<'a>(tool: &'a Tool, model: &str) -> Function<'a> {
    Function {
        r#type: "function",
        name: &tool.name,
        description: functions::description(tool, model),
        parameters: tool.parameters.as_deref(),
        strict: tool.is_strict.unwrap_or(false),
    }
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Unsaid => None,
        ToolChoice::Auto => Some("auto".into()),
        ToolChoice::None => Some("none".into()),
        ToolChoice::Any => Some("required".into()),
        ToolChoice::Named(name) => Some(json!({"type": "function", "name": name})),
    }
}

fn format(output: &Output) -> Option<Format<'_>> {
    match output {
        Output::Text => None,
        Output::Json => Some(Format { r#type: "json_object", ..Format::default() }),
        Output::Schema { name, description, schema, is_strict } => Some(Format {
            r#type: "json_schema",
            name: Some(if name.is_empty() { SCHEMA_NAME } else { name }),
            description: description.as_deref(),
            schema: Some(schema),
            strict: *is_strict,
        }),
    }
}

/// A word for how much a model should think; `None`: as much as it likes, or it cannot be asked.
fn effort<'a>(thinking: &'a Thinking, model: &str) -> Option<&'a str> {
    match thinking {
        Thinking::Off if !abilities::is_openai(model) => Some("none"),
        thinking => abilities::effort(thinking, model),
    }
}

/// What changes the answer, and has no field here.
fn lost(asked: &Conversation) -> Vec<Cow<'static, str>> {
    let sampling = &asked.sampling;
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    [
        ("stop", !asked.stop.is_empty()),
        ("seed", sampling.seed.is_some()),
        ("top_k", sampling.top_k.is_some()),
        ("presence_penalty", is_set(sampling.presence_penalty)),
        ("frequency_penalty", is_set(sampling.frequency_penalty)),
    ]
    .into_iter()
    .filter_map(|(name, is_lost)| is_lost.then_some(name.into()))
    .collect()
}
