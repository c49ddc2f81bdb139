//! Gateways in the test's own process, built the way `serve` builds them, over simulated providers that all of them share and
//! a real store.
//!
//! It does not know what the tests ask.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::policy::cache::cluster::ClusterTally;
use tidegate::provider::simulated::{Behaviour, Simulation};
use tidegate::server::dispatch;
use tokio::task::JoinSet;

use crate::server::until;

/// Chances differ from gateway to gateway, and are the same in every run of one test.
static SEED: AtomicU64 = AtomicU64::new(1);

/// Where what is shared is the matter and not how fast: on a busy machine 20 ms are soon over, and then each gateway goes alone.
pub(crate) const PATIENT: &str = "[cache]\nredis_timeout = \"5s\"\n";

/// Providers that several gateways ask.
#[derive(Clone, Default)]
pub(crate) struct Providers(Arc<Simulation>);

impl Providers {
    /// Has a provider behave.
    pub(crate) fn behave(&self, name: &str, behaviour: Value) {
        let behaviour: Behaviour = serde_json::from_value(behaviour).unwrap();
        self.0.find(name).unwrap_or_else(|| panic!("no provider {name}")).behave(behaviour);
    }

    /// Calls that the providers have seen, probes not among them.
    pub(crate) fn calls(&self) -> usize {
        let calls = |name: &Arc<str>| {
            let seen = self.0.find(name).map(|provider| provider.requests()).unwrap_or_default();
            seen.iter().filter(|request| request.path != "/models").count()
        };
        self.0.names().iter().map(calls).sum()
    }
}

/// One gateway.
pub(crate) struct Member {
    pub(crate) gateway: Arc<Gateway>,
    keepers: JoinSet<()>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    /// What the cache did: `hit`, `fwd=miss`, ...
    pub(crate) cache: String,
    pub(crate) body: String,
}

impl Member {
    /// Starts a gateway; `settings` are laid over the defaults.
    pub(crate) fn start(url: &str, providers: &Providers, settings: &str) -> Self {
        Self::with(&[("REDIS_URL", url)], providers, settings, 0)
    }

    /// Starts a gateway whose own clock is so many hours ahead of the others'.
    pub(crate) fn start_ahead(url: &str, providers: &Providers, settings: &str, hours: i64) -> Self {
        Self::with(&[("REDIS_URL", url)], providers, settings, hours)
    }

    /// Starts a gateway that shares nothing.
    pub(crate) fn alone(providers: &Providers, settings: &str) -> Self {
        Self::with(&[], providers, settings, 0)
    }

    fn with(store: &[(&str, &str)], providers: &Providers, settings: &str, hours_ahead: i64) -> Self {
        let variables = [
            ("ADMIN_TOKEN", "admin-token-of-the-tests"),
            ("OPENAI_API_KEY", "sk-openai"),
            ("TOGETHER_API_KEY", "sk-together"),
            ("LLM_CACHE_ENABLED", "true"),
            ("DISABLE_RATE_LIMITING", "true"),
        ];
        let variables = store.iter().copied().chain(variables).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::new(variables.collect(), BTreeMap::new());
        let plan = config::load(Some(("cluster.toml", settings)), &variables).unwrap_or_else(|it| panic!("{it}"));
        #[expect(clippy::disallowed_methods, reason = "the gateway's own clock, which may be wrong")]
        let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours_ahead);
        let world = World::simulated(providers.0.clone(), now, SEED.fetch_add(1, Ordering::Relaxed));
        let world = world.with_network_stores();
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
        let mut keepers = JoinSet::new();
        let kept = gateway.clone();
        keepers.spawn(async move { kept.state.keep_store().await });
        Self { gateway, keepers }
    }

    /// Leaves without a word, as a gateway that is killed does.
    pub(crate) fn vanish(mut self) {
        self.keepers.abort_all();
    }

    /// What came of looking into the shared store.
    pub(crate) fn tally(&self) -> ClusterTally {
        self.gateway.state.cluster().unwrap().tally()
    }

    /// True while entries can be shared.
    pub(crate) fn is_sharing(&self) -> bool {
        let cluster = self.gateway.state.cluster().unwrap();
        !cluster.redis().is_out() && cluster.is_informed()
    }

    /// Asks a question on the canvas route, for a tenant.
    pub(crate) async fn ask(&self, tenant: &str, prompt: &str) -> Got {
        ask(self.gateway.clone(), "/api/llm/chat", tenant, json!({"prompt": prompt, "model": "gpt-4"})).await
    }

    /// Asks OpenAI's way, plain or as a stream.
    pub(crate) async fn chat(&self, prompt: &str, stream: bool) -> Got {
        let body = json!({
            "model": "gpt-4", "temperature": 0, "stream": stream, "messages": [{"role": "user", "content": prompt}],
            "stream_options": stream.then(|| json!({"include_usage": true})),
        });
        ask(self.gateway.clone(), "/v1/chat/completions", "r1", body).await
    }

    /// Purges, as an operator.
    pub(crate) async fn purge(&self, what: Value) -> Value {
        let request = Request::post("/cache/purge")
            .header("authorization", "Bearer admin-token-of-the-tests")
            .body(Full::new(Bytes::from(what.to_string())))
            .unwrap();
        let response = dispatch::operate(&self.gateway, Ipv4Addr::LOCALHOST.into(), request).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

/// Asks a gateway; owned, so that it can be a task.
pub(crate) async fn ask(gateway: Arc<Gateway>, path: &'static str, tenant: &str, body: Value) -> Got {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("x-restaurant-id", tenant)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = dispatch::handle(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
    let (parts, body) = response.into_parts();
    let cache = parts.headers.get("cache-status").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let cache = cache.trim_start_matches("tidegate; ").split("; ttl").next().unwrap_or_default().to_owned();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Got { status: parts.status, cache, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Several gateways that share a store and are connected to it.
pub(crate) async fn fleet(url: &str, size: usize, providers: &Providers, settings: &str) -> Vec<Member> {
    let members: Vec<Member> = (0..size).map(|_| Member::start(url, providers, settings)).collect();
    sharing(&members).await;
    members
}

/// Waits until all of them share.
pub(crate) async fn sharing(members: &[Member]) {
    until("all gateways share", async || members.iter().all(Member::is_sharing)).await;
}
