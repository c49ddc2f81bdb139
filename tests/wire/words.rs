//! What callers and providers of the tests say: requests, answers, chunks and events, as bytes.
//!
//! It sends nothing.

/// The head of a response whose body is a stream of events, in chunks.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// The end of a body in chunks.
pub(crate) const LAST_CHUNK: &str = "0\r\n\r\n";
/// The event that ends an answer.
pub(crate) const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
/// The event that ends a stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
const CHAT_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

/// A request with a JSON body and further header lines.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// A chat call.
pub(crate) fn chat() -> String {
    post("/v1/chat/completions", "", CHAT)
}

/// A chat call that asks for a stream.
pub(crate) fn chat_stream() -> String {
    post("/v1/chat/completions", "", CHAT_STREAM)
}

/// A chat call with this body.
pub(crate) fn chat_of(body: &str) -> String {
    post("/v1/chat/completions", "", body)
}

/// A JSON answer.
pub(crate) fn plain(body: &str) -> String {
    answer("200 OK", "", body)
}

/// A JSON answer with a status and further header lines.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

/// A whole chat completion that says `text`.
pub(crate) fn completion(text: &str) -> String {
    format!(
        r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}]}}"#
    )
}

/// An event with a piece of an answer.
pub(crate) fn event(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// A chunk of a body.
pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
