//! The same world twice: honest callers in front of healthy providers, with and without hostile callers beside them. No caller's
//! own doing changes what another gets, and nobody refuses what healthy providers would answer.
//!
//! The providers trip over some requests of hostile callers, and over nobody else's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Behaviour, FaultKind, Simulation};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::kind::{Kind, Streamed};
use crate::play::{Visit, call};

/// By how much later an answer may end because others call too.
const GRACE: Duration = Duration::from_millis(100);

/// How long a world lasts, in milliseconds.
const LASTS: u64 = 20_000;

/// A call that is planned.
#[derive(Clone)]
struct Planned {
    at: u64,
    tenant: String,
    question: String,
    body: String,
    is_stream: bool,
    patience: Option<u64>,
    leaves: Option<u64>,
    slowness: u64,
}

/// What an honest caller got.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    status: u16,
    text: String,
    took: Duration,
}

/// What came of a world.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Honest calls, all of which were answered.
    pub(crate) honest: usize,
    /// Hostile calls that were answered, refused, and that left.
    pub(crate) answered: usize,
    pub(crate) refused: usize,
    pub(crate) left: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.honest += other.honest;
        self.answered += other.answered;
        self.refused += other.refused;
        self.left += other.left;
    }
}

/// Plays the world of a seed twice, and returns what went wrong.
pub(crate) fn play(seed: u64) -> (Vec<String>, Tally) {
    let dice = Dice::new(seed);
    let (config, behaviour) = (settings(&dice), behaviour(&dice));
    let honest = honest(&dice);
    let hostile: Vec<_> = (0..dice.between(1, 4)).flat_map(|caller| enemy(&dice, caller, &honest)).collect();
    let alone = run(seed, &config, &behaviour, &honest, &[]).0;
    let (beside, mut tally) = run(seed, &config, &behaviour, &honest, &hostile);
    tally.honest = honest.len();
    let world = || format!("    {}    {}", serde_json::to_string(&behaviour).unwrap(), config.replace('\n', "; "));
    let mut problems = Vec::new();
    for ((planned, alone), beside) in honest.iter().zip(&alone).zip(&beside) {
        let whose = format!("{} at {} ms", planned.body, planned.at);
        let expected = format!("(simulated) answers: {}", planned.question);
        if alone.status != 200 || !alone.text.ends_with(&expected) {
            problems.push(format!("all is well, and {whose} gets {alone:?}\n{}", world()));
        } else if (alone.status, &alone.text) != (beside.status, &beside.text) {
            problems.push(format!("beside hostile callers {whose} gets {beside:?}, not {alone:?}\n{}", world()));
        } else if beside.took > alone.took + GRACE {
            problems.push(format!(
                "beside hostile callers {whose} takes {:?}, not {:?}\n{}",
                beside.took,
                alone.took,
                world()
            ));
        }
    }
    (problems, tally)
}

fn settings(dice: &Dice) -> String {
    let cache = if dice.is(0.3) { "[cache]\nenabled = true\n" } else { "" };
    let resume = if dice.is(0.3) { "resume = \"replay+continue\"\n" } else { "" };
    format!("[limits]\nenabled = false\n{cache}[route.openai-chat]\n{resume}")
}

/// Healthy, but for requests that a provider trips over.
fn behaviour(dice: &Dice) -> Behaviour {
    let fault = *dice.pick(&[
        FaultKind::Status,
        FaultKind::Status,
        FaultKind::Status,
        FaultKind::Cut,
        FaultKind::EarlyEnd,
        FaultKind::Garbage,
        FaultKind::ErrorInBody,
    ]);
    Behaviour {
        latency_ms: *dice.pick(&[20, 300, 2_000]),
        gap_ms: *dice.pick(&[0, 50, 300]),
        fault,
        status: *dice.pick(&[400, 422, 429, 429, 500, 500]),
        retry_after: dice.maybe(0.4, |dice| dice.between(1, 90)),
        only: Some("poison".into()),
        ..Behaviour::default()
    }
}

fn body(model: &str, question: &str, is_stream: bool, choices: Option<u64>) -> String {
    let mut body = json!({"model": model, "stream": is_stream, "messages": [{"role": "user", "content": question}]});
    if let Some(choices) = choices {
        body["n"] = choices.into();
    }
    body.to_string()
}

/// Callers that ask one thing after the other, and some many at once.
fn honest(dice: &Dice) -> Vec<Planned> {
    let mut calls = Vec::new();
    for caller in 0..dice.between(2, 4) {
        let tenant = format!("honest{caller}");
        let model = *dice.pick(&["gpt-4", "gpt-4o", "meta-llama/Llama-3-70b-chat-hf"]);
        let mut at = dice.between(0, 3_000);
        while at < LASTS {
            for _ in 0..*dice.pick(&[1, 1, 1, 12]) {
                let question = format!("question {}", calls.len());
                let is_stream = dice.is(0.5);
                let body = body(model, &question, is_stream, None);
                let tenant = tenant.clone();
                calls.push(Planned {
                    at,
                    tenant,
                    question,
                    body,
                    is_stream,
                    patience: None,
                    leaves: None,
                    slowness: 0,
                });
            }
            at += dice.between(500, 9_000);
        }
    }
    calls
}

/// What one hostile caller does.
fn enemy(dice: &Dice, caller: u64, honest: &[Planned]) -> Vec<Planned> {
    // One of them is refused by providers: two that are refused in the same moment are a sign of the provider's load.
    let kind = *dice.pick(if caller == 0 { &[0, 1, 2, 3, 4, 5, 6] } else { &[0, 1, 0, 1, 4, 5, 6] });
    let count = if kind == 5 && dice.is(0.2) { 400 } else { dice.between(15, 30) };
    let pace = *dice.pick(&[0, 20, LASTS / count]);
    let begins = dice.between(0, 5_000);
    let plan = |number: u64| {
        let (mut patience, mut leaves, mut slowness) = (None, None, 0);
        let (mut model, mut question, mut choices) = ("gpt-4o".to_owned(), format!("mine {number}"), None);
        let mut tenant = format!("hostile{caller}");
        let (mut at, mut is_stream) = (begins + number * pace, dice.is(0.7));
        match kind {
            0 => patience = Some(dice.between(1, 50)),
            1 => leaves = Some(dice.between(0, 500)),
            // The same request again and again.
            2 | 3 => (question, is_stream) = (format!("poison of {caller}"), caller.is_multiple_of(2)),
            4 => choices = Some(128),
            5 => model = format!("made-up-{caller}-{number}x"),
            _ => slowness = 5_000,
        }
        if kind < 2 && dice.is(0.3) {
            // What an honest caller of the same tenant asks in the same moment, too.
            let other = dice.pick(honest);
            (tenant, question, at, is_stream) =
                (other.tenant.clone(), other.question.clone(), other.at, other.is_stream);
            let body = other.body.clone();
            return Planned { at, tenant, question, body, is_stream, patience, leaves, slowness };
        }
        let body = body(&model, &question, is_stream, choices);
        Planned { at, tenant, question, body, is_stream, patience, leaves, slowness }
    };
    (0..count).map(plan).collect()
}

fn run(seed: u64, config: &str, behaviour: &Behaviour, honest: &[Planned], hostile: &[Planned]) -> (Vec<Got>, Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run_in_runtime(seed, config, behaviour, honest, hostile))
}

async fn run_in_runtime(
    seed: u64,
    config: &str,
    behaviour: &Behaviour,
    honest: &[Planned],
    hostile: &[Planned],
) -> (Vec<Got>, Tally) {
    let keys = ["TOGETHER_API_KEY", "OPENAI_API_KEY"].map(|name| (name.to_owned(), "sk-key".to_owned()));
    let variables = Variables::new(keys.into(), [].into());
    let plan = config::load(Some(("soak", config)), &variables).unwrap_or_else(|wrong| panic!("{wrong}\n{config}"));
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
    for name in ["together", "openai"] {
        simulation.find(name).unwrap().behave(behaviour.clone());
    }
    let start = Instant::now();
    let mut calling = tokio::task::JoinSet::new();
    for (number, planned) in hostile.iter().chain(honest).cloned().enumerate() {
        let gateway = gateway.clone();
        calling.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(planned.at)).await;
            (number, planned.is_stream, call(&gateway, planned.visit()).await)
        });
    }
    let (mut got, mut tally) = (vec![None; honest.len()], Tally::default());
    while let Some(ended) = calling.join_next().await {
        let (number, is_stream, answered) = ended.unwrap();
        let body = String::from_utf8_lossy(&answered.body).into_owned();
        if let Some(index) = number.checked_sub(hostile.len()) {
            let text = match (answered.status, is_stream) {
                (200, true) => {
                    Some(Streamed::read(Kind::ChatStream, &body)).filter(|it| it.is_done).map_or(body, |it| it.text)
                }
                (200, false) => Kind::Chat.gist(&body).unwrap_or(body),
                _ => body,
            };
            got[index] = Some(Got { status: answered.status, text, took: answered.ended - answered.began });
        } else if answered.has_left {
            tally.left += 1;
        } else if answered.status == 200 {
            tally.answered += 1;
        } else {
            tally.refused += 1;
        }
    }
    (got.into_iter().flatten().collect(), tally)
}

impl Planned {
    fn visit(&self) -> Visit {
        let mut request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-restaurant-id", &self.tenant);
        if let Some(patience) = self.patience {
            request = request.header("x-request-timeout-ms", patience);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).unwrap();
        Visit { request, patience: self.patience, leaves: self.leaves, slowness: self.slowness }
    }
}
