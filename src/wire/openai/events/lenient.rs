//! A chunk in a form that few servers use, read field by field: a field in an unknown form counts as missing.
//!
//! It is slow, which is fine: `chunk` reads the usual form.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::usage::Counted;
use super::super::{failures, parts};
use super::chunk::{ChunkContent, is_finish, is_more};
use crate::model::reply::Channel;

/// What a chunk says. `data` is JSON; `name` is the event's.
pub(super) fn said(data: &[u8], name: Option<&str>) -> ChunkContent<'static> {
    let Ok(Value::Object(mut fields)) = parts::value(data) else {
        // It may say anything: a number, a list, a text, or more levels than are read.
        return ChunkContent { is_odd: true, ..ChunkContent::default() };
    };
    let id = fields.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let mut said = ChunkContent {
        id: id.map(|id| id.to_owned().into()),
        usage: Counted::in_any_place(&fields),
        ..ChunkContent::default()
    };
    let in_groq = || fields.get("x_groq")?.get("error").filter(|error| failures::is_said(error)).cloned();
    if let Some(error) = failures::of_object(&fields, name).or_else(in_groq) {
        said.error = Some(error.to_string().into());
        return said;
    }
    match fields.remove("choices") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for (at, one) in (0..).zip(list) {
                said.error = said.error.or_else(|| failures::of_choice(&one).map(Into::into));
                match one {
                    Value::Object(one) => choice(&mut said, at, one),
                    _ => said.is_odd = true,
                }
            }
        }
        Some(_) => said.is_odd = true,
    }
    said
}

fn choice(said: &mut ChunkContent<'static>, at: u64, mut fields: Map<String, Value>) {
    let index = match fields.get("index") {
        None | Some(Value::Null) => at,
        Some(Value::Number(number)) => number.as_u64().unwrap_or(at),
        Some(_) => at,
    };
    let bit = ChunkContent::bit(index);
    said.seen |= bit;
    let reason = fields.get("finish_reason").and_then(Value::as_str);
    if reason.is_some_and(is_finish) {
        said.finished |= bit;
    }
    match fields.remove("delta") {
        Some(Value::Object(fields)) => delta(said, index == 0, fields),
        None | Some(Value::Null) => {}
        Some(_) => said.is_odd = true,
    }
    match fields.remove("text") {
        Some(Value::String(text)) if index == 0 && said.text.is_none() => said.text = Some(text.into()),
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => said.is_odd = true,
    }
}

fn delta(said: &mut ChunkContent<'static>, is_first: bool, fields: Map<String, Value>) {
    for (name, value) in fields {
        let channel = match name.as_str() {
            "content" => {
                content(said, is_first, &value);
                continue;
            }
            "role" | "name" | "token_id" | "channel" | "id" | "object" | "type" => continue,
            "refusal" => Channel::Refusal,
            "reasoning" => Channel::Reasoning,
            "reasoning_content" => Channel::ReasoningContent,
            _ => {
                said.is_more_than_text |= is_more(&value.to_string());
                continue;
            }
        };
        match value {
            Value::String(text) if is_first => said.beside.push(channel, Cow::Owned(text)),
            Value::String(_) | Value::Null => {}
            value => said.is_more_than_text |= failures::is_said(&value),
        }
    }
}

/// The text of a message, or of its parts.
fn content(said: &mut ChunkContent<'static>, is_first: bool, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(_) | Value::Array(_) => match parts::text(value) {
            Some(read) => {
                said.is_more_than_text |= read.is_more_than_text;
                if is_first {
                    said.text = Some(read.text.into());
                }
            }
            None => said.is_odd = true,
        },
        _ => said.is_odd = true,
    }
}
