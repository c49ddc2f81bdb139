//! Reloading seen from inside: a thousand changes under load. No socket is opened.
//!
//! What callers and operators see of it is shown by the scenarios (`reload-*`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tidegate::config::plan::Plan;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::live::Live;
use tidegate::provider::simulated::Simulation;
use tidegate::server::current::Current;
use tidegate::server::ingress;
use tidegate::world::World;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A configuration that says in four places which one it is.
fn numbered(number: u64) -> Plan {
    let provider = provider_of(number);
    let text = format!(
        "defaults = false\nattempts = 3\n[log]\nlevel = \"off\"\n[provider.{provider}]\nkind = \"openai\"\n\
         url = \"http://127.0.0.1:1/v1\"\nmax_reply = \"{}KiB\"\nprobe = {{ interval = \"100ms\" }}\n[route.chat]\npaths = [\"/chat\"]\n\
         caller = \"widget\"\ncall = \"chat\"\ninstruction = \"number {number}\"\n\
         targets = [{{ provider = \"{provider}\", model = \"model {number}\" }}]\n",
        64 + number % 3
    );
    config::load(Some(("reload.toml", &text)), &Variables::default()).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// One provider stays throughout, two come and go.
fn provider_of(number: u64) -> &'static str {
    ["stays", "comes", "stays", "goes"][(number % 4) as usize]
}

/// A gateway whose probes run until the guard is dropped.
fn begin(plan: Plan) -> (Arc<Current>, Arc<Simulation>, DropGuard) {
    let simulation = Arc::new(Simulation::default());
    let world = World::simulated(simulation.clone(), "2026-01-01T00:00:00Z".parse().unwrap(), 7);
    let live = Arc::new(Live::new(&plan, world.chance()));
    let (gateway, over) = (Gateway::new(plan, live, Arc::new(world)).unwrap(), CancellationToken::new());
    (Current::probed(gateway, &TaskTracker::new(), &over), simulation, over.drop_guard())
}

/// One call, whole: its status and its body.
async fn call(gateway: &Gateway, path: &str) -> (u16, String) {
    let body = Full::new(Bytes::from_static(br#"{"message":"hi"}"#));
    let request = Request::post(path).header("content-type", "application/json").body(body).unwrap();
    let response = ingress::handle(gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const RELOADS: u64 = 1000;

/// P4 and invariant 15. Each call's request to the provider names the number of the configuration in its model and in its
/// instruction, and goes to that configuration's provider: all three must agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_lose_no_call_and_each_call_sees_one_configuration() {
    let (current, simulation, _probing) = begin(numbered(1));
    let (is_over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (current, is_over, calls) = (current.clone(), is_over.clone(), calls.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let (status, body) = call(&current.gateway(), "/chat").await;
                assert_eq!(status, 200, "{body}");
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    let mut generations: Vec<Weak<Gateway>> = vec![Arc::downgrade(&current.gateway())];
    for number in 2..=RELOADS + 1 {
        // Calls come between any two changes: this is no race that the callers never enter.
        let before = calls.load(Ordering::Relaxed);
        current.replace(numbered(number)).unwrap();
        generations.push(Arc::downgrade(&current.gateway()));
        if number % 10 == 0 {
            current.refuse(vec!["reload.toml:1:1: wrong".into()]);
        }
        let next = async {
            while calls.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), next).await.expect("calls go on");
    }
    is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;

    let calls = calls.load(Ordering::Relaxed);
    assert!(calls >= RELOADS, "{calls} calls");
    let mut seen = 0;
    for name in ["stays", "comes", "goes"] {
        for request in simulation.find(name).unwrap().requests() {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            let number = body["model"].as_str().and_then(|model| model.strip_prefix("model ")).expect("a model");
            let told = body["messages"][0]["content"].as_str();
            assert_eq!(told, Some(&*format!("number {number}")), "one configuration's model, another's instruction");
            let number: u64 = number.parse().unwrap();
            assert_eq!(provider_of(number), name, "one configuration's model, another's provider");
            seen += 1;
        }
    }
    // A simulated provider remembers the last 10,000 requests.
    assert!(seen == calls || seen >= 10_000, "{seen} requests of {calls} calls");
    let gateway = current.gateway();
    assert_eq!(gateway.generation, RELOADS + 1);
    let metrics = gateway.metrics_text(false);
    for line in [
        format!("tidegate_config_generation {}", RELOADS + 1),
        format!("tidegate_config_reloads_total{{result=\"success\"}} {RELOADS}"),
        format!("tidegate_config_reloads_total{{result=\"failure\"}} {}", RELOADS / 10),
        format!("http_requests_total{{route=\"chat\",method=\"POST\",status=\"200\"}} {calls}"),
        "tidegate_requests_in_flight 0".into(),
    ] {
        assert!(metrics.lines().any(|own| own == line), "no {line} in:\n{metrics}");
    }
    drop(gateway);
    let alive = generations.iter().filter(|generation| generation.upgrade().is_some()).count();
    assert_eq!(alive, 1, "what is replaced is freed");
}

#[tokio::test]
async fn a_plan_that_cannot_be_built_changes_nothing() {
    let (current, _, _probing) = begin(numbered(1));
    let mut plan = numbered(2);
    // The reader would refuse it; the router is the last to know.
    let mut route = Arc::into_inner(plan.routes.remove(0)).unwrap();
    route.paths = vec!["/{a}".into(), "/{b}".into()];
    plan.routes.push(Arc::new(route));
    let problem = current.replace(plan).unwrap_err();
    assert_eq!(current.gateway().generation, 1);
    assert_eq!(call(&current.gateway(), "/chat").await.0, 200);
    assert_eq!(current.gateway().live.reloads().last.unwrap().problems, [problem]);
    current.replace(numbered(3)).unwrap();
    assert!(current.gateway().live.reloads().is_fine());
}

fn settings() -> impl Strategy<Value = BTreeMap<String, u32>> {
    prop::collection::btree_map("[a-c]", 1u32..4, 0..3)
}

proptest! {
    /// Over any two configurations: what `check --against` prints is nothing exactly when they are the same.
    #[test]
    fn a_comparison_is_empty_exactly_when_nothing_differs(before in settings(), after in settings()) {
        let effective = |settings: &BTreeMap<String, u32>| {
            let tables = settings.iter().map(|(name, number)| format!(
                "[provider.{name}]\nkind = \"openai\"\nurl = \"http://{name}/\"\nretry = {{ max_attempts = {number} }}\n"
            ));
            let text = format!("defaults = false\n{}", tables.collect::<String>());
            config::load(Some(("x.toml", &text)), &Variables::default()).unwrap().effective
        };
        let changed = effective(&before).changed_keys(&effective(&after));
        prop_assert_eq!(changed.is_empty(), before == after, "{:?}", changed);
        prop_assert_eq!(changed, effective(&after).changed_keys(&effective(&before)));
    }
}
