//! Reads a request of the Responses API (<https://platform.openai.com/docs/api-reference/responses/create>).
//!
//! What only a provider with this API has (its stored responses, its own tools, its templates) is refused; what changes the answer
//! and has no place in the neutral form is named as lost. It does not know who serves the request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::items;
use super::refused::{Refused, shown, typed};
use crate::model::conversation::{Conversation, Output, Part, Speaker, Thinking, Tool, ToolChoice, Turn};
use crate::wire::json::fields::{Fields, is_null, list, text};
use crate::wire::openai::parts::without_mark;

/// Fields that are no part of what is asked: who asks, how it is kept, cached, paid for and sent. `max_tool_calls` bounds only the
/// provider's own tools. `truncation` says what becomes of a conversation that is too long: its refusal tells its caller as well.
const HINTS: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "stream_options",
    "max_tool_calls",
    "truncation",
];

/// Reads a request.
pub(super) fn read(body: &[u8]) -> Result<Conversation, Refused> {
    let body = std::str::from_utf8(without_mark(body)).ok().map(str::trim);
    let fields = body.and_then(Fields::read).ok_or("a body that is no JSON object with each field once")?;
    let mut read = Conversation::default();
    let mut instructions = None;
    let mut choice = None;
    for (name, value) in fields.iter().filter(|(_, value)| !is_null(value)) {
        match name {
            "model" => read.model = typed(name, value, "a text")?,
            "instructions" => instructions = Some(value),
            "input" => read.turns = items::turns(value)?,
            "tools" => read.tools = tools(value)?,
            "tool_choice" => choice = Some(value),
            "parallel_tool_calls" => read.parallel_tools = Some(typed(name, value, "true or false")?),
            "max_output_tokens" => read.max_tokens = Some(typed(name, value, "a number of tokens")?),
            "temperature" => read.sampling.temperature = Some(typed(name, value, "a number")?),
            "top_p" => read.sampling.top_p = Some(typed(name, value, "a number")?),
            "text" => text_options(value, &mut read)?,
            "reasoning" => reasoning(value, &mut read)?,
            "stream" => read.stream = typed(name, value, "true or false")?,
            "user" => read.user = Some(typed(name, value, "a text")?),
            // The newer name of the same. Neither says what the model does.
            "safety_identifier" if read.user.is_none() => read.user = text(value).map(Cow::into_owned),
            "safety_identifier" => {}
            "include" => include(value, &mut read),
            "store" if value.get() == "true" => read.lost.push("store".into()),
            // What is stored by default is stored where that can be done: who counts on it says so.
            "store" => {}
            "background" if value.get() == "false" => {}
            "background" => return Err("responses that are made in the background (`background`)".into()),
            "previous_response_id" => {
                return Err("a response that goes on from a stored one (`previous_response_id`)".into());
            }
            "conversation" => {
                return Err("a response in a conversation that the provider keeps (`conversation`)".into());
            }
            "prompt" => return Err("a prompt that the provider keeps (`prompt`)".into()),
            "top_logprobs" if value.get() == "0" => {}
            name if HINTS.contains(&name) => {}
            name => read.lost.push(shown(name).to_owned().into()),
        }
    }
    if fields.get("input").is_none_or(is_null) {
        return Err("a request without `input`".into());
    }
    if let Some(instructions) = instructions {
        let text = typed("instructions", instructions, "a text")?;
        read.turns.insert(0, Turn { speaker: Speaker::Operator, parts: vec![Part::Text(text)] });
    }
    if let Some(choice) = choice {
        tool_choice(choice, &mut read)?;
    }
    // Every stream of this API says its tokens.
    read.wants_stream_usage = read.stream;
    Ok(read)
}

/// The functions; tools that the provider runs itself are refused.
fn tools(value: &RawValue) -> Result<Vec<Tool>, Refused> {
    #[derive(Deserialize)]
    struct Described<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(default, borrow)]
        name: Option<Cow<'a, str>>,
        description: Option<String>,
        #[serde(default, borrow)]
        parameters: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let described = |tool: &RawValue| {
        let tool: Described<'_> = serde_json::from_str(tool.get()).map_err(|_| {
            Cow::Borrowed("a request with a tool that has no `type`, or a field of another type than it should")
        })?;
        if tool.kind != "function" {
            return Err(provider_tool(&tool.kind));
        }
        let name = tool.name.ok_or("a function without a `name`")?;
        Ok(Tool {
            name: name.into_owned(),
            description: tool.description,
            parameters: tool.parameters.filter(|schema| !is_null(schema)).map(ToOwned::to_owned),
            is_strict: tool.strict,
        })
    };
    list(value).ok_or("a request whose `tools` are no list")?.into_iter().map(described).collect()
}

fn provider_tool(kind: &str) -> Refused {
    format!("tools of the type `{}`, which only a provider with the Responses API has", shown(kind)).into()
}

/// Whether functions may be called, and which of them.
fn tool_choice(value: &RawValue, read: &mut Conversation) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        name: Option<String>,
        mode: Option<String>,
        #[serde(default)]
        tools: Vec<Allowed>,
    }
    #[derive(Deserialize)]
    struct Allowed {
        #[serde(rename = "type")]
        kind: String,
        name: Option<String>,
    }
    let by_word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Any),
        _ => Err(Cow::Borrowed("a request whose `tool_choice` is none of `auto`, `none`, `required` and an object")),
    };
    if let Some(word) = text(value) {
        read.tool_choice = by_word(&word)?;
        return Ok(());
    }
    let choice: Choice<'_> = serde_json::from_str(value.get())
        .map_err(|_| "a request whose `tool_choice` is neither a word nor an object with a `type`")?;
    match (&*choice.kind, choice.name) {
        ("function", Some(name)) => read.tool_choice = ToolChoice::Named(name),
        ("function", None) => return Err("a `tool_choice` of a function without its `name`".into()),
        ("allowed_tools", _) => {
            if let Some(other) = choice.tools.iter().find(|tool| tool.kind != "function") {
                return Err(provider_tool(&other.kind));
            }
            // Others are not offered, which is what this means.
            let is_allowed = |tool: &Tool| choice.tools.iter().any(|one| one.name.as_deref() == Some(&tool.name));
            read.tools.retain(is_allowed);
            read.tool_choice = by_word(choice.mode.as_deref().unwrap_or("auto"))?;
        }
        (kind, _) => return Err(provider_tool(kind)),
    }
    Ok(())
}

/// What the text must look like.
fn text_options(value: &RawValue, read: &mut Conversation) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(default)]
        name: Option<String>,
        description: Option<String>,
        #[serde(default, borrow)]
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let fields = Fields::read(value.get()).ok_or("a request whose `text` is no object")?;
    for (name, value) in fields.iter().filter(|(_, value)| !is_null(value)) {
        match name {
            "format" => {
                let format: Format<'_> = serde_json::from_str(value.get())
                    .map_err(|_| "a request whose `text.format` is no object with a `type`")?;
                read.output = match (&*format.kind, format.schema) {
                    ("text", _) => Output::Text,
                    ("json_object", _) => Output::Json,
                    ("json_schema", Some(schema)) => Output::Schema {
                        name: format.name.unwrap_or_default(),
                        description: format.description,
                        schema: schema.to_owned(),
                        is_strict: format.strict,
                    },
                    ("json_schema", None) => return Err("a `text.format` without its `schema`".into()),
                    (kind, _) => return Err(format!("a `text.format` of the type `{}`", shown(kind)).into()),
                };
            }
            // What is so by itself.
            "verbosity" if value.get() == "\"medium\"" => {}
            name => read.lost.push(format!("text.{}", shown(name)).into()),
        }
    }
    Ok(())
}

/// How much the model should think. What its thoughts look like (`summary`) is no part of the answer.
fn reasoning(value: &RawValue, read: &mut Conversation) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Reasoning {
        effort: Option<String>,
    }
    let reasoning: Reasoning = typed("reasoning", value, "an object")?;
    read.thinking = reasoning.effort.map(|effort| match &*effort {
        "none" => Thinking::Off,
        _ => Thinking::Effort(effort),
    });
    Ok(())
}

/// What else the answer should have: of the provider's own tools, or the model's thoughts in a form that only it reads. Only the
/// probabilities of its words are missed by somebody.
fn include(value: &RawValue, read: &mut Conversation) {
    let asks = |item: &&RawValue| text(item).is_some_and(|word| word == "message.output_text.logprobs");
    if list(value).is_some_and(|items| items.iter().any(asks)) {
        read.lost.push("include".into());
    }
}
