//! A minute of calls in real time, over real sockets, to the program itself in front of modelled providers behind real sockets;
//! and the same minute simulated. Both say the same.
//!
//! Real times are those that the gateway has recorded. A machine that stands still for a moment shows in them, and not in the
//! simulation: where nothing but times differ, the minute is played once more, and that is said.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use tidegate::config::plan::Plan;
use tidegate::model::recorded::RecordedCall;
use tidegate::model::rng::SeededRng;
use tidegate::provider::simulated::Simulation;
use tidegate::provider::simulated::model::Models;
use tidegate::simulate::arrival::Arrival;
use tidegate::simulate::play::{self, Setup};
use tidegate::simulate::run::Candidate;
use tidegate::simulate::tally::{Calls, Sketch, Tally};
use tidegate::simulate::world::{self, FleetEvents};

use crate::program::{Folder, Program};
use crate::provider::Behind;
use crate::traffic::{self, Traffic};

const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const KEYS: [(&str, &str); 3] = [("TOGETHER_API_KEY", "k"), ("OPENAI_API_KEY", "k"), ("BUILDPANEL_API_KEY", "k")];
const PROVIDERS: [(&str, &str); 3] = [("buildpanel", ""), ("together", "/v1"), ("openai", "/v1")];
const SEED: u64 = 1;

/// Times without a long tail: a minute has few calls, and a percentile must not hang on one of them.
const TIMES: &str = "first_token = { min = \"150ms\", p50 = \"320ms\", max = \"520ms\" }\n\
                     per_token = { min = \"6ms\", p50 = \"9ms\", max = \"12ms\" }\n\
                     error_after = { min = \"20ms\", max = \"60ms\" }\n";

/// A minute to be played.
struct Minute {
    name: &'static str,
    /// What the configuration says beside where the providers are.
    config: &'static str,
    /// What the world file says beside usual times.
    world: &'static str,
    traffic: Traffic,
    /// What shows that the minute is about what its name says.
    is_telling: fn(&Tally) -> bool,
}

const MINUTES: [Minute; 3] = [
    Minute {
        name: "tight limits",
        config: "[limit.ai]\ndevelopment_rate = \"18/min\"\nburst = 5\n\
                 [limit.shops]\nkey = [\"tenant\"]\nrate = \"50/min\"\nburst = 10\n\
                 [route.openai-chat.cache]\nttl = \"0s\"\n[route.restaurant-chat.cache]\nttl = \"0s\"\n",
        world: "",
        traffic: Traffic { seed: 3, users: 10, questions: 200 },
        is_telling: |tally| tally.all.refused * 4 > tally.all.calls && tally.all.rules.iter().count() == 2,
    },
    Minute {
        name: "failing provider",
        config: "[limits]\nenabled = false\n[route.openai-chat.cache]\nttl = \"0s\"\n[route.restaurant-chat.cache]\nttl = \"0s\"\n",
        world: "[provider.together]\nerror = [{ share = 0.06, kind = \"status\", status = 500 },\n\
                { share = 0.04, kind = \"status\", status = 429, retry_after = \"1s\" },\n\
                { share = 0.05, kind = \"cut\", at = 0.5 }, { share = 0.04, kind = \"reset\" }]\n\
                [[provider.together.outage]]\nfrom = \"20s\"\nfor = \"12s\"\nkind = \"status\"\nstatus = 503\n\
                [provider.buildpanel]\nerror = [{ share = 0.1, kind = \"status\", status = 500 }]\n",
        traffic: Traffic { seed: 5, users: 40, questions: 400 },
        is_telling: |tally| {
            let reason = |name| tally.all.reasons.get(name).copied().unwrap_or_default();
            reason("failover") > 20 && reason("resume") > 1 && tally.breakers.lanes().count() > 0
        },
    },
    Minute {
        name: "cache",
        config: "[limits]\nenabled = false\n[cache]\nenabled = true\nscope = \"shared\"\n\
                 [route.openai-chat.cache]\nwhen = \"always\"\nscope = \"shared\"\n",
        world: "",
        traffic: Traffic { seed: 7, users: 40, questions: 150 },
        is_telling: |tally| tally.all.hits * 4 > tally.all.calls && tally.all.collapsed > 0,
    },
];

impl Minute {
    /// The calls, how the providers behave, and the configuration in a folder, with providers at these addresses.
    fn stage(&self, folder: &Folder, providers: &[Behind]) -> (Vec<Arrival>, Plan, Models) {
        let mut text =
            "environment = \"development\"\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"127.0.0.1:0\"\n\
                        [auth]\ndefault = \"none\"\n[record]\nfolder = \"trace\"\n[log]\nlevel = \"info,tidegate::access=error\"\n"
                .to_owned();
        for ((name, base), behind) in PROVIDERS.iter().zip(providers) {
            text += &format!("[provider.{name}]\nenabled = true\nurl = \"http://{}{base}\"\n", behind.address);
        }
        folder.write("gateway.toml", &(text + self.config));
        let file = Path::new(&folder.path_of("gateway.toml")).to_owned();
        let plan = Candidate { file: Some(file), set: Vec::new() }.load().unwrap();
        let world = world::read("world.toml", &format!("[defaults]\n{TIMES}error = []\n{}", self.world)).unwrap();
        let providers = world.for_plan(&plan).unwrap();
        let start = "2026-01-05T00:00:00Z".parse().unwrap();
        (self.traffic.arrivals(), plan, Models { providers, seed: SEED, start })
    }

    /// Both minutes, the real one and the simulated one.
    async fn play(&'static self) -> (Tally, Tally) {
        let folder = Folder::new(&format!("fidelity-{}", self.name.replace(' ', "-")));
        let mut providers = Vec::new();
        for (_, base) in PROVIDERS {
            providers.push(Behind::bind(base).await);
        }
        let (arrivals, plan, models) = self.stage(&folder, &providers);
        let simulated = simulated(plan, models.clone(), arrivals.clone()).await;
        assert!((self.is_telling)(&simulated), "{}: it shows nothing\n{}", self.name, shown(&simulated));
        self.check_edges(&simulated, &folder, &providers, &arrivals).await;

        let program = Program::start(&folder, &SERVE, &KEYS).await;
        let (_, plan, _) = self.stage(&folder, &providers);
        let simulation = Simulation::with_models(models);
        for ((name, _), behind) in PROVIDERS.iter().zip(&providers) {
            let provider = plan.providers.iter().find(|provider| &*provider.name == *name).expect("it is configured");
            behind.begin(simulation.transport(provider, &SeededRng::new(SEED)));
        }
        traffic::call(program.address, &plan, &arrivals, Instant::now()).await;
        program.terminate().await;
        let (status, written) = program.ended().await;
        assert_eq!(status.code(), Some(0), "{written}");
        (recorded(&folder), simulated)
    }

    /// No call is so near to the edge of a limit that a machine which is a little late decides it.
    async fn check_edges(&self, exact: &Tally, folder: &Folder, providers: &[Behind], arrivals: &[Arrival]) {
        for seed in 0..6 {
            let (_, plan, models) = self.stage(folder, providers);
            let late = simulated(plan, models, traffic::late(arrivals, seed)).await;
            let [is, was] = [&late, exact].map(|tally| (tally.all.calls, tally.all.refused));
            assert_eq!(is, was, "{}: a call is on the edge\n{}{}", self.name, shown(exact), shown(&late));
        }
    }
}

/// What a simulation counts.
async fn simulated(plan: Plan, models: Models, arrivals: Vec<Arrival>) -> Tally {
    let play = move || {
        let arrivals = arrivals.into_iter().map(Ok::<_, String>);
        play::play(Setup { plan, models, gateways: 1, events: FleetEvents::default() }, arrivals, |_| {})
            .expect("a configuration that can be played")
            .tally
    };
    tokio::task::spawn_blocking(play).await.expect("a simulation")
}

/// What the gateway has recorded.
fn recorded(folder: &Folder) -> Tally {
    let mut tally = Tally::default();
    for file in std::fs::read_dir(folder.path_of("trace")).expect("a trace") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("rows");
        for row in text.lines().skip(1) {
            tally.note(&serde_json::from_str::<RecordedCall>(row).expect("a row"));
        }
    }
    tally
}

/// How many calls each limit refused.
fn rules(calls: &Calls) -> Vec<(String, u64)> {
    calls.rules.iter().map(|(name, rule)| (name.to_string(), rule.refused)).collect()
}

/// Calls, answered ones, refused ones, errors, and all others.
fn counts(calls: &Calls) -> [u64; 5] {
    [calls.calls, calls.answered, calls.refused, calls.errors, calls.invalid + calls.cancelled]
}

/// What differs between two minutes: in what happened, and in how long it took. As many calls are admitted in both. Of what is
/// beside that, one call in a hundred may differ: whether a second limit refuses it too when it comes a moment later, and what it
/// meets while a circuit breaker closes, which lets calls through by chance.
fn differences(real: &Tally, simulated: &Tally) -> (Vec<String>, Vec<String>) {
    let (mut events, mut times) = (Vec::new(), Vec::new());
    let names: Vec<&Arc<str>> = simulated.routes.iter().map(|(name, _)| name).collect();
    let none = Calls::default();
    let of = |tally: &'_ Tally, name: &str| tally.routes.get(name).unwrap_or(&none).clone();
    let routes = names.iter().map(|name| (name.to_string(), of(real, name), of(simulated, name)));
    for (name, real, simulated) in routes.chain([("all".to_owned(), real.all.clone(), simulated.all.clone())]) {
        let (was, is) = (counts(&real), counts(&simulated));
        let is_near = |was: u64, is: u64| was.abs_diff(is) <= real.calls.div_ceil(100);
        let is_admitted = name != "all" || (was[0], was[2]) == (is[0], is[2]);
        if !is_admitted || !was.iter().zip(is).all(|(was, is)| is_near(*was, is)) {
            events.push(format!("{name}: [calls, answered, refused, errors, others] real {was:?}, simulated {is:?}"));
        }
        for (rule, refused) in rules(&simulated) {
            let was = real.rules.get(&rule).map_or(0, |rule| rule.refused);
            if !is_near(was, refused) {
                events.push(format!("{name}: refused by {rule}: real {was}, simulated {refused}"));
            }
        }
        let hits = |calls: &Calls| 100.0 * calls.hits as f64 / calls.consulted.max(1) as f64;
        if (hits(&real) - hits(&simulated)).abs() > 1.0 {
            events.push(format!("{name}: hit rate real {:.1} %, simulated {:.1} %", hits(&real), hits(&simulated)));
        }
        times.extend(percentiles(&format!("{name}: latency"), &real.latency, &simulated.latency));
        times.extend(percentiles(&format!("{name}: first token"), &real.first, &simulated.first));
    }
    (events, times)
}

/// The percentiles that differ by more than 5 % and 5 ms.
fn percentiles(name: &str, real: &Sketch, simulated: &Sketch) -> Vec<String> {
    let compare = |share: u64| {
        let (was, is) = (real.quantile(share)?, simulated.quantile(share)?);
        let most = (was / 20).max(5);
        (was.abs_diff(is) > most).then(|| format!("{name} p{}: real {was} ms, simulated {is} ms", share / 10))
    };
    [500, 900, 950].into_iter().filter_map(compare).collect()
}

/// What is shown of a minute.
fn shown(tally: &Tally) -> String {
    let of = |sketch: &Sketch| [500, 900, 950].map(|share| sketch.quantile(share).unwrap_or_default());
    let mut text = format!(
        "  {:?} hits {} collapsed {} reasons {:?} codes {:?} latency {:?} first {:?}\n",
        counts(&tally.all),
        tally.all.hits,
        tally.all.collapsed,
        tally.all.reasons.iter().collect::<Vec<_>>(),
        tally.all.codes.iter().collect::<Vec<_>>(),
        of(&tally.all.latency),
        of(&tally.all.first),
    );
    for (name, it) in tally.providers.iter() {
        let failures: Vec<_> = it.failures.iter().collect();
        text += &format!(
            "    {name}: calls {} attempts {} ok {} failures {failures:?} took {:?} first {:?}\n",
            it.calls,
            it.attempts,
            it.ok,
            of(&it.took),
            of(&it.first)
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_minute_and_a_simulated_one_say_the_same() {
    let played = futures_util::future::join_all(MINUTES.iter().map(Minute::play)).await;
    let mut wrong = Vec::new();
    for (minute, (mut real, mut simulated)) in MINUTES.iter().zip(played) {
        let (mut events, mut times) = differences(&real, &simulated);
        if events.is_empty() && !times.is_empty() {
            eprintln!("{}: played once more, as times differ: {}", minute.name, times.join("; "));
            (real, simulated) = minute.play().await;
            (events, times) = differences(&real, &simulated);
        }
        eprintln!("{}:\n real\n{} simulated\n{}", minute.name, shown(&real), shown(&simulated));
        wrong.extend(events.into_iter().chain(times).map(|what| format!("{}: {what}", minute.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
