//! Reads requests of Chat: <https://platform.openai.com/docs/api-reference/chat/create>.
//!
//! Each field of the reference is decided here: it has a place in the neutral form, it only hints, or it is lost.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::parts;
use super::content::lost;
use super::turns::{self, FUNCTIONS};
use crate::model::conversation::{Choices, Conversation, Output, Thinking, Tool, ToolChoice};
use crate::wire::json::fields::{Fields, boolean, float, is_null, list, number, text};

/// Fields that change nothing of what the answer says: who asks, who pays, where it is kept, how fast it comes.
/// (`audio` says how an answer in sound sounds, which `modalities` asks for; `provider` is OpenRouter's choice of servers. Of
/// `verbosity` only the length depends, and agents send it with each request.)
const HINTS: [&str; 10] = [
    "audio",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "provider",
    "service_tier",
    "store",
    "verbosity",
];

/// Reads a request.
pub(super) fn read(body: &[u8]) -> Result<Conversation, Cow<'static, str>> {
    let json = parts::readable(body);
    let fields = Fields::read(&json).ok_or("a request that is no JSON object, or has a field twice")?;
    let mut conversation = Conversation::default();
    for (name, value) in fields.iter().filter(|(_, value)| !is_null(value)) {
        read_field(&mut conversation, name, value)?;
    }
    // The newer name counts where both are there.
    let newer = fields.get("max_completion_tokens").and_then(number);
    conversation.max_tokens = newer.or(conversation.max_tokens);
    let newer = fields.get("safety_identifier").and_then(text).map(Cow::into_owned);
    conversation.user = newer.or(conversation.user);
    Ok(conversation)
}

fn read_field(conversation: &mut Conversation, name: &str, value: &RawValue) -> Result<(), Cow<'static, str>> {
    let wrong = |what: &str| Cow::from(format!("a request whose `{}` is not {what}", lost(name)));
    let float = || float(value).map(Some).ok_or_else(|| wrong("a number"));
    let whole = || number(value).map(Some).ok_or_else(|| wrong("a whole number"));
    let flag = || boolean(value).ok_or_else(|| wrong("true or false"));
    let word = || text(value).map(Cow::into_owned).ok_or_else(|| wrong("a text"));
    let sampling = &mut conversation.sampling;
    match name {
        "model" => conversation.model = word()?,
        "messages" => turns::read(value, conversation)?,
        "tools" => {
            for tool in list(value).ok_or_else(|| wrong("a list"))? {
                conversation.tools.push(read_tool(tool)?);
            }
        }
        "tool_choice" => read_tool_choice(conversation, value)?,
        "parallel_tool_calls" => conversation.parallel_tools = Some(flag()?),
        "max_tokens" | "max_completion_tokens" => conversation.max_tokens = whole()?,
        "temperature" => sampling.temperature = float()?,
        "top_p" => sampling.top_p = float()?,
        // Not OpenAI's own; Together.ai, vLLM and others take it. Negative: all of them.
        "top_k" => sampling.top_k = number(value),
        "seed" => sampling.seed = Some(value.get().parse().map_err(|_| wrong("a whole number"))?),
        "presence_penalty" => sampling.presence_penalty = float()?,
        "frequency_penalty" => sampling.frequency_penalty = float()?,
        "stop" => match text(value) {
            Some(stop) => conversation.stop = vec![stop.into_owned()],
            None => {
                let stops: Option<Vec<_>> = list(value).into_iter().flatten().map(text).collect();
                conversation.stop =
                    stops.ok_or_else(|| wrong("a text or a list of texts"))?.into_iter().map(Cow::into_owned).collect();
            }
        },
        "n" => conversation.choices = Choices(number(value).ok_or_else(|| wrong("a whole number"))?),
        "response_format" => read_format(conversation, value)?,
        "reasoning_effort" => conversation.thinking = Some(effort(word()?)),
        // OpenRouter's form, and that of DeepSeek, Z.ai and Moonshot.
        "reasoning" | "thinking" => {
            let own = Fields::read(value.get()).ok_or_else(|| wrong("an object"))?;
            let word = |name: &str| own.get(name).and_then(text);
            let tokens = own.get("max_tokens").and_then(number).map(Thinking::Tokens);
            let by_type = || match &*word("type")? {
                "disabled" => Some(Thinking::Off),
                "enabled" => Some(Thinking::Free),
                _ => None,
            };
            let said = word("effort").map(|word| effort(word.into_owned())).or(tokens).or_else(by_type);
            conversation.thinking = conversation.thinking.take().or(said);
        }
        "stream" => conversation.stream = flag()?,
        "stream_options" => {
            let options = Fields::read(value.get()).ok_or_else(|| wrong("an object"))?;
            let is_wanted = options.get("include_usage").and_then(boolean).unwrap_or_default();
            conversation.wants_stream_usage = is_wanted;
        }
        "user" | "safety_identifier" => conversation.user = Some(word()?),
        "functions" | "function_call" => return Err(FUNCTIONS.into()),
        "modalities" => {
            let wanted: Vec<_> = list(value).into_iter().flatten().filter_map(text).collect();
            if wanted.iter().any(|word| word != "text") {
                return Err("answers in sound".into());
            }
        }
        name if HINTS.contains(&name) => {}
        // Known: logit_bias, logprobs, top_logprobs, web_search_options, moderation; of other servers min_p,
        // repetition_penalty, chat_template_kwargs and the like.
        name if !is_default(value) => conversation.lost.push(lost(name)),
        _ => {}
    }
    Ok(())
}

/// True where a field that is lost says what is so without it.
fn is_default(value: &RawValue) -> bool {
    matches!(value.get(), "false" | "{}" | "[]" | "\"\"" | "0")
}

/// A word of `reasoning_effort`.
fn effort(word: String) -> Thinking {
    if word == "none" { Thinking::Off } else { Thinking::Effort(word) }
}

fn read_tool(tool: &RawValue) -> Result<Tool, Cow<'static, str>> {
    let fields = Fields::read(tool.get()).ok_or("a request with a tool that is no object")?;
    let kind = fields.get("type").and_then(text).unwrap_or(Cow::Borrowed("function"));
    let function = fields.get("function").and_then(|value| Fields::read(value.get()));
    let Some(function) = function.filter(|_| kind == "function") else {
        return Err(format!("tools of the type `{}`", lost(&kind)).into());
    };
    let word = |name: &str| function.get(name).and_then(text).map(Cow::into_owned);
    Ok(Tool {
        name: word("name").ok_or("a request with a tool without a `name`")?,
        description: word("description"),
        parameters: function.get("parameters").filter(|value| !is_null(value)).map(RawValue::to_owned),
        is_strict: function.get("strict").and_then(boolean),
    })
}

fn read_tool_choice(conversation: &mut Conversation, value: &RawValue) -> Result<(), Cow<'static, str>> {
    conversation.tool_choice = match text(value).as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("required" | "any") => ToolChoice::Any,
        Some(_) => return Err("a `tool_choice` that is not auto, none or required".into()),
        None => {
            let named = Fields::read(value.get()).ok_or("a `tool_choice` that is neither a word nor an object")?;
            let function = named.get("function").and_then(|function| Fields::read(function.get()));
            match function.and_then(|function| function.get("name").and_then(text).map(Cow::into_owned)) {
                Some(name) => ToolChoice::Named(name),
                // `allowed_tools` with a list of some.
                None => {
                    conversation.lost.push("tool_choice".into());
                    ToolChoice::Auto
                }
            }
        }
    };
    Ok(())
}

fn read_format(conversation: &mut Conversation, value: &RawValue) -> Result<(), Cow<'static, str>> {
    let fields = Fields::read(value.get()).ok_or("a `response_format` that is no object")?;
    let kind = fields.get("type").and_then(text).unwrap_or_default();
    conversation.output = match &*kind {
        "text" => Output::Text,
        "json_object" => Output::Json,
        "json_schema" => {
            let own = fields.get("json_schema").and_then(|value| Fields::read(value.get()));
            let own = own.ok_or("a `response_format` of the type `json_schema` without one")?;
            let word = |name: &str| own.get(name).and_then(text).map(Cow::into_owned);
            match own.get("schema").filter(|schema| !is_null(schema)) {
                Some(schema) => Output::Schema {
                    name: word("name").unwrap_or_default(),
                    description: word("description"),
                    schema: schema.to_owned(),
                    is_strict: own.get("strict").and_then(boolean),
                },
                None => Output::Json,
            }
        }
        _ => {
            conversation.lost.push("response_format".into());
            Output::Text
        }
    };
    Ok(())
}
