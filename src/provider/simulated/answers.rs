//! The responses of simulated providers: the real shapes of the dialects around a text made from the request.
//!
//! It does not know how a response fails on its way.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Behaviour, FaultKind, shaped};
use crate::provider::Request;
use crate::wire::openai::completion::Identity;
use crate::wire::openai::forms::DELTA;

/// A response before anything has gone wrong with it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) pieces: Vec<Piece>,
    pub(super) is_stream: bool,
    /// The error that it has instead of an answer, in JSON, and what stands before that in an event.
    pub(super) error: &'static str,
    pub(super) error_name: &'static str,
    /// What it says while it is silent otherwise.
    pub(super) ping: &'static str,
}

/// OpenAI's.
const ERROR: &str = r#"{"error":{"message":"simulated","type":"server_error","code":"server_error"}}"#;

/// One piece of a body.
pub(super) enum Piece {
    /// An event, or the whole of a plain body.
    Body(Bytes),
    /// The terminator.
    Done(Bytes),
}

impl Piece {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Piece::Body(bytes) | Piece::Done(bytes) => bytes,
        }
    }
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let mut answer = Self::binary("application/json", body.to_string().into());
        answer.status = status;
        answer
    }

    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn binary(content_type: &'static str, body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]),
            pieces: vec![Piece::Body(body)],
            is_stream: false,
            error: ERROR,
            error_name: "",
            ping: ": ping\n\n",
        }
    }

    pub(super) fn events(pieces: Vec<Piece>) -> Self {
        let mut answer = Self::binary("text/event-stream", Bytes::new());
        answer.pieces = pieces;
        answer.is_stream = true;
        answer
    }
}

fn error(status: StatusCode, message: &str, code: &str, param: Option<&str>) -> Answer {
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
    Answer::json(status, &json!({ "error": error }))
}

/// A published document; an empty one is not there.
pub(super) fn document(document: Bytes) -> Answer {
    match document.is_empty() {
        true => Answer::json(StatusCode::NOT_FOUND, &json!({"error": "nothing is published here"})),
        false => Answer::binary("application/json", document),
    }
}

/// The refusal of a conversation that is too long for the model: OpenAI's, or `message` from a server without such codes.
pub(super) fn too_long(message: Option<&str>) -> Answer {
    let own = "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.";
    match message {
        None => error(StatusCode::BAD_REQUEST, own, "context_length_exceeded", Some("messages")),
        Some(message) => {
            let error =
                json!({"message": message, "type": "invalid_request_error", "param": "max_tokens", "code": null});
            Answer::json(StatusCode::BAD_REQUEST, &json!({ "error": error }))
        }
    }
}

/// An OpenAI-compatible provider's answer.
pub(super) fn openai(name: &str, behaviour: &Behaviour, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    if path == "/audio/transcriptions" {
        return Answer::ok(&json!({"text": "two espressos please", "duration": 1.5}));
    }
    if request.method == Method::GET && path.ends_with("_background") {
        return made_in_background(path, request.path.contains("stream=true"));
    }
    if request.method == Method::GET {
        return listing(name, behaviour.models.as_deref(), path);
    }
    // Whatever may be deleted has been.
    if request.method == Method::DELETE {
        return Answer::ok(&json!({"object": "echo", "path": path, "deleted": true}));
    }
    let echo = || Answer::ok(&json!({"object": "echo", "path": path, "provider": name}));
    let mut body: Value = match serde_json::from_slice(&request.body) {
        Ok(body) => body,
        Err(_) if request.body.starts_with(b"--") => return echo(),
        Err(_) => return error(StatusCode::BAD_REQUEST, "the body is not JSON", "invalid_json", None),
    };
    if behaviour.hides_usage && body["stream"] == true {
        body["stream_options"] = Value::Null;
    }
    let model = body["model"].as_str().unwrap_or_default();
    if model.contains("no-such") {
        let message = format!("The model `{model}` does not exist");
        return error(StatusCode::NOT_FOUND, &message, "model_not_found", Some("model"));
    }
    if model.contains("no-access") {
        let message = format!("Project `proj_canary0123` does not have access to model `{model}`");
        return error(StatusCode::FORBIDDEN, &message, "model_not_found", None);
    }
    match path {
        "/chat/completions" => chat(name, behaviour, &body),
        "/completions" => completion(name, &body),
        "/embeddings" => embeddings(&body),
        "/responses" => response(name, &body),
        "/conversations" => {
            Answer::ok(&json!({"id": format!("conv_{name}"), "object": "conversation", "metadata": {}}))
        }
        "/audio/speech" => Answer::binary("audio/mpeg", Bytes::from_static(b"ID3 simulated speech")),
        // Pictures are paid by the token too.
        "/images/generations" => Answer::ok(&json!({
            "created": 1_700_000_000,
            "data": [{"b64_json": "iVBORw0KGgo="}],
            "usage": {"input_tokens": 1000, "output_tokens": 4000, "total_tokens": 5000},
        })),
        // A route may have a path of its own.
        _ if body["messages"].is_array() => chat(name, behaviour, &body),
        _ => echo(),
    }
}

fn listing(name: &str, models: Option<&[String]>, path: &str) -> Answer {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": name});
    let own: &[&str] = match name {
        "together" => {
            &["meta-llama/Llama-3-70b-chat-hf", "meta-llama/Llama-3-8b-chat-hf", "mistralai/Mixtral-8x7B-Instruct-v0.1"]
        }
        _ => &["gpt-4", "gpt-3.5-turbo", "text-embedding-3-small", "whisper-1"],
    };
    let is_known = |id: &str| models.is_none_or(|models| models.iter().any(|known| known == id));
    let list = || -> Vec<Value> {
        models.map_or_else(
            || own.iter().map(|id| model(id)).collect(),
            |models| models.iter().map(|id| model(id)).collect(),
        )
    };
    match path.strip_prefix("/models") {
        Some(_) if models.is_some_and(<[String]>::is_empty) => {
            error(StatusCode::NOT_FOUND, "no such path", "not_found", None)
        }
        // Together.ai answers with a bare array, OpenAI with a list object.
        Some("") if name == "together" => Answer::ok(&Value::from(list())),
        Some("") => Answer::ok(&json!({"object": "list", "data": list()})),
        Some(id) if id.contains("no-such") || !is_known(id.trim_start_matches('/')) => {
            error(StatusCode::NOT_FOUND, "no such model", "model_not_found", Some("model"))
        }
        Some(id) => Answer::ok(&model(id.trim_start_matches('/'))),
        None => Answer::ok(&json!({"object": "echo", "path": path, "provider": name})),
    }
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

pub(super) fn count(text: &str) -> usize {
    text.split_whitespace().count().max(1)
}

fn event(data: &Value) -> Piece {
    Piece::Body(format!("data: {data}\n\n").into())
}

/// Adds an event that comes together with the one before.
fn with_last(pieces: &mut [Piece], data: &Value) {
    if let Some(Piece::Body(last)) = pieces.last_mut() {
        *last = [&**last, event(data).bytes().as_ref()].concat().into();
    }
}

fn done() -> Piece {
    Piece::Done(Bytes::from_static(b"data: [DONE]\n\n"))
}

/// The text of the last user message.
pub(super) fn question(messages: &Value) -> String {
    let last = messages.as_array().and_then(|messages| messages.iter().rev().find(|message| message["role"] == "user"));
    match last.map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn chat(name: &str, behaviour: &Behaviour, body: &Value) -> Answer {
    let asked = question(&body["messages"]);
    let wants_order =
        body["messages"][0]["role"] == "system" && body["messages"][0]["content"].to_string().contains("orderData");
    let said = behaviour.body.as_ref().filter(|_| behaviour.fault == FaultKind::Says);
    let text = match said.cloned().or_else(|| shaped::answer(body, &asked)) {
        Some(text) => text,
        None if wants_order => json!({"orderData": {"items": [{"name": asked, "quantity": 1}]}}).to_string(),
        None => format!("{name} (simulated) answers: {asked}"),
    };
    // A partial answer that stands last is gone on from, word by word, whoever began it.
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let said = last.filter(|message| message["role"] == "assistant").and_then(|message| message["content"].as_str());
    let text: String = words(&text).into_iter().skip(said.map_or(0, |said| words(said).len())).collect();
    let prompt = count(&asked) + said.map_or(0, count);
    // One word is one token here.
    let limit = body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()).unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (text, finish) = match words(&text).len() > limit {
        true => (words(&text).into_iter().take(limit).collect(), "length"),
        false => (text, "stop"),
    };
    let tool = body["tools"][0]["function"]["name"].as_str();
    let answer = identity("chatcmpl-sim", body);
    let usage =
        json!({"prompt_tokens": prompt, "completion_tokens": count(&text), "total_tokens": prompt + count(&text)});
    if body["stream"] != true {
        let (message, finish) = match tool {
            None => (json!({"role": "assistant", "content": text, "refusal": null}), finish),
            Some(tool) => (
                json!({"role": "assistant", "content": null, "tool_calls": [
                    {"id": "call_sim", "type": "function", "function": {"name": tool, "arguments": "{\"city\":\"Bergen\"}"}}
                ]}),
                "tool_calls",
            ),
        };
        return Answer::ok(&answer.chat(&message, finish, usage));
    }
    let chunk = |delta: Value, finish: Option<&str>| event(&answer.chunk(&delta, finish));
    let mut pieces = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
    match tool {
        None => {
            pieces.extend(words(&text).into_iter().map(|word| chunk(json!({"content": word}), None)));
            pieces.push(chunk(json!({}), Some(finish)));
        }
        Some(tool) => {
            let start =
                json!({"index": 0, "id": "call_sim", "type": "function", "function": {"name": tool, "arguments": ""}});
            pieces.push(chunk(json!({"tool_calls": [start]}), None));
            for part in ["{\"city\":", "\"Bergen\"}"] {
                let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]});
                pieces.push(chunk(delta, None));
            }
            pieces.push(chunk(json!({}), Some("tool_calls")));
        }
    }
    if body["stream_options"]["include_usage"] == true {
        with_last(&mut pieces, &answer.usage_chunk(usage));
    }
    pieces.push(done());
    Answer::events(pieces)
}

fn completion(name: &str, body: &Value) -> Answer {
    let text = format!("{name} (simulated) continues: {}", body["prompt"].as_str().unwrap_or_default());
    let answer = identity("cmpl-sim", body);
    let usage = json!({"prompt_tokens": 1, "completion_tokens": count(&text), "total_tokens": 1 + count(&text)});
    if body["stream"] != true {
        return Answer::ok(&answer.text(&text, Some("stop"), usage));
    }
    let chunk = |text: &str, finish: Option<&str>| event(&answer.text(text, finish, Value::Null));
    let mut pieces: Vec<Piece> = words(&text).iter().map(|word| chunk(word, None)).collect();
    pieces.push(chunk("", Some("stop")));
    if body["stream_options"]["include_usage"] == true {
        with_last(&mut pieces, &answer.usage_chunk(usage));
    }
    pieces.push(done());
    Answer::events(pieces)
}

/// What identifies an answer to this body.
fn identity<'a>(id: &'a str, body: &'a Value) -> Identity<'a> {
    Identity { id, created: 1_700_000_000, model: body["model"].as_str().unwrap_or_default() }
}

fn embeddings(body: &Value) -> Answer {
    let inputs: Vec<Value> = match &body["input"] {
        Value::Array(inputs) => inputs.clone(),
        input => vec![input.clone()],
    };
    let embed = |(index, input): (usize, &Value)| {
        // A few numbers between -1 and 1 that differ from text to text.
        let hash = blake3::hash(input.to_string().as_bytes());
        let vector: Vec<f32> = hash.as_bytes()[..6].iter().map(|byte| f32::from(*byte) / 128.0 - 1.0).collect();
        let embedding = match body["encoding_format"].as_str() {
            Some("base64") => {
                Value::from(base64(&vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()))
            }
            _ => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(embed).collect();
    let usage = json!({"prompt_tokens": inputs.len(), "total_tokens": inputs.len()});
    Answer::ok(&json!({"object": "list", "data": data, "model": body["model"], "usage": usage}))
}

/// Base64 (RFC 4648) of a length that is a multiple of three, which is all that is needed here.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let joined = chunk.iter().fold(0u32, |joined, byte| joined << 8 | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(joined >> shift & 63) as usize]))
    };
    bytes.chunks(3).flat_map(digits).collect()
}

/// A response that was made in the background, complete by now.
fn made_in_background(path: &str, is_stream: bool) -> Answer {
    let usage = json!({"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500});
    let id = path.trim_start_matches("/responses/");
    let response = |status: &str, usage: Value| json!({"id": id, "object": "response", "background": true, "status": status, "output": [], "usage": usage});
    if !is_stream {
        return Answer::ok(&response("completed", usage));
    }
    let typed = |kind: &str, response: Value| {
        let data = json!({"type": kind, "response": response});
        Piece::Body(format!("event: {kind}\ndata: {data}\n\n").into())
    };
    let begun = typed("response.created", response("queued", Value::Null));
    Answer::events(vec![begun, typed("response.completed", response("completed", usage))])
}

fn response(name: &str, body: &Value) -> Answer {
    if body["background"] == true {
        let id = format!("resp_{name}_background");
        return Answer::ok(
            &json!({"id": id, "object": "response", "background": true, "status": "queued", "model": body["model"], "output": [], "usage": null}),
        );
    }
    let last = body["input"].as_array().and_then(|items| items.last());
    let said = last.filter(|item| item["role"] == "assistant").and_then(|item| item["content"].as_str());
    let asked = match &body["input"] {
        Value::String(text) => text.clone(),
        input => question(input),
    };
    let text = format!("{name} (simulated) responds: {asked}");
    // A partial answer that stands last is gone on from, as in a chat.
    let text: String = words(&text).into_iter().skip(said.map_or(0, |said| words(said).len())).collect();
    let whole = |status: &str, output: Value, usage: Value| {
        json!({
            "id": format!("resp_{name}"), "object": "response", "created_at": 1_700_000_000, "status": status, "error": null,
            "incomplete_details": null, "instructions": null, "metadata": {}, "model": body["model"], "output": output,
            "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": usage,
        })
    };
    let usage = json!({
        "input_tokens": 2, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": count(&text),
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2 + count(&text),
    });
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let message = |status: &str, content: Value| json!({"type": "message", "id": "msg_sim", "status": status, "role": "assistant", "content": content});
    let finished = whole("completed", json!([message("completed", json!([part]))]), usage);
    if body["stream"] != true {
        return Answer::ok(&finished);
    }
    let place = json!({"item_id": "msg_sim", "output_index": 0, "content_index": 0});
    let with = |kind: &str, fields: Value| {
        let mut event = place.clone();
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
            event.insert("type".into(), kind.into());
        }
        event
    };
    let empty = json!({"type": "output_text", "text": "", "annotations": []});
    let mut events = vec![
        json!({"type": "response.created", "response": whole("in_progress", json!([]), Value::Null)}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": message("in_progress", json!([]))}),
        with("response.content_part.added", json!({ "part": empty })),
    ];
    events.extend(
        words(&text).iter().map(|word| with("response.output_text.delta", json!({DELTA: word, "logprobs": []}))),
    );
    events.push(with("response.output_text.done", json!({"text": text, "logprobs": []})));
    events.push(with("response.content_part.done", json!({ "part": part })));
    events.push(
        json!({"type": "response.output_item.done", "output_index": 0, "item": message("completed", json!([part]))}),
    );
    events.push(json!({"type": "response.completed", "response": finished}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        Piece::Body(format!("event: {kind}\ndata: {event}\n\n").into())
    });
    Answer::events(numbered.collect())
}

/// BuildPanel's answer.
pub(super) fn buildpanel(name: &str, request: &Request) -> Answer {
    match request.path.as_str() {
        "/health" => Answer::ok(&json!({"status": "ok"})),
        "/api/chatbot" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let message = body["message"].as_str().unwrap_or_default();
            let last = message.rsplit("\n\n").next().unwrap_or(message);
            let mut answer =
                json!({"message": format!("{name} (simulated) answers: {last}"), "suggestions": ["See the menu"]});
            if message.contains("orderData") {
                answer["orderData"] = json!({"items": [{"name": last, "quantity": 1}]});
            }
            Answer::ok(&answer)
        }
        "/api/voice-chat" => Answer::binary("audio/mpeg", Bytes::from_static(b"ID3 simulated voice")),
        "/api/voice-chat-metadata" => Answer::ok(
            &json!({"transcription": "two espressos please", "response": "Two espressos, coming up.", "audioUrl": "/audio/1.mp3"}),
        ),
        "/api/menu" => Answer::ok(&json!({"items": [
            {"id": "1", "name": "Espresso", "description": "Short and strong", "price": 2.5, "category": "coffee", "available": true},
            {"id": "2", "name": "Cappuccino", "description": "With milk foam", "price": 3.5, "category": "coffee", "available": true},
        ]})),
        _ => Answer::json(StatusCode::NOT_FOUND, &json!({"message": "not found"})),
    }
}
