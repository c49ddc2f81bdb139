//! Background probes: check the health of every provider and refresh the JWKS. The results are kept in the
//! gateway's state; the store watches its own connection.
//!
//! No request ever waits for a probe.

use std::sync::Arc;

use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::ProviderPlan;
use crate::gateway::state::{Health, ProviderState};
use crate::gateway::{Gateway, health};
use crate::model::names::display_name;
use crate::policy::auth::jwks::KeySet;
use crate::provider::probe::{Probed, probe};
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
    let health = match probe(plan, transport).await {
        Probed::Answered(status, latency) if status.is_success() => Health::Connected { latency },
        Probed::Answered(StatusCode::TOO_MANY_REQUESTS, latency) => Health::Limited { latency },
        Probed::Answered(status, _) => Health::Failing { status },
        Probed::Unanswered(error) => Health::Disconnected { error },
    };
    match &health {
        // It is there; whether its models are well, a limit does not say.
        Health::Limited { .. } | Health::Unknown => {}
        Health::Connected { .. } => state.breakers.note_probe(true),
        Health::Disconnected { .. } | Health::Failing { .. } => state.breakers.note_probe(false),
    }
    let before = state.note_health(health.clone());
    tell(display_name(&plan.name), &before, &health);
}

/// Logs what a probe found, when it is news.
fn tell(name: &str, before: &Health, now: &Health) {
    let is_limited = |health: &Health| matches!(health, Health::Limited { .. });
    if is_limited(now) && !is_limited(before) {
        tracing::info!(provider = name, "{name} answers health probes with 429: it is up, and limits the gateway");
    }
    match (now.latency(), now.error()) {
        (Some(latency), _) if !before.is_connected() => {
            tracing::info!(provider = name, latency = latency.as_secs_f64() * 1000.0, "{name} is connected");
        }
        (None, Some(error)) if before.is_connected() => {
            tracing::warn!(provider = name, error = &*error, "{name} is no longer connected");
        }
        (None, Some(error)) if *before == Health::Unknown => {
            tracing::warn!(provider = name, error = &*error, "{name} is not connected");
        }
        _ => {}
    }
}
