//! Background probes: check the health of every provider and refresh the JWKS. The results are kept in the
//! gateway's state; the store watches its own connection.
//!
//! No request ever waits for a probe.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::ProviderPlan;
use crate::gateway::state::{Health, ProviderState};
use crate::gateway::{Gateway, health};
use crate::model::names::display_name;
use crate::policy::auth::jwks::KeySet;
use crate::provider::exchange;
use crate::provider::transport::Transport;

/// Starts the probes of a gateway; they end with `shutdown`.
pub fn start(gateway: &Gateway, tasks: &TaskTracker, shutdown: &CancellationToken) -> Probes {
    if gateway.state.redis().is_some() {
        // The store is the same for every generation.
        let gateway_state = gateway.state.common();
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move { gateway_state.keep_store().await }));
    }
    let (tasks, shutdown) = (tasks.clone(), shutdown.clone());
    let mut probes = Probes { tasks, shutdown, providers: Vec::new(), published: None };
    probes.follow(gateway);
    probes
}

/// The probes that run.
pub struct Probes {
    tasks: TaskTracker,
    shutdown: CancellationToken,
    providers: Vec<(Arc<ProviderPlan>, CancellationToken)>,
    /// The keys that are being kept fresh.
    published: Option<(KeySet, CancellationToken)>,
}

impl Probes {
    /// Goes on with what another gateway has to probe. Who has not changed notices nothing; who has is probed at once.
    ///
    /// No probe holds the gateway itself: one that is replaced must be free to go.
    pub fn follow(&mut self, gateway: &Gateway) {
        let mut before = std::mem::take(&mut self.providers);
        for (plan, transport) in gateway.plan.providers.iter().zip(&gateway.transports) {
            if let Some(same) = before.iter().position(|(old, _)| old == plan) {
                self.providers.push(before.swap_remove(same));
                continue;
            }
            let is_set_up = health::is_set_up(plan);
            let interval = plan.probe.as_ref().map(|probe| probe.interval).filter(|_| is_set_up);
            let (Some(interval), Some(state)) = (interval, gateway.state.provider(&plan.name)) else { continue };
            let (plan, transport, state) = (plan.clone(), transport.clone(), state.clone());
            let over = self.shutdown.child_token();
            self.providers.push((plan.clone(), over.clone()));
            self.tasks.spawn(over.run_until_cancelled_owned(async move {
                loop {
                    provider(&state, &plan, &*transport).await;
                    tokio::time::sleep(interval).await;
                }
            }));
        }
        before.iter().for_each(|(_, over)| over.cancel());
        self.follow_publisher(gateway.authenticator.published());
    }

    fn follow_publisher(&mut self, published: Option<&KeySet>) {
        if let (Some((before, _)), Some(now)) = (&self.published, published)
            && before.is_same(now)
        {
            return;
        }
        if let Some((_, over)) = self.published.take() {
            over.cancel();
        }
        if let Some(now) = published {
            let over = self.shutdown.child_token();
            self.published = Some((now.clone(), over.clone()));
            self.tasks.spawn(over.run_until_cancelled_owned(now.clone().run()));
        }
    }
}

async fn provider(state: &ProviderState, plan: &ProviderPlan, transport: &dyn Transport) {
    if !state.switch.is_on() {
        return;
    }
    let health = match exchange::probe(plan, transport).await {
        Ok(latency) => Health::Connected { latency },
        Err(error) if error.starts_with("status") => Health::Failing { error },
        Err(error) => Health::Disconnected { error },
    };
    state.breakers.note_probe(health.is_connected());
    let before = state.note_health(health.clone());
    let name = display_name(&plan.name);
    match (before.is_connected(), &health) {
        (false, Health::Connected { latency }) => {
            tracing::info!(provider = name, latency = latency.as_secs_f64() * 1000.0, "{name} is connected");
        }
        (true, Health::Disconnected { error } | Health::Failing { error }) => {
            tracing::warn!(provider = name, error = error.as_str(), "{name} is no longer connected");
        }
        (false, Health::Disconnected { error } | Health::Failing { error }) if before == Health::Unknown => {
            tracing::warn!(provider = name, error = error.as_str(), "{name} is not connected");
        }
        _ => {}
    }
}
