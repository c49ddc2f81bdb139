//! A call with a key is executed once on all gateways together; while the store is out, once on each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tidegate::gateway::Gateway;
use tidegate::server::dispatch;
use tokio::task::JoinSet;

use crate::gateways::{PATIENT, Providers, fleet};
use crate::server::{Server, until};

/// The status of a call with a key, and whether its answer was given before.
async fn call(gateway: Arc<Gateway>, prompt: &str, stream: bool) -> (u16, bool, String) {
    let body = json!({"model": "gpt-4", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("idempotency-key", "order-1")
        .header("x-restaurant-id", "r1")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = dispatch::handle(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let was_replayed = parts.headers.contains_key("idempotent-replayed");
    (parts.status.as_u16(), was_replayed, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_key_is_executed_once_on_all_gateways_together() {
    for stream in [false, true] {
        let (server, providers) = (Server::start().await, Providers::default());
        let members = fleet(&server.url(), 2, &providers, PATIENT).await;
        let (one, two) = (members[0].gateway.clone(), members[1].gateway.clone());
        // It answers when it is told to.
        providers.behave("openai", json!({"latency_ms": 3_600_000}));
        let mut first = JoinSet::new();
        first.spawn(call(one.clone(), "hello", stream));
        until("it runs", async || providers.calls() == 1).await;
        assert_eq!(call(two.clone(), "hello", stream).await.0, 409);
        assert_eq!(call(two.clone(), "something else", stream).await.0, 422);
        assert_eq!(call(one.clone(), "hello", stream).await.0, 409);
        // Its caller leaves: the other gateway may execute it, and nothing else under its key.
        first.abort_all();
        providers.behave("openai", json!({}));
        until("the right is given back", async || call(two.clone(), "hello", stream).await.0 == 200).await;
        assert_eq!(providers.calls(), 2);
        until("the first knows of it", async || call(one.clone(), "hello", stream).await.0 == 200).await;
        let (again, was_replayed, body) = call(one.clone(), "hello", stream).await;
        assert_eq!((again, was_replayed, providers.calls()), (200, true, 2), "{body}");
        assert!(body.contains("answers") && body.contains("[DONE]") == stream, "{body}");
        assert_eq!(call(one, "something else", stream).await.0, 422);
        assert_eq!(providers.calls(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spoilt_in_the_store_is_no_answer_and_a_store_that_is_out_stops_nobody() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, PATIENT).await;
    let (one, two) = (members[0].gateway.clone(), members[1].gateway.clone());
    assert_eq!(call(one.clone(), "hello", false).await.0, 200);
    until("it is kept", async || server.cli(&["KEYS", "tidegate:once:*"]).await.contains("once")).await;
    let name = server.cli(&["KEYS", "tidegate:once:*"]).await;
    server.cli(&["SET", &name, "garbage"]).await;
    until("it is executed again", async || call(two.clone(), "hello", false).await.0 == 200 && providers.calls() == 2)
        .await;
    drop(server);
    // Each knows what it has executed itself.
    for gateway in [one, two] {
        let (status, was_replayed, body) = call(gateway, "hello", false).await;
        assert_eq!((status, was_replayed), (200, true), "{body}");
    }
    assert_eq!(providers.calls(), 2);
}
