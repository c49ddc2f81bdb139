//! Nothing but keys: the default configuration in front of healthy providers that behave as real ones do. Every call is
//! answered whole, and nothing is bought twice.
//!
//! It plays the production pipeline, ingress included, under a paused clock. Each caller has an address of its own, as the
//! default rate limits are about one caller's share and not about how many callers there are.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
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
use tidegate::provider::simulated::{Behaviour, Simulation};
use tidegate::server::current::Current;
use tidegate::server::dispatch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a gateway is started, and with which keys. In production, with nothing to check callers by, it starts on loopback only.
const STARTS: [(&str, &[&str]); 3] = [
    ("development", &["OPENAI_API_KEY"]),
    ("staging", &["OPENAI_API_KEY", "TOGETHER_API_KEY"]),
    ("production", &["OPENAI_API_KEY", "TOGETHER_API_KEY"]),
];

/// Calls that arrive together, and how the provider that they are for behaves.
#[derive(Clone)]
struct Burst {
    /// When they arrive, from the start.
    at: Duration,
    callers: usize,
    path: &'static str,
    /// `$n` in it is the caller's number.
    body: Value,
    behaviour: Behaviour,
}

fn chat(model: &str, stream: bool, words: usize) -> Value {
    let text = vec!["word"; words].join(" ");
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
}

fn at_once(callers: usize, body: Value, behaviour: Behaviour) -> Vec<Burst> {
    vec![Burst { at: Duration::ZERO, callers, path: "/v1/chat/completions", body, behaviour }]
}

/// Plays the bursts at each start, and says what a caller would complain about.
fn complaints(bursts: &[Burst]) -> String {
    let mut said = String::new();
    for (environment, keys) in STARTS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let problems = runtime.block_on(play(environment, keys, bursts));
        if !problems.is_empty() {
            let _ = writeln!(said, "{environment}, {}:\n{problems}", keys.join(" and "));
        }
    }
    said
}

async fn play(environment: &str, keys: &[&str], bursts: &[Burst]) -> String {
    let mut variables: BTreeMap<String, String> =
        keys.iter().map(|name| ((*name).to_owned(), format!("key-{name}"))).collect();
    variables.insert("NODE_ENV".into(), environment.into());
    if environment == "production" {
        variables.insert("HOST".into(), "127.0.0.1".into());
    }
    let plan = config::load(None, &Variables::new(variables, BTreeMap::new()))
        .unwrap_or_else(|problems| panic!("{environment}: {problems}"));
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), 11);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
    let (probing, over) = (TaskTracker::new(), CancellationToken::new());
    let current = Current::probed(gateway, &probing, &over);
    let (mut problems, mut bought, mut asked, mut elapsed) = (String::new(), 0, 0, Duration::ZERO);
    for burst in bursts {
        tokio::time::sleep(burst.at.saturating_sub(elapsed)).await;
        let began = tokio::time::Instant::now();
        for name in ["openai", "together"] {
            if let Some(provider) = simulation.find(name) {
                provider.behave(burst.behaviour.clone());
            }
        }
        let (path, body) = (burst.path, burst.body.to_string());
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..burst.callers {
            let (gateway, body) = (current.gateway(), body.replace("$n", &number.to_string()));
            calls.spawn(async move { ask(&gateway, number, path, body.into()).await });
        }
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in calls.join_all().await {
            if let Err(complaint) = outcome {
                *outcomes.entry(complaint).or_default() += 1;
            }
        }
        for (complaint, times) in outcomes {
            let _ = writeln!(problems, "  {times} of {} at {:?}: {complaint}", burst.callers, burst.at);
        }
        bought += burst.callers;
        elapsed = burst.at + began.elapsed();
    }
    for name in simulation.names() {
        asked += simulation.find(&name).unwrap().requests().len();
    }
    if asked != bought {
        let _ = writeln!(problems, "  {asked} requests were sent to providers for {bought} calls");
    }
    over.cancel();
    probing.close();
    probing.wait().await;
    problems
}

/// One caller's call: fine when its answer is whole.
async fn ask(gateway: &Gateway, number: usize, path: &str, body: Bytes) -> Result<(), String> {
    let request = Request::post(path)
        .header("host", "gateway.example")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap();
    let [.., high, low] = number.to_be_bytes();
    let response = dispatch::handle(gateway, IpAddr::V4(Ipv4Addr::new(203, 0, high, low)), request).await;
    let status = response.status().as_u16();
    let is_stream = response.headers().get("content-type").is_some_and(|it| it == "text/event-stream");
    let answer =
        response.into_body().collect().await.map_err(|fault| format!("{status}, cut off: {fault}"))?.to_bytes();
    let text = String::from_utf8_lossy(&answer);
    let is_whole = match is_stream {
        true => text.trim_end().ends_with("data: [DONE]") && text.contains("\"finish_reason\":\"stop\""),
        false if path.starts_with("/api/canvas/") => text.contains("\"revenueStreams\":[\""),
        false => text.contains("\"finish_reason\":\"stop\""),
    };
    if status == 200 && is_whole {
        return Ok(());
    }
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(200))..];
    Err(format!("{status}, not a whole answer: {end}"))
}

fn assert_healthy(bursts: &[Burst]) {
    let said = complaints(bursts);
    assert!(said.is_empty(), "{said}");
}

#[test]
fn a_reasoning_model_may_think_for_three_minutes() {
    for model in ["o3", "o4-mini", "gpt-5"] {
        let thinks = Behaviour { first_token_ms: 180_000, ..Behaviour::default() };
        assert_healthy(&at_once(10, chat(model, true, 5), thinks));
        let plain = Behaviour { latency_ms: 180_000, ..Behaviour::default() };
        assert_healthy(&at_once(10, chat(model, false, 5), plain));
    }
}

#[test]
fn a_stream_that_goes_on_for_ninety_seconds_is_whole() {
    // 4,000 tokens of the gateway's making would only make the test slower: what matters is how long they take.
    let steady = Behaviour { first_token_ms: 800, gap_ms: 225, ..Behaviour::default() };
    assert_healthy(&at_once(50, chat("gpt-4o", true, 400), steady));
}

#[test]
fn a_plain_answer_that_takes_ninety_seconds_is_whole() {
    let slow = Behaviour { latency_ms: 90_000, ..Behaviour::default() };
    assert_healthy(&at_once(50, chat("gpt-4o", false, 5), slow));
}

#[test]
fn five_thousand_streams_begin_at_once() {
    let steady = Behaviour { first_token_ms: 400, gap_ms: 700, ..Behaviour::default() };
    assert_healthy(&at_once(5_000, chat("gpt-4o", true, 2), steady));
}

#[test]
fn bursts_from_zero_are_served_again_and_again() {
    let steady = Behaviour { first_token_ms: 400, gap_ms: 250, ..Behaviour::default() };
    let burst = |minutes: u64| Burst {
        at: Duration::from_secs(60 * minutes),
        callers: 1_000,
        path: "/v1/chat/completions",
        body: chat("gpt-4o", true, 8),
        behaviour: steady.clone(),
    };
    assert_healthy(&[burst(0), burst(2), burst(30)]);
}

#[test]
fn a_slower_model_is_served_after_quick_ones() {
    let answers = |milliseconds| Behaviour { latency_ms: milliseconds, ..Behaviour::default() };
    let quick = |minute: u64| Burst {
        at: Duration::from_secs(60 * minute),
        callers: 60,
        path: "/v1/chat/completions",
        body: chat("gpt-4", false, 3),
        behaviour: answers(50),
    };
    let slow = |minute: u64| Burst {
        body: chat("gpt-4o-slow", false, 3),
        callers: 90,
        behaviour: answers(3_000),
        ..quick(minute)
    };
    assert_healthy(&[quick(0), quick(2), slow(4), slow(6), slow(8), slow(10), quick(12), slow(14)]);
}

#[test]
fn plain_answers_that_are_always_slow_are_no_sign_of_illness() {
    let slow = Behaviour { latency_ms: 9_000, ..Behaviour::default() };
    let burst = |minute: u64| Burst {
        at: Duration::from_secs(60 * minute),
        callers: 13,
        path: "/v1/chat/completions",
        body: chat("gpt-4", false, 3),
        behaviour: slow.clone(),
    };
    assert_healthy(&[burst(0), burst(2), burst(4)]);
}

#[test]
fn canvases_that_take_nine_seconds_are_whole_and_bought_once() {
    let slow = Behaviour { latency_ms: 9_000, ..Behaviour::default() };
    let generate = json!({"businessDescription": "Bakery number $n"});
    let refine = json!({"canvas": {"channels": ["Shop $n"]}, "instruction": "Add a market stall"});
    for (path, body) in [("/api/canvas/generate", generate), ("/api/canvas/refine", refine)] {
        assert_healthy(&[Burst { at: Duration::ZERO, callers: 30, path, body, behaviour: slow.clone() }]);
    }
}

#[test]
fn twenty_megabytes_of_images_pass() {
    let image = format!("data:image/jpeg;base64,{}", "A".repeat(7_000_000));
    let part = json!({"type": "image_url", "image_url": {"url": image}});
    let content = json!([{"type": "text", "text": "what is this?"}, part, part, part]);
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]});
    assert_healthy(&at_once(1, body, Behaviour::default()));
}
