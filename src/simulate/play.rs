//! Play: lets the calls of a trace come to a gateway, or to several, in a virtual time of their own, and counts what happens.
//!
//! It does not know where arrivals come from, nor how a report looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::arrival::Arrival;
use super::caller::{NotSimulated, Visit};
use super::fleet::{self, Fleet};
use super::tally::{Account, Ending, Tally};
use super::world::FleetEvents;
use crate::config::plan::{BudgetPlan, Plan};
use crate::model::money::Usd;
use crate::model::recorded::RecordedCall;
use crate::model::time::{WallClock, once_per_poll};
use crate::provider::simulated::Simulation;
use crate::provider::simulated::model::Models;
use crate::telemetry::record::Recorder;

/// How often circuit breakers are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a world begins with.
pub struct Setup {
    /// The configuration.
    pub plan: Plan,
    /// Its providers, and the wall clock's time when the first call comes.
    pub models: Models,
    /// How many gateways share the calls.
    pub gateways: usize,
    /// What happens to them, and to their Redis.
    pub events: FleetEvents,
}

/// What happened.
pub struct Played {
    /// Everything that was counted.
    pub tally: Tally,
    /// What counting does not tell.
    pub ending: Ending,
}

/// The configuration without what has to do with the outside, or with what nobody looks at in a simulation.
pub fn quiet(mut plan: Plan) -> Plan {
    plan.tracing.endpoint = None;
    plan.sentry.dsn = None;
    plan.flags.state_file = None;
    plan.explain.keep = 0;
    plan
}

/// Plays arrivals, which come in the order of their times; `progress` is told of each, by its time.
///
/// # Errors
/// A configuration that cannot be built, and what an arrival says is wrong.
pub fn play<E: From<String>>(
    setup: Setup,
    arrivals: impl Iterator<Item = Result<Arrival, E>>,
    progress: impl FnMut(Duration),
) -> Result<Played, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|fault| format!("could not start the async runtime: {fault}"))?;
    runtime.block_on(run(setup, arrivals, progress))
}

async fn run<E: From<String>>(
    setup: Setup,
    arrivals: impl Iterator<Item = Result<Arrival, E>>,
    mut progress: impl FnMut(Duration),
) -> Result<Played, E> {
    let Setup { plan, models, gateways, events } = setup;
    let (start, seed) = (models.start, models.seed);
    let routes = plan.routes.iter().map(|route| route.name.clone()).collect();
    let providers = plan.providers.iter().map(|provider| provider.name.clone()).collect();
    let budgets = plan.budgets.clone();
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (counted, is_alone) = (tally.clone(), gateways == 1);
    let records = move |gateway: &Arc<str>| -> Arc<dyn Recorder> {
        Arc::new(Counting { tally: counted.clone(), gateway: (!is_alone).then(|| gateway.clone()) })
    };
    let simulation = Arc::new(Simulation::with_models(models));
    let terms = fleet::Terms { plan, size: gateways, events, simulation, start, seed };
    let fleet = Fleet::start(terms, Box::new(records)).await?;
    let (watching, over) = (TaskTracker::new(), CancellationToken::new());
    let clock = WallClock::of_tokio(start);
    let watched = watch(fleet.clone(), clock.clone(), tally.clone(), is_alone);
    watching.spawn(over.clone().run_until_cancelled_owned(watched));
    let calling = TaskTracker::new();
    let began = Instant::now();
    let mut not_simulated = BTreeMap::<NotSimulated, u64>::new();
    for arrival in arrivals {
        let arrival = arrival?;
        progress(arrival.after);
        sleep_until(began + arrival.after).await;
        let Some(seat) = fleet.pick() else {
            tally.lock().note(&unanswered(arrival, clock.now()));
            continue;
        };
        match Visit::new(&seat.gateway, &arrival) {
            Ok(visit) => drop(calling.spawn(once_per_poll(Box::pin(async move {
                seat.hold(visit.call(&seat.gateway)).await;
            })))),
            Err(reason) => *not_simulated.entry(reason).or_default() += 1,
        }
    }
    calling.close();
    calling.wait().await;
    over.cancel();
    watching.close();
    watching.wait().await;
    let end = clock.now();
    let budgets = spent(&fleet, &budgets, end);
    fleet.end().await;
    let mut tally = std::mem::take(&mut *tally.lock());
    tally.breakers.end(end);
    let unplayed = not_simulated.into_iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect();
    Ok(Played { tally, ending: Ending { between: Some((start, end)), routes, providers, budgets, unplayed } })
}

/// What is told of a call that comes while no gateway is up: a proxy before them answers so.
fn unanswered(arrival: Arrival, at: Timestamp) -> RecordedCall {
    let Arrival { route, tenant, user, key, tier, model, stream, .. } = arrival;
    let (status, outcome) = (502, "no_gateway".into());
    RecordedCall { at, route, tenant, user, key, tier, model, stream, status, outcome, ..RecordedCall::default() }
}

/// Counts what a gateway records.
struct Counting {
    tally: Arc<Mutex<Tally>>,
    /// Its name, where there are several.
    gateway: Option<Arc<str>>,
}

impl Recorder for Counting {
    fn question(&self, _: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        None
    }

    fn note(&self, call: RecordedCall) {
        match &self.gateway {
            None => self.tally.lock().note(&call),
            Some(gateway) => self.tally.lock().note_at(gateway, &call),
        }
    }
}

/// Tells of the states of circuit breakers.
async fn watch(fleet: Arc<Fleet>, clock: WallClock, tally: Arc<Mutex<Tally>>, is_alone: bool) {
    loop {
        for (name, gateway) in fleet.gateways() {
            let name = (!is_alone).then_some(&name);
            for provider in gateway.state.providers() {
                let state = provider.breakers.worst();
                tally.lock().breakers.change(&provider.name, name, clock.now(), state.as_str());
            }
        }
        sleep(LOOK).await;
    }
}

/// The fullest account of each budget, as the gateway sees it that has counted most.
fn spent(fleet: &Fleet, budgets: &[Arc<BudgetPlan>], now: Timestamp) -> Vec<Account> {
    let shares: Vec<_> = fleet.gateways().iter().map(|(_, gateway)| gateway.state.accounts().shares(now)).collect();
    let account = |plan: &Arc<BudgetPlan>| {
        let share = shares.iter().filter_map(|shares| shares.get(&plan.name).copied()).fold(0.0, f64::max);
        let spent = Usd::from_nanos((plan.amount.nanos() as f64 * share) as u64);
        Account { budget: plan.name.clone(), key: "fullest account".into(), spent, of: plan.amount }
    };
    budgets.iter().map(account).collect()
}
