//! Reads the messages of a request of Chat as turns.
//!
//! The results of calls, each a message of its own here, make one turn with what the user says next.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::content::{self, Message, lost};
use crate::model::conversation::{Conversation, Part, Speaker, Turn};
use crate::wire::json::fields::{Fields, is_null, list, text};

/// What belongs to tools in their older form.
pub(super) const FUNCTIONS: &str = "`functions` and `function_call`, the older form of `tools`";

/// Reads `messages`.
///
/// # Errors
/// What is wrong with them, or cannot be left out.
pub(super) fn read(messages: &RawValue, conversation: &mut Conversation) -> Result<(), Cow<'static, str>> {
    for message in list(messages).ok_or("a request whose `messages` is no list")? {
        let fields = Fields::read(message.get()).ok_or("a request with a message that is no object")?;
        let role = fields.get("role").and_then(text).ok_or("a request with a message without a `role`")?;
        let mut parts = Vec::new();
        let speaker = match &*role {
            "system" | "developer" => Speaker::Operator,
            "user" => Speaker::User,
            "assistant" => Speaker::Model,
            "tool" => {
                conversation.read_result(&fields)?;
                continue;
            }
            "function" => return Err(FUNCTIONS.into()),
            other => return Err(format!("a message of the role `{}`", lost(other)).into()),
        };
        if speaker == Speaker::Model {
            read_own(message, &fields, &mut parts, &mut conversation.lost)?;
        } else if let Some(said) = fields.get("content") {
            content::read(said, &mut parts, &mut conversation.lost)?;
        }
        match conversation.turns.last_mut() {
            Some(results) if speaker == Speaker::User && is_results(results) => results.parts.append(&mut parts),
            _ => conversation.turns.push(Turn { speaker, parts }),
        }
    }
    Ok(())
}

/// True for a turn that has nothing but the results of calls yet.
fn is_results(turn: &Turn) -> bool {
    turn.speaker == Speaker::User
        && !turn.parts.is_empty()
        && turn.parts.iter().all(|part| matches!(part, Part::Result { .. }))
}

/// What the model said.
fn read_own(
    message: &RawValue,
    fields: &Fields<'_>,
    parts: &mut Vec<Part>,
    losses: &mut Vec<Cow<'static, str>>,
) -> Result<(), Cow<'static, str>> {
    let is_there = |name: &str| fields.get(name).is_some_and(|value| !is_null(value));
    if is_there("function_call") {
        return Err(FUNCTIONS.into());
    }
    // An answer in sound, of which only its provider knows more than the id.
    if is_there("audio") {
        losses.push("messages.audio".into());
    }
    let own: Message<'_> =
        serde_json::from_str(message.get()).map_err(|_| "a request with a message in another form")?;
    if let Some(thought) = own.thought() {
        parts.push(Part::Thought { text: thought.into_owned(), signature: None });
    }
    if let Some(said) = own.content {
        content::read(said, parts, losses)?;
    }
    parts.extend(own.refusal().map(|refusal| Part::Refusal(refusal.into_owned())));
    for call in fields.get("tool_calls").and_then(list).unwrap_or_default() {
        let call: content::ToolCall<'_> =
            serde_json::from_str(call.get()).map_err(|_| "a request with a tool call in another form")?;
        let (Some(id), Some(name)) = (call.id(), call.name()) else {
            return Err("tool calls that are no calls of functions, or have no `id`".into());
        };
        let arguments = call.arguments().unwrap_or_default();
        let arguments = if arguments.trim().is_empty() { Cow::Borrowed("{}") } else { arguments };
        parts.push(Part::Call { id: id.into_owned(), name: name.into_owned(), arguments: arguments.into_owned() });
    }
    Ok(())
}

impl Conversation {
    /// The result of a call: it joins those before it.
    fn read_result(&mut self, fields: &Fields<'_>) -> Result<(), Cow<'static, str>> {
        let id = fields.get("tool_call_id").and_then(text).ok_or("a `tool` message without a `tool_call_id`")?;
        let mut parts = Vec::new();
        if let Some(said) = fields.get("content") {
            content::read(said, &mut parts, &mut self.lost)?;
        }
        let result = Part::Result { id: id.into_owned(), parts, is_error: false };
        match self.turns.last_mut() {
            Some(results) if is_results(results) => results.parts.push(result),
            _ => self.turns.push(Turn { speaker: Speaker::User, parts: vec![result] }),
        }
        Ok(())
    }
}
