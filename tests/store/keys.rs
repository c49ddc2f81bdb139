//! API keys that two gateways share: made at one, known at the other, changed and revoked under load, and kept while the store
//! is dead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::server::dispatch;
use tidegate::server::probes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::{Server, until};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How soon a gateway would look by itself, or half of it.
const READ_AGAIN: Duration = Duration::from_secs(5);

const ADMIN: &str = "admin-token-of-the-tests";

/// A gateway with its keepers. Dropped, they stop.
struct Running {
    gateway: Gateway,
    over: CancellationToken,
}

impl Running {
    fn start(url: &str, seed: u64) -> Arc<Self> {
        let variables: BTreeMap<String, String> =
            [("OPENAI_API_KEY", "k"), ("REDIS_URL", url), ("ADMIN_TOKEN", ADMIN), ("DISABLE_RATE_LIMITING", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let config = "auth = 'api_key'\n[store]\ntimeout = '500ms'\n";
        let plan = config::load(Some(("test", config)), &Variables::new(variables, BTreeMap::new())).unwrap();
        let world = World::simulated(Arc::default(), "2026-01-01T00:00:00Z".parse().unwrap(), seed);
        let world = world.with_network_stores();
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
        let over = CancellationToken::new();
        probes::start(&gateway, &TaskTracker::new(), &over);
        Arc::new(Self { gateway, over })
    }

    /// The status of a call with this key.
    async fn call(&self, key: &str) -> u16 {
        let body = r#"{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
        let request =
            request.header("authorization", format!("Bearer {key}")).body(Full::new(Bytes::from(body))).unwrap();
        let response = dispatch::handle(&self.gateway, HERE, request).await;
        let status = response.status().as_u16();
        let _ = response.into_body().collect().await;
        status
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ADMIN}"));
        let response =
            dispatch::operate(&self.gateway, HERE, request.body(Full::new(Bytes::from(text))).unwrap()).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn make(&self, name: &str) -> String {
        let (status, made) = self.admin("POST", "/admin/keys", json!({"name": name})).await;
        assert_eq!((status, &made["is_shared"]), (201, &true.into()), "{made}");
        made["key"].as_str().unwrap().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Two gateways that have read the store.
async fn two(server: &Server) -> [Arc<Running>; 2] {
    let both = [Running::start(&server.url(), 1), Running::start(&server.url(), 2)];
    for running in &both {
        until("the store was read", async || running.gateway.authenticator.issued().known().await).await;
    }
    both
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_makes_or_revokes_the_other_is_told() {
    let server = Server::start().await;
    let [one, other] = two(&server).await;
    for round in 0..5 {
        let name = format!("shop-{round}");
        let started = Instant::now();
        let key = one.make(&name).await;
        assert_eq!(one.call(&key).await, 200);
        until("the other knows it", async || other.call(&key).await == 200).await;
        assert!(started.elapsed() < READ_AGAIN, "it was told, and did not happen to look: {:?}", started.elapsed());
        let revoked = Instant::now();
        assert_eq!(other.admin("DELETE", &format!("/admin/keys/{name}"), Value::Null).await.0, 200);
        assert_eq!(other.call(&key).await, 401);
        until("it is gone", async || one.call(&key).await == 401).await;
        assert!(revoked.elapsed() < READ_AGAIN, "{:?}", revoked.elapsed());
    }
    // What lies in the store opens nothing.
    let key = one.make("last").await;
    let kept = server.cli(&["HVALS", "{tidegate:auth}:keys"]).await;
    assert!(kept.contains("sha256:") && !kept.contains(&key) && !kept.contains("tg_"), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_changed_for_another_under_load_on_two_gateways_without_a_call_refused() {
    let server = Server::start().await;
    let both = two(&server).await;
    let mut key = both[0].make("shop").await;
    until("both know it", async || both[1].call(&key).await == 200).await;
    let (is_over, refused, calls) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let current = parking_lot::Mutex::new(key.clone());
    let load = async |running: &Running| {
        while !is_over.load(Ordering::Relaxed) {
            let key = current.lock().clone();
            let status = running.call(&key).await;
            refused.fetch_add(usize::from(status != 200), Ordering::Relaxed);
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    };
    let rotate = async {
        for round in 0..6 {
            let at = &both[round % 2];
            let (status, rotated) = at.admin("POST", "/admin/keys/shop/rotate", json!({"overlap_seconds": 3600})).await;
            assert_eq!(status, 200, "{rotated}");
            let next = rotated["key"].as_str().unwrap().to_owned();
            // Its holder begins to use it when every gateway knows it.
            until("both know the new one", async || {
                both[0].call(&next).await == 200 && both[1].call(&next).await == 200
            })
            .await;
            current.lock().clone_from(&next);
            assert_eq!(both[round % 2].call(&key).await, 200, "the old one is valid beside it");
            key = next;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(&both[0]), load(&both[1]), load(&both[0]), load(&both[1]), rotate);
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {}", calls.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_at_once_do_not_undo_each_other() {
    let server = Server::start().await;
    let both = two(&server).await;
    let race = async |running: &Running| running.admin("POST", "/admin/keys", json!({"name": "same"})).await.0;
    let mut statuses = [0, 0];
    (statuses[0], statuses[1]) = tokio::join!(race(&both[0]), race(&both[1]));
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_store_locks_nobody_out_and_lets_nothing_be_changed() {
    let mut server = Server::start().await;
    let [one, other] = two(&server).await;
    let key = one.make("shop").await;
    until("the other knows it", async || other.call(&key).await == 200).await;
    server.kill().await;
    assert_eq!((one.call(&key).await, other.call(&key).await, other.call("tg_unknown").await), (200, 200, 401));
    until("it is noticed", async || one.admin("POST", "/admin/keys/shop/rotate", Value::Null).await.0 == 503).await;
    assert_eq!((one.call(&key).await, one.admin("DELETE", "/admin/keys/shop", Value::Null).await.0), (200, 503));
    // Who starts now knows no keys, and says so instead of calling good ones bad.
    let late = Running::start(&server.url(), 3);
    assert_eq!(late.call(&key).await, 503);
}
