//! The operators' door: health, metrics and the reset of breakers, and nothing that callers may ask.

use std::collections::BTreeMap;

use tidegate::server::Door;

use crate::gateway::Gateway;
use crate::words::chat;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_how_the_gateway_is_and_close_its_breakers() {
    let gateway = Gateway::behind(Door::Operators, "", BTreeMap::new()).await;
    let mut operator = gateway.connect().await;
    assert_eq!(operator.ask(get("/health/live")).await.json()["alive"], true);
    let metrics = operator.ask(get("/metrics")).await;
    assert!(metrics.text().contains("tidegate_breaker_state{provider=\"openai\"} 0\n"), "{}", metrics.text());
    let reset = "POST /api/llm/reset HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n";
    let answer = operator.ask(reset).await;
    assert_eq!((answer.status(), &answer.json()["success"]), (200, &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_door_answers_no_caller_and_the_callers_door_resets_nothing() {
    let operators = Gateway::behind(Door::Operators, "", BTreeMap::new()).await;
    let answer = operators.connect().await.ask(chat()).await;
    assert_eq!((answer.status(), answer.header("content-type")), (404, Some("application/problem+json")));
    let callers = Gateway::start("", BTreeMap::new()).await;
    let reset = "POST /api/llm/reset HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(callers.connect().await.ask(reset).await.status(), 404);
}
