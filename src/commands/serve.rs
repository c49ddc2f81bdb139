//! `tidegate serve`: run the gateway until SIGTERM or SIGINT, then let what runs finish. SIGHUP and changed files reload.
//!
//! It does not know what a gateway does; it gives one a listener, a world and a signal to stop.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reload::Reloading;
use crate::config;
use crate::config::watch::Watch;
use crate::gateway::Gateway;
use crate::live::Live;
use crate::server::current::Current;
use crate::server::{self, Door};
use crate::telemetry;
use crate::world::World;

/// Runs the gateway with a config file, or without one.
pub fn run(file: Option<&Path>) -> ExitCode {
    let watch = Watch::new(file);
    let loaded = match config::load_from(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    let telemetry = match telemetry::start(&loaded.plan.log, loaded.plan.environment) {
        Ok(telemetry) => Arc::new(telemetry),
        Err(problem) => return fail(&problem),
    };
    tracing::info!(config = loaded.source.as_str(), version = env!("CARGO_PKG_VERSION"), "starting");
    for warning in &loaded.plan.warnings {
        tracing::warn!("{warning}");
    }
    let telling = telemetry.clone();
    let scheme = if loaded.plan.server.tls.is_some() { "https" } else { "http" };
    let result = in_runtime(async move {
        let world = World::real();
        let live = Arc::new(Live::new(&loaded.plan, world.chance()));
        let gateway = Gateway::new(loaded.plan, live, Arc::new(world))?;
        let reloading = Reloading::listen(file, watch, telling)?;
        until_stopped(gateway, Some(reloading), |address| tracing::info!("listening on {scheme}://{address}")).await
    });
    drop(telemetry);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem),
    }
}

pub(super) fn fail(problem: &str) -> ExitCode {
    eprintln!("tidegate: {problem}");
    ExitCode::FAILURE
}

/// How long a start waits for the store to say what operators have switched: no call is to go where somebody has switched off,
/// and a store that is out must not keep the gateway from starting.
const FLAGS_PATIENCE: Duration = Duration::from_millis(200);

/// How long work that no caller waits for may go on after the last call.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// Runs a future on the multi-threaded runtime.
pub(super) fn in_runtime<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|fault| format!("the runtime could not start: {fault}"))?;
    runtime.block_on(future)
}

/// Serves until a signal comes, then drains; until then the configuration may be reloaded. `ready` is told the callers'
/// address.
pub(super) async fn until_stopped(
    gateway: Gateway,
    reloading: Option<Reloading>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), String> {
    let plan = gateway.plan.server.clone();
    let listener = bind(plan.listen).await?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let current = Current::probed(gateway, &tasks, &shutdown);
    if !current.gateway().live.flags().known(FLAGS_PATIENCE).await {
        tracing::warn!("the store does not say what is switched off: what is known here holds until it does");
    }
    if let Some(address) = plan.admin {
        let admin = bind(address).await.map_err(|problem| format!("{problem} (server.admin; \"off\" turns it off)"))?;
        let bound = admin.local_addr().map_err(|fault| fault.to_string())?;
        tracing::info!("operators: http://{bound}");
        tasks.spawn(server::run(admin, Door::Operators, current.clone(), shutdown.clone()));
    }
    if let Some(reloading) = reloading {
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(reloading.run(current.clone())));
    }
    let mut signals = Signals::listen()?;
    ready(listener.local_addr().map_err(|fault| fault.to_string())?);
    let is_clean = tokio::select! {
        is_clean = server::run(listener, Door::Callers, current.clone(), shutdown.clone()) => is_clean,
        () = signals.stop(&current, &shutdown) => false,
    };
    tasks.close();
    if is_clean {
        tasks.wait().await;
        let gateway = current.gateway();
        gateway.live.tasks().close();
        // Nobody waits for the result any more; what is half done is worth a moment, not a hang.
        let _ = tokio::time::timeout(LAST_TASKS, gateway.live.tasks().wait()).await;
    }
    let grace = current.gateway().plan.server.drain_timeout;
    match is_clean {
        true => tracing::info!("stopped; every call was finished"),
        false => tracing::warn!(
            "stopped; calls that still ran (after {} s, or a second signal) were cut off",
            grace.as_secs()
        ),
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|fault| match fault.kind() {
        std::io::ErrorKind::AddrInUse => format!("cannot listen on {address}: another process does already"),
        std::io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {address}: not allowed (ports below 1024 need a privilege)")
        }
        _ => format!("cannot listen on {address}: {fault}"),
    })
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|fault| format!("signals cannot be received: {fault}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal begins the drain; the second ends the wait for it.
    async fn stop(&mut self, current: &Current, shutdown: &CancellationToken) {
        let signal = self.next().await;
        tracing::info!(signal, "stopping: no new connections, running calls finish");
        current.gateway().live.drain();
        shutdown.cancel();
        let signal = self.next().await;
        tracing::warn!(signal, "stopping at once");
    }
}
