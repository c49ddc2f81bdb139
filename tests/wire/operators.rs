//! The operators' door: health, metrics and the reset of breakers, and nothing that callers may ask.

use std::collections::BTreeMap;

use tidegate::model::operator_paths;
use tidegate::server::Listener;
use tidegate::server::operator::endpoint::{Access, Endpoint, Verb};
use tidegate::server::operator::routes::ENDPOINTS;

use crate::gateway::Gateway;
use crate::socket::Message;
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
    let gateway = Gateway::behind(Listener::Admin, "", variables()).await;
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
        let gateway = Gateway::behind(Listener::Admin, "", variables).await;
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
    let operators = Gateway::behind(Listener::Admin, "", variables()).await;
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

/// A path of an endpoint, with a name where it takes one.
fn path(endpoint: &Endpoint) -> String {
    match endpoint.path.split_once('{') {
        Some((before, after)) => format!("{before}nobody{}", after.split_once('}').unwrap().1),
        None => endpoint.path.to_owned(),
    }
}

const METHODS: [(Verb, &str); 4] =
    [(Verb::Get, "GET"), (Verb::Post, "POST"), (Verb::Put, "PUT"), (Verb::Delete, "DELETE")];

#[test]
fn the_list_of_paths_at_the_callers_address_is_that_of_the_table() {
    let of_table: Vec<&str> = ENDPOINTS.iter().filter(|it| it.at_callers.is_some()).map(|it| it.path).collect();
    assert_eq!(of_table, operator_paths::AT_CALLERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_of_the_table_answers_operators_and_other_methods_get_405() {
    let gateway = Gateway::behind(Listener::Admin, "", variables()).await;
    let token = format!("host: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    let no_endpoint = |answer: &Message| answer.text().contains("no endpoint has this path");
    for endpoint in ENDPOINTS.iter().filter(|it| it.is_at_operators && it.path != operator_paths::LIVE) {
        let path = path(endpoint);
        for (verb, method) in METHODS {
            let answer = gateway.connect().await.ask(ask(&format!("{method} {path}"), &token)).await;
            let is_there = endpoint.operations.iter().any(|operation| operation.verb == verb);
            assert_eq!(answer.status() == 405, !is_there, "{method} {path}: {}", answer.text());
            assert!(!no_endpoint(&answer), "{method} {path}");
            if !is_there {
                assert_eq!(answer.header("allow"), Some(&*endpoint.allow()), "{method} {path}");
            }
        }
    }
    let answer = gateway.connect().await.ask(ask("GET /nothing", &token)).await;
    assert_eq!((answer.status(), no_endpoint(&answer)), (404, true));
    for endpoint in ENDPOINTS {
        assert_eq!(answer.text().contains(endpoint.path), endpoint.is_at_operators, "{}", endpoint.path);
    }
    // Without the token nothing is changed, whatever is there.
    for endpoint in ENDPOINTS.iter().filter(|it| it.is_at_operators) {
        for operation in endpoint.operations.iter().filter(|operation| operation.access == Access::Admin) {
            let method = METHODS.iter().find(|(verb, _)| *verb == operation.verb).unwrap().1;
            let answer =
                gateway.connect().await.ask(ask(&format!("{method} {}", path(endpoint)), "host: localhost\r\n")).await;
            assert_eq!(answer.status(), 401, "{method} {}", endpoint.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_address_has_of_the_table_what_is_open_there() {
    let gateway = Gateway::start("", variables()).await;
    let token = format!("host: gateway\r\nauthorization: Bearer {TOKEN}\r\n");
    for endpoint in ENDPOINTS {
        // Where callers may read metrics is for the configuration to say, and nothing is simulated here.
        let is_closed = matches!(endpoint.path, operator_paths::METRICS | operator_paths::DEMO_PROVIDER);
        let is_there = endpoint.at_callers.is_some() && !is_closed;
        for (verb, method) in METHODS {
            let line = format!("{method} {}", path(endpoint));
            let answer = gateway.connect().await.ask(ask(&line, &token)).await;
            match (is_there, endpoint.operations.iter().any(|operation| operation.verb == verb)) {
                (false, _) => assert_eq!(answer.status(), 404, "{line}: {}", answer.text()),
                (true, false) => {
                    assert_eq!((answer.status(), answer.header("allow")), (405, Some(&*endpoint.allow())), "{line}");
                }
                (true, true) => assert!(answer.status() != 405, "{line}"),
            }
        }
    }
}
