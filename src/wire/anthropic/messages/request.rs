//! Reads requests of Messages: <https://docs.anthropic.com/en/api/messages>.
//!
//! Each field of the reference is decided here: it has a place in the neutral form, it only hints, or it is lost.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::blocks::{self, lost};
use crate::model::conversation::{Conversation, Output, Part, Speaker, Thinking, Tool, ToolChoice, Turn};
use crate::wire::json::fields::{Fields, boolean, float, is_null, list, number, text};
use crate::wire::openai::parts;

/// Fields that change nothing of what the answer says: who asks, who pays, what is cached, what of a long conversation Anthropic
/// may forget, how fast the answer comes.
const HINTS: [&str; 9] = [
    "anthropic_beta",
    "anthropic_version",
    "betas",
    "cache_control",
    "context_management",
    "diagnostics",
    "service_tier",
    "speed",
    "user_profile_id",
];

/// Reads a request.
pub(super) fn read(body: &[u8]) -> Result<Conversation, Cow<'static, str>> {
    let json = parts::readable(body);
    let fields = Fields::read(&json).ok_or("a request that is no JSON object, or has a field twice")?;
    let mut conversation = Conversation::default();
    // What the operator says comes first, wherever it stands.
    if let Some(system) = fields.get("system").filter(|value| !is_null(value)) {
        read_turn(Speaker::Operator, system, &mut conversation)?;
    }
    for (name, value) in fields.iter().filter(|(_, value)| !is_null(value)) {
        read_field(&mut conversation, name, value)?;
    }
    if let Some(thinking) = fields.get("thinking").filter(|value| !is_null(value)) {
        read_thinking(thinking, &mut conversation)?;
    }
    Ok(conversation)
}

fn read_field(conversation: &mut Conversation, name: &str, value: &RawValue) -> Result<(), Cow<'static, str>> {
    let wrong = |what: &str| Cow::from(format!("a request whose `{}` is not {what}", lost(name)));
    let float = || float(value).map(Some).ok_or_else(|| wrong("a number"));
    let whole = || number(value).map(Some).ok_or_else(|| wrong("a whole number"));
    let object = || Fields::read(value.get()).ok_or_else(|| wrong("an object"));
    match name {
        "model" => conversation.model = text(value).ok_or_else(|| wrong("a text"))?.into_owned(),
        "messages" => {
            for message in list(value).ok_or_else(|| wrong("a list"))? {
                read_message(message, conversation)?;
            }
        }
        "max_tokens" => conversation.max_tokens = whole()?,
        "temperature" => conversation.sampling.temperature = float()?,
        "top_p" => conversation.sampling.top_p = float()?,
        "top_k" => conversation.sampling.top_k = whole()?,
        "stop_sequences" => {
            let stops: Option<Vec<_>> = list(value).and_then(|stops| stops.into_iter().map(text).collect());
            conversation.stop =
                stops.ok_or_else(|| wrong("a list of texts"))?.into_iter().map(Cow::into_owned).collect();
        }
        "stream" => conversation.stream = boolean(value).ok_or_else(|| wrong("true or false"))?,
        "tools" => {
            for tool in list(value).ok_or_else(|| wrong("a list"))? {
                conversation.tools.push(read_tool(tool)?);
            }
        }
        "tool_choice" => read_tool_choice(&object()?, conversation)?,
        "output_config" => {
            let config = object()?;
            for (name, value) in config.iter().filter(|(_, value)| !is_null(value)) {
                match name {
                    "effort" => {
                        let effort = text(value).ok_or("an `effort` that is not a text")?;
                        conversation.thinking = Some(Thinking::Effort(effort.into_owned()));
                    }
                    "format" => read_format(value, conversation)?,
                    name => conversation.lost.push(format!("output_config.{}", lost(name)).into()),
                }
            }
        }
        // Its place while it was new.
        "output_format" => read_format(value, conversation)?,
        "metadata" => conversation.user = object()?.get("user_id").and_then(text).map(Cow::into_owned),
        "container" => return Err("containers, which are kept at Anthropic".into()),
        "mcp_servers" if value.get() != "[]" => return Err("tools of MCP servers that Anthropic asks".into()),
        "system" | "thinking" | "mcp_servers" => {}
        name if HINTS.contains(&name) => {}
        // Known: inference_geo, which is a promise.
        name => conversation.lost.push(lost(name)),
    }
    Ok(())
}

fn read_message(message: &RawValue, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    let fields = Fields::read(message.get()).ok_or("a request with a message that is no object")?;
    let speaker = match fields.get("role").and_then(text).as_deref() {
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Model,
        Some("system") => Speaker::Operator,
        Some(other) => return Err(format!("a message of the role `{}`", lost(other)).into()),
        None => return Err("a request with a message without a `role`".into()),
    };
    read_turn(speaker, fields.get("content").ok_or("a request with a message without `content`")?, conversation)
}

fn read_turn(speaker: Speaker, content: &RawValue, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    let mut parts: Vec<Part> = Vec::new();
    blocks::read(content, &mut parts, &mut conversation.lost)?;
    conversation.turns.push(Turn { speaker, parts });
    Ok(())
}

fn read_tool(tool: &RawValue) -> Result<Tool, Cow<'static, str>> {
    let fields = Fields::read(tool.get()).ok_or("a request with a tool that is no object")?;
    let word = |name: &str| fields.get(name).and_then(text).map(Cow::into_owned);
    match word("type").as_deref() {
        None | Some("custom") => {}
        Some(kind) => return Err(format!("tools of the type `{}`, which only Anthropic has", lost(kind)).into()),
    }
    Ok(Tool {
        name: word("name").ok_or("a request with a tool without a `name`")?,
        description: word("description"),
        parameters: fields.get("input_schema").filter(|value| !is_null(value)).map(RawValue::to_owned),
        is_strict: fields.get("strict").and_then(boolean),
    })
}

fn read_tool_choice(fields: &Fields<'_>, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    let word = |name: &str| fields.get(name).and_then(text).map(Cow::into_owned);
    conversation.tool_choice = match word("type").as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Any,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Named(word("name").ok_or("a `tool_choice` of a tool without a `name`")?),
        _ => return Err("a `tool_choice` whose `type` is not auto, any, tool or none".into()),
    };
    conversation.parallel_tools = fields.get("disable_parallel_tool_use").and_then(boolean).map(|is_off| !is_off);
    Ok(())
}

/// How much the model should think. An effort says more than that it may think as it likes.
fn read_thinking(value: &RawValue, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    let fields = Fields::read(value.get()).ok_or("a request whose `thinking` is not an object")?;
    let tokens = || fields.get("budget_tokens").and_then(number).map(Thinking::Tokens);
    conversation.thinking = match fields.get("type").and_then(text).as_deref() {
        Some("disabled") => Some(Thinking::Off),
        Some("enabled") => Some(tokens().ok_or("`thinking` that is enabled without `budget_tokens`")?),
        Some("adaptive") => conversation.thinking.take().or(Some(Thinking::Free)),
        _ => return Err("a request whose `thinking` is not enabled, disabled or adaptive".into()),
    };
    Ok(())
}

fn read_format(value: &RawValue, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    let fields = Fields::read(value.get()).ok_or("an output format that is no object")?;
    let schema = fields.get("schema").filter(|schema| !is_null(schema));
    match (fields.get("type").and_then(text).as_deref(), schema) {
        (Some("json_schema"), Some(schema)) => {
            let schema = schema.to_owned();
            conversation.output = Output::Schema { name: String::new(), description: None, schema, is_strict: None };
        }
        _ => conversation.lost.push("output_config.format".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn callers_words_are_not_told() {
        let secret = "my card is 4111";
        for body in [
            json!({"messages": [{"role": secret, "content": "a"}]}),
            json!({"messages": [], "tools": [{"type": secret, "name": "f"}]}),
            json!({"messages": [{"role": "user", "content": [{"type": secret}]}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": secret}}]}]}),
            json!({"messages": [], "output_config": {secret: 1}}),
            json!({"messages": [], secret: 1}),
        ] {
            let told = read(body.to_string().as_bytes()).map(|read| read.lost.join(" "));
            let told = told.unwrap_or_else(Cow::into_owned);
            assert!(told.contains("(unknown)") && !told.contains("4111"), "{told}");
        }
    }
}
