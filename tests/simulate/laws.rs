//! Laws of simulations, in hostile worlds: each call has one fate, all parts of a tally are of the same calls, and money is the
//! sum of what the calls cost, in the rows, in the gateway's ledger and in the budgets' accounts.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::{Instant, sleep_until};

use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::model::calendar::Period;
use tidegate::model::recorded::RecordedCall;
use tidegate::provider::simulated::Simulation;
use tidegate::provider::simulated::model::Models;
use tidegate::simulate::arrival::Arrival;
use tidegate::simulate::caller::Visit;
use tidegate::simulate::play::{self, Setup};
use tidegate::simulate::tally::{Calls, Tally, call};
use tidegate::simulate::world::{self, FleetEvents};
use tidegate::telemetry::record::Recorder;

use crate::traffic::Traffic;

const START: &str = "2026-01-05T12:00:00Z";

/// A world and a configuration in it. Prices are whole nanodollars for a token, so that nothing is rounded.
fn stage(hostile: Hostile) -> (config::plan::Plan, Models) {
    let Hostile { errors, rate, ttl, seed } = hostile;
    let text = format!(
        "environment = \"development\"\n[auth]\ndefault = \"none\"\n[provider.buildpanel]\nenabled = true\n\
         [limit.ai]\ndevelopment_rate = \"{rate}/min\"\nburst = 5\n\
         [budget.all]\namount = 1000\nper = \"day\"\nkey = [\"all\"]\n\
         [price]\n\"*\" = {{ input = 1.0, output = 2.0 }}\n\"gpt-4\" = {{ input = 3.0, output = 6.0 }}\n\
         [cache]\nenabled = true\n[route.openai-chat]\nhedge = \"p90\"\n\
         [route.openai-chat.cache]\nwhen = \"always\"\nttl = \"{ttl}s\"\nstale_while_revalidate = \"20s\"\n"
    );
    let worlds = format!(
        "[defaults]\nerror = [{{ share = {e:.3}, kind = \"status\", status = 500 }}, {{ share = {e:.3}, kind = \"cut\" }},\n\
         {{ share = {e:.3}, kind = \"reset\" }}, {{ share = {e:.3}, kind = \"slow\", factor = 5 }}]\n\
         [[provider.together.outage]]\nfrom = \"20s\"\nfor = \"15s\"\nkind = \"refuse\"\n",
        e = f64::from(errors) / 400.0
    );
    let plan = config::load(Some(("laws.toml", &text)), &Variables::default().with_all_secrets()).unwrap();
    let providers = world::read("laws.world.toml", &worlds).unwrap().for_plan(&plan).unwrap();
    (play::quiet(plan), Models { providers, seed, start: START.parse().unwrap() })
}

#[derive(Clone, Copy, Debug)]
struct Hostile {
    /// How many in a hundred requests to providers meet trouble.
    errors: u32,
    /// Calls that each user has in a minute.
    rate: u32,
    /// Seconds for which a response is cached.
    ttl: u32,
    seed: u64,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    (0..90_u32, 2..60_u32, 1..40_u32, any::<u64>()).prop_map(|(errors, rate, ttl, seed)| Hostile {
        errors,
        rate,
        ttl,
        seed,
    })
}

fn arrivals(seed: u64) -> Vec<Arrival> {
    Traffic { seed, users: 8, questions: 60 }.arrivals()
}

fn simulated(hostile: Hostile) -> play::Played {
    let (plan, models) = stage(hostile);
    play::play(
        Setup { plan, models, gateways: 1, events: FleetEvents::default() },
        arrivals(hostile.seed).into_iter().map(Ok::<_, String>),
        |_| {},
    )
    .unwrap()
}

/// Keeps all rows.
#[derive(Default)]
struct Rows(Mutex<Vec<RecordedCall>>);

impl Recorder for Rows {
    fn question(&self, _: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        None
    }

    fn note(&self, call: RecordedCall) {
        self.0.lock().push(call);
    }
}

/// The rows of the same world, and what the gateway's ledger and its budget say was spent, in nanodollars.
fn ledger(hostile: Hostile) -> (Vec<RecordedCall>, u64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (plan, models) = stage(hostile);
        let start = models.start;
        let world = World::simulated(Arc::new(Simulation::with_models(models)), start, hostile.seed);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let rows = Arc::new(Rows::default());
        state.recording().set(Some(rows.clone()));
        let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
        let (began, mut calls) = (Instant::now(), tokio::task::JoinSet::new());
        for arrival in arrivals(hostile.seed) {
            sleep_until(began + arrival.after).await;
            let (gateway, visit) = (gateway.clone(), Visit::new(&gateway, &arrival).unwrap());
            calls.spawn(async move { visit.call(&gateway).await });
        }
        while calls.join_next().await.is_some() {}
        gateway.state.tasks().close();
        gateway.state.tasks().wait().await;
        let pages = gateway.state.ledger().local(Period::Day, &[Period::Day.start(start)]);
        let ledger = pages.iter().flat_map(|(_, rows)| rows).map(|(_, sums)| sums.cost_usd.nanos()).sum();
        let now: Timestamp = gateway.world.now();
        let share = gateway.state.accounts().shares(now).values().copied().fold(0.0, f64::max);
        let rows = std::mem::take(&mut *rows.0.lock());
        (rows, ledger, share * 1e12)
    })
}

/// Each call is one of these.
fn fates(calls: &Calls) -> u64 {
    calls.answered + calls.refused + calls.errors + calls.invalid + calls.cancelled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_call_has_one_fate_and_all_parts_of_a_tally_are_of_the_same_calls(hostile in hostile()) {
        let tally = simulated(hostile).tally;
        prop_assert_eq!(tally.all.calls, arrivals(hostile.seed).len() as u64);
        prop_assert_eq!(tally.all.calls, fates(&tally.all));
        let routes = || tally.routes.iter().map(|(_, calls)| calls);
        prop_assert!(routes().all(|route| route.calls == fates(route)));
        let sums = |part: fn(&Calls) -> u64| routes().map(part).sum::<u64>();
        let parts: [fn(&Calls) -> u64; 6] =
            [|it| it.calls, |it| it.refused, |it| it.errors, |it| it.hits, |it| it.attempts, |it| it.nanos];
        for part in parts {
            prop_assert_eq!(sums(part), part(&tally.all));
        }
        let attempts = || tally.providers.iter().map(|(_, attempts)| attempts);
        prop_assert_eq!(attempts().map(|it| it.attempts).sum::<u64>(), tally.all.attempts);
        prop_assert_eq!(tally.all.reasons.iter().map(|(_, count)| count).sum::<u64>(), tally.all.attempts);
        for it in attempts() {
            prop_assert_eq!(it.attempts, it.ok + it.cancelled + it.failures.iter().map(|(_, count)| count).sum::<u64>());
        }
        let buckets = || tally.timeline.buckets().map(|(_, bucket)| bucket);
        prop_assert_eq!(buckets().map(|it| it.calls).sum::<u64>(), tally.all.calls);
        prop_assert_eq!(buckets().map(|it| it.refused).sum::<u64>(), tally.all.refused);
        prop_assert_eq!(buckets().map(|it| it.nanos).sum::<u64>(), tally.all.nanos);
        for who in [&tally.tenants, &tally.users] {
            let all = who.rest(&[]);
            prop_assert_eq!((all.calls, all.refused, all.errors), (tally.all.calls, tally.all.refused, tally.all.errors));
        }
    }

    #[test]
    fn money_is_the_sum_of_the_calls_in_the_rows_the_ledger_and_the_budget(hostile in hostile()) {
        let (rows, ledger, budget) = ledger(hostile);
        let spent: u64 = rows.iter().filter_map(|row| row.cost).map(call::nanos).sum();
        prop_assert_eq!(spent, ledger);
        // No caller pays for what is renewed for nobody. A budget tells a share of its amount: the last digits are lost.
        let called: u64 = rows.iter().filter(|row| !row.renewal).filter_map(|row| row.cost).map(call::nanos).sum();
        prop_assert!((called as f64 - budget).abs() < 1000.0, "calls {}, budget {}", called, budget);
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.note(row));
        prop_assert_eq!(tally.all.nanos, spent);
    }
}
