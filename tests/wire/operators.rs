//! The operators' door: health, metrics and the reset of breakers, and nothing that callers may ask.

use std::collections::BTreeMap;

use tidegate::server::Listener;

use crate::gateway::Gateway;
use crate::words::chat;

const TOKEN: &str = "the-admins-own-token";

fn ask(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\ncontent-length: 0\r\n{headers}\r\n")
}

fn variables() -> BTreeMap<String, String> {
    BTreeMap::from([("ADMIN_TOKEN".to_owned(), TOKEN.to_owned())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_how_the_gateway_is_and_close_its_breakers() {
    let gateway = Gateway::behind(Listener::Operators, "", variables()).await;
    let mut operator = gateway.connect().await;
    let host = "host: localhost\r\n";
    assert_eq!(operator.ask(ask("GET /health/live", host)).await.json()["alive"], true);
    let metrics = operator.ask(ask("GET /metrics", host)).await;
    assert!(metrics.text().contains("tidegate_breaker_state{provider=\"openai\"} 0\n"), "{}", metrics.text());
    let status = operator.ask(ask("GET /health/status", host)).await.json();
    assert_eq!(status["services"]["openai"]["url"], "https://api.openai.com/v1");
    let reset = ask("POST /api/llm/reset", &format!("{host}authorization: Bearer {TOKEN}\r\n"));
    let answer = operator.ask(reset).await;
    assert_eq!((answer.status(), &answer.json()["success"]), (200, &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_that_an_operator_opens_changes_or_reads_anything() {
    const CHANGES: [&str; 5] = [
        "POST /cache/purge",
        "POST /api/llm/reset",
        "PUT /api/flags/use_buildpanel",
        "PUT /admin/log",
        "POST /admin/keys",
    ];
    const READS: [&str; 4] = ["GET /config", "GET /admin/explain", "GET /metrics", "GET /api/usage"];
    for (variables, without_token) in [(BTreeMap::new(), 403), (variables(), 401)] {
        let gateway = Gateway::behind(Listener::Operators, "", variables).await;
        let mut operator = gateway.connect().await;
        for line in CHANGES {
            let answer = operator.ask(ask(line, "host: 127.0.0.1\r\n")).await;
            assert_eq!(answer.status(), without_token, "{line}");
        }
        for line in CHANGES.iter().chain(&READS) {
            for headers in [
                "host: rebound.example\r\n",
                "host: localhost\r\norigin: https://evil.example\r\n",
                "host: localhost\r\norigin: null\r\n",
                "host: localhost\r\nsec-fetch-site: cross-site\r\n",
                "host: localhost\r\nsec-fetch-site: same-site\r\n",
            ] {
                assert_eq!(operator.ask(ask(line, headers)).await.status(), 403, "{line}: {headers}");
            }
        }
        for line in READS {
            assert_eq!(operator.ask(ask(line, "host: localhost\r\n")).await.status(), 200, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_door_answers_no_caller_and_the_callers_door_tells_and_changes_nothing() {
    let operators = Gateway::behind(Listener::Operators, "", variables()).await;
    let call = chat().replace("host: gateway", &format!("host: localhost\r\nauthorization: Bearer {TOKEN}"));
    let answer = operators.connect().await.ask(call).await;
    assert_eq!((answer.status(), answer.header("content-type")), (404, Some("application/problem+json")));
    let callers = Gateway::start("", variables()).await;
    let mut caller = callers.connect().await;
    let token = format!("host: gateway\r\nauthorization: Bearer {TOKEN}\r\n");
    for line in ["POST /api/llm/reset", "POST /cache/purge", "GET /metrics", "GET /config"] {
        assert_eq!(caller.ask(ask(line, &token)).await.status(), 404, "{line}");
    }
    let status = caller.ask(ask("GET /health/status", "host: gateway\r\n")).await;
    assert!(
        status.json()["services"]["openai"]["status"].is_string() && !status.text().contains("://"),
        "{}",
        status.text()
    );
    let shown = Gateway::start("[server]\nshow_insides = true\n", BTreeMap::new()).await;
    let mut caller = shown.connect().await;
    assert_eq!(caller.ask(ask("GET /metrics", "host: gateway\r\n")).await.status(), 200);
    let status = caller.ask(ask("GET /health/status", "host: gateway\r\n")).await;
    assert!(status.text().contains("https://api.openai.com/v1"), "{}", status.text());
}
