//! Current: the one pointer to the gateway that serves now. Each request loads it once, and so sees exactly one
//! generation of the configuration; running requests finish with theirs.
//!
//! It does not know where a configuration comes from.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::probes::{self, Probes};
use super::what_if::WhatIf;
use crate::config::plan::Plan;
use crate::gateway::Gateway;
use crate::gateway::state::Reload;
use crate::telemetry::history;

/// The time from one step of the history to the next.
const STEP: Duration = Duration::from_secs(history::SHORT);

/// How many changed keys are named in the log.
const NAMED: usize = 20;

/// The gateway that answers now.
pub struct Current {
    gateway: ArcSwap<Gateway>,
    /// Held while one gateway takes the place of another, so that no generation is built on one that is gone.
    probes: Mutex<Option<Probes>>,
    what_if: WhatIf,
}

impl Current {
    /// Begins with a gateway whose providers nobody probes.
    pub fn new(gateway: Gateway) -> Arc<Self> {
        Self::begin(gateway, None)
    }

    /// Begins with a gateway, and starts its probes; they end with `shutdown`.
    pub fn probed(gateway: Gateway, tasks: &TaskTracker, shutdown: &CancellationToken) -> Arc<Self> {
        let probes = probes::start(&gateway, tasks, shutdown);
        let current = Self::begin(gateway, Some(probes));
        let sampled = keep_history(Arc::downgrade(&current));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(sampled));
        current
    }

    fn begin(gateway: Gateway, probes: Option<Probes>) -> Arc<Self> {
        let what_if = WhatIf::default();
        Arc::new(Self { gateway: ArcSwap::from_pointee(gateway), probes: Mutex::new(probes), what_if })
    }

    /// What operators ask about other limits.
    pub fn what_if(&self) -> &WhatIf {
        &self.what_if
    }

    /// The gateway that answers now. To be kept for one request, not for a connection.
    pub fn gateway(&self) -> Arc<Gateway> {
        self.gateway.load_full()
    }

    /// Puts a gateway of this plan in the place of the one that answers now, and says so in the log, the metrics and
    /// `/health/status`. The error says which part of the plan cannot be built; then nothing has changed.
    pub fn replace(&self, mut plan: Plan) -> Result<(), String> {
        // Nothing half-done can be left behind: the pointer is swapped in one step, and the probes follow it.
        let mut probes = self.probes.lock();
        let before = self.gateway();
        let needs_restart = plan.keep_fixed(&before.plan);
        let gateway = match before.after(plan) {
            Ok(gateway) => Arc::new(gateway),
            Err(problem) => {
                self.refuse(vec![problem.clone()]);
                return Err(problem);
            }
        };
        let (at, generation) = (gateway.world.now(), gateway.generation);
        // Before it answers: who sees the new generation sees how it came.
        let problems = Vec::new();
        gateway.state.note_reload(Reload { generation, at, problems, needs_restart: needs_restart.clone() });
        self.gateway.store(gateway.clone());
        if let Some(probes) = &mut *probes {
            probes.follow(&gateway);
        }
        tell(&before, &gateway, &needs_restart);
        Ok(())
    }

    /// Notes that a new configuration is refused, and why. Everything stays as it is.
    pub fn refuse(&self, problems: Vec<String>) {
        let gateway = self.gateway();
        for problem in &problems {
            let generation = gateway.generation;
            tracing::error!(problem, generation, "the new configuration is invalid; keeping the current one");
        }
        // The old one may itself have left something to a restart.
        let needs_restart = gateway.state.reloads().last.map(|last| last.needs_restart).unwrap_or_default();
        let (generation, at) = (gateway.generation, gateway.world.now());
        gateway.state.note_reload(Reload { generation, at, problems, needs_restart });
    }
}

/// Writes the history, step by step. It holds no gateway: one that is replaced must be free to go.
async fn keep_history(current: Weak<Current>) {
    let Some(start) = current.upgrade().map(|current| current.gateway().state.history().start()) else { return };
    let mut steps = interval_at(start + STEP, STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        let Some(current) = current.upgrade() else { return };
        current.gateway().state.sample_history();
    }
}

/// Says in the log what has changed.
fn tell(before: &Gateway, after: &Gateway, needs_restart: &[&str]) {
    let keys = before.plan.effective.changed_keys(&after.plan.effective);
    let named = keys.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let (generation, changed) = (after.generation, keys.len());
    tracing::info!(generation, changed, keys = named, "the configuration was reloaded");
    if !needs_restart.is_empty() {
        tracing::warn!("needs a restart: {}", needs_restart.join(", "));
    }
    for warning in after.plan.warnings.iter().filter(|warning| !before.plan.warnings.contains(warning)) {
        tracing::warn!("{warning}");
    }
}
