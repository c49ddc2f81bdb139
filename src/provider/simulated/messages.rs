//! The responses of simulated providers of kind `anthropic`: the real shapes of Messages around a text made from the request.
//!
//! It does not know how a response fails on its way.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answers::{Answer, Piece, count, question, words};
use super::{Behaviour, FaultKind};
use crate::provider::Request;
use crate::wire::openai::forms::DELTA;

/// The error that a 200 may have in its body, or a stream among its events.
pub(super) const ERROR: &str = r#"{"type":"error","error":{"type":"api_error","message":"simulated"}}"#;

/// What a stream says while nothing else is said.
pub(super) const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The most words of a thought.
const LONGEST_THOUGHT: u64 = 10_000;

/// An error answer.
pub(super) fn refusal(status: StatusCode) -> Answer {
    let (kind, message) = match status.as_u16() {
        401 => ("authentication_error", "invalid x-api-key canary"),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource"),
        404 => ("not_found_error", "model: simulated"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => ("rate_limit_error", "This request would exceed the simulated provider's rate limit"),
        529 => ("overloaded_error", "Overloaded"),
        400..=499 => ("invalid_request_error", "The simulated provider does not accept this"),
        _ => ("api_error", "Internal server error"),
    };
    error(status, kind, message)
}

fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    let error = json!({"type": kind, "message": message});
    spoken(Answer::json(status, &json!({"type": "error", "error": error, "request_id": "req_sim"})))
}

/// The refusal of a conversation that is too long for the model.
pub(super) fn too_long(message: Option<&str>) -> Answer {
    let message = message.unwrap_or("prompt is too long: 200251 tokens > 200000 maximum");
    error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

/// An answer that fails, and is silent, in this dialect.
fn spoken(answer: Answer) -> Answer {
    Answer { error: ERROR, error_name: "event: error\n", ping: PING, ..answer }
}

/// The answer to a request.
pub(super) fn answer(name: &str, behaviour: &Behaviour, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    if request.method == Method::GET {
        return listing(behaviour.models.as_deref(), path);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "the body is not JSON");
    };
    let model = body["model"].as_str().unwrap_or_default();
    if model.contains("no-such") {
        return error(StatusCode::NOT_FOUND, "not_found_error", &format!("model: {model}"));
    }
    if path.ends_with("/count_tokens") {
        return Answer::ok(&json!({"input_tokens": count(&question(&body["messages"]))}));
    }
    if body["max_tokens"].as_u64().is_none() {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "max_tokens: Field required");
    }
    spoken(message(name, behaviour, &body))
}

fn listing(models: Option<&[String]>, path: &str) -> Answer {
    let model = |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "2023-11-14T22:13:20Z"});
    let own = ["claude-sonnet-4-5".to_owned(), "claude-haiku-4-5".to_owned()];
    let models = models.unwrap_or(&own);
    match path.strip_prefix("/models") {
        Some("") if !models.is_empty() => {
            let data: Vec<_> = models.iter().map(|id| model(id)).collect();
            Answer::ok(&json!({"data": data, "has_more": false, "first_id": models.first(), "last_id": models.last()}))
        }
        Some(id) if models.iter().any(|known| known == id.trim_start_matches('/')) => {
            Answer::ok(&model(id.trim_start_matches('/')))
        }
        _ => error(StatusCode::NOT_FOUND, "not_found_error", "Not found"),
    }
}

fn message(name: &str, behaviour: &Behaviour, body: &Value) -> Answer {
    let asked = question(&body["messages"]);
    let said = behaviour.body.clone().filter(|_| behaviour.fault == FaultKind::Says);
    let system = body["system"].to_string();
    let text = match said {
        Some(text) => text,
        None if system.contains("orderData") => {
            json!({"orderData": {"items": [{"name": asked, "quantity": 1}]}}).to_string()
        }
        None => format!("{name} (simulated) answers: {asked}"),
    };
    // A partial answer that stands last is gone on from, word by word, whoever began it.
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let begun = last.filter(|message| message["role"] == "assistant").map(|message| match &message["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
    });
    let all = words(&text);
    let left: Vec<String> = all.into_iter().skip(begun.as_deref().map_or(0, |begun| words(begun).len())).collect();
    let prompt = count(&asked) + begun.as_deref().map_or(0, count);
    // One word is one token here.
    let limit = usize::try_from(body["max_tokens"].as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let is_cut = left.len() > limit;
    let text: String = left.into_iter().take(limit).collect();
    let tool = body["tools"][0]["name"].as_str();
    let stop = match tool {
        _ if asked.contains("pause") => "pause_turn",
        Some(_) => "tool_use",
        None if is_cut => "max_tokens",
        None => "end_turn",
    };
    let thought = match body["thinking"]["type"].as_str() {
        Some("enabled") => body["thinking"]["budget_tokens"].as_u64().unwrap_or(1).min(LONGEST_THOUGHT),
        _ => 0,
    };
    let mut blocks = Vec::new();
    if thought > 0 {
        let thought = "hm ".repeat(usize::try_from(thought).unwrap_or_default());
        blocks.push(json!({"type": "thinking", "thinking": thought, "signature": "c2ln"}));
    }
    match tool {
        Some(tool) => {
            blocks.push(json!({"type": "tool_use", "id": "toolu_sim", "name": tool, "input": {"city": "Bergen"}}));
        }
        None => blocks.push(json!({"type": "text", "text": text})),
    }
    // Where a cache is asked for, most of the prompt is read from it and some is written to it.
    let (read, written) = if body.to_string().contains("cache_control") { (2000, 1000) } else { (0, 0) };
    let usage = json!({
        "input_tokens": prompt, "cache_creation_input_tokens": written, "cache_read_input_tokens": read,
        "output_tokens": count(&text) as u64 + thought,
    });
    let head = json!({"id": "msg_sim", "type": "message", "role": "assistant", "model": body["model"]});
    let with = |more: Value| {
        let mut whole = head.clone();
        if let (Some(whole), Value::Object(more)) = (whole.as_object_mut(), more) {
            whole.extend(more);
        }
        whole
    };
    if body["stream"] != true {
        let end = json!({"content": blocks, "stop_reason": stop, "stop_sequence": null, "usage": usage});
        return Answer::ok(&with(end));
    }
    let mut unspent = usage.clone();
    unspent["output_tokens"] = 1.into();
    let begun = with(json!({"content": [], "stop_reason": null, "stop_sequence": null, "usage": unspent}));
    let mut pieces = vec![event(&json!({"type": "message_start", "message": begun}))];
    for (index, block) in blocks.iter().enumerate() {
        pieces.extend(block_events(index, block));
    }
    let end = json!({"stop_reason": stop, "stop_sequence": null});
    pieces.push(event(&json!({"type": "message_delta", DELTA: end, "usage": usage})));
    pieces.push(Piece::Done(event(&json!({"type": "message_stop"})).bytes().clone()));
    Answer::events(pieces)
}

/// A block, word by word.
fn block_events(index: usize, block: &Value) -> Vec<Piece> {
    let delta = |delta: Value| event(&json!({"type": "content_block_delta", "index": index, DELTA: delta}));
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    let mut begun = block.clone();
    let deltas: Vec<Piece> = match text("type") {
        "thinking" => {
            (begun["thinking"], begun["signature"]) = ("".into(), "".into());
            let thoughts = words(text("thinking"));
            let thoughts = thoughts.iter().map(|word| delta(json!({"type": "thinking_delta", "thinking": word})));
            let signature = json!({"type": "signature_delta", "signature": text("signature")});
            thoughts.chain([delta(signature)]).collect()
        }
        "tool_use" => {
            begun["input"] = json!({});
            let pieces = ["", "{\"city\":", "\"Bergen\"}"];
            pieces.map(|piece| delta(json!({"type": "input_json_delta", "partial_json": piece}))).into()
        }
        _ => {
            begun["text"] = "".into();
            words(text("text")).iter().map(|word| delta(json!({"type": "text_delta", "text": word}))).collect()
        }
    };
    let first = event(&json!({"type": "content_block_start", "index": index, "content_block": begun}));
    let last = event(&json!({"type": "content_block_stop", "index": index}));
    [first].into_iter().chain(deltas).chain([last]).collect()
}

fn event(data: &Value) -> Piece {
    let name = data["type"].as_str().unwrap_or_default();
    Piece::Body(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
}
