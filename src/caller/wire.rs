//! Reads a request in OpenAI's dialect without taking it apart: which model, stream or not, and what is missing.
//!
//! It checks what every provider would refuse anyway, so that a mistake costs no attempt; all else is the provider's to
//! judge.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::Method;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Incoming, bounds, json};
use crate::call::{AnswerBounds, Endpoint, NamedModel, Wire};
use crate::fault::{Fault, RequestFault};

/// Reads a request to `endpoint`.
pub(super) fn read(incoming: &Incoming<'_>, endpoint: Endpoint) -> Result<Wire, Fault> {
    let path = incoming.path_and_query.strip_prefix("/v1").unwrap_or(incoming.path_and_query);
    check_path(path)?;
    let mut wire = Wire {
        endpoint,
        method: if incoming.method == Method::HEAD { Method::GET } else { incoming.method.clone() },
        path: path.into(),
        content_type: incoming.headers.get(CONTENT_TYPE).cloned(),
        body: incoming.body.clone(),
        model: None,
        stream: false,
        bounds: AnswerBounds::default(),
    };
    match endpoint {
        Endpoint::Models => wire.model = model_in_path(path),
        Endpoint::Transcriptions => multipart(&mut wire)?,
        Endpoint::Other => {
            // What is not JSON, or not an object, is the provider's to judge.
            if json::check_json_content_type(incoming.headers).is_ok() {
                json::check_depth(&incoming.body)?;
                if let Ok(fields) = serde_json::from_slice::<Fields<'_>>(&incoming.body) {
                    json::check_strictly(&incoming.body)?;
                    wire.stream = fields.stream.is_some_and(|stream| stream.get() == "true");
                    wire.model = fields.model.and_then(|model| named(&incoming.body, model));
                    wire.bounds = fields.bounds();
                }
            }
        }
        _ => object(incoming, &mut wire)?,
    }
    Ok(wire)
}

/// A path with dot segments would be resolved against the provider's base URL, and might leave it.
fn check_path(path: &str) -> Result<(), Fault> {
    let path = path.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    match path.split(['/', '\\']).any(is_dots) {
        true => Err(Fault::invalid(None, "the path must not contain `.` or `..` segments")),
        false => Ok(()),
    }
}

fn model_in_path(path: &str) -> Option<NamedModel> {
    let name = path.split('?').next()?.strip_prefix("/models/")?;
    Some(NamedModel { name: name.replace("%2F", "/").replace("%2f", "/").into(), span: None })
}

/// The fields that matter of any JSON body; each is looked at by its own type.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, borrow)]
    model: Option<&'a RawValue>,
    #[serde(default, borrow)]
    stream: Option<&'a RawValue>,
    #[serde(default, borrow)]
    messages: Option<&'a RawValue>,
    #[serde(default, borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    max_new_tokens: Option<&'a RawValue>,
    #[serde(default, borrow)]
    n: Option<&'a RawValue>,
    #[serde(default, borrow)]
    best_of: Option<&'a RawValue>,
}

impl Fields<'_> {
    /// How long the answer may become. Providers differ in which of these names they read.
    fn bounds(&self) -> AnswerBounds {
        let limits = [self.max_tokens, self.max_completion_tokens, self.max_output_tokens, self.max_new_tokens];
        bounds::read(&limits, &[self.n, self.best_of], self.prompt)
    }
}

fn object(incoming: &Incoming<'_>, wire: &mut Wire) -> Result<(), Fault> {
    json::check_json_content_type(incoming.headers)?;
    json::check_depth(&incoming.body)?;
    if incoming.body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::invalid(None, "the body must be a JSON object"));
    }
    let fields: Fields<'_> = serde_json::from_slice(&incoming.body).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        let what = match fault.classify() {
            serde_json::error::Category::Data => "a field is named twice",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "it is not valid JSON",
        };
        Fault::invalid(None, format!("the body cannot be read: {what} (line {line}, column {column})"))
    })?;
    json::check_strictly(&incoming.body)?;
    match wire.endpoint {
        Endpoint::ChatCompletions => require("messages", fields.messages, &["an array"])?,
        Endpoint::Completions => require("prompt", fields.prompt, &["a string", "an array"])?,
        Endpoint::Embeddings => require("input", fields.input, &["a string", "an array"])?,
        Endpoint::Speech => require("input", fields.input, &["a string"])?,
        _ => {}
    }
    wire.bounds = fields.bounds();
    match fields.stream.map(RawValue::get) {
        None | Some("null" | "false") => {}
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
        (None, None) if wire.endpoint == Endpoint::Responses => {}
        (None, None) => return Err(Fault::invalid("model", "`model` is required")),
    }
    Ok(())
}

fn require(field: &'static str, value: Option<&RawValue>, allowed: &[&str]) -> Result<(), Fault> {
    let Some(value) = value else { return Err(Fault::invalid(field, format!("`{field}` is required"))) };
    let got = kind(value.get());
    if !allowed.contains(&got) {
        return Err(Fault::invalid(field, format!("`{field}` must be {}, got {got}", allowed.join(" or "))));
    }
    match field == "messages" && value.get()[1..].trim_start().starts_with(']') {
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

/// The model's name and where it stands. A raw value borrows from the body, so its place is the distance between the two.
fn named(body: &Bytes, raw: &RawValue) -> Option<NamedModel> {
    let name: Cow<'_, str> = serde_json::from_str(raw.get()).ok()?;
    let start = (raw.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let span = start..start + raw.get().len();
    (body.get(span.clone())? == raw.get().as_bytes()).then(|| NamedModel { name: name.into(), span: Some(span) })
}

/// Gives a body without a model the route's own, in front of its other fields.
fn insert_model(wire: &mut Wire, model: &str) {
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

/// More parts than any honest form has: a file, its model and some options.
const MAX_PARTS: usize = 64;

/// Finds the model in a multipart body, whose recording is not looked at.
fn multipart(wire: &mut Wire) -> Result<(), Fault> {
    let media_type = || RequestFault::MediaType { allowed: "multipart/form-data" };
    let content_type = wire.content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if json::media_type(content_type) != "multipart/form-data" {
        return Err(media_type().into());
    }
    let boundary = multer::parse_boundary(content_type)
        .map_err(|_| Fault::invalid("Content-Type", "the header `Content-Type` must name the multipart boundary"))?;
    let body = wire.body.clone();
    let source = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let mut parts = multer::Multipart::new(source, boundary);
    let broken = || Fault::invalid(None, "the multipart body is broken");
    let (mut has_file, mut count) = (false, 0);
    // The whole body is in memory: nothing here ever waits.
    while let Some(part) = parts.next_field().now_or_never().ok_or_else(broken)?.map_err(|_| broken())? {
        count += 1;
        if count > MAX_PARTS {
            return Err(Fault::invalid(None, format!("the form must not have more than {MAX_PARTS} fields")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().now_or_never().ok_or_else(broken)?.map_err(|_| broken())?;
        match name.as_str() {
            "file" => has_file = true,
            "stream" => wire.stream = bytes.trim_ascii() == b"true",
            "model" => {
                let text = std::str::from_utf8(&bytes).map_err(|_| Fault::invalid("model", "`model` must be text"))?;
                let span = part_span(&body, &bytes);
                wire.model = Some(NamedModel { name: text.trim().into(), span });
            }
            _ => {}
        }
    }
    match (has_file, &wire.model) {
        (false, _) => Err(Fault::invalid("file", "`file` is required")),
        (true, None) => Err(Fault::invalid("model", "`model` is required")),
        (true, Some(_)) => Ok(()),
    }
}

/// Where the content of the part named `model` stands in a multipart body, if that is beyond doubt.
fn part_span(body: &[u8], content: &[u8]) -> Option<Range<usize>> {
    let name = memchr::memmem::find(body, b"name=\"model\"")?;
    let start = name + memchr::memmem::find(&body[name..], b"\r\n\r\n")? + 4;
    let end = start + content.len();
    (body.get(start..end)? == content && body.get(end..end + 4)? == b"\r\n--").then_some(start..end)
}
