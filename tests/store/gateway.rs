//! Whole gateways that share a store, from the request to the response; only their providers are simulated.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::Simulation;
use tidegate::server::dispatch;
use tidegate::server::probes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::{Server, until};

/// A gateway with its keepers. Dropped, they stop.
pub(crate) struct Running {
    pub(crate) gateway: Arc<Gateway>,
    over: CancellationToken,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Running {
    pub(crate) fn start(url: &str, config: &str, seed: u64) -> Self {
        Self::start_at("2026-01-01T00:00:00Z", url, config, seed)
    }

    /// A gateway whose own clock shows something else.
    pub(crate) fn start_at(time: &str, url: &str, config: &str, seed: u64) -> Self {
        let variables: BTreeMap<String, String> =
            [("TOGETHER_API_KEY", "k"), ("OPENAI_API_KEY", "k"), ("USE_BUILDPANEL", "true"), ("REDIS_URL", url)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let plan = config::load(Some(("test", config)), &Variables::new(variables, BTreeMap::new())).unwrap();
        let world =
            World::simulated(Arc::new(Simulation::default()), time.parse().unwrap(), seed).with_network_stores();
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Arc::new(Gateway::new(plan, state, Arc::new(world)).unwrap());
        let over = CancellationToken::new();
        probes::start(&gateway, &TaskTracker::new(), &over);
        Self { gateway, over }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &'static str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("x-user-id", "ann");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap();
        let response = dispatch::handle(&self.gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body: String::from_utf8_lossy(&body).into() }
    }

    async fn chat(&self) -> Answer {
        self.ask("POST", "/api/llm/chat", r#"{"prompt":"hi","model":"m"}"#).await
    }

    async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask("GET", "/health/status", "").await.body).unwrap()
    }

    pub(crate) fn has_metric(&self, line: &str) -> bool {
        self.gateway.metrics_text(false).lines().any(|it| it == line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// So slow that nothing comes back during a test; and health pages may be asked often.
const SLOW: &str = "[limit.ai]\nrate = \"30/31d\"\n[limit.general]\nenabled = false\n[limit.health]\nenabled = false\n\
                    [store]\ntimeout = \"500ms\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_are_one_limit_and_a_dead_store_fails_nobody() {
    let mut server = Server::start().await;
    let gateways = [Running::start(&server.url(), SLOW, 1), Running::start(&server.url(), SLOW, 2)];
    for running in &gateways {
        until("the gateways know each other", async || running.has_metric("tidegate_store_gateways 2")).await;
    }
    for number in 0..20 {
        let answer = gateways[number % 2].chat().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.headers["x-ratelimit-remaining"], (29 - number).to_string());
    }
    let status = gateways[0].status().await;
    assert_eq!(status["services"]["redis"]["status"], "connected", "{status}");
    assert_eq!((&status["services"]["database"]["kind"], &status["status"]), (&"redis".into(), &"healthy".into()));

    server.kill().await;
    let mut admitted = 0;
    for running in gateways.iter().cycle().take(60) {
        match running.chat().await.status {
            200 => admitted += 1,
            429 => {}
            other => panic!("status {other}"),
        }
    }
    // Ten were left, as far as the gateways knew; each may lag behind by one and round one up.
    assert!((9..=14).contains(&admitted), "{admitted}");
    let status = gateways[0].status().await;
    assert_eq!(
        (&status["services"]["redis"]["status"], &status["status"]),
        (&"disconnected".into(), &"degraded".into())
    );
    assert!(status["services"]["redis"]["error"].is_string() && gateways[0].has_metric("tidegate_store_up 0"));
    assert!(gateways[0].has_metric("tidegate_limit_checks_total{store=\"redis\"} 10"));
    assert!(gateways[0].has_metric("tidegate_limit_checks_total{store=\"local\"} 30"));

    server.restart().await;
    until("the store is in use again", async || {
        gateways.iter().all(|running| running.has_metric("tidegate_store_up 1"))
    })
    .await;
    // What was let through meanwhile is known again; of a share that was no whole call, that call may be left.
    let mut late = 0;
    for running in gateways.iter().cycle().take(20) {
        late += u32::from(running.chat().await.status == 200);
    }
    assert!(late <= 2, "{late} more were admitted");
    assert!(gateways[1].has_metric("tidegate_limit_checks_total{store=\"redis\"} 20"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_whose_clocks_are_hours_apart_are_one_limit() {
    let server = Server::start().await;
    let times = ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"];
    let start = |(seed, time): (u64, &str)| Running::start_at(time, &server.url(), SLOW, seed);
    let gateways: Vec<Running> = (1..).zip(times).map(start).collect();
    for running in &gateways {
        until("the gateways know each other", async || running.has_metric("tidegate_store_gateways 3")).await;
    }
    let mut admitted = 0;
    for number in 0..45 {
        admitted += u32::from(gateways[number % 3].chat().await.status == 200);
    }
    assert_eq!(admitted, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_limited_calls_are_refused_where_the_config_wants_it() {
    let mut server = Server::start().await;
    let config = format!("{SLOW}on_store_error = \"deny\"\n");
    let running = Running::start(&server.url(), &config, 1);
    until("it is connected", async || running.has_metric("tidegate_store_up 1")).await;
    assert_eq!(running.chat().await.status, 200);
    server.kill().await;
    until("it is noticed", async || running.has_metric("tidegate_store_up 0")).await;
    let answer = running.chat().await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (503, &b"1"[..]), "{}", answer.body);
    assert!(answer.body.contains("store_unavailable"), "{}", answer.body);
    // What no rule is about goes on.
    assert_eq!(running.ask("GET", "/v1/models", "").await.status, 200);
}
