//! Several gateways in one virtual time: what they share through a simulated Redis, and what becomes of it when gateways crash,
//! are cut off, or Redis is down. The gateways are production's, from the request to the response.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate::config::{self, Variables};
use tidegate::model::recorded::RecordedCall;
use tidegate::provider::simulated::Simulation;
use tidegate::provider::simulated::model::{Distribution, Models, ProviderModel};
use tidegate::simulate::arrival::Arrival;
use tidegate::simulate::caller::Visit;
use tidegate::simulate::fleet::{Fleet, Terms};
use tidegate::simulate::world;
use tidegate::telemetry::record::Recorder;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

const MINUTE: u64 = 60;

/// One provider, one route, one limit; and a store, where one is named.
const CONFIG: &str = "defaults = false\n[provider.p]\nkind = \"openai\"\nurl = \"http://provider/v1\"\nkey_env = \"KEY\"\n\
    [route.chat]\npaths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n\
    [limit.tenant]\nkey = [\"tenant\"]\nrate = \"120/min\"\n";
const STORE: &str = "[store]\nredis_url = \"redis://127.0.0.1:1\"\n";
const CACHE: &str = "[cache]\nenabled = true\nredis_timeout = \"50ms\"\n[route.chat.cache]\nttl = \"5m\"\n";

/// What gateways record, each row with the name of its gateway.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<Row>>>);

/// The gateway's name, and what it recorded.
type Row = (Arc<str>, RecordedCall);

struct Of(Rows, Arc<str>);

impl Recorder for Of {
    fn question(&self, _: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        None
    }

    fn note(&self, call: RecordedCall) {
        self.0.0.lock().push((self.1.clone(), call));
    }
}

/// What came of a run.
struct Played {
    rows: Vec<(Arc<str>, RecordedCall)>,
    /// Calls for which no gateway was up.
    unplayed: usize,
}

impl Played {
    /// Calls that came to this end, and came within these seconds.
    fn count(&self, outcome: &str, seconds: std::ops::Range<u64>) -> usize {
        let start: jiff::Timestamp = START.parse().unwrap();
        let is_within = |call: &RecordedCall| {
            seconds.contains(&call.at.duration_since(start).unsigned_abs().as_secs()) && *call.outcome == *outcome
        };
        self.rows.iter().filter(|(_, call)| is_within(call)).count()
    }

    fn by_gateway(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        self.rows.iter().for_each(|(gateway, _)| *counts.entry(gateway.clone()).or_default() += 1);
        counts
    }
}

const START: &str = "2026-11-01T00:00:00Z";

/// A call of one tenant.
fn call(after: Duration, question: u64) -> Arrival {
    Arrival {
        after,
        route: "chat".into(),
        tenant: Some("t".into()),
        user: None,
        key: None,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        tier: None,
        question,
        model: Some("m".into()),
        stream: question.is_multiple_of(2),
        tokens_in: 20,
        tokens_out: 10,
        bytes_in: 0,
    }
}

/// Calls every so often, each with a question of its own.
fn steady(every: Duration, seconds: u64) -> Vec<Arrival> {
    let count = Duration::from_secs(seconds).as_millis() / every.as_millis();
    (0..count as u32).map(|number| call(every * number, u64::from(number))).collect()
}

/// Plays calls to a fleet of this size, to which the events of a world file happen.
fn play(config: &str, size: usize, events: &str, seed: u64, arrivals: Vec<Arrival>) -> Played {
    let variables = BTreeMap::from([("KEY".to_owned(), "k".to_owned())]);
    let plan = config::load(Some(("fleet.toml", config)), &Variables::new(variables, BTreeMap::new()))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let events = world::read("world.toml", events).unwrap_or_else(|problems| panic!("{problems}")).fleet;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = START.parse().unwrap();
        let model = ProviderModel {
            first_token: Distribution::Fixed(Duration::from_millis(700)),
            per_token: Distribution::Fixed(Duration::from_millis(20)),
            ..ProviderModel::default()
        };
        let models = Models { providers: BTreeMap::from([("p".into(), Arc::new(model))]), seed, start };
        let simulation = Arc::new(Simulation::with_models(models));
        let rows = Rows::default();
        let records = rows.clone();
        let records = Box::new(move |name: &Arc<str>| Arc::new(Of(records.clone(), name.clone())) as Arc<dyn Recorder>);
        let began = Instant::now();
        let fleet = Fleet::start(Terms { plan, size, events, simulation, start, seed }, records).await.unwrap();
        assert_eq!(began, Instant::now(), "a fleet is ready at once");
        let (calling, mut unplayed) = (TaskTracker::new(), 0);
        for arrival in arrivals {
            sleep_until(began + arrival.after).await;
            let Some(seat) = fleet.pick() else {
                unplayed += 1;
                continue;
            };
            let visit = Visit::new(&seat.gateway, &arrival).unwrap();
            calling.spawn(async move { seat.hold(visit.call(&seat.gateway)).await });
        }
        calling.close();
        calling.wait().await;
        fleet.end().await;
        let rows = std::mem::take(&mut *rows.0.lock());
        Played { rows, unplayed }
    })
}

/// Five calls a second, more than twice what the limit admits.
fn too_many(minutes: u64) -> Vec<Arrival> {
    steady(Duration::from_millis(200), minutes * MINUTE)
}

#[test]
fn eight_gateways_admit_what_one_does() {
    let alone = play(CONFIG, 1, "", 1, too_many(10));
    let admitted = alone.count("ok", 0..10 * MINUTE);
    // The burst, and two a second; the last call comes 200 ms before the end.
    assert!((1_318..=1_320).contains(&admitted), "{admitted}");
    let fleet = play(&format!("{CONFIG}{STORE}"), 8, "", 1, too_many(10));
    let (ok, refused) = (fleet.count("ok", 0..10 * MINUTE), fleet.count("rate_limited", 0..10 * MINUTE));
    assert!(ok.abs_diff(admitted) <= 1, "{ok}");
    assert_eq!(ok + refused, 3_000);
    assert_eq!(fleet.by_gateway().into_values().collect::<Vec<_>>(), [375; 8], "one after the other");
}

#[test]
fn without_a_store_each_gateway_counts_alone() {
    let fleet = play(CONFIG, 8, "", 1, too_many(3));
    assert_eq!(fleet.count("ok", 0..3 * MINUTE), 900, "113 calls are less than each gateway admits");
}

#[test]
fn gateways_that_are_cut_off_admit_no_more_than_their_share() {
    // Three of eight, from the second minute to the third: the burst has been spent by then.
    let events: String = (2..=4)
        .map(|gateway| format!("[[fleet.partition]]\ngateway = {gateway}\nat = \"2m\"\nfor = \"1m\"\n"))
        .collect();
    for seed in 0..3 {
        let fleet = play(&format!("{CONFIG}{STORE}"), 8, &events, seed, too_many(5));
        let before = fleet.count("ok", 0..2 * MINUTE);
        assert!((120 + 2 * 120 - 3..=120 + 2 * 120 + 1).contains(&before), "seed {seed}: {before}");
        // The five others: the rate. The three: three eighths of the burst and of the rate, and a call each.
        let (during, share) = (fleet.count("ok", 2 * MINUTE..3 * MINUTE), (120 + 120) * 3 / 8 + 3);
        assert!((120..=120 + share).contains(&during), "seed {seed}: {during}");
        let after = fleet.count("ok", 3 * MINUTE..5 * MINUTE);
        assert!((2 * 120 - share..=2 * 120 + 3).contains(&after), "seed {seed}: {after}");
    }
}

#[test]
fn while_redis_is_down_the_gateways_together_admit_the_rate() {
    let events = "[[fleet.redis_outage]]\nat = \"2m\"\nfor = \"2m\"\n";
    for seed in 0..3 {
        let fleet = play(&format!("{CONFIG}{STORE}"), 8, events, seed, too_many(5));
        // Each knows of the burst that was spent what its own last call was told: a call for each gateway, at most.
        let during = fleet.count("ok", 2 * MINUTE..4 * MINUTE);
        assert!((232..=240 + 8).contains(&during), "seed {seed}: {during}");
        let all = fleet.count("ok", 0..5 * MINUTE);
        assert!(all.abs_diff(720) <= 16, "seed {seed}: {all}");
    }
}

#[test]
fn a_gateway_that_crashes_takes_its_calls_with_it_and_comes_back_to_what_the_store_knows() {
    let events = "[[fleet.crash]]\ngateway = 2\nat = \"3m\"\nfor = \"1m\"\n[[fleet.crash]]\ngateway = 1\nat = \"210s\"\nfor = \"10s\"\n";
    let fleet = play(&format!("{CONFIG}{STORE}"), 2, events, 1, too_many(6));
    // An answer takes most of a second.
    let crashed = fleet.count("gateway_crashed", 0..6 * MINUTE);
    assert!((1..=8).contains(&crashed), "{crashed}");
    assert_eq!(fleet.unplayed, 50, "for ten seconds there is no gateway");
    assert_eq!(fleet.rows.len() + fleet.unplayed, 1_800);
    let all = fleet.count("ok", 0..6 * MINUTE) + crashed;
    // While nobody is up, ten seconds of the rate fill the burst.
    assert!(all.abs_diff(840) <= 3, "{all}");
    assert_eq!(fleet.count("cancelled", 0..6 * MINUTE), 0);
}

#[test]
fn gateways_that_are_asked_the_same_at_once_ask_a_provider_once() {
    let at = |second: u64, question| (0..8).map(move |_| call(Duration::from_secs(second), question));
    let config = format!("{CONFIG}{STORE}{CACHE}");
    for seed in 0..20 {
        let fleet = play(&config, 8, "", seed, at(1, 1).chain(at(5, 2)).chain(at(9, 1)).collect());
        assert_eq!(fleet.count("ok", 0..MINUTE), 24, "seed {seed}");
        let attempts = |question: std::ops::Range<u64>| {
            let start: jiff::Timestamp = START.parse().unwrap();
            let came = |call: &RecordedCall| call.at.duration_since(start).unsigned_abs().as_secs();
            let rows = fleet.rows.iter().filter(|(_, call)| question.contains(&came(call)));
            rows.map(|(_, call)| call.attempts.len()).sum::<usize>()
        };
        // One gateway asks for all: the others wait for its answer in the shared cache, and have it later too.
        assert_eq!((attempts(0..4), attempts(4..8), attempts(8..12)), (1, 1, 0), "seed {seed}");
    }
    // Without the store each asks for itself.
    let apart = play(&format!("{CONFIG}{CACHE}"), 8, "", 1, at(1, 1).collect());
    assert_eq!(apart.rows.iter().map(|(_, call)| call.attempts.len()).sum::<usize>(), 8);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let events = "[[fleet.crash]]\ngateway = 2\nat = \"70s\"\nfor = \"20s\"\n[[fleet.partition]]\ngateway = 3\nat = \"1m\"\nfor = \"30s\"\n\
                  [[fleet.redis_outage]]\nat = \"100s\"\nfor = \"20s\"\n";
    let config = format!("{CONFIG}{STORE}{CACHE}");
    let arrivals =
        || (0..600).map(|number| call(Duration::from_millis(200) * number, u64::from(number % 37))).collect();
    let story = |seed| {
        let played = play(&config, 4, events, seed, arrivals());
        let rows =
            played.rows.iter().map(|(gateway, row)| format!("{gateway} {}", serde_json::to_string(row).unwrap()));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}
