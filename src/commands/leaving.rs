//! Graceful shutdown: the signals that end the process, and the order of its steps.
//!
//! SIGTERM and SIGINT: readiness fails, connections are still accepted for `leave_delay`, then no longer, and
//! running calls are drained; a second signal ends the wait. SIGUSR2: a new process takes over, and running calls
//! are drained here; if it cannot, nothing changes. The server knows how to drain.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::handover::hand_over;
use super::sockets::{CALLERS, Sockets};
use super::supervisor;
use crate::model::time::in_words;
use crate::server::current::Current;

/// The signals that end the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    replace: Signal,
}

impl Signals {
    /// From now on they end it in order.
    pub(super) fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|fault| format!("could not install signal handlers: {fault}"));
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, replace: listen(SignalKind::user_defined2())? })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.replace.recv() => Wish::HandOver,
        }
    }

    /// Waits for one that ends the process without another in its place.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Wish::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Waits for a reason to leave and begins to: `shutdown` is cancelled, and the sockets are let go. Returns when a
    /// further signal wants the process to end at once.
    pub(super) async fn leave(mut self, current: &Current, sockets: Sockets, shutdown: &CancellationToken) {
        self.reason(current, &sockets).await;
        // The server has its own. With these a caller would connect to nobody.
        drop(sockets);
        shutdown.cancel();
        if current.gateway().state.is_handed_over() {
            // A supervisor that stops the service tells every process of it, this one too: that is no second time.
            let signal = self.stop().await;
            tracing::info!(signal, "shutting down anyway: draining running calls");
        }
        let signal = self.stop().await;
        tracing::warn!(signal, "stopping immediately");
    }

    async fn reason(&mut self, current: &Current, sockets: &Sockets) {
        let has_callers = sockets.open().iter().any(|socket| socket.name == CALLERS);
        loop {
            let signal = match self.next().await {
                Wish::Stop(signal) => signal,
                Wish::HandOver => {
                    tracing::info!(signal = "SIGUSR2", "handing over: starting a new process");
                    let within = current.gateway().plan.server.leaving.handover;
                    tokio::select! {
                        done = hand_over(sockets.open(), within) => match done {
                            Ok(successor) => return handed_over(successor, current),
                            Err(problem) => {
                                tracing::error!(problem, "hand-over failed; this process keeps serving");
                                continue;
                            }
                        },
                        // The process that was to take over ends too: both were meant.
                        signal = self.stop() => signal,
                    }
                }
            };
            return self.stopping(signal, current, has_callers).await;
        }
    }

    async fn stopping(&mut self, signal: &'static str, current: &Current, has_callers: bool) {
        let gateway = current.gateway();
        gateway.state.drain();
        supervisor::stopping();
        if !has_callers {
            return tracing::info!(signal, "shutting down: no job is begun any more; those that run may end");
        }
        let delay = gateway.plan.server.leaving.delay;
        if !delay.is_zero() {
            tracing::info!(
                signal,
                "shutting down: readiness now fails; accepting connections for another {}",
                in_words(delay)
            );
            tokio::select! {
                () = sleep(delay) => {}
                // In a hurry after all; calls that run are still waited for until the next one.
                _ = self.stop() => {}
            }
        }
        tracing::info!(signal, "shutting down: no new connections; draining running calls");
    }
}

fn handed_over(successor: u32, current: &Current) {
    tracing::info!(successor, "handed over: the new process accepts connections; draining running calls here");
    current.gateway().state.hand_over();
    supervisor::handed_over(successor);
}

/// What a signal asks for.
enum Wish {
    /// The process ends; by this signal.
    Stop(&'static str),
    /// Another process takes its place.
    HandOver,
}
