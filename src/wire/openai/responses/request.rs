//! Reads a request of the Responses API (<https://platform.openai.com/docs/api-reference/responses/create>).
//!
//! What only a provider with this API has (its stored responses, its templates) is refused; what changes the answer and has no place
//! in the neutral form (the provider's own tools among it) is named as lost. It does not know who serves the request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::refused::{Refused, typed};
use super::{items, tools};
use crate::model::conversation::{Conversation, Output, Part, Speaker, Thinking, ToolChoice, Turn};
use crate::wire::json::fields::{Fields, is_null, list, text};
use crate::wire::openai::parts::without_mark;
use crate::wire::shown::shown;

/// Fields that are no part of what is asked: who asks and with which program (`client_metadata`, `access_programs` of coding agents),
/// how it is kept, cached, paid for and sent. `max_tool_calls` bounds only the provider's own tools. `truncation` says what becomes of a
/// conversation that is too long: its refusal tells its caller as well.
const HINTS: [&str; 9] = [
    "metadata",
    "client_metadata",
    "access_programs",
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
            "input" => read.turns = items::turns(value, &mut read.lost)?,
            "tools" => read.tools = tools::read(value, &mut read.lost)?,
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
    Ok(read)
}

/// Whether functions may be called, and which of them.
fn tool_choice(value: &RawValue, read: &mut Conversation) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        name: Option<String>,
        namespace: Option<String>,
        mode: Option<String>,
        #[serde(default)]
        tools: Vec<Allowed>,
    }
    #[derive(Deserialize)]
    struct Allowed {
        #[serde(rename = "type")]
        kind: String,
        name: Option<String>,
        namespace: Option<String>,
    }
    let is_function = |kind: &str| matches!(kind, "function" | "custom");
    let by_word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Any),
        _ => Err(Cow::Borrowed("a request whose `tool_choice` is none of `auto`, `none`, `required` and an object")),
    };
    if let Some(word) = text(value) {
        read.tool_choice = by_word(&word)?;
        // None of those that the provider was to run is left to be called.
        let is_lost = || read.tools.is_empty() && read.lost.iter().any(|name| name.starts_with("tools."));
        return match read.tool_choice {
            ToolChoice::Any if is_lost() => Err("a `tool_choice` of `required` without a function".into()),
            _ => Ok(()),
        };
    }
    let choice: Choice<'_> = serde_json::from_str(value.get())
        .map_err(|_| "a request whose `tool_choice` is neither a word nor an object with a `type`")?;
    match (&*choice.kind, choice.name) {
        (kind, Some(name)) if is_function(kind) => {
            read.tool_choice = ToolChoice::Named(tools::joined(choice.namespace.as_deref(), &name));
        }
        (kind, None) if is_function(kind) => return Err("a `tool_choice` of a function without its `name`".into()),
        ("allowed_tools", _) => {
            // Those that a provider runs are lost already.
            let is_known = |kind: &str| is_function(kind) || tools::is_run_by_providers(kind);
            if let Some(other) = choice.tools.iter().find(|tool| !is_known(&tool.kind)) {
                return Err(tools::only_here(&other.kind));
            }
            // Others are not offered, which is what this means.
            let allowed: Vec<String> = choice
                .tools
                .iter()
                .filter(|one| is_function(&one.kind))
                .filter_map(|one| Some(tools::joined(one.namespace.as_deref(), one.name.as_deref()?)))
                .collect();
            read.tools.retain(|tool| allowed.contains(&tool.name));
            read.tool_choice = by_word(choice.mode.as_deref().unwrap_or("auto"))?;
        }
        (kind, _) => return Err(tools::only_here(kind)),
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
            // How long the answer should be: a wish that agents send with each request, and no reason to have no answer.
            "verbosity" => {}
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
