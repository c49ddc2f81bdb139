//! The script of one world: its configuration, how its providers behave and when that changes, and who calls when. All of
//! it is drawn from the seed.

use std::collections::BTreeMap;
use std::fmt::Write;

use tidegate::provider::simulated::{Behaviour, FaultKind, Flap, OverCapacity};

use crate::dice::Dice;
use crate::kind::Kind;

/// A virtual hour, in milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;

/// From when all is well again until every breaker is at least half-open: twice the longest that one stays open.
const NOTICED: u64 = 600_000;

/// The time between two calls that must be answered: a breaker that has just seen its last probe trusts the next of them.
const APART: u64 = 10_000;

/// The longest wait before a retry that any of these worlds allows.
pub(crate) const LONGEST_RETRY_WAIT: u64 = 2_000;

/// The simulated providers.
pub(crate) const PROVIDERS: [&str; 3] = ["buildpanel", "together", "openai"];

/// The name under which some of them answer, so that a broken answer can be resumed.
const HOUSE: &str = "the house";

/// Everything that will happen to the gateway.
pub(crate) struct Script {
    pub(crate) config: String,
    pub(crate) changes: Vec<Change>,
    pub(crate) calls: Vec<Planned>,
}

/// A provider behaves differently from now on.
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) provider: &'static str,
    pub(crate) behaviour: Behaviour,
}

/// A call, and who makes it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) number: usize,
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    pub(crate) model: &'static str,
    pub(crate) question: String,
    /// How long the caller says that it waits, in milliseconds.
    pub(crate) patience: Option<u64>,
    /// When the caller leaves without a word, in milliseconds.
    pub(crate) leaves: Option<u64>,
    /// How long the caller takes to read each piece, in milliseconds.
    pub(crate) slowness: u64,
    /// There is no excuse for not answering it.
    pub(crate) is_owed: bool,
}

impl Planned {
    /// The word by which the call's own requests are known at the providers.
    pub(crate) fn mark(&self) -> String {
        format!("mark{}mark", self.number)
    }
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let config = config(&dice);
        let mut changes = Vec::new();
        for provider in PROVIDERS {
            let calm = *dice.pick(&[0.2, 0.6, 0.9]);
            for turn in 0..dice.between(4, 30) {
                let at = if turn == 0 { 0 } else { dice.between(0, HOUR) };
                changes.push(Change { at, provider, behaviour: behaviour(&dice, calm) });
            }
        }
        changes.sort_by_key(|change| change.at);
        // When all is well again, and breakers have had the time to notice, every kind of call must be answered.
        let healed = HOUR + 60_000;
        let heal = |provider| Change { at: healed, provider, behaviour: Behaviour::default() };
        let mut times: Vec<u64> = (0..dice.between(50, 200)).map(|_| dice.between(0, HOUR)).collect();
        for _ in 0..dice.between(1, 5) {
            // A burst: what budgets, breakers and limits are for. Often just after something has changed.
            let start = if dice.is(0.5) { dice.between(0, HOUR) } else { dice.pick(&changes).at };
            let length = *dice.pick(&[100, 2_000, 20_000]);
            times.extend((0..dice.between(10, 80)).map(|_| start + dice.between(0, length)));
        }
        times.sort_unstable();
        // In some worlds most callers want the same: what is learnt from many alike is learnt there.
        let fashion = dice.maybe(0.4, |dice| (*dice.pick(Kind::ALL), planned(dice, 0, 0).model));
        let follow = |planned: Planned| match fashion {
            Some((kind, model)) if dice.is(0.8) => Planned { kind, model, ..planned },
            _ => planned,
        };
        let mut calls: Vec<_> =
            times.into_iter().enumerate().map(|(number, at)| follow(planned(&dice, number, at))).collect();
        changes.extend(PROVIDERS.map(heal));
        for (turn, kind) in (0..).zip(Kind::ALL) {
            let at = healed + NOTICED + turn * APART;
            let ordinary = planned(&dice, calls.len(), at);
            calls.push(Planned { kind: *kind, is_owed: true, patience: None, leaves: None, slowness: 0, ..ordinary });
        }
        Self { config, changes, calls }
    }

    /// How each provider behaved at a time, for a report.
    pub(crate) fn behaviours(&self, at: u64) -> BTreeMap<&'static str, &Behaviour> {
        self.changes
            .iter()
            .filter(|change| change.at <= at)
            .map(|change| (change.provider, &change.behaviour))
            .collect()
    }

    /// True when a provider ever shows one of these faults.
    pub(crate) fn has(&self, faults: &[FaultKind]) -> bool {
        self.changes.iter().any(|change| faults.contains(&change.behaviour.fault))
    }

    /// The names under which answers may come.
    pub(crate) fn voices() -> impl Iterator<Item = &'static str> {
        PROVIDERS.into_iter().chain([HOUSE])
    }
}

fn config(dice: &Dice) -> String {
    let mut config = format!("attempts = {}\n", dice.between(1, 8));
    let mut add = |line: String| writeln!(config, "{line}").unwrap();
    add("[retry]".into());
    add(format!("max_attempts = {}", dice.between(1, 4)));
    add(format!("max_wait = \"{}ms\"", dice.between(100, LONGEST_RETRY_WAIT)));
    add(format!("budget = {}", dice.pick(&["0.0", "0.1", "0.2", "0.5"])));
    add(format!("budget_floor = {}", dice.between(0, 10)));
    add("[breaker]".into());
    add(format!("consecutive = {}", dice.pick(&[2, 5, 1000])));
    add(format!("open_for = \"{}s\"", dice.between(1, 30)));
    add(format!("probes = {}", dice.between(1, 4)));
    add("[concurrency]".into());
    add(format!("initial = {}", dice.pick(&[2, 10, 200])));
    add("min = 1".into());
    add(format!("queue = {}", dice.pick(&[1, 10, 200])));
    add(format!("max_wait = \"{}ms\"", dice.between(1, 2_000)));
    add("[timeout]".into());
    add(format!("connect = \"{}ms\"", dice.between(100, 3_000)));
    add(format!("first_byte = \"{}ms\"", dice.between(500, 30_000)));
    add(format!("first_token = \"{}ms\"", dice.between(500, 10_000)));
    add(format!("idle = \"{}ms\"", dice.between(500, 15_000)));
    add(format!("total = \"{}ms\"", dice.between(5_000, 120_000)));
    add("[patience]".into());
    add(format!("enabled = {}", dice.is(0.9)));
    add(format!("first = \"{}ms\"", dice.between(200, 12_000)));
    add(format!("whole = \"{}ms\"", dice.between(200, 60_000)));
    add(format!("silence = \"{}ms\"", dice.between(200, 15_000)));
    for route in ["openai-chat", "canvas-chat", "restaurant-chat", "widget-chat"] {
        add(format!("[route.{route}]"));
        add(format!("hedge = \"{}\"", dice.pick(&["off", "off", "p90", "p99"])));
        match (dice.between(0, 9), continuing_targets(route)) {
            (0..=1, _) => add("resume = \"off\"".into()),
            (2..=4, Some(targets)) => add(format!("resume = \"replay+continue\"\ntargets = [{targets}]")),
            _ => {}
        }
    }
    // All questions differ: what is kept answers nobody, and must not be noticed.
    add(format!("[cache]\nenabled = {}", dice.is(0.5)));
    for route in ["openai-chat", "openai-completions", "openai-responses"] {
        add(format!("[route.{route}.cache]\nwhen = \"always\""));
    }
    config
}

/// The targets of a route that streams text, where the second can go on from what the first began.
fn continuing_targets(route: &str) -> Option<&'static str> {
    match route {
        "openai-chat" => {
            Some(r#""together", { provider = "openai", model_map = "together-to-openai", continues = true }"#)
        }
        "widget-chat" => {
            Some(r#""openai", { provider = "together", model_map = "openai-to-together", continues = true }"#)
        }
        _ => None,
    }
}

fn behaviour(dice: &Dice, calm: f64) -> Behaviour {
    use FaultKind::{
        Blackhole, Cut, EarlyEnd, ErrorInBody, Garbage, Hang, NoDone, Redirect, Refuse, Reset, Stall, Status,
    };
    const FAULTS: &[FaultKind] = &[
        Refuse,
        Blackhole,
        Hang,
        Reset,
        Status,
        Status,
        Status,
        ErrorInBody,
        Cut,
        Cut,
        EarlyEnd,
        Stall,
        Garbage,
        NoDone,
        Redirect,
    ];
    let mut behaviour = Behaviour {
        speaks: dice.maybe(0.5, |_| HOUSE.to_owned()),
        latency_ms: *dice.pick(&[0, 0, 20, 300, 3_000]),
        first_token_ms: *dice.pick(&[0, 0, 50, 2_000, 12_000]),
        gap_ms: *dice.pick(&[0, 0, 10, 200, 1_500]),
        capacity: dice.maybe(0.1, |dice| dice.between(1, 5) as usize),
        over_capacity: *dice.pick(&[OverCapacity::Refuse, OverCapacity::Slow]),
        ..Behaviour::default()
    };
    if dice.is(0.3) {
        let p50 = dice.between(1, 2_000);
        (behaviour.latency_ms, behaviour.latency_p50_ms) = (0, Some(p50));
        behaviour.latency_p99_ms = Some(p50 * dice.between(1, 20));
    }
    if dice.is(calm) {
        return behaviour;
    }
    behaviour.fault = *dice.pick(FAULTS);
    behaviour.status = *dice.pick(&[400, 401, 403, 404, 408, 422, 429, 429, 500, 502, 503, 503, 529]);
    behaviour.retry_after = dice.maybe(0.5, |dice| *dice.pick(&[0, 1, 2, 9, 86_400]));
    behaviour.after_events = dice.between(0, 14) as usize;
    behaviour.times = dice.maybe(0.2, |dice| dice.between(1, 20) as u32);
    behaviour.error_rate = *dice.pick(&[1.0, 1.0, 0.5, 0.2, 0.05]);
    behaviour.flap =
        dice.maybe(0.2, |dice| Flap { up_ms: dice.between(100, 20_000), down_ms: dice.between(100, 20_000) });
    if dice.is(0.1) {
        let name = *dice.pick(&["retry-after-ms", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"]);
        behaviour.headers.insert(name.into(), (*dice.pick(&["700", "2s", "1m30s", "nonsense"])).into());
    }
    behaviour
}

fn planned(dice: &Dice, number: usize, at: u64) -> Planned {
    const MODELS: &[&str] = &["gpt-4", "gpt-3.5-turbo", "meta-llama/Llama-3-70b-chat-hf", "some-model"];
    let mut question = format!("mark{number}mark");
    for word in 0..dice.between(0, 12) {
        write!(question, " {}{word}", dice.pick(&["tide", "gate", "coffee", "æøå", "☕"])).unwrap();
    }
    Planned {
        number,
        at,
        kind: *dice.pick(Kind::ALL),
        model: dice.pick::<&'static str>(MODELS),
        question,
        patience: dice.maybe(0.15, |dice| dice.between(1, 20_000)),
        leaves: dice.maybe(0.15, |dice| *dice.pick(&[0, 1, 30, 500, 5_000, 30_000])),
        slowness: dice.maybe(0.1, |dice| dice.between(1, 3_000)).unwrap_or(0),
        is_owed: false,
    }
}
