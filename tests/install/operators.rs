//! What operators and callers ask of an installed gateway.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::server::soon;
use crate::socket::{Message, Socket};

/// What only operators may see or change.
pub(crate) const OPERATORS: [(&str, &str, &str); 7] = [
    ("GET", "/admin/live", ""),
    ("GET", "/admin/explain", ""),
    ("GET", "/api/flags", ""),
    ("PUT", "/api/flags/use_buildpanel", r#"{"enabled": false, "note": "a drill"}"#),
    ("GET", "/admin/keys", ""),
    ("GET", "/api/usage", ""),
    ("GET", "/config", ""),
];

/// A call that any model of OpenAI can answer.
pub(crate) const CALL: &str = r#"{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}"#;

fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {length}\r\n{token}\r\n{body}")
}

/// Asks on a new connection; what comes after the head is not waited for.
async fn head(address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: &str) -> Message {
    let mut socket = Socket::connect(address).await;
    socket.send(request(method, path, token, body)).await;
    socket.head().await
}

/// The status of an answer.
pub(crate) async fn status(address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: &str) -> u16 {
    head(address, method, path, token, body).await.status()
}

/// With the token everything is open, and the live page comes before it.
pub(crate) async fn can_do_everything(operators: SocketAddr, token: &str) {
    let page = head(operators, "GET", "/", None, "").await;
    assert_eq!((page.status(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for (method, path, body) in OPERATORS {
        assert_eq!(status(operators, method, path, Some(token), body).await, 200, "{method} {path}");
    }
    let live = head(operators, "GET", "/admin/live", Some(token), "").await;
    assert_eq!(live.header("content-type"), Some("text/event-stream"));
}

/// Without the token, or with another one, nothing is.
pub(crate) async fn are_needed(operators: SocketAddr) {
    for (method, path, body) in OPERATORS {
        for token in [None, Some("a-token-that-somebody-made-up")] {
            assert_eq!(status(operators, method, path, token, body).await, 401, "{method} {path} with {token:?}");
        }
    }
}

/// Prometheus gets the metrics without a token.
pub(crate) async fn prometheus_reads(operators: SocketAddr) {
    let answer = Socket::connect(operators).await.ask(request("GET", "/metrics", None, "")).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains("\ntidegate_memory_limit_bytes"), "{}", answer.text());
}

/// A new API key.
pub(crate) async fn new_key(operators: SocketAddr, token: &str, name: &str) -> String {
    let body = json!({"name": name, "tenant": name}).to_string();
    let answer = Socket::connect(operators).await.ask(request("POST", "/admin/keys", Some(token), &body)).await;
    answer.json()["key"].as_str().expect("a key, shown once").to_owned()
}

/// What is told of a job from its submission to its end.
pub(crate) async fn job(callers: SocketAddr, key: &str) -> String {
    let body = json!({"type": "custom_prompt", "prompt": "A slogan", "model": "gpt-4o-mini"}).to_string();
    let answer = Socket::connect(callers).await.ask(request("POST", "/api/queue/llm", Some(key), &body)).await;
    let accepted = answer.json();
    let id = accepted["data"]["jobId"].as_str().unwrap_or_else(|| panic!("{accepted}"));
    let path = format!("/api/queue/llm/{id}/events");
    Socket::connect(callers).await.ask(request("GET", &path, Some(key), "")).await.text().to_owned()
}

/// Calls until it is so.
pub(crate) async fn call_until(callers: SocketAddr, key: &str, mut is_so: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    soon("a call with the new key", async {
        while !is_so() {
            ticks.tick().await;
            status(callers, "POST", "/v1/chat/completions", Some(key), CALL).await;
        }
    })
    .await;
}

/// Asks until the token is taken.
pub(crate) async fn token_is_taken(operators: SocketAddr, token: &str) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    soon("the new token", async {
        while status(operators, "GET", "/api/flags", Some(token), "").await != 200 {
            ticks.tick().await;
        }
    })
    .await;
}
