//! Play: lets the calls of a trace come to a gateway in a virtual time of its own, and counts what happens.
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
use super::tally::{Account, Ending, Tally};
use crate::config::plan::{BudgetPlan, Plan};
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::money::Usd;
use crate::model::recorded::RecordedCall;
use crate::model::time::once_per_poll;
use crate::provider::simulated::Simulation;
use crate::provider::simulated::model::Models;
use crate::server::probes;
use crate::telemetry::record::Recorder;

/// How often circuit breakers are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a world begins with.
pub struct Setup {
    /// The configuration.
    pub plan: Plan,
    /// Its providers, and the wall clock's time when the first call comes.
    pub models: Models,
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
    let Setup { plan, models } = setup;
    let (start, seed) = (models.start, models.seed);
    let world = World::simulated(Arc::new(Simulation::with_models(models)), start, seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let tally = Arc::new(Mutex::new(Tally::default()));
    state.recording().set(Some(Arc::new(Counting(tally.clone()))));
    let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world))?);
    let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
    probes::start(&gateway, &tasks, &over);
    tasks.spawn(over.clone().run_until_cancelled_owned(watch(gateway.clone(), tally.clone())));
    let calling = TaskTracker::new();
    let began = Instant::now();
    let mut not_simulated = BTreeMap::<NotSimulated, u64>::new();
    for arrival in arrivals {
        let arrival = arrival?;
        progress(arrival.after);
        sleep_until(began + arrival.after).await;
        match Visit::new(&gateway, &arrival) {
            Ok(visit) => {
                let gateway = gateway.clone();
                calling.spawn(once_per_poll(Box::pin(async move { visit.call(&gateway).await })));
            }
            Err(reason) => *not_simulated.entry(reason).or_default() += 1,
        }
    }
    calling.close();
    calling.wait().await;
    gateway.state.tasks().close();
    gateway.state.tasks().wait().await;
    over.cancel();
    tasks.close();
    tasks.wait().await;
    let end = gateway.world.now();
    let mut tally = std::mem::take(&mut *tally.lock());
    tally.breakers.end(end);
    let ending = Ending {
        between: Some((start, end)),
        routes: gateway.plan.routes.iter().map(|route| route.name.clone()).collect(),
        providers: gateway.plan.providers.iter().map(|provider| provider.name.clone()).collect(),
        budgets: budgets(&gateway, end),
        unplayed: not_simulated.into_iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect(),
    };
    Ok(Played { tally, ending })
}

/// Counts what the gateway records.
struct Counting(Arc<Mutex<Tally>>);

impl Recorder for Counting {
    fn question(&self, _: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        None
    }

    fn note(&self, call: RecordedCall) {
        self.0.lock().note(&call);
    }
}

/// Tells of the states of circuit breakers.
async fn watch(gateway: Arc<Gateway>, tally: Arc<Mutex<Tally>>) {
    loop {
        for provider in gateway.state.providers() {
            let state = provider.breakers.worst();
            tally.lock().breakers.change(&provider.name, None, gateway.world.now(), state.as_str());
        }
        sleep(LOOK).await;
    }
}

/// The fullest account of each budget.
fn budgets(gateway: &Gateway, now: Timestamp) -> Vec<Account> {
    let shares = gateway.state.accounts().shares(now);
    let account = |plan: &Arc<BudgetPlan>| Account {
        budget: plan.name.clone(),
        key: "fullest account".into(),
        spent: Usd::from_nanos(
            (plan.amount.nanos() as f64 * shares.get(&plan.name).copied().unwrap_or_default()) as u64,
        ),
        of: plan.amount,
    };
    gateway.plan.budgets.iter().map(account).collect()
}
