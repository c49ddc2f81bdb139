//! Worlds in which many callers of few tenants ask the same few questions, while providers fail, callers leave and operators
//! purge: what is kept or shared must be complete, young enough, and nobody else's.
//!
//! The providers speak with another voice every moment. So an answer tells when it was asked for, and the requests that
//! providers saw then tell on whose behalf.

#[path = "cached/check.rs"]
mod check;
#[path = "cached/script.rs"]
mod script;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Seen, Simulation};
use tidegate::server::dispatch;
use tokio::time::Instant;

pub(crate) use self::check::{Tally, check};
pub(crate) use self::script::Script;
use crate::play::{Answered, call};
use crate::script::PROVIDERS;

/// What happened.
pub(crate) struct Played {
    start: Instant,
    calls: Vec<Answered>,
    /// What all providers were asked.
    seen: Vec<Seen>,
    /// Responses that are still being sent, and tasks that are still there, after all is over.
    state: usize,
    tasks: usize,
    metrics: String,
}

/// Plays the script of a seed.
pub(crate) fn play(seed: u64, script: &Script) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play_in_runtime(seed, script))
}

async fn play_in_runtime(seed: u64, script: &Script) -> Played {
    let on = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = [
        on("ADMIN_TOKEN", "the-admins-own-token"),
        on("OPENAI_API_KEY", "k"),
        on("USE_BUILDPANEL", "true"),
        on("DISABLE_RATE_LIMITING", "true"),
    ];
    let plan = config::load(Some(("soak", &script.config)), &Variables::new(variables.into(), [].into()))
        .unwrap_or_else(|problems| panic!("seed {seed}: {problems}\n{}", script.config));
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
    let start = Instant::now();
    let after = move |milliseconds| tokio::time::sleep_until(start + Duration::from_millis(milliseconds));
    let mut tasks = tokio::task::JoinSet::new();
    for change in &script.changes {
        let (simulation, at, behaviour) = (simulation.clone(), change.at, change.behaviour.clone());
        let provider = change.provider;
        tasks.spawn(async move {
            after(at).await;
            simulation.find(provider).unwrap().behave(behaviour);
        });
    }
    for (at, body) in script.purges.iter().cloned() {
        let gateway = gateway.clone();
        tasks.spawn(async move {
            after(at).await;
            let request = Request::post("/cache/purge")
                .header("authorization", "Bearer the-admins-own-token")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            assert_eq!(dispatch::operate(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await.status(), 200);
        });
    }
    let mut calling = tokio::task::JoinSet::new();
    for asked in script.calls.iter().cloned() {
        let gateway = gateway.clone();
        calling.spawn(async move {
            after(asked.at).await;
            (asked.number, call(&gateway, asked.visit()).await)
        });
    }
    let mut calls: Vec<_> = calling.join_all().await;
    calls.sort_by_key(|(number, _)| *number);
    tasks.join_all().await;
    gateway.state.tasks().close();
    gateway.state.tasks().wait().await;
    tokio::task::yield_now().await;
    let providers = PROVIDERS.into_iter().filter_map(|name| simulation.find(name));
    Played {
        start,
        calls: calls.into_iter().map(|(_, answered)| answered).collect(),
        seen: providers.clone().flat_map(|provider| provider.requests()).collect(),
        state: providers.map(|provider| provider.live()).sum(),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        metrics: gateway.metrics_text(false),
    }
}
