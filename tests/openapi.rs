//! The OpenAPI document: it is whole, it has every endpoint and route, and real answers are as it says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::Simulation;
use tidegate::server::dispatch;
use tidegate::server::operator::endpoint::Endpoint;
use tidegate::server::operator::reference;
use tidegate::server::operator::routes::ENDPOINTS;

const TOKEN: &str = "the-admins-own-token";

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn document() -> Value {
    serde_json::from_str(&reference::openapi()).unwrap()
}

/// Every operation: path, method, and what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let items = paths.iter().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, item.get(*method)?)))
    });
    items.collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    for kind in ["schemas", "parameters"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/{kind}/{name}")), "nobody uses {kind}/{name}");
        }
    }
}

#[test]
fn it_has_every_endpoint_of_the_table_and_every_route_of_the_defaults_that_is_ours() {
    let document = document();
    let operations = operations(&document);
    let is_there = |path: &str, method: &str| operations.iter().any(|(p, m, _)| *p == path && *m == method);
    for endpoint in ENDPOINTS {
        for operation in endpoint.operations {
            assert!(is_there(endpoint.path, operation.verb.key()), "{} {}", operation.verb.key(), endpoint.path);
        }
    }
    let plan = config::load(None, &Variables::default()).unwrap();
    for route in plan.routes.iter().filter(|route| !route.caller.passes_through()) {
        for (path, method) in route.paths.iter().flat_map(|path| route.methods.iter().map(move |it| (path, it))) {
            assert!(is_there(path, &method.as_str().to_lowercase()), "{method} {path}");
        }
    }
    let ids: Vec<&str> = operations.iter().map(|(.., it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for (path, method, operation) in &operations {
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        let declared = operation["parameters"].as_array().unwrap().iter().filter(|it| it["in"] == "path").count();
        assert_eq!(declared, path.matches('{').count(), "{method} {path}");
        for response in operation["responses"].as_object().unwrap().values() {
            assert!(response["description"].is_string(), "{method} {path}");
        }
    }
}

/// The row of the README's table of callers that names the operators' paths.
fn row() -> String {
    let is_short = |path: &str| !path.contains(['{', '.']) || path == "/openapi.json";
    let paths = |is_there: fn(&Endpoint) -> bool| {
        let endpoints = ENDPOINTS.iter().filter(|it| is_there(it) && is_short(it.path));
        let paths: Vec<String> = endpoints.map(|it| format!("`{}`", it.path)).collect();
        paths.join(", ")
    };
    format!(
        "| operators | [the admin API](docs/api.md) at `ADMIN_ADDR` (127.0.0.1:9901): {}; at the public listener too: {} |",
        paths(|endpoint| endpoint.is_at_operators),
        paths(|endpoint| endpoint.at_callers.is_some()),
    )
}

#[test]
fn the_readme_names_every_path_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let (text, row) = (std::fs::read_to_string(path).unwrap(), row());
    let written = text.lines().find(|line| line.starts_with("| operators |")).unwrap();
    if std::env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1") {
        return std::fs::write(path, text.replace(written, &row)).unwrap();
    }
    assert_eq!(written, row, "the README is out of date; run: TIDEGATE_BLESS=1 cargo test --test openapi the_readme");
}

/// What of a value is not as a schema says: as much of JSON Schema as the document uses.
fn mistakes(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return mistakes(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    let mut found = Vec::new();
    let is_of = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        kind => panic!("{kind} is no type"),
    };
    let is_right = match &schema["type"] {
        Value::Null => true,
        Value::String(kind) => is_of(kind),
        kinds => kinds.as_array().unwrap().iter().any(|kind| is_of(kind.as_str().unwrap())),
    };
    if !is_right {
        found.push(format!("{at} is {value}, not {}", schema["type"]));
    }
    let is_allowed = schema.get("const").is_none_or(|only| only == value)
        && schema.get("enum").is_none_or(|all| all.as_array().unwrap().contains(value));
    if !is_allowed {
        found.push(format!("{at} is {value}, which is none of the values"));
    }
    for all in schema["allOf"].as_array().into_iter().flatten() {
        found.extend(mistakes(document, all, value, at));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices.iter().filter(|one| mistakes(document, one, value, at).is_empty()).count();
        if fitting != 1 {
            found.push(format!("{at} is {value}, which fits {fitting} of the choices"));
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            found.extend(mistakes(document, items, item, &format!("{at}[{number}]")));
        }
    }
    let Some(fields) = value.as_object() else { return found };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{at} lacks {name}"));
        }
    }
    for (name, field) in fields {
        let inner = format!("{at}.{name}");
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) => found.extend(mistakes(document, schema, field, &inner)),
            (None, Some(Value::Bool(false))) => found.push(format!("{inner} is not in the schema")),
            (None, Some(schema)) if schema.is_object() => found.extend(mistakes(document, schema, field, &inner)),
            (None, _) => {}
        }
    }
    found
}

/// A gateway in front of simulated providers.
fn gateway(text: &str) -> Gateway {
    let variables = [
        ("TOGETHER_API_KEY", "k"),
        ("OPENAI_API_KEY", "k"),
        ("USE_BUILDPANEL", "true"),
        ("ADMIN_TOKEN", TOKEN),
        ("DISABLE_RATE_LIMITING", "false"),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let plan = config::load(Some(("test.toml", text)), &Variables::new(variables, BTreeMap::new()))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let world = World::simulated(Arc::new(Simulation::default()), "2026-01-01T00:00:00Z".parse().unwrap(), 7);
    let state = Arc::new(GatewayState::new(&plan, &world));
    Gateway::new(plan, state, Arc::new(world)).unwrap()
}

/// What is not as the document says of the canvas application's jobs. Nobody works on them here.
async fn jobs(document: &Value, gateway: &Gateway) -> Vec<String> {
    const JOB: &str = r#"{"type": "custom_prompt", "prompt": "hello", "metadata": [7]}"#;
    let (queue, batch) = ("/api/queue/llm", "/api/queue/llm/batch");
    let mut wrong = Vec::new();
    let mut check = async |path: &str, method: &str, target: &str, body: &str, status: u16| {
        let seen = ask(gateway, false, method, target, body).await;
        wrong.extend(compare(document, path, method, &seen));
        if seen.0 != status {
            wrong.push(format!("{method} {target} is {}: {}", seen.0, String::from_utf8_lossy(&seen.2)));
        }
        serde_json::from_slice::<Value>(&seen.2).unwrap_or_default()
    };
    let accepted = check(queue, "post", queue, JOB, 202).await;
    check(queue, "post", queue, r#"{"type": "custom_prompt"}"#, 400).await;
    check(batch, "post", batch, &format!(r#"{{"jobs": [{JOB}, {JOB}]}}"#), 202).await;
    check(batch, "post", batch, "{}", 400).await;
    let job = format!("{queue}/{}", accepted["data"]["jobId"].as_str().unwrap());
    check("/api/queue/llm/{id}", "get", &job, "", 200).await;
    check("/api/queue/llm/{id}", "get", "/api/queue/llm/nobody", "", 404).await;
    check("/api/queue/llm/{id}/result", "get", &format!("{job}/result"), "", 409).await;
    check("/api/queue/llm/{id}", "delete", &job, "", 200).await;
    check("/api/queue/llm/{id}", "get", &job, "", 200).await;
    check("/api/queue/metrics", "get", "/api/queue/metrics", "", 200).await;
    wrong
}

/// Status, headers and body.
type Seen = (u16, HeaderMap, Bytes);

async fn ask(gateway: &Gateway, is_operator: bool, method: &str, target: &str, body: &str) -> Seen {
    let content_type = match body.strip_prefix("--") {
        Some(_) => "multipart/form-data; boundary=x",
        None => "application/json",
    };
    let mut request = Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(target)
        .header("host", "localhost")
        .header("content-type", content_type)
        .header("x-restaurant-id", "r1");
    if is_operator {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    let (peer, request) =
        (IpAddr::V4(Ipv4Addr::LOCALHOST), request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap());
    let response = match is_operator {
        true => dispatch::operate(gateway, peer, request).await,
        false => dispatch::handle(gateway, peer, request).await,
    };
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

/// What of an answer is not as the document says.
fn compare(document: &Value, path: &str, method: &str, (status, headers, body): &Seen) -> Vec<String> {
    let responses = &document["paths"][path][method]["responses"];
    let at = format!("{method} {path} {status}");
    let text = String::from_utf8_lossy(body);
    let Some(response) = responses.get(status.to_string()).or_else(|| responses.get("default")) else {
        return vec![format!("{at} is not in the document: {text}")];
    };
    let content_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let content_type = content_type.split(';').next().unwrap();
    let schema = &response["content"][content_type]["schema"];
    match (schema.is_null(), content_type.ends_with("json")) {
        (true, _) => vec![format!("{at}: {content_type} is not in the document")],
        (false, true) => mistakes(document, schema, &serde_json::from_slice(body).unwrap(), &at),
        (false, false) => Vec::new(),
    }
}

const AUDIO: &str = "--x\r\ncontent-disposition: form-data; name=\"audio\"; filename=\"a.mp3\"\r\ncontent-type: audio/mpeg\r\n\r\n\
                     ID3\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\r\n--x--\r\n";

#[tokio::test(start_paused = true)]
async fn what_callers_and_operators_are_answered_is_as_the_document_says() {
    let document = document();
    // Who may call is not the subject here.
    let gateway = gateway("auth = \"none\"\n");
    let mut wrong = Vec::new();
    let calls = [
        ("post", "/api/v1/ai/chat", r#"{"message": "hello"}"#, 200),
        ("post", "/api/v1/ai/chat", r#"{}"#, 400),
        ("post", "/api/v1/ai/parse-order", r#"{"text": "two pizzas"}"#, 200),
        ("post", "/api/v1/ai/transcribe", AUDIO, 200),
        ("post", "/api/v1/ai/transcribe", "{}", 415),
        ("post", "/api/v1/ai/transcribe-with-metadata", AUDIO, 200),
        ("post", "/api/v1/orders/voice", AUDIO, 200),
        ("get", "/api/v1/ai/menu", "", 200),
        ("get", "/api/v1/menu", "", 200),
        ("get", "/api/v1/ai/health", "", 200),
        ("post", "/api/llm/chat", r#"{"prompt": "hello", "model": "m"}"#, 200),
        ("post", "/api/llm/chat", r#"{"prompt": ""}"#, 400),
        ("get", "/api/llm/stats", "", 200),
        ("get", "/api/llm/health", "", 503),
        ("post", "/api/chat", r#"{"message": "hello", "sessionId": "s"}"#, 200),
        ("post", "/api/chat", r#"{"message": 1}"#, 400),
        ("get", "/health", "", 200),
        ("get", "/health/ready", "", 200),
        ("get", "/health/status", "", 503),
    ];
    for (method, path, body, status) in calls {
        let seen = ask(&gateway, false, method, path, body).await;
        wrong.extend(compare(&document, path, method, &seen));
        if seen.0 != status {
            wrong.push(format!("{method} {path} is {}: {}", seen.0, String::from_utf8_lossy(&seen.2)));
        }
    }
    wrong.extend(jobs(&document, &gateway).await);
    let id = {
        let (.., body) = ask(&gateway, true, "get", "/admin/explain", "").await;
        let calls: Value = serde_json::from_slice(&body).unwrap();
        calls["calls"][0]["id"].as_str().unwrap().to_owned()
    };
    let explain = format!("/admin/explain/{id}");
    let operations = [
        ("get", "/health", "/health", "", 200),
        ("get", "/health/live", "/health/live", "", 200),
        ("get", "/health/ready", "/health/ready", "", 200),
        ("get", "/health/status", "/health/status", "", 503),
        ("get", "/info", "/info", "", 200),
        ("get", "/metrics", "/metrics", "", 200),
        ("get", "/config", "/config", "", 200),
        ("get", "/openapi.json", "/openapi.json", "", 200),
        ("get", "/api/usage", "/api/usage?by=tenant,model&period=hour", "", 200),
        ("get", "/api/usage", "/api/usage?format=csv", "", 200),
        ("get", "/api/usage", "/api/usage?format=xml", "", 400),
        ("get", "/api/flags", "/api/flags", "", 200),
        ("get", "/api/flags/{key}", "/api/flags/use_buildpanel", "", 200),
        ("get", "/api/flags/{key}", "/api/flags/nobody", "", 404),
        ("post", "/api/flags/{key}/undo", "/api/flags/use_buildpanel/undo", "", 409),
        (
            "put",
            "/api/flags/{key}",
            "/api/flags/use_buildpanel",
            r#"{"enabled": false, "rolloutPercentage": 2.5, "note": "n"}"#,
            200,
        ),
        ("put", "/api/flags/{key}", "/api/flags/use_buildpanel", r#"{"enabled": 1}"#, 400),
        ("post", "/api/flags/{key}/undo", "/api/flags/use_buildpanel/undo", "", 200),
        ("get", "/api/flags/{key}/history", "/api/flags/use_buildpanel/history", "", 200),
        (
            "post",
            "/admin/keys",
            "/admin/keys",
            r#"{"name": "shop", "tenant": "r1", "tier": "pro", "account": true, "expires": "2030-01-01T00:00:00Z"}"#,
            201,
        ),
        ("post", "/admin/keys", "/admin/keys", r#"{"name": "shop"}"#, 409),
        ("get", "/admin/keys", "/admin/keys", "", 200),
        ("get", "/admin/keys/{name}", "/admin/keys/shop", "", 200),
        ("post", "/admin/keys/{name}/rotate", "/admin/keys/shop/rotate", "", 200),
        ("delete", "/admin/keys/{name}", "/admin/keys/shop", "", 200),
        ("delete", "/admin/keys/{name}", "/admin/keys/shop", "", 404),
        ("get", "/admin/jobs", "/admin/jobs?state=failed&limit=5", "", 200),
        ("get", "/admin/jobs", "/admin/jobs?limit=0", "", 400),
        ("get", "/admin/jobs/{id}", "/admin/jobs/nobody", "", 404),
        ("delete", "/admin/jobs/{id}", "/admin/jobs/nobody", "", 404),
        ("post", "/admin/jobs/{id}/retry", "/admin/jobs/nobody/retry", "", 404),
        ("post", "/admin/jobs/purge", "/admin/jobs/purge", r#"{"states": ["failed"]}"#, 200),
        ("post", "/admin/jobs/purge", "/admin/jobs/purge", r#"{}"#, 400),
        ("get", "/admin/explain", "/admin/explain", "", 200),
        ("get", "/admin/explain", "/admin/explain?format=text", "", 200),
        ("get", "/admin/explain/{id}", &explain, "", 200),
        ("get", "/admin/explain/{id}", "/admin/explain/nobody", "", 404),
        ("get", "/admin/history", "/admin/history", "", 200),
        ("get", "/admin/history", "/admin/history?span=24h", "", 200),
        ("get", "/admin/history", "/admin/history?span=1w", "", 400),
        ("get", "/admin/log", "/admin/log", "", 200),
        ("put", "/admin/log", "/admin/log", r#"{"level": 1}"#, 400),
        ("post", "/cache/purge", "/cache/purge", r#"{"all": true}"#, 200),
        ("post", "/cache/purge", "/cache/purge", r#"{}"#, 400),
        ("post", "/api/llm/reset", "/api/llm/reset", "", 200),
    ];
    for (method, path, target, body, status) in operations {
        let seen = ask(&gateway, true, method, target, body).await;
        wrong.extend(compare(&document, path, method, &seen));
        if seen.0 != status {
            wrong.push(format!("{method} {target} is {}: {}", seen.0, String::from_utf8_lossy(&seen.2)));
        }
    }
    let simulated = ask(&gateway, false, "put", "/demo/providers/openai", r#"{"fault": "refuse"}"#).await;
    wrong.extend(compare(&document, "/demo/providers/{name}", "put", &simulated));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_comparison_finds_what_is_wrong() {
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/Liveness"});
    let found = |value: Value| mistakes(&document, &schema, &value, "it").len();
    assert_eq!(found(json!({"alive": true})), 0);
    for value in [json!({}), json!({"alive": 1}), json!({"alive": true, "more": 1}), json!([])] {
        assert!(found(value.clone()) > 0, "{value}");
    }
}
