//! `tidegate serve`: runs the gateway until SIGTERM or SIGINT, then drains running calls. SIGHUP and changed files
//! reload, SIGUSR2 hands over to a new process. `tidegate worker` is the same process without callers.
//!
//! It does not know what a gateway does; it gives one its sockets, a world and the reasons to shut down.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::descriptors;
use super::handover::Predecessor;
use super::leaving::Signals;
use super::recording::Recorders;
use super::reload::Reloading;
use super::sockets::{CALLERS, OPERATORS, Sockets};
use super::supervisor;
use crate::config;
use crate::config::plan::Plan;
use crate::config::tables::open_keys::warning;
use crate::config::watch::Watch;
use crate::gateway::Gateway;
use crate::gateway::state::GatewayState;
use crate::gateway::world::World;
use crate::model::time::in_words;
use crate::server::current::Current;
use crate::server::jobs::Workers;
use crate::server::what_if::Simulator;
use crate::server::{self, Listener};
use crate::telemetry::export::sentry::Reporter;
use crate::telemetry::export::traces::Exporter;
use crate::telemetry::history::Event;
use crate::telemetry::log::Apart;
use crate::telemetry::{log, panics};

/// Runs the gateway with a config file, or without one.
pub fn run(file: Option<&Path>) -> ExitCode {
    run_as(&Role { has_callers: true, check: |_| Ok(()) }, file)
}

/// What a process is there for.
pub(super) struct Role {
    /// False: it listens for operators only.
    pub(super) has_callers: bool,
    /// Says why it cannot do so by this plan, and what to set.
    pub(super) check: fn(&Plan) -> Result<(), String>,
}

/// Runs a process of the configuration until a signal ends it.
pub(super) fn run_as(role: &Role, file: Option<&Path>) -> ExitCode {
    end(Beginning::find().and_then(|beginning| beginning.then(|beginning| serve(role, file, beginning))))
}

fn serve(role: &Role, file: Option<&Path>, beginning: &mut Beginning) -> Result<(), String> {
    let watch = Watch::new(file);
    let loaded = config::load_from(file).map_err(|problems| format!("the configuration is invalid\n{problems}"))?;
    (role.check)(&loaded.plan)?;
    let telemetry = log::start(&loaded.plan.log, loaded.plan.environment)?;
    tracing::info!(config = loaded.source.as_str(), version = env!("CARGO_PKG_VERSION"), "starting");
    // Whether the port is open is told once it is bound: a supervisor's socket need not be where the configuration says.
    let (environment, routes) = (loaded.plan.environment, loaded.plan.routes.clone());
    let assumed = warning(environment, loaded.plan.server.listen, &routes);
    for warning in loaded.plan.warnings.iter().filter(|warning| Some(*warning) != assumed.as_ref()) {
        tracing::warn!("{warning}");
    }
    descriptors::raise(loaded.plan.server.max_connections);
    let scheme = if loaded.plan.server.tls.is_some() { "https" } else { "http" };
    let concurrency = loaded.plan.jobs.concurrency;
    let apart = telemetry.apart();
    // Last of all, when `telemetry` goes, what it still holds is written.
    in_runtime(async move {
        let world = World::real();
        let state = Arc::new(GatewayState::new(&loaded.plan, &world));
        let gateway = Gateway::new(loaded.plan, state, Arc::new(world))?;
        let reloading = Reloading::listen(file, watch)?;
        let simulator =
            Simulator::of_process(file).inspect_err(|problem| tracing::warn!(problem, "what-if is off")).ok();
        let process = Process { log: apart, reloading: Some(reloading), simulator, has_callers: role.has_callers };
        let ready = |address| match address {
            Some(address) => {
                if let Some(warning) = warning(environment, address, &routes) {
                    tracing::warn!("{warning}");
                }
                tracing::info!("listening on {scheme}://{address}");
            }
            None => tracing::info!(concurrency, "working on jobs"),
        };
        until_stopped(gateway, beginning, process, ready).await
    })
}

/// What a process inherits from whoever started it.
pub(super) struct Beginning {
    predecessor: Option<Predecessor>,
    sockets: Sockets,
}

impl Beginning {
    /// Looks for it; once, and first of all.
    pub(super) fn find() -> Result<Self, String> {
        Ok(match Predecessor::meet()? {
            Some((predecessor, sockets)) => Self { predecessor: Some(predecessor), sockets },
            None => Self { predecessor: None, sockets: Sockets::of_supervisor()? },
        })
    }

    /// Goes on with it. If that fails before callers are answered, the process before this one learns why.
    pub(super) fn then(mut self, work: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let result = work(&mut self);
        if let (Err(problem), Some(predecessor)) = (&result, self.predecessor) {
            predecessor.refuse(problem);
        }
        result
    }
}

/// How the process ends.
pub(super) fn end(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// How long a start waits for the flags from the store and for the store of jobs: no call may go where an operator has
/// disabled something, no job should be refused for nothing, and a store that is down must not keep the gateway from
/// starting.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long work that no caller waits for may go on after the last call.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// How long the store of jobs may take to get back those that are not done.
const LAST_JOBS: Duration = Duration::from_secs(3);

/// How long collectors may take for the last spans and reports, the store for what the last calls cost, and the disk for their
/// rows in the trace.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Runs a future on the multi-threaded runtime.
pub(super) fn in_runtime<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|fault| format!("could not start the async runtime: {fault}"))?;
    runtime.block_on(future)
}

/// What a process is besides its gateway.
pub(super) struct Process {
    pub(super) log: Apart,
    /// Why its configuration may change while it runs; `None`: it does not.
    pub(super) reloading: Option<Reloading>,
    /// What plays its configuration; `None`: nobody can.
    pub(super) simulator: Option<Simulator>,
    /// False: it listens for operators only.
    pub(super) has_callers: bool,
}

/// Serves until a signal comes, then drains. `ready` is told the callers' address, where there are any.
pub(super) async fn until_stopped(
    gateway: Gateway,
    beginning: &mut Beginning,
    process: Process,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<(), String> {
    let plan = gateway.plan.server.clone();
    let mut sockets = std::mem::take(&mut beginning.sockets);
    let listener = match process.has_callers {
        true => Some(sockets.listen(CALLERS, plan.listen).await?),
        false => None,
    };
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    keep_log(&gateway, process.log, &tasks, &shutdown);
    let current = Current::probed(gateway, &tasks, &shutdown);
    if let Some(simulator) = process.simulator {
        current.what_if().offer(simulator);
    }
    let workers = Arc::new(Workers::keep(&current, &shutdown));
    let gateway = current.gateway();
    // At once: each has a connection of its own, and a start should wait for one of them at the longest.
    let (has_flags, ()) = tokio::join!(gateway.state.flags().known(PATIENCE), workers.known(PATIENCE));
    if !has_flags {
        tracing::warn!("could not load flags from Redis; using the last known flags until it responds");
    }
    if let Some(address) = plan.admin {
        let admin = sockets.listen(OPERATORS, address).await;
        let admin = admin.map_err(|problem| format!("{problem} (server.admin; \"off\" disables it)"))?;
        let bound = admin.local_addr().map_err(|fault| fault.to_string())?;
        tracing::info!("operators: http://{bound}");
        tasks.spawn(server::run(admin, Listener::Admin, current.clone(), shutdown.clone()));
    }
    sockets.close_rest();
    let (telling, flush) = (TaskTracker::new(), CancellationToken::new());
    let recorders = Arc::new(Recorders::new(telling.clone(), flush.clone()));
    recorders.follow(&current.gateway());
    if let Some(reloading) = process.reloading {
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(reloading.run(current.clone(), recorders)));
    }
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(supervisor::stay_alive()));
    workers.begin(gateway.jobs.store().clone());
    drop(gateway);
    let working = workers.clone();
    tasks.spawn(async move { working.left().await });
    let signals = Signals::listen()?;
    tell(&current.gateway(), &telling, &flush);
    ready(listener.as_ref().map(TcpListener::local_addr).transpose().map_err(|fault| fault.to_string())?);
    supervisor::ready();
    if let Some(predecessor) = beginning.predecessor.take() {
        predecessor.relieve();
        current.gateway().state.history().note(Event::TookOver);
    }
    let served = async {
        let is_clean = match listener {
            Some(listener) => server::run(listener, Listener::Public, current.clone(), shutdown.clone()).await,
            None => {
                shutdown.cancelled().await;
                true
            }
        };
        tasks.close();
        if is_clean {
            // Jobs that run among them: they have as long as calls.
            tasks.wait().await;
        }
        is_clean
    };
    let is_clean = tokio::select! {
        is_clean = served => is_clean,
        () = signals.leave(&current, sockets, &shutdown) => false,
    };
    if is_clean {
        let gateway = current.gateway();
        gateway.state.tasks().close();
        // Nobody waits for the result any more; what is half done is worth a moment, not a hang.
        let _ = tokio::time::timeout(LAST_TASKS, gateway.state.tasks().wait()).await;
    }
    // After the last caller, who may have submitted one. Jobs that still run are given back, for other workers.
    workers.hurry();
    let _ = tokio::time::timeout(LAST_JOBS, workers.close()).await;
    let jobs = workers.given_back();
    if jobs > 0 {
        tracing::info!(
            jobs,
            "gave back jobs that had not ended: they begin again in another process, or after a restart"
        );
    }
    let grace = current.gateway().plan.server.leaving.drain;
    flush.cancel();
    telling.close();
    let state = current.gateway().state.clone();
    let last_words = async { tokio::join!(telling.wait(), state.ledger().flush()) };
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    match is_clean {
        true if process.has_callers => tracing::info!("stopped; all calls completed"),
        true => tracing::info!("stopped; jobs that ran have ended, or were given back"),
        false => {
            tracing::warn!(
                "stopped; calls still running were aborted (after {}, or on a second signal)",
                in_words(grace)
            )
        }
    }
    Ok(())
}

/// Lets operators change the log level, and reports suppressed lines.
fn keep_log(gateway: &Gateway, log: Apart, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let state = gateway.state.common();
    panics::tell(gateway.plan.sentry.dsn.is_some().then(|| state.reports().clone()));
    state.log().connect(&gateway.plan.log.level, log.level);
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move { state.log().keep().await }));
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(log.repeats));
}

/// Starts to send spans and reports away, where there is somebody to get them. A mistake in that stops nobody.
fn tell(gateway: &Gateway, telling: &TaskTracker, flush: &CancellationToken) {
    let (plan, state, world) = (&gateway.plan, &gateway.state, &gateway.world);
    match Exporter::new(&plan.tracing, plan.environment, &world.next_id(), state.spans()) {
        Ok(Some(exporter)) => drop(telling.spawn(exporter.run(flush.clone()))),
        Ok(None) => {}
        Err(problem) => tracing::warn!(problem, "tracing is off"),
    }
    match Reporter::new(&plan.sentry, plan.environment, world.clock(), state.reports().clone()) {
        Ok(Some(reporter)) => drop(telling.spawn(reporter.run(flush.clone()))),
        Ok(None) => {}
        Err(problem) => tracing::warn!(problem, "reporting to Sentry is off"),
    }
}
