//! Hostile callers against a hard budget: what is spent at providers is never more than the budget and one estimate for each
//! call at once, whatever requests say and whenever callers leave.
//!
//! What nobody waits for is taken to cost the most that its request allows: a provider may have gone on.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Behaviour, FaultKind, Simulation};

use crate::dice::Dice;
use crate::play::{Visit, call};

/// Tokens of answers that the budget reaches for.
const BUDGET: u64 = 10_000;

/// The most tokens of one call.
const MOST: u64 = 4_000;

/// The most tokens of an answer without a limit.
const OPEN: u64 = 1_500;

/// The providers that may be asked.
const PROVIDERS: [&str; 2] = ["together", "openai"];

/// What came of a world.
pub(crate) struct Spent {
    /// Tokens that providers may have written for callers that did not wait.
    pub(crate) tokens: u64,
    /// The most that they may have written.
    pub(crate) bound: u64,
    /// Calls that were refused because the budget was spent.
    pub(crate) refused: usize,
}

/// Who calls: one call after the other, each with a question of its own.
struct Hostile {
    number: u64,
    body: String,
    /// The most tokens that it may come to.
    most: u64,
    patience: Option<u64>,
    leaves: Option<u64>,
}

impl Hostile {
    fn new(dice: &Dice, number: u64) -> Self {
        let choices = *dice.pick(&[1, 1, 2, 8]);
        let limit = *dice.pick(&[1, 50, 500]);
        let mut most = choices * limit;
        let mut body =
            format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"mark{number}mark\"}}]");
        let mut add = |field: String| write!(body, ",{field}").unwrap();
        match dice.between(0, 7) {
            0 => add(format!("\"max_tokens\":{limit}")),
            1 => add(format!("\"max_tokens\":{limit}.0")),
            2 => add(format!("\"max_tokens\":\"{limit}\"")),
            3 => add(format!("\"max_completion_tokens\":1,\"max_tokens\":{limit}")),
            4 => add(format!("\"max_tokens\":1,\"max_completion_tokens\":{limit}e0")),
            5 => add(format!("\"max_output_tokens\":{limit}")),
            _ => {
                add((*dice.pick(&["\"max_tokens\":-1", "\"max_tokens\":null", "\"x\":1"])).to_owned());
                most = choices * OPEN;
            }
        }
        if most > MOST {
            most /= choices;
        } else if choices > 1 {
            add(if dice.is(0.5) { format!("\"n\":{choices}") } else { format!("\"n\":\"{choices}\"") });
        }
        if dice.is(0.3) {
            add("\"stream\":true".to_owned());
        }
        body.push('}');
        let patience = dice.maybe(0.5, |dice| dice.between(100, 900));
        let leaves = dice.maybe(if patience.is_none() { 1.0 } else { 0.3 }, |dice| dice.between(0, 1_200));
        Self { number, body, most, patience, leaves }
    }

    fn visit(&self) -> Visit {
        let mut request = Request::post("/v1/chat/completions").header("content-type", "application/json");
        if let Some(patience) = self.patience {
            request = request.header("x-request-timeout-ms", patience);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).unwrap();
        Visit { request, patience: self.patience, leaves: self.leaves, slowness: 0 }
    }
}

/// How a call ended.
struct Ended {
    number: u64,
    /// See [`Hostile::most`].
    most: u64,
    has_left: bool,
    status: u16,
}

/// Plays the world of a seed.
pub(crate) fn play(seed: u64) -> Spent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play_in_runtime(seed))
}

async fn play_in_runtime(seed: u64) -> Spent {
    let dice = Dice::new(seed);
    // A token of an answer is a millionth of a dollar; prompts cost nothing, as nobody can know them before.
    let config = format!(
        "[limits]\nenabled = false\n[cache]\nenabled = {}\n[price]\n\"*\" = {{ input = 0.0, output = 1.0, max_answer = {OPEN} }}\n\
         [budget.all]\nkey = [\"all\"]\namount = {}\nper = \"month\"\n[route.openai-chat]\nhedge = \"p90\"\n",
        dice.is(0.3),
        BUDGET as f64 / 1e6,
    );
    let keys = ["TOGETHER_API_KEY", "OPENAI_API_KEY"].map(|name| (name.to_owned(), "sk-key".to_owned()));
    let variables = Variables::new(keys.into(), BTreeMap::new());
    let plan = config::load(Some(("soak", &config)), &variables).unwrap_or_else(|wrong| panic!("{wrong}\n{config}"));
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
    for provider in PROVIDERS {
        let fault = *dice.pick(&[FaultKind::None, FaultKind::None, FaultKind::Hang]);
        let behaviour = Behaviour { latency_ms: dice.between(300, 3_000), gap_ms: 200, fault, ..Behaviour::default() };
        simulation.find(provider).unwrap().behave(behaviour);
    }
    let callers = dice.between(1, 8);
    let came: Arc<Mutex<Vec<Ended>>> = Arc::default();
    let mut calling = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let own: Vec<Hostile> = (0..40).map(|turn| Hostile::new(&dice, caller * 1_000 + turn)).collect();
        let (gateway, came) = (gateway.clone(), came.clone());
        calling.spawn(async move {
            for hostile in own {
                let answered = call(&gateway, hostile.visit()).await;
                let has_left = answered.has_left || answered.status == 504 || answered.is_aborted;
                let (number, most) = (hostile.number, hostile.most);
                came.lock().push(Ended { number, most, has_left, status: answered.status });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    calling.join_all().await;
    let came = came.lock();
    let gone: BTreeMap<u64, u64> =
        came.iter().filter(|call| call.has_left).map(|call| (call.number, call.most)).collect();
    let asked = PROVIDERS.into_iter().flat_map(|name| simulation.find(name).unwrap().requests());
    let number = |body: &[u8]| -> Option<u64> { String::from_utf8_lossy(body).split("mark").nth(1)?.parse().ok() };
    let tokens = asked.filter_map(|seen| gone.get(&number(&seen.body)?).copied()).sum();
    let most = came.iter().map(|call| call.most).collect::<BTreeSet<_>>().last().copied().unwrap_or(0);
    let refused = came.iter().filter(|call| call.status == 402).count();
    Spent { tokens, bound: BUDGET + callers * most, refused }
}
