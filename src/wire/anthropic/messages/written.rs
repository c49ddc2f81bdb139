//! Writes requests of Messages.
//!
//! What a model's name tells of it decides some fields ([`models`](super::models)). What is lost is named as Chat names it, from
//! where most conversations come.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::blocks::Content;
use super::models::{Abilities, Draws};
use super::schemas;
use super::thinking;
use super::turns::{self, Message};
use crate::model::conversation::{self, Conversation, Output, Sampling, ToolChoice};
use crate::wire::grammar::{Target, Written};

/// The longest name of an end user that is passed on (`metadata.user_id`).
const LONGEST_USER: usize = 256;

/// The schema of a function without arguments.
const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{}}"#;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Content<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<thinking::Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Serialize)]
struct Format {
    r#type: &'static str,
    schema: Box<RawValue>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

/// Writes a request.
pub(super) fn write(conversation: &Conversation, target: &Target<'_>) -> Result<Written, Cow<'static, str>> {
    if conversation.choices.0 > 1 {
        return Err("several answers at once".into());
    }
    let abilities = Abilities::of(target.model);
    let mut lost = Vec::new();
    let max_tokens = conversation.max_tokens.unwrap_or(target.max_tokens);
    let max_tokens = target.bounded(Some(max_tokens)).unwrap_or(max_tokens);
    let (thinking, effort) = thinking::write(conversation, abilities, max_tokens);
    let thinks = thinking.is_some_and(thinking::Written::thinks);
    let turns = turns::write(conversation, thinks, abilities.continues)?;
    let Sampling { temperature, top_p, top_k, .. } = drawn(&conversation.sampling, abilities, thinks, &mut lost);
    let format = Some(&conversation.output).filter(|_| abilities.has_schemas).and_then(format);
    if conversation.output != Output::Text && format.is_none() {
        lost.push("response_format".into());
    }
    let stop_sequences: Vec<&str> =
        conversation.stop.iter().map(|text| &**text).filter(|text| !text.trim().is_empty()).collect();
    if stop_sequences.len() < conversation.stop.len() {
        lost.push("stop".into());
    }
    let no_arguments: &RawValue = serde_json::from_str(NO_ARGUMENTS).map_err(|_| "tools")?;
    let tool = |tool| written_tool(tool, no_arguments, abilities.has_schemas);
    let request = Request {
        model: target.model,
        max_tokens,
        system: turns.system,
        messages: turns.messages,
        tools: conversation.tools.iter().map(tool).collect(),
        tool_choice: Some(conversation).filter(|it| !it.tools.is_empty()).and_then(tool_choice),
        thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
        temperature,
        top_p,
        top_k,
        stop_sequences,
        metadata: conversation
            .user
            .as_deref()
            .filter(|user| user.len() <= LONGEST_USER)
            .map(|user_id| Metadata { user_id }),
        stream: conversation.stream.then_some(true),
    };
    let body = serde_json::to_vec(&request).map_err(|_| "this conversation")?;
    Ok(Written { body: body.into(), lost })
}

fn written_tool<'a>(tool: &'a conversation::Tool, no_arguments: &'a RawValue, has_schemas: bool) -> Tool<'a> {
    let schema = tool.parameters.as_deref().unwrap_or(no_arguments);
    // A schema that need not be matched exactly is the usual one, and one that cannot be closed is asked for as that.
    let closed = tool.is_strict.filter(|is_strict| *is_strict && has_schemas).and_then(|_| schemas::closed(schema));
    Tool {
        name: &tool.name,
        description: tool.description.as_deref(),
        strict: closed.is_some().then_some(true),
        input_schema: closed.map_or(Cow::Borrowed(schema), Cow::Owned),
    }
}

fn tool_choice(conversation: &Conversation) -> Option<Choice<'_>> {
    let is_off = conversation.parallel_tools.map(|is_on| !is_on);
    let (r#type, name) = match &conversation.tool_choice {
        ToolChoice::Unsaid if is_off != Some(true) => return None,
        ToolChoice::Unsaid | ToolChoice::Auto => ("auto", None),
        ToolChoice::Any => ("any", None),
        ToolChoice::Named(name) => ("tool", Some(&**name)),
        ToolChoice::None => return Some(Choice { r#type: "none", name: None, disable_parallel_tool_use: None }),
    };
    Some(Choice { r#type, name, disable_parallel_tool_use: is_off })
}

/// A schema that the answer is held to; `None`: there is none, or Anthropic takes none like it.
fn format(output: &Output) -> Option<Format> {
    match output {
        Output::Schema { schema, .. } => schemas::closed(schema).map(|schema| Format { r#type: "json_schema", schema }),
        // Any JSON object is no schema.
        Output::Text | Output::Json => None,
    }
}

/// How words are drawn, as far as this model takes it. What it does by itself is not lost.
fn drawn(said: &Sampling, abilities: Abilities, thinks: bool, lost: &mut Vec<Cow<'static, str>>) -> Sampling {
    let mut lose = |name: &'static str, is_lost: bool| {
        if is_lost {
            lost.push(name.into());
        }
    };
    let own_only = abilities.sampling == Draws::Itself;
    let is_usual = |value: Option<f64>| value.is_none_or(|value| value == 1.0);
    // A model that thinks draws its words by itself, but for the unlikely ones.
    let keeps_temperature = !own_only && !thinks;
    let hot = said.temperature.is_some_and(|temperature| temperature > 1.0);
    lose("temperature", (!keeps_temperature && !is_usual(said.temperature)) || (keeps_temperature && hot));
    let temperature = said.temperature.filter(|_| keeps_temperature).map(|temperature| temperature.min(1.0));
    let is_second = abilities.sampling == Draws::ByOne && temperature.is_some();
    let keeps_top_p = !own_only && !is_second && (!thinks || said.top_p.is_none_or(|top_p| top_p >= 0.95));
    lose("top_p", !keeps_top_p && !is_usual(said.top_p));
    let keeps_top_k = !own_only && !thinks;
    lose("top_k", !keeps_top_k && said.top_k.is_some());
    lose("seed", said.seed.is_some());
    let is_zero = |value: Option<f64>| value.is_none_or(|value| value == 0.0);
    lose("presence_penalty", !is_zero(said.presence_penalty));
    lose("frequency_penalty", !is_zero(said.frequency_penalty));
    Sampling {
        temperature,
        top_p: said.top_p.filter(|_| keeps_top_p),
        top_k: said.top_k.filter(|_| keeps_top_k),
        ..Sampling::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    #[test]
    fn schemas_are_closed_where_answers_are_held_to_them() {
        let schema = |value: &Value| to_raw_value(value).unwrap();
        let open = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}});
        let closed = json!({
            "type": "object", "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}},
            "additionalProperties": false,
        });
        let free = json!({"type": "object"});
        let tool = |name: &str, parameters: &Value, is_strict| conversation::Tool {
            name: name.into(),
            description: None,
            parameters: Some(schema(parameters)),
            is_strict,
        };
        let asked = |shape: &Value| Conversation {
            tools: vec![tool("a", &open, Some(true)), tool("b", &free, Some(true)), tool("c", &open, None)],
            output: Output::Schema { name: "x".into(), description: None, schema: schema(shape), is_strict: None },
            max_tokens: Some(100_000),
            ..Conversation::default()
        };
        let target = Target {
            model: "claude-sonnet-4-5",
            max_tokens: 8_192,
            most_tokens: Some(64_000),
            asks_stream_usage: false,
        };
        let written = write(&asked(&open), &target).unwrap();
        let body: Value = serde_json::from_slice(&written.body).unwrap();
        assert_eq!((&body["output_config"]["format"]["schema"], &body["max_tokens"]), (&closed, &json!(64_000)));
        assert_eq!(
            body["tools"],
            json!([
                {"name": "a", "input_schema": closed, "strict": true},
                {"name": "b", "input_schema": free},
                {"name": "c", "input_schema": open},
            ])
        );
        assert_eq!(written.lost, Vec::<Cow<'_, str>>::new());
        assert_eq!(write(&asked(&free), &target).unwrap().lost, ["response_format"]);
    }
}
