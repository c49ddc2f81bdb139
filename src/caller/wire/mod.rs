//! Reads what routing needs from a request in OpenAI's dialect: the model, whether it is a stream, and missing
//! fields.
//!
//! It rejects what every provider would reject anyway, so that a mistake costs no attempt; all else is for the
//! provider.

mod account;
pub(super) mod asked;
mod form;
mod models;

mod fields;
mod schema;

mod messages;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value;

use self::fields::Read;
use self::form::Part;
use super::{Incoming, json};
use crate::model::call::{AnswerBounds, Contents, Endpoint, NamedModel, Reach, WireRequest};
use crate::model::fault::{Fault, RequestFault};
use crate::wire::media::{essence, media_type};
use crate::wire::openai::responses::{self, foreign};
use crate::wire::path::decoded;
use crate::wire::span::span;

/// Reads a request to `endpoint`.
pub(super) fn read(incoming: &Incoming<'_>, endpoint: Endpoint) -> Result<WireRequest, Fault> {
    let path = below_v1(incoming.path_and_query);
    let mut wire = WireRequest {
        endpoint,
        method: if incoming.method == Method::HEAD { Method::GET } else { incoming.method.clone() },
        path: path.into(),
        content_type: incoming.headers.get(CONTENT_TYPE).cloned(),
        body: incoming.body.clone(),
        model: None,
        stream: false,
        bounds: AnswerBounds::default(),
        contents: Contents::default(),
    };
    match endpoint {
        Endpoint::Models => wire.model = model_in_path(path),
        Endpoint::Transcriptions => transcription(&mut wire)?,
        Endpoint::Other => other(incoming, &mut wire)?,
        Endpoint::Messages | Endpoint::CountTokens => messages::read(incoming, &mut wire)?,
        _ => object(incoming, &mut wire)?,
    }
    is_kept(&wire)?;
    Ok(wire)
}

/// Refuses what is about a response that no provider has, or an item of one: nobody else's may be taken for it.
fn is_kept(wire: &WireRequest) -> Result<(), Fault> {
    if wire.endpoint == Endpoint::Responses
        && wire.contents.reach > Reach::Call
        && let Some(id) = foreign::unstored_reference(&wire.body)
    {
        let message = format!(
            "the item `{id}` is stored nowhere, as its provider was asked in another API: set `store: false`, and send what was \
             said in `input`"
        );
        return Err(Fault::invalid("input", message));
    }
    let Some(id) = wire.contents.stored.as_deref().filter(|id| responses::is_unstored(id)) else { return Ok(()) };
    let message = format!(
        "the response `{id}` is not stored, as its provider was asked in another API: send what was said in `input`, and no \
         `previous_response_id`"
    );
    let field = (wire.endpoint == Endpoint::Responses).then_some("previous_response_id");
    Err(Fault::invalid(field, message))
}

/// The path below `/v1`, where it is there.
fn below_v1(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|below| below.starts_with('/')).unwrap_or(path)
}

/// Reads a request to an endpoint that has no route of its own. What is not understood may name a model all the same.
fn other(incoming: &Incoming<'_>, wire: &mut WireRequest) -> Result<(), Fault> {
    wire.contents.reach = account::reach_of(incoming.method, &wire.path);
    wire.contents.stored = account::stored_in(&wire.path).map(Into::into);
    if !incoming.body.is_empty() {
        if is_form(incoming.headers) {
            form(wire)?;
        } else if json::check_json_content_type(incoming.headers).is_ok() {
            any_object(incoming, wire)?;
        } else if looks_like_json(&incoming.body) {
            // Some servers read it whatever it is called.
            return Err(RequestFault::MediaType { allowed: "application/json" }.into());
        } else {
            // No endpoint takes it that stands for itself.
            wire.contents.reach = wire.contents.reach.max(Reach::Account);
        }
    }
    let may_run = !matches!(*incoming.method, Method::GET | Method::HEAD | Method::DELETE);
    // The file of a batch names those that will be asked. Other bodies without a `model` leave it to the provider.
    let is_batch = is_form(incoming.headers) && !wire.contents.other_models.is_empty();
    wire.contents.hides_model = may_run && wire.model.is_none() && !is_batch;
    Ok(())
}

/// Reads the body of an endpoint whose fields are not known.
fn any_object(incoming: &Incoming<'_>, wire: &mut WireRequest) -> Result<(), Fault> {
    let read = fields::read(incoming)?;
    let fields = &read.fields;
    wire.stream = fields.stream == Some("true");
    wire.bounds = fields.bounds();
    wire.model = match fields.model {
        None => None,
        Some(model) => {
            require("model", Some(model), &["a string"])?;
            named(&incoming.body, model)
        }
    };
    note_contents(&read, wire)
}

fn looks_like_json(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn is_form(headers: &HeaderMap) -> bool {
    essence(headers).starts_with("multipart/")
}

fn model_in_path(path: &str) -> Option<NamedModel> {
    let name = path.split('?').next()?.strip_prefix("/models/")?;
    Some(NamedModel { name: decoded(name).into(), span: None })
}

/// Notes what a body names besides its model, and of what the account keeps.
fn note_contents(read: &Read<'_>, wire: &mut WireRequest) -> Result<(), Fault> {
    let fields = &read.fields;
    if let Some(models) = fields.models {
        let names: Result<Box<[Box<str>]>, _> = serde_json::from_str(models);
        wire.contents.other_models =
            names.map_err(|_| Fault::invalid("models", "`models` must be an array of strings"))?;
    }
    let inside =
        if read.may_name_models { models::named_inside(&wire.body, fields.model.is_some())? } else { Vec::new() };
    if !inside.is_empty() {
        let others = std::mem::take(&mut wire.contents.other_models);
        wire.contents.other_models = others.into_iter().chain(inside).collect();
    }
    // A prompt that is an object is a stored one.
    let has_stored_prompt = fields.prompt.is_some_and(|prompt| prompt.starts_with('{'));
    let goes_on = fields.previous_response_id.or(fields.conversation).is_some();
    wire.contents.thinks = fields.thinks();
    wire.contents.has_stream_options = fields.stream_options.0;
    wire.contents.is_background = fields.background == Some("true");
    wire.contents.asked_for = read.asked_for;
    let named = fields.previous_response_id.and_then(account::id).or(fields.conversation.and_then(account::id));
    wire.contents.stored = named.or(wire.contents.stored.take());
    let is_messages = matches!(wire.endpoint, Endpoint::Messages | Endpoint::CountTokens);
    if has_stored_prompt || goes_on || (read.may_name_kept && account::is_named_in(&wire.body, is_messages)?) {
        wire.contents.reach = wire.contents.reach.max(Reach::Account);
    }
    Ok(())
}

fn object(incoming: &Incoming<'_>, wire: &mut WireRequest) -> Result<(), Fault> {
    let read = fields::read(incoming)?;
    note_contents(&read, wire)?;
    let fields = &read.fields;
    match wire.endpoint {
        Endpoint::ChatCompletions => require("messages", fields.messages, &["an array"])?,
        Endpoint::Completions => require("prompt", fields.prompt, &["a string", "an array"])?,
        Endpoint::Embeddings => require("input", fields.input, &["a string", "an array"])?,
        Endpoint::Speech => require("input", fields.input, &["a string"])?,
        _ => {}
    }
    wire.bounds = fields.bounds();
    if incoming.route.structured {
        schema::note(incoming.route, wire)?;
    }
    match fields.stream {
        None | Some("false") => {}
        Some("true") => wire.stream = true,
        Some(other) => {
            return Err(Fault::invalid("stream", format!("`stream` must be true or false, got {}", kind(other))));
        }
    }
    match (fields.model, &incoming.route.model) {
        (Some(model), _) => {
            require("model", Some(model), &["a string"])?;
            wire.model = named(&incoming.body, model);
            if wire.model.as_ref().is_none_or(|model| model.name.trim().is_empty()) {
                return Err(Fault::invalid("model", "`model` must not be empty"));
            }
        }
        (None, Some(model)) => insert_model(wire, model),
        // A stored prompt names its model itself.
        (None, None) if wire.endpoint == Endpoint::Responses => wire.contents.hides_model = true,
        (None, None) => return Err(Fault::invalid("model", "`model` is required")),
    }
    Ok(())
}

fn require(field: &'static str, value: Option<&str>, allowed: &[&str]) -> Result<(), Fault> {
    let Some(value) = value else { return Err(Fault::invalid(field, format!("`{field}` is required"))) };
    let got = kind(value);
    if !allowed.contains(&got) {
        return Err(Fault::invalid(field, format!("`{field}` must be {}, got {got}", allowed.join(" or "))));
    }
    match field == "messages" && value[1..].trim_start().starts_with(']') {
        true => Err(Fault::invalid(field, format!("`{field}` must not be empty"))),
        false => Ok(()),
    }
}

/// What a raw value is, without its content.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The model's name and where it stands.
fn named(body: &Bytes, raw: &str) -> Option<NamedModel> {
    let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let name = match bare.filter(|name| !name.contains('\\')) {
        Some(name) => name.into(),
        None => serde_json::from_str::<String>(raw).ok()?.into(),
    };
    let span = span(raw.as_bytes(), body)?;
    (body.get(span.clone())? == raw.as_bytes()).then_some(NamedModel { name, span: Some(span) })
}

/// Gives a body without a model the route's own, in front of its other fields.
fn insert_model(wire: &mut WireRequest, model: &str) {
    let Some(brace) = memchr::memchr(b'{', &wire.body) else { return };
    let name = Value::from(model).to_string();
    let rest = &wire.body[brace + 1..];
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let mut body = Vec::with_capacity(wire.body.len() + name.len() + 10);
    body.extend_from_slice(b"{\"model\":");
    let start = body.len();
    body.extend_from_slice(name.as_bytes());
    let span = start..body.len();
    body.extend_from_slice(comma.as_bytes());
    body.extend_from_slice(rest);
    wire.body = body.into();
    wire.model = Some(NamedModel { name: model.into(), span: Some(span) });
}

/// Finds the model in a recording's form.
fn transcription(wire: &mut WireRequest) -> Result<(), Fault> {
    let parts = form(wire)?;
    match (parts.iter().any(|part| part.name == "file"), &wire.model) {
        (false, _) => Err(Fault::invalid("file", "`file` is required")),
        (true, None) => Err(Fault::invalid("model", "`model` is required")),
        (true, Some(_)) => Ok(()),
    }
}

/// Reads a form as far as routing and guards need. Recordings and pictures are not looked at.
fn form(wire: &mut WireRequest) -> Result<Vec<Part>, Fault> {
    let content_type = wire.content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type(content_type) != "multipart/form-data" {
        return Err(RequestFault::MediaType { allowed: "multipart/form-data" }.into());
    }
    let parts = form::read(content_type, &wire.body)?;
    let mut texts = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        check_name(&part.name)?;
        let is_list = part.is_file || part.name.ends_with(']');
        if !is_list && parts[..index].iter().any(|other| other.name == part.name) {
            return Err(twice(&part.name));
        }
        let content = &wire.body[part.content.clone()];
        match part.name.as_str() {
            "model" => {
                let text = std::str::from_utf8(content).ok().filter(|_| !part.is_file);
                let text = text.map(str::trim).ok_or_else(|| Fault::invalid("model", "`model` must be text"))?;
                if text.is_empty() {
                    return Err(Fault::invalid("model", "`model` must not be empty"));
                }
                wire.model = Some(NamedModel { name: text.into(), span: Some(part.content.clone()) });
                continue;
            }
            "stream" => wire.stream = content.trim_ascii() == b"true",
            "n" => wire.bounds.choices = choices(content),
            _ => {}
        }
        // Files of calls to come (batches) are lines of JSON.
        if (!part.is_file || looks_like_json(content)) && std::str::from_utf8(content).is_ok() {
            texts.push(part.content.clone());
        }
    }
    wire.contents.texts = texts.into();
    if is_batch(wire, &parts) {
        wire.contents.other_models = models_of_batch(wire, &parts)?;
    }
    Ok(parts)
}

/// How many answers a form asks for. What is no number is the provider's to refuse.
fn choices(content: &[u8]) -> u64 {
    let text = std::str::from_utf8(content).unwrap_or_default().trim();
    text.parse::<f64>().map_or(1, |number| number.ceil() as u64).max(1)
}

fn twice(name: &str) -> Fault {
    RequestFault::Invalid { field: Some(Cow::Owned(name.to_owned())), message: format!("`{name}` appears twice") }
        .into()
}

/// Refuses a name that some readers take for a field that counts: `Model`, `model[]`.
fn check_name(name: &str) -> Result<(), Fault> {
    let bare = name.split('[').next().unwrap_or_default().trim();
    let is_known = |known: &&&str| bare.eq_ignore_ascii_case(known) && name != **known;
    match ["model", "stream", "purpose"].iter().find(|known| is_known(known)) {
        Some(known) => Err(Fault::invalid(None, format!("a field's name is almost `{known}`: spell it exactly so"))),
        None => Ok(()),
    }
}

/// True for a file of calls that are made later.
fn is_batch(wire: &WireRequest, parts: &[Part]) -> bool {
    let is_purpose = |part: &&Part| part.name == "purpose" && wire.body[part.content.clone()].trim_ascii() == b"batch";
    parts.iter().any(|part| is_purpose(&part))
}

/// A call of a batch, as far as it matters.
#[derive(Deserialize)]
struct BatchLine<'a> {
    #[serde(borrow)]
    body: BatchBody<'a>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

/// The models that the calls of a batch name: every line must name one.
fn models_of_batch(wire: &WireRequest, parts: &[Part]) -> Result<Box<[Box<str>]>, Fault> {
    let mut models: Vec<Box<str>> = Vec::new();
    for part in parts.iter().filter(|part| part.is_file) {
        for (number, line) in (1..).zip(wire.body[part.content.clone()].split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let wrong = |what: &str| Fault::invalid("file", format!("line {number} of the batch {what}"));
            json::check_depth(line).map_err(|_| wrong("is nested too deep"))?;
            let read: BatchLine<'_> = serde_json::from_slice(line)
                .map_err(|_| wrong("must be an object with a `body` that names its `model`"))?;
            json::check_strictly(line).map_err(|_| wrong("is ambiguous JSON"))?;
            let inside = models::named_inside(line, true).map_err(|_| wrong("is ambiguous JSON"))?;
            for model in inside.into_iter().chain([read.body.model.into()]) {
                if !models.contains(&model) {
                    models.push(model);
                }
            }
            if models.len() > MAX_MODELS {
                return Err(Fault::invalid("file", format!("the batch must not name more than {MAX_MODELS} models")));
            }
        }
    }
    Ok(models.into())
}

/// More models than there are in any honest batch.
const MAX_MODELS: usize = 64;
