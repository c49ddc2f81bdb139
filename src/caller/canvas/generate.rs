//! Canvases: generated from a description, and refined as their owner asks.
//!
//! It knows the nine fields of a canvas and how the application asks for one, and not what a model is told: that is a prompt
//! of the configuration.

use std::sync::LazyLock;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{MAX_PROMPT, Served, Success, model, served};
use crate::caller::answer::{self, unspellable};
use crate::caller::json::{Limit, Object, must_be};
use crate::caller::{About, Answered, Incoming, Question};
use crate::config::plan::CallKind;
use crate::model::call::{CallRequest, Chat};
use crate::model::fault::Fault;
use crate::model::money::Usd;
use crate::model::prompt::PromptRequest;
use crate::model::reply::{Body, Reply};
use crate::model::shape::{Mismatch, Shape};
use crate::model::uuid::Uuid;
use crate::prompts::schema;

/// The keys of the prompts that make a canvas and change one.
pub(super) const GENERATE: &str = "canvas.generate";
pub(super) const REFINE: &str = "canvas.refine";
/// The longest industry or target market.
const MAX_WORDS: Limit = Limit::Bytes(4 * 1024);
/// The fields of a canvas (contract of this application).
const FIELDS: [&str; 9] = [
    "keyPartners",
    "keyActivities",
    "valuePropositions",
    "customerRelationships",
    "customerSegments",
    "keyResources",
    "channels",
    "costStructure",
    "revenueStreams",
];
/// The most entries of a field, and the longest of them in bytes, in a canvas that a caller sends.
const MAX_ENTRIES: usize = 100;
const MAX_ENTRY: usize = 4 * 1024;

/// What every canvas looks like, also where an operator's own prompt says nothing of it.
pub(super) static SHAPE: LazyLock<Option<Shape>> = LazyLock::new(|| {
    let entries = json!({"type": "array", "items": {"type": "string"}});
    let fields: Map<String, Value> = FIELDS.map(|field| (field.to_owned(), entries.clone())).into_iter().collect();
    let canvas = json!({"type": "object", "properties": fields, "required": FIELDS, "additionalProperties": false});
    schema::read("canvas", &canvas).ok()
});

/// A canvas as the application reads it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Canvas {
    key_partners: Vec<String>,
    key_activities: Vec<String>,
    value_propositions: Vec<String>,
    customer_relationships: Vec<String>,
    customer_segments: Vec<String>,
    key_resources: Vec<String>,
    channels: Vec<String>,
    cost_structure: Vec<String>,
    revenue_streams: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    canvas_id: String,
    canvas: Canvas,
    provider: &'a str,
    cost: Usd,
    latency: u64,
    cached: bool,
}

/// The body that asks for a canvas, or for a change of an empty one.
pub(super) fn ask(call: CallKind, question: &Question<'_>) -> String {
    let text = MAX_PROMPT.clip(question.text);
    if call == CallKind::CanvasRefine {
        let fields = FIELDS.map(|field| format!(r#""{field}":[]"#)).join(",");
        return format!(r#"{{"canvas":{{{fields}}},"instruction":"{text}"}}"#);
    }
    format!(r#"{{"businessDescription":"{text}"}}"#)
}

/// The prompt of which calls of a kind are made.
pub(crate) fn prompt_of(call: CallKind) -> Option<&'static str> {
    match call {
        CallKind::CanvasGenerate => Some(GENERATE),
        CallKind::CanvasRefine => Some(REFINE),
        _ => None,
    }
}

/// Reads a request for a canvas.
pub(super) fn decode(incoming: &Incoming<'_>) -> Result<CallRequest, Fault> {
    let mut object = Object::read(incoming.headers, &incoming.body)?;
    let key = prompt_of(incoming.route.call).unwrap_or(GENERATE);
    let variables = variables(key, &mut object)?;
    Ok(CallRequest::Chat(Chat {
        model: model(&mut object)?.or_else(|| incoming.route.model.as_deref().map(Into::into)),
        prompt: Some(Box::new(PromptRequest { key: key.into(), variables, is_callers: false })),
        schema: SHAPE.clone(),
        ..Chat::default()
    }))
}

/// Takes the variables of one of these prompts out of what a caller sends; other prompts have none that are known here.
pub(super) fn variables(key: &str, sent: &mut Object) -> Result<Map<String, Value>, Fault> {
    let mut variables = Map::new();
    match key {
        REFINE => {
            variables.insert("canvas".into(), canvas(sent.take("canvas"))?);
            variables.insert("instruction".into(), sent.text("instruction", MAX_PROMPT)?.into());
        }
        GENERATE => {
            variables.insert("businessDescription".into(), sent.text("businessDescription", MAX_PROMPT)?.into());
            for field in ["industry", "targetMarket"] {
                if let Some(words) = sent.optional_text(field, MAX_WORDS)? {
                    variables.insert(field.into(), words.into());
                }
            }
        }
        _ => {}
    }
    Ok(variables)
}

/// The canvas that a caller sends; fields that it leaves out are empty.
fn canvas(sent: Option<Value>) -> Result<Value, Fault> {
    let Some(sent) = sent else { return Err(Fault::invalid("canvas", "`canvas` is required")) };
    let Value::Object(mut sent) = sent else { return Err(must_be("canvas", "an object", &sent)) };
    let mut canvas = Map::new();
    for field in FIELDS {
        let entries = match sent.remove(field) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => return Err(must_be(format!("canvas.{field}"), "a list of texts", &other)),
        };
        if let Some(other) = entries.iter().find(|entry| !entry.is_string()) {
            return Err(must_be(format!("canvas.{field}"), "a list of texts", other));
        }
        let is_long = |entry: &Value| entry.as_str().is_some_and(|text| text.len() > MAX_ENTRY);
        if entries.len() > MAX_ENTRIES || entries.iter().any(is_long) {
            let message = format!("`canvas.{field}` may have {MAX_ENTRIES} entries of {MAX_ENTRY} bytes at most");
            return Err(Fault::invalid_in(format!("canvas.{field}"), message));
        }
        canvas.insert(field.to_owned(), entries.into());
    }
    if let Some(other) = sent.keys().next() {
        let other: String = other.chars().take(64).collect();
        let message = format!("`canvas` has an unknown field {other:?}: allowed are {}", FIELDS.join(", "));
        return Err(Fault::invalid("canvas", message));
    }
    Ok(canvas.into())
}

/// Spells a canvas.
pub(super) fn encode(about: &About<'_>, reply: &Reply) -> Result<Answered, Fault> {
    let Body::Answer(said) = &reply.body else { return Err(unspellable(&reply.body)) };
    let canvas: Canvas = serde_json::from_str(&said.text).map_err(|_| Fault::InvalidOutput {
        provider: reply.provider.clone(),
        mismatch: Box::new(Mismatch { what: "it is no canvas".into(), keywords: "canvas".into() }),
    })?;
    let Served { provider, cost, latency, cached, .. } = served(about, reply, said.usage.unwrap_or_default());
    let data = Made { canvas_id: canvas_id(about).to_string(), canvas, provider, cost, latency, cached };
    Ok(answer::json(StatusCode::OK, &Success { success: true, data }))
}

/// The canvas's own id: that of the request that made it, whoever else has chosen the same id for theirs.
fn canvas_id(about: &About<'_>) -> Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("tidegate 2026 canvas: ids");
    for part in [about.head.tenant.as_bytes(), about.head.id.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&about.head.received.as_nanosecond().to_le_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Uuid::new(bytes)
}
