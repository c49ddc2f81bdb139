//! Writes requests of Chat.
//!
//! What a model's name tells of its server decides some fields ([`abilities`]).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::{abilities, functions};
use super::messages::{self, Message};
use crate::model::conversation::{Conversation, Output, ToolChoice};
use crate::wire::grammar::{Target, Written};

/// As many texts may stop an answer.
const MOST_STOPS: usize = 4;

/// The longest name of an end user that is passed on (`safety_identifier` has 64 characters at most).
const LONGEST_USER: usize = 64;

/// What a schema is called whose request does not say it.
const UNNAMED: &str = "answer";

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Options>,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named { r#type: &'static str, function: Name<'a> },
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct Options {
    include_usage: bool,
}

/// Writes a request.
pub(super) fn write(conversation: &Conversation, target: &Target<'_>) -> Result<Written, Cow<'static, str>> {
    let model = target.model;
    functions::check(&conversation.tools, model)?;
    let mut lost = Vec::new();
    let has_tools = !conversation.tools.is_empty();
    let is_reasoning = abilities::is_reasoning(model);
    let max_tokens = target.bounded(conversation.max_tokens);
    let sampling = &conversation.sampling;
    let mut drawn = |name, value, usual| abilities::drawn(model, (name, value), usual, &mut lost);
    let temperature = drawn("temperature", sampling.temperature, 1.0);
    let top_p = drawn("top_p", sampling.top_p, 1.0);
    let presence_penalty = drawn("presence_penalty", sampling.presence_penalty, 0.0);
    let frequency_penalty = drawn("frequency_penalty", sampling.frequency_penalty, 0.0);
    let top_k = sampling.top_k.filter(|_| !abilities::is_openai(model));
    if sampling.top_k.is_some() && top_k.is_none() {
        lost.push("top_k".into());
    }
    let most_stops = if is_reasoning { 0 } else { MOST_STOPS };
    let stop = conversation.stop.get(..most_stops).unwrap_or(&conversation.stop);
    if stop.len() < conversation.stop.len() {
        lost.push("stop".into());
    }
    let is_streamed = conversation.stream;
    let asks_usage = is_streamed && (conversation.wants_stream_usage || target.asks_stream_usage);
    let request = Request {
        model,
        messages: messages::write(conversation, model)?,
        tools: conversation.tools.iter().map(|it| tool(it, model)).collect(),
        tool_choice: Some(&conversation.tool_choice).filter(|_| has_tools).and_then(tool_choice),
        parallel_tool_calls: conversation.parallel_tools.filter(|_| has_tools),
        max_tokens: max_tokens.filter(|_| !is_reasoning),
        max_completion_tokens: max_tokens.filter(|_| is_reasoning),
        temperature,
        top_p,
        top_k,
        seed: sampling.seed,
        presence_penalty,
        frequency_penalty,
        stop,
        n: Some(conversation.choices.0).filter(|n| *n != 1),
        response_format: format(&conversation.output),
        reasoning_effort: conversation.thinking.as_ref().and_then(|thinking| abilities::effort(thinking, model)),
        user: conversation.user.as_deref().filter(|user| user.len() <= LONGEST_USER),
        stream: is_streamed.then_some(true),
        stream_options: asks_usage.then_some(Options { include_usage: true }),
    };
    let body = serde_json::to_vec(&request).map_err(|_| "this conversation")?;
    Ok(Written { body: body.into(), lost })
}

fn tool<'a>(tool: &'a crate::model::conversation::Tool, model: &str) -> Tool<'a> {
    let function = Function {
        name: &tool.name,
        description: functions::description(tool, model),
        parameters: tool.parameters.as_deref(),
        strict: tool.is_strict,
    };
    Tool { r#type: "function", function }
}

fn tool_choice(choice: &ToolChoice) -> Option<Choice<'_>> {
    Some(match choice {
        ToolChoice::Unsaid => return None,
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named { r#type: "function", function: Name { name } },
    })
}

fn format(output: &Output) -> Option<Format<'_>> {
    match output {
        Output::Text => None,
        Output::Json => Some(Format::JsonObject),
        Output::Schema { name, description, schema, is_strict } => {
            let name = if name.is_empty() { UNNAMED } else { name };
            let json_schema = Schema { name, description: description.as_deref(), schema, strict: *is_strict };
            Some(Format::JsonSchema { json_schema })
        }
    }
}
