//! Tests of learning: what a modelled provider does is recorded as a gateway would, and learning from that gives the model back.

use futures_util::StreamExt;
use http::{HeaderMap, Method};
use proptest::prelude::*;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::config::plan::Plan;
use crate::config::{self, Variables};
use crate::model::recorded::RecordedAttempt;
use crate::model::rng::SeededRng;
use crate::provider::Request;
use crate::provider::simulated::model::Models;
use crate::provider::simulated::{Simulation, mark};
use crate::provider::transport::{Reuse, SendFault, Transport};

const START: &str = "2026-03-02T08:10:00Z";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn plan() -> Plan {
    let variables = [("OPENAI_API_KEY".to_owned(), "k".to_owned())].into();
    config::load(None, &Variables::new(variables, BTreeMap::new())).unwrap()
}

/// What an attempt came to, as a gateway with a timeout of a minute records it.
async fn attempt(provider: &dyn Transport, question: u64, tokens_out: u64, stream: bool) -> RecordedAttempt {
    let mark = mark::write(mark::Mark { tokens_in: 100, tokens_out, question });
    let body = format!(r#"{{"stream":{stream},"model":"gpt-4","messages":[{{"role":"user","content":"{mark}"}}]}}"#);
    let request = Request {
        method: Method::POST,
        path: "/chat/completions".into(),
        headers: HeaderMap::new(),
        body: body.into(),
        degraded: None,
    };
    let begun = Instant::now();
    let since = || u64::try_from(begun.elapsed().as_millis()).unwrap();
    let mut recorded = RecordedAttempt {
        provider: "openai".into(),
        tokens_in: 100,
        tokens_out,
        outcome: "ok".into(),
        ..RecordedAttempt::default()
    };
    let answered = async {
        match provider.send(0, request, Reuse::Allowed).await {
            Err(SendFault::Connect(_)) => recorded.outcome = "provider_unreachable".into(),
            Err(_) => recorded.outcome = "provider_broken".into(),
            Ok(mut response) => {
                recorded.status = Some(response.head.status.as_u16());
                match response.head.status.as_u16() {
                    200 => recorded.first_ms = Some(since()),
                    _ => recorded.outcome = "provider_error".into(),
                }
                while let Some(piece) = response.body.next().await {
                    if piece.is_err() {
                        recorded.outcome = "stream_incomplete".into();
                    }
                }
            }
        }
    };
    if tokio::time::timeout(ms(60_000), answered).await.is_err() {
        recorded.outcome = "provider_timeout".into();
    }
    recorded.took_ms = since();
    recorded
}

/// The rows of this many calls, one each `gap`, at a provider of a model.
fn rows(model: ProviderModel, calls: u64, gap: Duration, stream: bool) -> Vec<RecordedCall> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let plan = plan();
        let openai = plan.providers.iter().find(|provider| &*provider.name == "openai").unwrap();
        let start: Timestamp = START.parse().unwrap();
        let models = Models { providers: [("openai".into(), Arc::new(model))].into(), seed: 3, start };
        let provider = Simulation::with_models(models).transport(openai, &SeededRng::new(0));
        let begun = Instant::now();
        let calls = (0..calls).map(|number| {
            let (provider, after) = (provider.clone(), gap * u32::try_from(number).unwrap());
            async move {
                sleep_until(begun + after).await;
                // Short and long answers.
                let tokens = 20 + Draws::new(9).of(number).bits() % 180;
                let attempt = attempt(&*provider, number, tokens, stream).await;
                let at = start.checked_add(SignedDuration::try_from(after).unwrap()).unwrap();
                RecordedCall { at, stream, attempts: vec![attempt], ..RecordedCall::default() }
            }
        });
        // In the order of their ends, as files have them.
        futures_util::stream::iter(calls).buffer_unordered(usize::MAX).collect().await
    })
}

/// The model that is read from the learnt file, and how well it fits.
fn learnt(rows: &[RecordedCall]) -> (ProviderModel, ProviderFit) {
    let mut learner = Learner::new(1);
    rows.iter().for_each(|row| learner.note(row));
    let learned = learner.finish().unwrap();
    let world = world::read("learnt.toml", &learned.toml).unwrap_or_else(|it| panic!("{it}\n{}", learned.toml));
    let (_, model) = world.named().next().unwrap();
    assert_eq!(world.start.unwrap().to_string(), START);
    (model.clone(), learned.fit.providers[0].clone())
}

fn near(found: Duration, wanted: Duration, share: f64) -> bool {
    (found.as_secs_f64() - wanted.as_secs_f64()).abs() <= wanted.as_secs_f64() * share + 0.0015
}

fn usual() -> ProviderModel {
    ProviderModel {
        first_token: Distribution::LogNormal { p50: ms(400), p99: ms(2000) },
        per_token: Distribution::LogNormal { p50: ms(10), p99: ms(25) },
        error_after: Distribution::Fixed(ms(100)),
        errors: vec![ErrorShare { share: 0.02, trouble: Trouble::Status { status: 500, retry_after: None } }],
        ..ProviderModel::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn learning_from_a_known_model_gives_it_back(
        p50 in 50_u64..2000, tail in 1.5_f64..6.0,
        token in 2_u64..40, token_tail in 1.2_f64..3.0,
        share in 0.0_f64..0.2, kind in 0..5_usize,
    ) {
        let trouble = [
            Trouble::Status { status: 429, retry_after: None },
            Trouble::Refuse,
            Trouble::Reset,
            Trouble::Hang,
            Trouble::Cut(None),
        ][kind];
        let model = ProviderModel {
            first_token: Distribution::LogNormal { p50: ms(p50), p99: ms(p50).mul_f64(tail) },
            per_token: Distribution::LogNormal { p50: ms(token), p99: ms(token).mul_f64(token_tail) },
            errors: vec![ErrorShare { share, trouble }],
            ..usual()
        };
        let (found, fit) = learnt(&rows(model.clone(), 4000, ms(2500), true));
        for (rank, within) in [(0.25, 0.1), (0.5, 0.1), (0.9, 0.15), (0.99, 0.25)] {
            prop_assert!(
                near(found.first_token.at(rank), model.first_token.at(rank), within),
                "first token at {}: {:?}, {:?}", rank, found.first_token.at(rank), model.first_token.at(rank)
            );
            prop_assert!(
                near(found.per_token.at(rank), model.per_token.at(rank), within),
                "per token at {}: {:?}, {:?}", rank, found.per_token.at(rank), model.per_token.at(rank)
            );
        }
        // Cuts before the first event are resets.
        let sum: f64 = found.errors.iter().map(|error| error.share).sum();
        prop_assert!((sum - share).abs() < 4.0 * (share / 4000.0).sqrt() + 0.003, "{sum} instead of {share}");
        let main = found.errors.iter().max_by(|left, right| left.share.total_cmp(&right.share));
        prop_assert!(share < 0.01 || main.is_some_and(|main| main.trouble == trouble), "{main:?}");
        prop_assert_eq!((found.outages.len(), found.brownouts.len()), (0, 0), "{:?}", found);
        prop_assert_eq!((found.requests_per_minute, found.tokens_per_minute), (None, None));
        prop_assert_eq!(&*fit.whole.verdict, "good", "{}", fit);
    }
}

/// Five of fifty calls of one window fail by chance once in a few hundred hours of calls.
#[test]
fn a_few_failures_together_are_chance() {
    for share in [0.011_094_806_991_239_185, 0.005, 0.02] {
        let model = ProviderModel {
            first_token: Distribution::LogNormal { p50: ms(50), p99: ms(75) },
            per_token: Distribution::LogNormal { p50: ms(2), p99: ms(2).mul_f64(1.2) },
            errors: vec![ErrorShare { share, trouble: Trouble::Status { status: 429, retry_after: None } }],
            ..usual()
        };
        let (found, _) = learnt(&rows(model, 4000, ms(2500), true));
        assert_eq!((found.outages.len(), found.brownouts.len()), (0, 0), "{share}: {found:?}");
    }
}

#[test]
fn plain_answers_alone_are_explained_as_a_whole() {
    let (found, fit) = learnt(&rows(usual(), 4000, ms(2500), false));
    assert!(fit.whole.verdict == "good" && fit.whole.took.count > 3800, "{fit}");
    // One token more takes about its median.
    assert!(near(found.per_token.at(0.5), ms(10), 0.25), "{:?}", found.per_token);
}

#[test]
fn an_outage_is_found_with_its_kind_and_its_ends() {
    let minute = ms(60_000);
    for trouble in [Trouble::Refuse, Trouble::Status { status: 503, retry_after: None }, Trouble::Reset] {
        let window = Window::Once { from: minute * 47 + ms(20_000), to: minute * 57 };
        let model = ProviderModel { outages: vec![Outage { window, trouble, instance: None }], ..usual() };
        // Six a minute, for three hours.
        let (found, fit) = learnt(&rows(model, 1080, ms(10_000), true));
        assert_eq!((found.outages.len(), found.brownouts.len()), (1, 0), "{found:?}");
        let Window::Once { from, to } = found.outages[0].window else { panic!("{found:?}") };
        // To an attempt.
        assert!(from.abs_diff(minute * 47 + ms(20_000)) <= ms(31_000), "{from:?}");
        assert!(to.abs_diff(minute * 57) <= ms(31_000), "{to:?}");
        assert_eq!(found.outages[0].trouble, trouble);
        // The outage's failures are no share of all times.
        let usual: f64 = found.errors.iter().map(|error| error.share).sum();
        assert!(usual < 0.04, "{:?}", found.errors);
        assert!(fit.remarks.iter().any(|remark| remark == "1 outage found"), "{fit}");
    }
}

#[test]
fn a_brownout_is_found_with_its_factor_and_its_errors() {
    let minute = ms(60_000);
    let brownout = Brownout {
        window: Window::Once { from: minute * 60, to: minute * 100 },
        latency: 3.0,
        errors: vec![ErrorShare { share: 0.3, trouble: Trouble::Status { status: 503, retry_after: None } }],
        capacity: None,
    };
    let (found, fit) = learnt(&rows(ProviderModel { brownouts: vec![brownout], ..usual() }, 5400, ms(2000), true));
    assert_eq!((found.outages.len(), found.brownouts.len()), (0, 1), "{found:?}");
    let Window::Once { from, to } = found.brownouts[0].window else { panic!("{found:?}") };
    assert!(from.abs_diff(minute * 60) <= minute * 2 && to.abs_diff(minute * 100) <= minute * 2, "{from:?} {to:?}");
    assert!((2.4..3.6).contains(&found.brownouts[0].latency), "{found:?}");
    let errors = &found.brownouts[0].errors;
    assert!(errors.len() == 1 && (0.24..0.36).contains(&errors[0].share), "{errors:?}");
    assert!(near(found.first_token.at(0.5), ms(400), 0.1), "{:?}", found.first_token);
    assert_eq!(fit.whole.verdict, "good", "{fit}");
    assert!(fit.hours.len() == 4 && fit.hours.iter().all(|hour| !hour.verdict.starts_with("poor")), "{fit}");
}

#[test]
fn four_hundred_twenty_nines_by_chance_are_no_rate_limit() {
    for share in [0.015, 0.1, 0.3] {
        let errors = vec![ErrorShare { share, trouble: Trouble::Status { status: 429, retry_after: None } }];
        let (found, fit) = learnt(&rows(ProviderModel { errors, ..usual() }, 3000, ms(2500), true));
        assert_eq!((found.requests_per_minute, found.tokens_per_minute), (None, None), "{share}: {fit}");
        assert!((found.errors[0].share - share).abs() < 0.04, "{found:?}");
    }
}

#[test]
fn a_rate_limit_is_found_where_its_429s_are_clear() {
    let model = ProviderModel { requests_per_minute: Some(60), ..usual() };
    let (found, fit) = learnt(&rows(model, 5400, ms(667), true));
    let limit = found.requests_per_minute.unwrap_or_else(|| panic!("{fit}"));
    assert!((54..=63).contains(&limit), "{limit}");
    assert!(found.errors.iter().all(|error| !matches!(error.trouble, Trouble::Status { status: 429, .. })));
}

#[test]
fn a_trace_with_little_in_it_says_so() {
    let learn = |rows: &[RecordedCall]| {
        let mut learner = Learner::new(1);
        rows.iter().for_each(|row| learner.note(row));
        learner.finish()
    };
    assert_eq!(learn(&[]).unwrap_err(), "nothing to learn from: the trace has no calls");
    let told = learn(&[RecordedCall::default(), RecordedCall::default()]).unwrap_err();
    assert!(told.starts_with("nothing to learn from: none of the 2 calls of the trace has an attempt"), "{told}");
    let (model, fit) = learnt(&rows(usual(), 3, ms(1000), true));
    assert_eq!(fit.whole.verdict, "poor: 3 attempts only");
    assert!(model.first_token.at(1.0) > Duration::ZERO);
    // One that never answers.
    let down = ErrorShare { share: 1.0, trouble: Trouble::Refuse };
    let (model, fit) = learnt(&rows(ProviderModel { errors: vec![down], ..usual() }, 100, ms(10_000), true));
    assert_eq!(model.first_token, super::usual().first_token, "{fit}");
    assert!(fit.remarks[0].starts_with("no answer at all"), "{fit}");
}

#[test]
fn the_same_rows_give_the_same_world_and_table() {
    let rows = rows(usual(), 500, ms(5000), true);
    let learn = || {
        let mut learner = Learner::new(7);
        rows.iter().for_each(|row| learner.note(row));
        learner.finish().unwrap()
    };
    let (one, other) = (learn(), learn());
    assert_eq!((&one.toml, one.fit.to_string()), (&other.toml, other.fit.to_string()));
    assert!(one.toml.starts_with("# Learnt from 500 calls that began at 2026-03-02T08:10:00Z.\n"), "{}", one.toml);
    let table = one.fit.to_string();
    assert!(table.lines().next().unwrap().starts_with("openai: 500 attempts; good"), "{table}");
    assert!(table.contains("2026-03-02 08:00"), "{table}");
    assert!(serde_json::to_string(&one.fit).unwrap().contains("\"verdict\":\"good\""));
}
