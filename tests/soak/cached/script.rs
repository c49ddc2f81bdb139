//! The script of a world that keeps answers, drawn from the seed.

use std::fmt::Write;

use tidegate::provider::simulated::{Behaviour, FaultKind};

use crate::dice::Dice;
use crate::kind::Kind;
use crate::play::Visit;
use crate::script::{Change, PROVIDERS};

/// The length of a world, in milliseconds.
const LENGTH: u64 = 90_000;

/// How long every call may take, in milliseconds.
pub(crate) const TOTAL: u64 = 8_000;

/// How late the providers of a calm world are.
pub(crate) const CALM_LATENCY: u64 = 700;

/// What callers say of kept answers.
const WISHES: &[Option<&str>] = &[
    None,
    None,
    None,
    None,
    None,
    Some("no-cache"),
    Some("no-store"),
    Some("max-age=0"),
    Some("max-age=3"),
    Some("only-if-cached"),
];

/// Everything that will happen.
pub(crate) struct Script {
    pub(crate) config: String,
    pub(crate) changes: Vec<Change>,
    /// When operators purge, and what they send.
    pub(crate) purges: Vec<(u64, String)>,
    pub(crate) calls: Vec<Asked>,
    /// When each voice begins to speak.
    pub(crate) voices: Vec<u64>,
    /// How old an answer may be, in milliseconds: fresh, while it is renewed, and when there is no other.
    pub(crate) ttl: u64,
    pub(crate) renewable: u64,
    pub(crate) spare: u64,
    /// Nothing fails, nobody leaves, nobody wishes anything: here it can be counted how often providers are asked.
    pub(crate) is_calm: bool,
}

/// A call, and who makes it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    pub(crate) tenant: u64,
    pub(crate) user: u64,
    pub(crate) question: String,
    pub(crate) wish: Option<&'static str>,
    patience: Option<u64>,
    leaves: Option<u64>,
    slowness: u64,
}

impl Asked {
    pub(crate) fn tenant(&self) -> String {
        format!("t{}", self.tenant)
    }

    /// Who asks, as OpenAI-compatible providers see it.
    pub(crate) fn agent(&self) -> String {
        format!("t{} u{} n{}", self.tenant, self.user, self.number)
    }

    pub(crate) fn visit(&self) -> Visit {
        let mut request = self.kind.request("nobody", "gpt-4", &self.question, self.patience);
        let headers = request.headers_mut();
        headers.insert("user-agent", self.agent().parse().unwrap());
        headers.insert("x-restaurant-id", self.tenant().parse().unwrap());
        headers.insert("x-user-id", format!("u{}", self.user).parse().unwrap());
        if let Some(wish) = self.wish {
            headers.insert("cache-control", wish.parse().unwrap());
        }
        Visit { request, patience: self.patience, leaves: self.leaves, slowness: self.slowness }
    }
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        // Other worlds than those of the same seed that keep nothing.
        let dice = Dice::new(seed ^ 0x00CA_C4ED);
        let is_calm = dice.is(0.3);
        let (ttl, renewable, spare) = (
            dice.between(1, 20) * 1000,
            dice.between(0, 1) * dice.between(0, 15_000),
            dice.between(0, 1) * dice.between(0, 40_000),
        );
        let config = config(&dice, [ttl, renewable, spare], is_calm);
        let mut voices = vec![0];
        while voices.last().is_some_and(|last| *last < LENGTH + 60_000) {
            let last = *voices.last().unwrap();
            voices.push(last + dice.between(20, 900));
        }
        let mut changes = Vec::new();
        for provider in PROVIDERS.into_iter().filter(|provider| *provider != "together") {
            let mut base = Behaviour { latency_ms: CALM_LATENCY, ..Behaviour::default() };
            for (number, at) in voices.iter().enumerate() {
                if !is_calm && dice.is(0.1) {
                    base = behaviour(&dice);
                }
                let behaviour = Behaviour { speaks: Some(format!("v{number}")), ..base.clone() };
                changes.push(Change { at: *at, provider, behaviour });
            }
        }
        let times = if is_calm { 0 } else { dice.between(0, 6) };
        let purges = (0..times).map(|_| (dice.between(0, LENGTH), purge(&dice))).collect();
        let mut times: Vec<u64> = (0..dice.between(30, 80)).map(|_| dice.between(0, LENGTH)).collect();
        for _ in 0..dice.between(2, 8) {
            let (start, length) = (dice.between(0, LENGTH), *dice.pick(&[0, 50, 1_000, 5_000]));
            times.extend((0..dice.between(5, 40)).map(|_| start + dice.between(0, length)));
        }
        times.sort_unstable();
        let calls = times.into_iter().enumerate().map(|(number, at)| asked(&dice, number, at, is_calm)).collect();
        Self { config, changes, purges, calls, voices, ttl, renewable, spare, is_calm }
    }
}

fn config(dice: &Dice, [ttl, renewable, spare]: [u64; 3], is_calm: bool) -> String {
    let mut config = String::new();
    let mut add = |line: String| writeln!(config, "{line}").unwrap();
    add("[cache]\nenabled = true\nwhen = \"always\"\nmax_bytes = \"1MiB\"".into());
    add(format!("ttl = \"{ttl}ms\"\nstale_while_revalidate = \"{renewable}ms\"\nstale_if_error = \"{spare}ms\""));
    add(format!("max_entry = \"{}B\"", if is_calm { 131_072 } else { *dice.pick(&[400, 1_500, 131_072]) }));
    add(format!("[timeout]\ntotal = \"{TOTAL}ms\"\nfirst_byte = \"{}ms\"", dice.between(1_000, 6_000)));
    add(format!("idle = \"{}ms\"\nfirst_token = \"{}ms\"", dice.between(1_000, 4_000), dice.between(1_000, 4_000)));
    for route in ["openai-chat", "openai-completions", "openai-responses"] {
        add(format!("[route.{route}.cache]\nwhen = \"always\""));
    }
    // Only BuildPanel sees who asks there.
    add("[route.restaurant-chat]\ntargets = [\"buildpanel\"]".into());
    if is_calm {
        // A breaker that opens would answer for the provider.
        add("[breaker]\nmin_calls = 1000\nconsecutive = 1000".into());
    }
    config
}

fn purge(dice: &Dice) -> String {
    match dice.between(0, 2) {
        0 => r#"{"all":true}"#.into(),
        1 => r#"{"route":"openai-chat"}"#.into(),
        _ => format!(r#"{{"tenant":"t{}"}}"#, dice.between(0, 1)),
    }
}

fn behaviour(dice: &Dice) -> Behaviour {
    use FaultKind::{Cut, EarlyEnd, ErrorInBody, Garbage, Hang, NoDone, Refuse, Reset, Stall, Status};
    const FAULTS: &[FaultKind] =
        &[Refuse, Hang, Reset, Status, ErrorInBody, Cut, Cut, EarlyEnd, Stall, Garbage, NoDone];
    let mut behaviour = Behaviour {
        latency_ms: *dice.pick(&[0, 0, 20, 300, 2_000]),
        first_token_ms: *dice.pick(&[0, 0, 100, 1_500]),
        gap_ms: *dice.pick(&[0, 10, 100, 400]),
        ..Behaviour::default()
    };
    if dice.is(0.5) {
        behaviour.fault = *dice.pick(FAULTS);
        behaviour.status = *dice.pick(&[400, 429, 500, 503]);
        behaviour.after_events = dice.between(0, 8) as usize;
        behaviour.error_rate = *dice.pick(&[1.0, 0.5, 0.2]);
    }
    behaviour
}

fn asked(dice: &Dice, number: usize, at: u64, is_calm: bool) -> Asked {
    // In calm worlds each path has one form of answers: forms do not share a flight.
    let kinds: &[Kind] = match is_calm {
        true => &[Kind::ChatStream, Kind::Completion, Kind::Talk],
        false => &[
            Kind::Chat,
            Kind::ChatStream,
            Kind::ChatStream,
            Kind::Completion,
            Kind::CompletionStream,
            Kind::Response,
            Kind::ResponseStream,
            Kind::Talk,
        ],
    };
    let mut question = format!("q{}q", dice.between(0, 3));
    if question == "q0q" {
        question.push_str(&" and again".repeat(30));
    }
    let kind = *dice.pick(kinds);
    let (tenant, user) = (dice.between(0, 1), dice.between(0, 1));
    let asked =
        Asked { number, at, kind, tenant, user, question, wish: None, patience: None, leaves: None, slowness: 0 };
    if is_calm {
        return asked;
    }
    Asked {
        wish: *dice.pick(WISHES),
        patience: dice.maybe(0.1, |dice| dice.between(1, 5_000)),
        leaves: dice.maybe(0.2, |dice| *dice.pick(&[0, 1, 30, 400, 3_000])),
        slowness: dice.maybe(0.15, |dice| dice.between(1, 1_500)).unwrap_or(0),
        ..asked
    }
}
