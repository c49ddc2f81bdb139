//! Tests of modelled providers, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::*;
use crate::config::plan::Plan;
use crate::config::{self, Variables};
use crate::model::rng::SeededRng;
use crate::provider::Request;
use crate::provider::simulated::{Simulation, mark};
use crate::provider::transport::{Reuse, SendFault, Transport};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn plan() -> Plan {
    let keys = [("OPENAI_API_KEY", "k"), ("USE_BUILDPANEL", "true")];
    let variables = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    config::load(None, &Variables::new(variables, BTreeMap::new())).unwrap()
}

fn provider(name: &str, model: ProviderModel, seed: u64) -> Arc<dyn Transport> {
    let plan = plan();
    let provider = plan.providers.iter().find(|provider| *provider.name == *name).unwrap();
    let providers = [(Arc::from(name), Arc::new(model))].into();
    // Ten in the evening.
    let start = "2026-03-01T22:00:00Z".parse().unwrap();
    Simulation::with_models(Models { providers, seed, start }).transport(provider, &SeededRng::new(0))
}

fn post(path: &str, body: String) -> Request {
    Request { method: Method::POST, path: path.into(), headers: HeaderMap::new(), body: body.into(), degraded: None }
}

fn chat(question: u64, tokens_out: u64, stream: bool) -> Request {
    let mark = mark::write(mark::Mark { tokens_in: 374, tokens_out, question });
    post(
        "/chat/completions",
        format!(
            r#"{{"stream_options":{{"include_usage":true}},"stream":{stream},"model":"gpt-4","messages":[{{"role":"user","content":"{mark} hello"}}]}}"#
        ),
    )
}

fn health() -> Request {
    Request {
        method: Method::GET,
        path: "/models".into(),
        headers: HeaderMap::new(),
        body: Default::default(),
        degraded: None,
    }
}

/// A request's end: the status, when the head came, the pieces with their times, and the fault at the end.
struct Seen {
    status: u16,
    headers: HeaderMap,
    head: Duration,
    pieces: Vec<(Duration, String)>,
    fault: Option<SendFault>,
    took: Duration,
}

async fn ask(provider: &Arc<dyn Transport>, request: Request) -> Seen {
    let begun = Instant::now();
    let mut seen = Seen {
        status: 0,
        headers: HeaderMap::new(),
        head: Duration::ZERO,
        pieces: Vec::new(),
        fault: None,
        took: Duration::ZERO,
    };
    match provider.send(0, request, Reuse::Allowed).await {
        Err(fault) => seen.fault = Some(fault),
        Ok(mut response) => {
            (seen.status, seen.headers) = (response.head.status.as_u16(), response.head.headers);
            seen.head = begun.elapsed();
            while let Some(piece) = response.body.next().await {
                match piece {
                    Ok(bytes) => seen.pieces.push((begun.elapsed(), String::from_utf8(bytes.to_vec()).unwrap())),
                    Err(fault) => seen.fault = Some(fault),
                }
            }
        }
    }
    seen.took = begun.elapsed();
    seen
}

fn usual() -> ProviderModel {
    ProviderModel {
        first_token: Distribution::Fixed(ms(300)),
        per_token: Distribution::Fixed(ms(20)),
        error_after: Distribution::Fixed(ms(30)),
        ..ProviderModel::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_answer_comes_when_all_its_tokens_are_made() {
    let openai = provider("openai", usual(), 1);
    let seen = ask(&openai, chat(1, 10, false)).await;
    assert_eq!((seen.status, seen.head, seen.took), (200, ms(500), ms(500)));
    assert!(seen.pieces[0].1.contains(r#""usage":{"prompt_tokens":374,"completion_tokens":10,"total_tokens":384}"#));
    let embedding = ask(&openai, post("/embeddings", r#"{"model":"e","input":"~9/4/1~"}"#.into())).await;
    assert_eq!((embedding.status, embedding.took), (200, ms(300)));
    let buildpanel = provider("buildpanel", usual(), 1);
    let seen = ask(&buildpanel, post("/api/chatbot", r#"{"message":"~9/10/1~ hello","context":{}}"#.into())).await;
    let answer: serde_json::Value = serde_json::from_str(&seen.pieces[0].1).unwrap();
    assert_eq!((answer["message"].as_str().unwrap().len(), seen.took), (40, ms(500)));
    let menu = Request { method: Method::GET, path: "/api/menu".into(), ..health() };
    let seen = ask(&buildpanel, menu).await;
    assert!(seen.pieces[0].1.contains("Espresso") && seen.took == ms(300));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_few_events_with_short_silences_and_takes_what_its_tokens_take() {
    let openai = provider("openai", usual(), 1);
    let seen = ask(&openai, chat(1, 100, true)).await;
    assert_eq!((seen.head, seen.took, seen.pieces.len()), (ms(300), ms(2300), 5));
    assert_eq!(seen.pieces.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [300, 800, 1300, 1800, 2300].map(ms));
    let text: String = seen.pieces.iter().map(|(_, piece)| &**piece).collect();
    let said: usize = text.split("\"content\":\"").skip(1).map(|rest| rest.split('"').next().unwrap().len()).sum();
    assert_eq!(said, 400);
    assert!(text.contains(r#""completion_tokens":100"#) && text.ends_with("data: [DONE]\n\n"));
    // One without tokens has a first and a last event too.
    let seen = ask(&openai, chat(2, 0, true)).await;
    assert_eq!((seen.took, seen.pieces.len()), (ms(300), 2));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_met_by_calls_and_probes_and_breaks_off_what_is_on_its_way() {
    let outage = |from, trouble| Outage { window: Window::Once { from, to: from + ms(1000) }, trouble, instance: None };
    let status = Trouble::Status { status: 503, retry_after: Some(ms(2500)) };
    let outages = vec![
        outage(ms(1000), Trouble::Refuse),
        outage(ms(3000), status),
        Outage { instance: Some(1), ..outage(ms(5000), Trouble::Refuse) },
        outage(ms(10_000), Trouble::Hang),
    ];
    let openai = provider("openai", ProviderModel { outages, ..usual() }, 1);
    assert_eq!(ask(&openai, health()).await.took, ms(5));
    let seen = ask(&openai, chat(1, 100, true)).await;
    assert!(matches!(seen.fault, Some(SendFault::Broken(_))), "{:?}", seen.fault);
    // From 305 to 995: the outage begins then.
    assert_eq!((seen.took, seen.pieces.len()), (ms(995), 2));
    for request in [chat(1, 1, false), health()] {
        let seen = ask(&openai, request).await;
        assert!(matches!(seen.fault, Some(SendFault::Connect(_))) && seen.took.is_zero(), "{:?}", seen.fault);
    }
    tokio::time::sleep(ms(2000)).await;
    let seen = ask(&openai, chat(2, 1, false)).await;
    assert_eq!((seen.status, seen.took), (503, ms(30)));
    assert_eq!(seen.headers["retry-after"], "3");
    assert_eq!(ask(&openai, health()).await.status, 503);
    tokio::time::sleep(ms(2000)).await;
    assert!(openai.send(1, chat(3, 1, false), Reuse::Allowed).await.is_err());
    assert_eq!(ask(&openai, chat(3, 1, false)).await.status, 200);
    // At 10 s it hangs, and so does what is on its way: a plain answer of 20 s that would have come at 25 s.
    let hung = tokio::time::timeout(ms(100_000), ask(&openai, chat(3, 1000, false))).await;
    assert!(hung.is_err());
}

#[tokio::test(start_paused = true)]
async fn luck_is_a_matter_of_the_question_and_the_attempt_and_of_no_other_request() {
    let errors = vec![
        ErrorShare { share: 0.2, trouble: Trouble::Status { status: 500, retry_after: None } },
        ErrorShare { share: 0.1, trouble: Trouble::Reset },
    ];
    let model = ProviderModel {
        first_token: Distribution::LogNormal { p50: ms(300), p99: ms(3000) },
        errors: errors.clone(),
        ..usual()
    };
    let (all, some) = (provider("openai", model.clone(), 7), provider("openai", model.clone(), 7));
    let other_seed = provider("openai", model.clone(), 8);
    let luckier = provider("openai", ProviderModel { errors: errors[..1].to_vec(), ..model }, 7);
    let (mut failed, mut reset, mut differs) = (0, 0, 0);
    for question in 0..1000 {
        for attempt in 0..2 {
            // All at one moment, as two simulations are.
            let asked = [&all, &other_seed, &luckier].map(|provider| ask(provider, chat(question, 1, false)));
            let asked_rarely = async {
                match question % 3 {
                    0 => Some(ask(&some, chat(question, 1, false)).await),
                    _ => None,
                }
            };
            let (seen, same) = futures_util::join!(futures_util::future::join_all(asked), asked_rarely);
            let ends: Vec<_> = seen.iter().map(|seen| (seen.status, seen.took)).collect();
            failed += usize::from(ends[0].0 == 500);
            reset += usize::from(seen[0].fault.is_some());
            differs += usize::from(ends[1] != ends[0]);
            assert!(same.is_none_or(|same| (same.status, same.took) == ends[0]), "{question}, {attempt}");
            // Without resets all else stays as it is.
            assert!(seen[0].fault.is_some() || ends[2] == ends[0], "{question}, {attempt}");
        }
    }
    assert!((350..450).contains(&failed) && (160..240).contains(&reset), "{failed} and {reset} of 2000");
    assert!(differs > 1500, "{differs}");
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_capacity_is_refused_or_waits_for_its_turn() {
    for (over_capacity, ends) in [
        (OverCapacity::Refuse, [(200, 320), (200, 320), (429, 30)]),
        (OverCapacity::Unavailable, [(200, 320), (200, 320), (503, 30)]),
        (OverCapacity::Slow, [(200, 320), (200, 320), (200, 640)]),
    ] {
        let openai = provider("openai", ProviderModel { capacity: Some(2), over_capacity, ..usual() }, 1);
        let asked = (0..3).map(|question| ask(&openai, chat(question, 1, question == 0)));
        let seen = futures_util::future::join_all(asked).await;
        let found: Vec<_> = seen.iter().map(|seen| (seen.status, seen.took.as_millis())).collect();
        assert_eq!(found, ends, "{over_capacity:?}");
        // A probe needs no slot, and all slots are free again.
        assert_eq!(ask(&openai, chat(4, 1, false)).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn own_rate_limits_are_told_and_enforced() {
    let model = ProviderModel { requests_per_minute: Some(2), tokens_per_minute: Some(10_000), ..usual() };
    let openai = provider("openai", model, 1);
    let first = ask(&openai, chat(1, 26, false)).await;
    assert_eq!(first.headers["x-ratelimit-remaining-requests"], "1");
    assert_eq!(first.headers["x-ratelimit-remaining-tokens"], "9600");
    ask(&openai, chat(2, 26, false)).await;
    let third = ask(&openai, chat(3, 26, false)).await;
    assert_eq!((third.status, third.took), (429, ms(30)));
    // One request comes back each 30 s, of which 1.64 have passed.
    assert_eq!(third.headers["retry-after"], "29");
    assert_eq!(third.headers["x-ratelimit-remaining-requests"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_brownout_is_slower_fails_more_and_has_less_room() {
    // From eleven at night to one in the morning, each day; the simulation begins at ten.
    let hour = Duration::from_secs(3600);
    let brownout = Brownout {
        window: Window::Daily { from: hour * 23, to: hour },
        latency: 3.0,
        errors: vec![ErrorShare { share: 0.5, trouble: Trouble::Cut(Some(0.5)) }],
        capacity: Some(1),
    };
    let openai = provider("openai", ProviderModel { brownouts: vec![brownout], ..usual() }, 1);
    assert_eq!(ask(&openai, chat(1, 10, true)).await.took, ms(500));
    tokio::time::sleep(hour).await;
    let (mut whole, mut cut) = (0, 0);
    for question in 0..100 {
        let seen = ask(&openai, chat(question, 10, true)).await;
        match seen.fault {
            None => whole += usize::from(seen.took == ms(1500)),
            Some(_) => cut += usize::from(seen.took == ms(1200)),
        }
    }
    assert_eq!(whole + cut, 100);
    assert!((35..65).contains(&cut), "{cut}");
    let both = futures_util::future::join(ask(&openai, chat(1, 10, true)), ask(&openai, chat(2, 10, true))).await;
    assert_eq!(both.1.status, 429);
    tokio::time::sleep(hour * 2).await;
    assert_eq!(ask(&openai, chat(1, 10, true)).await.took, ms(500));
}

#[tokio::test(start_paused = true)]
async fn answers_repeat_only_where_the_model_does() {
    for repeats in [false, true] {
        let openai = provider("openai", ProviderModel { repeats, ..usual() }, 1);
        let mut texts = Vec::new();
        for _ in 0..2 {
            let seen = ask(&openai, chat(1, 10, false)).await;
            texts.push(seen.pieces[0].1.split("content\":\"").nth(1).unwrap()[..40].to_owned());
        }
        assert_eq!(texts[0] == texts[1], repeats, "{texts:?}");
    }
}
