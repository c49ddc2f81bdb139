//! Probes: ask every provider and the store in the background whether they are up, and keep the answer in Live.
//!
//! No request ever waits for a probe.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::plan::{ProviderPlan, Usable};
use crate::config::secret::Secret;
use crate::gateway::Gateway;
use crate::live::{Health, ProviderLive};
use crate::names::display_name;
use crate::provider::exchange;
use crate::provider::transport::Transport;

/// How often the store is asked, and how long it may take.
const STORE_INTERVAL: Duration = Duration::from_secs(5);
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the probes of a gateway; they end with `shutdown`.
pub fn start(gateway: &Gateway, tasks: &TaskTracker, shutdown: &CancellationToken) -> Probes {
    let (tasks, shutdown) = (tasks.clone(), shutdown.clone());
    let mut probes = Probes { tasks, shutdown, providers: Vec::new(), store: None };
    probes.follow(gateway);
    probes
}

/// The probes that run.
pub struct Probes {
    tasks: TaskTracker,
    shutdown: CancellationToken,
    providers: Vec<(Arc<ProviderPlan>, CancellationToken)>,
    store: Option<(Secret, CancellationToken)>,
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
            let is_set_up = matches!(plan.usable, Usable::Yes | Usable::SwitchedOff);
            let interval = plan.probe.as_ref().map(|probe| probe.interval).filter(|_| is_set_up);
            let (Some(interval), Some(state)) = (interval, gateway.live.provider(&plan.name)) else { continue };
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
        self.follow_store(gateway);
    }

    fn follow_store(&mut self, gateway: &Gateway) {
        let url = gateway.plan.store.redis_url.as_ref();
        if self.store.as_ref().map(|(old, _)| old) == url {
            return;
        }
        if let Some((_, over)) = self.store.take() {
            over.cancel();
        }
        let Some(url) = url.cloned() else { return };
        let (over, live) = (self.shutdown.child_token(), gateway.live.common());
        self.store = Some((url.clone(), over.clone()));
        self.tasks.spawn(over.run_until_cancelled_owned(async move {
            let mut connection = None;
            loop {
                let health = store(&url, &mut connection).await;
                if live.store().is_connected() && !health.is_connected() {
                    tracing::warn!("the store (redis) is not reachable");
                }
                live.note_store(health);
                tokio::time::sleep(STORE_INTERVAL).await;
            }
        }));
    }
}

async fn provider(state: &ProviderLive, plan: &ProviderPlan, transport: &dyn Transport) {
    if !state.switch.is_on() {
        return;
    }
    let health = match exchange::probe(plan, transport).await {
        Ok(latency) => Health::Connected { latency },
        Err(error) if error.starts_with("status") => Health::Failing { error },
        Err(error) => Health::Disconnected { error },
    };
    let before = state.note_health(health.clone());
    let name = display_name(&plan.name);
    match (before.is_connected(), &health) {
        (false, Health::Connected { latency }) => {
            tracing::info!(provider = name, latency = latency.as_secs_f64() * 1000.0, "{name} is connected");
        }
        (true, Health::Disconnected { error } | Health::Failing { error }) => {
            tracing::warn!(provider = name, error = error.as_str(), "{name} is not connected any more");
        }
        (false, Health::Disconnected { error } | Health::Failing { error }) if before == Health::Unknown => {
            tracing::warn!(provider = name, error = error.as_str(), "{name} is not connected");
        }
        _ => {}
    }
}

/// Asks the store for a PING on a connection that is kept while it works.
async fn store(url: &Secret, connection: &mut Option<redis::aio::MultiplexedConnection>) -> Health {
    let started = tokio::time::Instant::now();
    let asked = tokio::time::timeout(STORE_TIMEOUT, async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => redis::Client::open(url.expose())?.get_multiplexed_async_connection().await?,
        };
        let () = redis::cmd("PING").query_async(&mut open).await?;
        *connection = Some(open);
        Ok::<(), redis::RedisError>(())
    });
    match asked.await {
        Ok(Ok(())) => Health::Connected { latency: started.elapsed() },
        // The error's kind and not its text: that may name the URL, password included.
        Ok(Err(fault)) if fault.is_connection_refusal() || fault.is_io_error() => {
            Health::Disconnected { error: "not reachable".into() }
        }
        Ok(Err(fault)) => Health::Failing { error: format!("{:?}", fault.kind()) },
        Err(_) => Health::Disconnected { error: "timeout".into() },
    }
}
