//! Fleet: several gateways with one configuration in one virtual time. Where the configuration names a store, they share a
//! simulated Redis; otherwise each counts alone, as it would in production.
//!
//! It says which gateway a call goes to, and has happen to gateways and Redis what the world file says. It does not know
//! calls, nor what is counted.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::world::FleetEvents;
use crate::config::plan::Plan;
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::recorded::RecordedCall;
use crate::model::rng::SeededRng;
use crate::model::time::WallClock;
use crate::provider::simulated::Simulation;
use crate::server::probes;
use crate::state::store::redis::simulated::{Door, Latency, SimulatedRedis};
use crate::telemetry::record::Recorder;

/// What a row says of a call whose gateway crashed: the connection broke, and a proxy before the gateways answers so.
const CRASHED: (&str, u16) = ("gateway_crashed", 502);

/// At the start gateways connect to Redis before the first call comes. This many turns of all tasks are more than it takes.
const TURNS: usize = 10_000;

/// What a fleet is made of.
pub struct Terms {
    /// The configuration of every gateway.
    pub plan: Plan,
    /// How many there are.
    pub size: usize,
    /// What happens to them.
    pub events: FleetEvents,
    /// The providers.
    pub simulation: Arc<Simulation>,
    /// What the wall clock shows now.
    pub start: Timestamp,
    /// Where all chance comes from.
    pub seed: u64,
}

/// Makes the recorder of a gateway, by its name.
pub type Records = Box<dyn Fn(&Arc<str>) -> Arc<dyn Recorder> + Send + Sync>;

/// Some gateways.
pub struct Fleet {
    terms: Terms,
    records: Records,
    chance: SeededRng,
    redis: Option<Arc<SimulatedRedis>>,
    began: Instant,
    members: Mutex<Members>,
    tasks: TaskTracker,
    over: CancellationToken,
}

struct Members {
    members: Vec<Member>,
    /// Whose turn it is.
    next: usize,
    /// How often a gateway was started: each process has a way to Redis of its own.
    starts: usize,
    /// Outages of Redis that are not over.
    outages: u32,
}

struct Member {
    name: Arc<str>,
    /// The process; `None` while it is down.
    process: Option<Process>,
    /// Crashes that are not over, and times in which it does not reach Redis.
    crashes: u32,
    partitions: u32,
}

#[derive(Clone)]
struct Process {
    gateway: Arc<Gateway>,
    door: usize,
    /// Cancelled when it crashes.
    down: CancellationToken,
}

/// The gateway that a call goes to.
pub struct Seat {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    down: CancellationToken,
}

impl Seat {
    /// Runs a call, or the part of it that comes before its gateway crashes: `None`.
    pub async fn hold<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // First, so that also a call that comes in the moment of the crash has begun, and leaves a row.
            biased;
            outcome = call => Some(outcome),
            () = self.down.cancelled() => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Crash(usize),
    Restart(usize),
    Cut(usize),
    Heal(usize),
    Stop,
    Start,
}

impl Fleet {
    /// Starts all gateways, now; when this returns they are connected to their Redis, and no time has passed.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub async fn start(terms: Terms, records: Records) -> Result<Arc<Self>, String> {
        let chance = SeededRng::new(terms.seed);
        // One gateway to which nothing happens has nobody to share with: its own memory says the same, and is faster.
        let is_shared = terms.plan.store.address.is_some() && (terms.size > 1 || !terms.events.is_empty());
        let redis = match is_shared {
            true => {
                let clock = WallClock::of_tokio(terms.start);
                Some(SimulatedRedis::new(clock, Latency::NONE, chance.apart(101))?)
            }
            false => None,
        };
        let member =
            |number: usize| Member { name: (number + 1).to_string().into(), process: None, crashes: 0, partitions: 0 };
        let next = (chance.apart(102).fraction() * terms.size as f64) as usize;
        let members = (0..terms.size).map(member).collect();
        let fleet = Arc::new(Self {
            began: Instant::now(),
            members: Mutex::new(Members { members, next, starts: 0, outages: 0 }),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            terms,
            records,
            chance,
            redis,
        });
        for number in 0..fleet.terms.size {
            fleet.begin(number)?;
        }
        fleet.meet().await;
        if let Some(redis) = &fleet.redis {
            redis.set_latency(Latency::default());
        }
        let happening = fleet.clone();
        let happening = async move { happening.happen().await };
        fleet.tasks.spawn(fleet.over.clone().run_until_cancelled_owned(happening));
        Ok(fleet)
    }

    /// Waits until all gateways are connected. Nothing of that takes any time.
    async fn meet(&self) {
        let gateways = self.gateways();
        let is_met = |gateway: &Gateway| match (gateway.state.redis(), gateway.state.cluster()) {
            (Some(redis), Some(cluster)) => !redis.is_out() && !cluster.redis().is_out() && cluster.is_informed(),
            _ => true,
        };
        for _ in 0..TURNS {
            if gateways.iter().all(|(_, gateway)| is_met(gateway)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The gateway for the next call: one after the other of those that are up. `None`: there is none.
    pub fn pick(&self) -> Option<Seat> {
        let mut members = self.members.lock();
        let size = members.members.len();
        for _ in 0..size {
            let number = members.next % size;
            members.next = (number + 1) % size;
            if let Some(process) = &members.members[number].process {
                return Some(Seat { gateway: process.gateway.clone(), down: process.down.clone() });
            }
        }
        None
    }

    /// The gateways that are up, with their names: `1`, `2`, and so on.
    pub fn gateways(&self) -> Vec<(Arc<str>, Arc<Gateway>)> {
        let members = self.members.lock();
        let up = |member: &Member| Some((member.name.clone(), member.process.as_ref()?.gateway.clone()));
        members.members.iter().filter_map(up).collect()
    }

    /// Lets what no caller waits for come to its end, and stops all gateways.
    pub async fn end(&self) {
        for (_, gateway) in self.gateways() {
            gateway.state.tasks().close();
            gateway.state.tasks().wait().await;
        }
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn begin(&self, number: usize) -> Result<(), String> {
        let (name, door, is_cut) = {
            let mut members = self.members.lock();
            let door = members.starts;
            members.starts += 1;
            let member = &members.members[number];
            (member.name.clone(), door, member.partitions > 0)
        };
        let Terms { plan, simulation, start, seed, .. } = &self.terms;
        let seed = match door {
            // As a gateway alone has it.
            0 => *seed,
            _ => self.chance.apart(1_000 + door as u64).bits(),
        };
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        let mut world = World::simulated(simulation.clone(), start.saturating_add(passed).unwrap_or(*start), seed);
        if let Some(redis) = &self.redis {
            world = world.with_simulated_store(Door::new(redis.clone(), door));
            if is_cut {
                redis.cut(door);
            }
        }
        let state = Arc::new(GatewayState::new(plan, &world));
        let down = self.over.child_token();
        state.recording().set(Some(Arc::new(UntilCrash { records: (self.records)(&name), down: down.clone() })));
        let gateway = Arc::new(Gateway::new(plan.clone(), state, Arc::new(world))?);
        probes::start(&gateway, &self.tasks, &down);
        self.members.lock().members[number].process = Some(Process { gateway, door, down });
        Ok(())
    }

    /// Has everything happen at its time.
    async fn happen(&self) {
        for (at, change) in changes(&self.terms.events) {
            sleep_until(self.began + at).await;
            self.change(change);
        }
    }

    fn change(&self, change: Change) {
        match change {
            Change::Crash(number) => self.crash(number),
            Change::Restart(number) => {
                let is_over = self.member(number, |member| {
                    member.crashes -= 1;
                    member.crashes == 0
                });
                // It was built of the same plan before.
                if is_over == Some(true)
                    && let Err(problem) = self.begin(number)
                {
                    tracing::error!(problem, "a simulated gateway does not start again");
                }
            }
            Change::Cut(number) => self.partition(number, true),
            Change::Heal(number) => self.partition(number, false),
            Change::Stop | Change::Start => {
                let mut members = self.members.lock();
                let before = members.outages;
                members.outages = if matches!(change, Change::Stop) { before + 1 } else { before - 1 };
                match (&self.redis, before, members.outages) {
                    (Some(redis), 0, _) => redis.stop(),
                    (Some(redis), _, 0) => redis.start(),
                    _ => {}
                }
            }
        }
    }

    fn member<T>(&self, number: usize, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        self.members.lock().members.get_mut(number).map(change)
    }

    fn crash(&self, number: usize) {
        let process = self.member(number, |member| {
            member.crashes += 1;
            member.process.take()
        });
        if let Some(process) = process.flatten() {
            process.down.cancel();
            if let Some(redis) = &self.redis {
                redis.vanish(process.door);
            }
        }
    }

    fn partition(&self, number: usize, begins: bool) {
        let changed = self.member(number, |member| {
            let before = member.partitions;
            member.partitions = if begins { before + 1 } else { before - 1 };
            (before == 0 || member.partitions == 0).then(|| member.process.as_ref().map(|process| process.door))
        });
        if let (Some(redis), Some(door)) = (&self.redis, changed.flatten().flatten()) {
            if begins {
                redis.cut(door);
            } else {
                redis.heal(door);
            }
        }
    }
}

/// What happens, in its order. What ends does so before something else begins in the same moment.
fn changes(events: &FleetEvents) -> Vec<(Duration, Change)> {
    let mut changes = Vec::new();
    let mut add = |at: Duration, length: Duration, begin: Change, end: Change| {
        changes.push((at, 1, begin));
        changes.push((at.saturating_add(length), 0, end));
    };
    for crash in &events.crashes {
        let number = crash.gateway.saturating_sub(1);
        add(crash.span.at, crash.span.length, Change::Crash(number), Change::Restart(number));
    }
    for partition in &events.partitions {
        let number = partition.gateway.saturating_sub(1);
        add(partition.span.at, partition.span.length, Change::Cut(number), Change::Heal(number));
    }
    for outage in &events.redis_outages {
        add(outage.at, outage.length, Change::Stop, Change::Start);
    }
    changes.sort_by_key(|(at, order, _)| (*at, *order));
    changes.into_iter().map(|(at, _, change)| (at, change)).collect()
}

/// Passes rows on. A call that its gateway's crash has ended was not its caller's wish.
struct UntilCrash {
    records: Arc<dyn Recorder>,
    down: CancellationToken,
}

impl Recorder for UntilCrash {
    fn question(&self, canonical: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        self.records.question(canonical)
    }

    fn note(&self, mut call: RecordedCall) {
        if self.down.is_cancelled() {
            call.outcome = CRASHED.0.into();
            call.status = CRASHED.1;
        }
        self.records.note(call);
    }
}
