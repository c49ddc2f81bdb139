//! What metrics say is what happened: counted against what simulated providers saw, after calls of all kinds through the whole
//! gateway, and read by the tools that read metrics.
//!
//! Everything happens in virtual time. `SEED=17` plays the same calls again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::model::rng::SeededRng;
use tidegate::provider::simulated::Simulation;
use tidegate::server::dispatch;

const CALLS: usize = 600;
const PROVIDERS: [&str; 3] = ["buildpanel", "together", "openai"];

/// Caps that the calls reach.
const CONFIG: &str = "\
[metrics]
max_models = 5
max_tenants = 4
[limits]
enabled = false
[cache]
enabled = true
[auth]
default = \"none\"
";

/// What was asked, and what came of it as callers and providers saw it.
struct Played {
    classic: String,
    open: String,
    asked: usize,
    chats: usize,
    statuses: BTreeMap<u16, usize>,
    /// By provider.
    seen: BTreeMap<&'static str, usize>,
}

fn below(chance: &SeededRng, end: u64) -> u64 {
    chance.bits() % end
}

/// A request of some kind, with what it asks for.
fn request(chance: &SeededRng) -> (Request<Full<Bytes>>, bool) {
    let tenant = format!("tenant-{}", below(chance, 50));
    let model = format!("model-{}", below(chance, 100));
    let words = format!("what is {}?", below(chance, 40));
    let chat =
        json!({ "model": model, "stream": below(chance, 2) == 0, "messages": [{ "role": "user", "content": words }] });
    let (path, body, is_chat) = match below(chance, 7) {
        0 | 1 => ("/v1/chat/completions".into(), chat, true),
        2 => ("/v1/embeddings".into(), json!({ "model": model, "input": words }), false),
        3 => ("/api/llm/chat".into(), json!({ "prompt": words, "model": model }), true),
        4 => ("/api/v1/ai/chat".into(), json!({ "message": words }), true),
        5 => (format!("/nowhere/{}", below(chance, 100_000)), json!({}), false),
        _ => ("/v1/chat/completions".into(), json!({ "broken": true }), true),
    };
    let request = Request::post(path).header("content-type", "application/json").header("x-restaurant-id", tenant);
    (request.body(Full::new(Bytes::from(body.to_string()))).unwrap(), is_chat)
}

fn behaviour(chance: &SeededRng) -> Value {
    match below(chance, 6) {
        0 => json!({ "fault": "status", "status": 500 }),
        1 => json!({ "fault": "cut", "after_events": 2 }),
        2 => json!({ "fault": "status", "status": 404 }),
        3 => json!({ "fault": "status", "status": 429, "retry_after": 1 }),
        _ => json!({ "latency_ms": 20 }),
    }
}

async fn play(seed: u64) -> Played {
    let variables = [("TOGETHER_API_KEY", "k"), ("OPENAI_API_KEY", "k"), ("USE_BUILDPANEL", "true")];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let plan = config::load(Some(("x.toml", CONFIG)), &Variables::new(variables, BTreeMap::new())).unwrap();
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
    let chance = SeededRng::new(seed);
    let (mut chats, mut statuses) = (0, BTreeMap::new());
    for number in 0..CALLS {
        if number % 10 == 0 {
            for name in PROVIDERS {
                simulation.find(name).unwrap().behave(serde_json::from_value(behaviour(&chance)).unwrap());
            }
        }
        let (request, is_chat) = request(&chance);
        chats += usize::from(is_chat);
        let response = dispatch::handle(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        *statuses.entry(response.status().as_u16()).or_default() += 1;
        let mut body = response.into_body();
        // Some callers leave in the middle.
        match below(&chance, 8) {
            0 => drop(body.frame().await),
            _ => while let Some(Ok(_)) = body.frame().await {},
        }
        drop(body);
        tokio::time::sleep(Duration::from_millis(below(&chance, 400))).await;
    }
    // What goes on without its caller ends, too.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let seen = PROVIDERS.map(|name| (name, simulation.find(name).unwrap().requests().len()));
    let (classic, open) = (gateway.metrics_text(false), gateway.metrics_text(true));
    Played { classic, open, asked: CALLS, chats, statuses, seen: seen.into() }
}

fn played() -> (u64, Played) {
    let seed = std::env::var("SEED").ok().map_or(7, |seed| seed.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    (seed, runtime.block_on(play(seed)))
}

/// The samples of a metric: their labels as text, and their values.
fn samples<'a>(page: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let of_metric = |line: &'a str| {
        let (sample, value) = line.rsplit_once(' ')?;
        let (own, labels) = sample.split_once('{').unwrap_or((sample, ""));
        (own == name).then(|| (labels.trim_end_matches('}'), value.parse().unwrap()))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(of_metric).collect()
}

fn sum(page: &str, name: &str, label: &str) -> usize {
    samples(page, name).iter().filter(|(labels, _)| labels.contains(label)).map(|(_, value)| *value as usize).sum()
}

/// The values of a label, wherever it stands.
fn values<'a>(page: &'a str, label: &str) -> BTreeSet<&'a str> {
    let start = format!("{label}=\"");
    page.lines().filter_map(|line| line.split_once(&start)?.1.split('"').next()).collect()
}

#[test]
fn counters_equal_what_callers_and_providers_saw() {
    let (seed, played) = played();
    let page = &played.classic;
    let again = format!("SEED={seed} cargo test --test metrics repeats it");
    assert_eq!(sum(page, "http_requests_total", ""), played.asked, "{again}");
    assert_eq!(sum(page, "http_request_duration_seconds_count", ""), played.asked, "{again}");
    for (status, count) in &played.statuses {
        assert_eq!(sum(page, "http_requests_total", &format!("status=\"{status}\"")), *count, "{status}; {again}");
    }
    assert!(played.statuses.len() >= 4, "calls of one kind only: {:?}; {again}", played.statuses);
    assert_eq!(sum(page, "chat_requests_total", ""), played.chats, "{again}");
    assert_eq!(sum(page, "chat_request_duration_seconds_count", ""), played.chats, "{again}");
    for (provider, seen) in &played.seen {
        let label = format!("provider=\"{provider}\"");
        for name in
            ["tidegate_attempts_total", "tidegate_provider_calls_total", "tidegate_provider_duration_seconds_count"]
        {
            assert_eq!(sum(page, name, &label), *seen, "{name} of {provider}; {again}");
        }
        // Here nobody asks for anything but models' answers.
        let label = format!("gen_ai_provider_name=\"{provider}\"");
        assert_eq!(sum(page, "gen_ai_client_operation_duration_seconds_count", &label), *seen, "{provider}; {again}");
    }
    assert!(played.seen.values().all(|seen| *seen > 10), "a provider was hardly asked: {:?}; {again}", played.seen);
    for gauge in ["tidegate_requests_in_flight", "tidegate_streams_in_flight", "tidegate_concurrency_in_flight"] {
        assert_eq!(sum(page, gauge, ""), 0, "{gauge}; {again}");
    }
}

#[test]
fn names_that_come_with_requests_do_not_make_more_series_than_allowed() {
    let (_, played) = played();
    let models = values(&played.classic, "gen_ai_request_model");
    // The route of the restaurant and the model maps name some themselves; with `other` and none.
    assert!(models.len() <= 5 + 2 && models.contains("other"), "{models:?}");
    let tenants = values(&played.classic, "tenant");
    assert!(tenants.len() <= 4 + 1 && tenants.contains("other"), "{tenants:?}");
    assert!(!played.classic.contains("nowhere"), "a path became a label");
}

/// Feeds a tool, and returns what it says when it does not like it.
fn fed(command: &mut Command, input: &str) -> Result<(), String> {
    let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

#[test]
fn both_pages_are_read_by_what_reads_such_pages() {
    let (_, played) = played();
    if let Err(said) = fed(Command::new("promtool").args(["check", "metrics"]), &played.classic) {
        panic!("{said}");
    }
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/venv/bin/python");
    let parse = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
                 families = list(read(sys.stdin.read()))\nassert len(families) > 40, len(families)\n";
    if let Err(said) = fed(Command::new(python).args(["-c", parse]), &played.open) {
        panic!("{said}");
    }
    assert!(fed(Command::new(python).args(["-c", parse]), &played.classic).is_err(), "the parser reads anything");
}
