//! Plays a script: the production gateway, ingress included, in front of simulated providers under a paused clock.
//!
//! It notes what happened and judges nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::{Seen, Simulation};
use tidegate::server::dispatch;
use tidegate::server::probes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::script::{PROVIDERS, Planned, Script};

/// No answer may have this word in it: the providers' keys do.
pub(crate) const CANARY: &str = "canary";

/// What happened.
pub(crate) struct Played {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) start: Instant,
    /// What became of each call, in the script's order.
    pub(crate) calls: Vec<Answered>,
    /// What each provider was asked.
    pub(crate) seen: BTreeMap<&'static str, Vec<Seen>>,
    /// Responses that are still being sent after all is over.
    pub(crate) state: usize,
    /// Tasks that are still there after all is over.
    pub(crate) tasks: usize,
    pub(crate) metrics: String,
}

/// What became of a call.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The body broke off.
    pub(crate) is_aborted: bool,
    /// The caller left.
    pub(crate) has_left: bool,
    /// Something came after the end.
    pub(crate) has_ended_twice: bool,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// The moment by which it had to be over, and by how much a single wait outlived it.
    pub(crate) deadline: Instant,
    pub(crate) late: Duration,
}

/// Plays the script of a seed.
pub(crate) fn play(seed: u64, script: &Script) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play_in_runtime(seed, script))
}

async fn play_in_runtime(seed: u64, script: &Script) -> Played {
    let key = |name: &str| (name.to_owned(), format!("sk-{CANARY}-{name}"));
    let mut variables: BTreeMap<String, String> =
        ["TOGETHER_API_KEY", "OPENAI_API_KEY", "BUILDPANEL_API_KEY"].map(key).into();
    variables.insert("USE_BUILDPANEL".into(), "true".into());
    let plan = config::load(Some(("soak", &script.config)), &Variables::new(variables, BTreeMap::new()))
        .unwrap_or_else(|problems| panic!("seed {seed}: {problems}\n{}", script.config));
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
    let (probing, over) = (TaskTracker::new(), CancellationToken::new());
    probes::start(&gateway, &probing, &over);

    let start = Instant::now();
    let after = move |milliseconds| tokio::time::sleep_until(start + Duration::from_millis(milliseconds));
    let mut changing = tokio::task::JoinSet::new();
    for change in &script.changes {
        let (simulation, at, behaviour) = (simulation.clone(), change.at, change.behaviour.clone());
        let provider = change.provider;
        changing.spawn(async move {
            after(at).await;
            simulation.find(provider).unwrap().behave(behaviour);
        });
    }
    let mut calling = tokio::task::JoinSet::new();
    for planned in script.calls.iter().cloned() {
        let gateway = gateway.clone();
        calling.spawn(async move {
            after(planned.at).await;
            (planned.number, call(&gateway, visit(&planned)).await)
        });
    }
    let mut calls: Vec<_> = calling.join_all().await;
    calls.sort_by_key(|(number, _)| *number);
    changing.join_all().await;
    over.cancel();
    probing.close();
    probing.wait().await;
    // Whoever was cancelled last still has to be cleared away.
    tokio::task::yield_now().await;

    let provider = |name: &str| simulation.find(name).unwrap();
    Played {
        start,
        calls: calls.into_iter().map(|(_, answered)| answered).collect(),
        seen: PROVIDERS.into_iter().map(|name| (name, provider(name).requests())).collect(),
        state: PROVIDERS.into_iter().map(|name| provider(name).live()).sum(),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        metrics: gateway.metrics_text(false),
        gateway,
    }
}

fn visit(planned: &Planned) -> Visit {
    let request = planned.kind.request(&planned.mark(), planned.model, &planned.question, planned.patience);
    let Planned { patience, leaves, slowness, .. } = *planned;
    Visit { request, patience, leaves, slowness }
}

/// A request, and how its caller behaves.
pub(crate) struct Visit {
    pub(crate) request: Request<Full<Bytes>>,
    /// See [`Planned`].
    pub(crate) patience: Option<u64>,
    pub(crate) leaves: Option<u64>,
    pub(crate) slowness: u64,
}

/// Makes a visit.
pub(crate) async fn call(gateway: &Gateway, visit: Visit) -> Answered {
    let began = Instant::now();
    let route = gateway.find(visit.request.method(), visit.request.uri().path()).unwrap();
    let deadline = began + visit.patience.map_or(route.plan.total, Duration::from_millis);
    let mut answered = Answered {
        status: 0,
        headers: http::HeaderMap::new(),
        body: Vec::new(),
        is_aborted: false,
        has_left: false,
        has_ended_twice: false,
        began,
        ended: began,
        deadline,
        late: Duration::ZERO,
    };
    let leaves = visit.leaves;
    let reading = read(gateway, visit, &mut answered);
    match leaves {
        None => reading.await,
        Some(after) => {
            let is_over = tokio::time::timeout(Duration::from_millis(after), reading).await.is_ok();
            answered.has_left = !is_over;
        }
    }
    answered.ended = Instant::now();
    answered
}

async fn read(gateway: &Gateway, visit: Visit, answered: &mut Answered) {
    let response = dispatch::handle(gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), visit.request).await;
    let (parts, mut body) = response.into_parts();
    (answered.status, answered.headers) = (parts.status.as_u16(), parts.headers);
    answered.note_wait(answered.began);
    loop {
        let asked = Instant::now();
        let frame = body.frame().await;
        answered.note_wait(asked);
        match frame {
            Some(Ok(frame)) => answered.body.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(_)) => answered.is_aborted = true,
            None => break,
        }
        tokio::time::sleep(Duration::from_millis(visit.slowness)).await;
    }
    answered.has_ended_twice = body.frame().await.is_some();
}

impl Answered {
    /// A wait that began at `asked` is over. Only what was waited for the gateway counts: a slow reader's own pauses do not.
    fn note_wait(&mut self, asked: Instant) {
        let by = self.deadline.max(asked);
        self.late = self.late.max(Instant::now().saturating_duration_since(by));
    }
}
