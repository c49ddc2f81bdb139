//! Reloading seen from inside: a thousand changes under load, and how the files are watched. No socket is opened.
//!
//! What callers and operators see of it is shown by the scenarios (`reload-*`) and over real sockets (`wire/reload`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tidegate::config::plan::Plan;
use tidegate::config::watch::Watch;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::provider::simulated::Simulation;
use tidegate::server::current::Current;
use tidegate::server::dispatch;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
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
    let state = Arc::new(GatewayState::new(&plan, &world));
    let (gateway, over) = (Gateway::new(plan, state, Arc::new(world)).unwrap(), CancellationToken::new());
    (Current::probed(gateway, &TaskTracker::new(), &over), simulation, over.drop_guard())
}

/// One call, whole: its status and its body.
async fn call(gateway: &Gateway, path: &str) -> (u16, String) {
    let body = Full::new(Bytes::from_static(br#"{"message":"hi"}"#));
    let request = Request::post(path).header("content-type", "application/json").body(body).unwrap();
    let response = dispatch::handle(gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
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
    let made = Arc::new(Semaphore::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (current, is_over, calls, made) = (current.clone(), is_over.clone(), calls.clone(), made.clone());
        callers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let (status, body) = call(&current.gateway(), "/chat").await;
                assert_eq!(status, 200, "{body}");
                calls.fetch_add(1, Ordering::Relaxed);
                made.add_permits(1);
                tokio::task::yield_now().await;
            }
        });
    }
    let mut generations: Vec<Weak<Gateway>> = vec![Arc::downgrade(&current.gateway())];
    for number in 2..=RELOADS + 1 {
        made.forget_permits(usize::MAX);
        current.replace(numbered(number)).unwrap();
        generations.push(Arc::downgrade(&current.gateway()));
        if number % 10 == 0 {
            current.refuse(vec!["reload.toml:1:1: wrong".into()]);
        }
        // Calls come between any two changes: this is no race that the callers never enter.
        timeout(Duration::from_secs(10), made.acquire()).await.expect("calls go on").unwrap().forget();
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
        format!("http_requests_total{{route=\"chat\",method=\"POST\",status=\"200\",kind=\"call\"}} {calls}"),
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
    assert_eq!(current.gateway().state.reloads().last.unwrap().problems, [problem]);
    current.replace(numbered(3)).unwrap();
    assert!(current.gateway().state.reloads().is_fine());
}

/// A folder of this test's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Longer than any change takes to be noticed; virtual time.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_noticed_within_a_second_and_only_once() {
    let folder = Folder::new("changed");
    let path = folder.file("a.toml", "a = 1\n");
    let mut watch = Watch::new(Some(&path));
    assert!(timeout(LONG, watch.changed()).await.is_err(), "nothing has changed");
    folder.file("a.toml", "a = 2\n");
    let start = Instant::now();
    watch.changed().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(timeout(LONG, watch.changed()).await.is_err(), "it was noticed already");
    // A file that is replaced by another of the same name, as editors do.
    std::fs::rename(folder.file("a.toml~", "a = 3\n"), &path).unwrap();
    watch.changed().await.unwrap();
    // A newer date is no news.
    folder.file("a.toml", "a = 3\n");
    assert!(timeout(LONG, watch.changed()).await.is_err(), "it says the same");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_left_alone_until_it_is_whole() {
    let folder = Folder::new("written");
    let path = folder.file("a.toml", "a = 1\n");
    let mut watch = Watch::new(Some(&path));
    let whole = "a = 2\nb = 3\nc = 4\nd = 5\ne = 6\n";
    let mut writers = JoinSet::new();
    let written = Arc::new(AtomicBool::new(false));
    let (writing, is_written) = (path.clone(), written.clone());
    writers.spawn(async move {
        for end in 1..=whole.len() {
            std::fs::write(&writing, &whole[..end]).unwrap();
            sleep(Duration::from_millis(40)).await;
        }
        is_written.store(true, Ordering::Relaxed);
    });
    watch.changed().await.unwrap();
    assert!(written.load(Ordering::Relaxed), "it was taken for whole in the middle of being written");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_emptied_or_goes_is_not_taken_for_a_wish() {
    let folder = Folder::new("emptied");
    let path = folder.file("a.toml", "a = 1\n");
    let mut watch = Watch::new(Some(&path));
    folder.file("a.toml", "\n");
    let problem = watch.changed().await.unwrap_err();
    assert!(problem.contains("a.toml: it is empty") && problem.contains("SIGHUP"), "{problem}");
    std::fs::remove_file(&path).unwrap();
    let problem = watch.changed().await.unwrap_err();
    assert!(problem.contains("it was deleted"), "{problem}");
    folder.file("a.toml", "a = 1\n");
    watch.changed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_pipe_says_is_left_to_the_loader() {
    let folder = Folder::new("pipe");
    let path = folder.0.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Opening it would wait for a writer that never comes.
    let mut watch = Watch::new(Some(&path));
    assert!(timeout(LONG, watch.changed()).await.is_err(), "nothing is known of it");
    assert!(watch.look().await.unwrap_err().contains("it is a pipe"));
}

#[tokio::test(start_paused = true)]
async fn files_that_hold_secrets_are_watched_too() {
    let folder = Folder::new("secrets");
    let key = folder.file("key", "one");
    let path = folder.file("a.toml", &format!("[provider.a]\nkey_file = {:?}\n", key.display().to_string()));
    let mut watch = Watch::new(Some(&path));
    folder.file("key", "two");
    watch.changed().await.unwrap();
    std::fs::remove_file(&key).unwrap();
    watch.changed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_that_the_gateway_writes_are_not_watched() {
    let folder = Folder::new("state");
    let state = folder.file("state", "one");
    let state = state.display().to_string();
    let text =
        format!("[flags]\nstate_file = {state:?}\n[jobs]\nstate_file = {state:?}\n[record]\nfolder = {state:?}\n");
    let mut watch = Watch::new(Some(&folder.file("a.toml", &text)));
    folder.file("state", "two");
    assert!(timeout(LONG, watch.changed()).await.is_err(), "it is no configuration");
}

#[tokio::test(start_paused = true)]
async fn a_configmap_that_is_swapped_is_noticed() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("swapped");
    let version = |name: &str, text: &str| {
        std::fs::create_dir(folder.0.join(name)).unwrap();
        folder.file(&format!("{name}/a.toml"), text);
    };
    version("..1", "a = 1\n");
    symlink("..1", folder.0.join("..data")).unwrap();
    symlink("..data/a.toml", folder.0.join("a.toml")).unwrap();
    let mut watch = Watch::new(Some(&folder.0.join("a.toml")));
    version("..2", "a = 2\n");
    symlink("..2", folder.0.join("..data_tmp")).unwrap();
    std::fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    std::fs::remove_dir_all(folder.0.join("..1")).unwrap();
    watch.changed().await.unwrap();
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
