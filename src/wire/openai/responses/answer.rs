//! Reads a whole response.
//!
//! Lenient: what is not understood of one is left out, and a field in another form counts as not said. It does not know who asked.

use serde::Deserialize;
use serde_json::Value;

use super::items::{Said, Thought};
use crate::model::conversation::{Completion, Part, Stop};
use crate::wire::openai::parts;
use crate::wire::openai::usage::Counted;

/// A response, as far as it is read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    status: Option<String>,
    incomplete_details: Option<Details>,
    pub(super) output: Option<Vec<Value>>,
    pub(super) usage: Counted,
}

#[derive(Deserialize)]
struct Details {
    reason: Option<String>,
}

/// An item of an answer.
#[derive(Deserialize)]
pub(super) struct Item {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) content: Option<Vec<Content>>,
    #[serde(default)]
    pub(super) call_id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
    #[serde(flatten)]
    thought: Thought,
}

/// A part of a message, or a text of a thought.
#[derive(Deserialize)]
pub(super) struct Content {
    #[serde(default, rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
}

/// Reads a response; `None` for what is none, has failed, or is still to be made.
pub(super) fn read(body: &[u8]) -> Option<Completion> {
    let value = parts::value(body).ok().filter(Value::is_object)?;
    let response: Response = serde_json::from_value(value).ok()?;
    if matches!(response.status.as_deref(), Some("failed" | "cancelled" | "queued" | "in_progress")) {
        return None;
    }
    let mut parts = Vec::new();
    for item in response.output.as_ref()? {
        if let Some(item) = item_of(item) {
            parts.extend(item.parts());
        }
    }
    Some(Completion {
        stop: response.stop(&parts),
        usage: response.usage.read(),
        id: response.id.unwrap_or_default(),
        model: response.model.unwrap_or_default(),
        parts,
    })
}

/// An item, where it has the form of one.
pub(super) fn item_of(item: &Value) -> Option<Item> {
    Item::deserialize(item).ok()
}

impl Response {
    /// Why it ends, where it says these parts.
    pub(super) fn stop(&self, parts: &[Part]) -> Stop {
        let says = |is_such: fn(&Part) -> bool| parts.iter().any(is_such);
        self.stop_where(says(|part| matches!(part, Part::Call { .. })), says(|part| matches!(part, Part::Refusal(_))))
    }

    /// Why it ends, where it calls functions, or refuses.
    pub(super) fn stop_where(&self, calls: bool, refuses: bool) -> Stop {
        let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        match (self.status.as_deref(), reason) {
            (Some("incomplete"), Some("content_filter")) => Stop::Filter,
            (Some("incomplete"), _) => Stop::Length,
            _ if calls => Stop::Calls,
            _ if refuses => Stop::Refusal,
            _ => Stop::End,
        }
    }
}

impl Item {
    /// What it says. Items of the provider's own tools say nothing.
    pub(super) fn parts(self) -> Vec<Part> {
        match &*self.kind {
            "message" => self.content.into_iter().flatten().filter_map(Content::part).collect(),
            "reasoning" => {
                let text = |content: Content| content.text.map(Said::of);
                let content = self.content.map(|content| content.into_iter().filter_map(text).collect());
                vec![self.thought.part(content)]
            }
            "function_call" => vec![Part::Call {
                id: self.call_id.unwrap_or_default(),
                name: self.name.unwrap_or_default(),
                arguments: self.arguments.unwrap_or_default(),
            }],
            _ => Vec::new(),
        }
    }
}

impl Content {
    fn part(self) -> Option<Part> {
        match &*self.kind {
            "refusal" => self.refusal.map(Part::Refusal),
            "output_text" | "text" => self.text.map(Part::Text),
            _ => None,
        }
    }
}
