//! Reload: what makes a running gateway reload its configuration: SIGHUP and changed files.
//!
//! It does not know what changes; the server's `Current` does, and logs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::recording::Recorders;
use crate::config;
use crate::config::watch::Watch;
use crate::server::current::Current;

/// Listens for reasons to reload.
pub(super) struct Reloading {
    file: Option<PathBuf>,
    watch: Watch,
    hangup: Signal,
}

impl Reloading {
    /// From now on SIGHUP does not end the process. `watch` was made before the configuration was loaded.
    pub(super) fn listen(file: Option<&Path>, watch: Watch) -> Result<Self, String> {
        let hangup =
            signal(SignalKind::hangup()).map_err(|fault| format!("could not install signal handlers: {fault}"))?;
        Ok(Self { file: file.map(Into::into), watch, hangup })
    }

    /// Reloads whenever there is a reason, one after the other, until it is dropped.
    pub(super) async fn run(mut self, current: Arc<Current>, recorders: Arc<Recorders>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    tracing::info!(signal = "SIGHUP", "reloading the configuration");
                    // Before it is read, so that what changes meanwhile is noticed.
                    match self.watch.look().await {
                        Ok(()) => self.reload(&current, &recorders).await,
                        Err(problem) => current.refuse(vec![problem]),
                    }
                }
                changed = self.watch.changed() => match changed {
                    Ok(()) => self.reload(&current, &recorders).await,
                    Err(problem) => current.refuse(vec![problem]),
                },
            }
        }
    }

    async fn reload(&self, current: &Arc<Current>, recorders: &Recorders) {
        let (file, replaced) = (self.file.clone(), current.clone());
        // Files are read and connection pools built: no work for a thread that answers calls.
        let work = tokio::task::spawn_blocking(move || match config::load_from(file.as_deref()) {
            Ok(loaded) => drop(replaced.replace(loaded.plan)),
            Err(problems) => replaced.refuse(problems.iter().map(ToString::to_string).collect()),
        });
        if work.await.is_err() {
            current.refuse(vec!["could not read the configuration: internal error".into()]);
        }
        let gateway = current.gateway();
        if let Err(problem) = gateway.state.log().configure(&gateway.plan.log.level) {
            tracing::error!(problem, "could not apply the new log level; keeping the current one");
        }
        recorders.follow(&gateway);
    }
}
