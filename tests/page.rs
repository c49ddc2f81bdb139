//! The live page in a real browser (Chromium without a window), and the stream of events that feeds it.
//!
//! Each test has its own gateway on free ports, in front of simulated providers. What the browser does, and what must be seen
//! then, is in `tests/page`; it waits for what must appear, and never for time to pass.
#![expect(clippy::expect_used, reason = "a test that cannot go on stops, and says what it expected")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::plan::Plan;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;
use tidegate::model::recorded::RecordedCall;
use tidegate::server::current::Current;
use tidegate::server::what_if::Simulator;
use tidegate::server::{self, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A browser takes seconds to start, and longer on a machine that is busy with other tests.
const SCRIPT: Duration = Duration::from_secs(300);
/// What must happen soon, on such a machine.
const SOON: Duration = Duration::from_secs(30);

const TOKEN: &str = "the-token-of-the-page-tests";

/// Breakers that open soon and stay open, so that the page can be looked at meanwhile.
const CONFIG: &str = "[breaker]\nconsecutive = 3\nopen_for = \"10m\"\n[retry]\nmax_attempts = 1\n\
                      [provider.buildpanel]\nprobe = { interval = \"200ms\" }\n";

/// A variant that its guard switches off within seconds, and two budgets: one that is soon spent, and one that never is.
const BESIDE: &str = "[limit.general]\ndevelopment_rate = \"90000/min\"\n[limit.ai]\nrate = \"90000/min\"\n\
                      [provider.new]\nkind = \"openai\"\nurl = \"http://new.example/v1\"\nretry = { max_attempts = 1 }\n\
                      [variant.canary]\nroutes = [\"openai-chat\"]\npercent = 100\ntargets = [\"new\"]\n\
                      [flag_guard.canary]\nflag = \"variant_canary\"\nerror_rate = 0.1\nfor = \"1s\"\nmin_calls = 5\n\
                      [budget.site]\nroutes = [\"openai-*\"]\nkey = [\"all\"]\namount = 0.00002\nper = \"month\"\non_stop = \"report\"\n\
                      [budget.team]\nkey = [\"tenant\"]\namount = 1000.0\nper = \"day\"\n";

/// A second attempt soon, a limit that is soon reached, a budget that is soon spent, and a breaker that stays closed.
const CALLS: &str = "[breaker]\nconsecutive = 100\nmin_calls = 1000\n[retry]\nmax_attempts = 2\nbackoff = \"150ms\"\n\
                     [limit.few]\nroutes = [\"openai-embeddings\"]\nkey = [\"tenant\"]\nrate = \"1/15min\"\n\
                     [limit.trial]\nroutes = [\"openai-chat\"]\nkey = [\"tenant\"]\nrate = \"1/15min\"\nmode = \"shadow\"\n\
                     [budget.tiny]\nroutes = [\"openai-chat\"]\nkey = [\"tenant\"]\namount = 0.00001\nper = \"day\"\non_stop = \"report\"\n";

/// A gateway with both doors open.
struct Running {
    callers: SocketAddr,
    operators: SocketAddr,
    current: Arc<Current>,
    shutdown: CancellationToken,
    doors: JoinSet<bool>,
}

fn plan(text: &str) -> Plan {
    plan_with(text, TOKEN)
}

fn plan_with(text: &str, token: &str) -> Plan {
    let variables = [
        ("USE_BUILDPANEL", "true"),
        ("TOGETHER_API_KEY", "t"),
        ("OPENAI_API_KEY", "o"),
        ("ADMIN_TOKEN", token),
        ("DISABLE_RATE_LIMITING", "false"),
    ];
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variables = Variables::new(variables, BTreeMap::new());
    config::load(Some(("page.toml", text)), &variables).unwrap_or_else(|problems| panic!("{problems}"))
}

impl Running {
    async fn start(text: &str) -> Self {
        let plan = plan(text);
        #[expect(clippy::disallowed_methods, reason = "a browser compares what it is told with its own clock")]
        let world = World::simulated(Arc::default(), jiff::Timestamp::now(), 1);
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Gateway::new(plan, state, Arc::new(world)).expect("a gateway can be built");
        let shutdown = CancellationToken::new();
        let current = Current::probed(gateway, &TaskTracker::new(), &shutdown);
        let mut doors = JoinSet::new();
        let mut open = async |door| {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
            let address = listener.local_addr().expect("a bound port");
            doors.spawn(server::run(listener, door, current.clone(), shutdown.clone()));
            address
        };
        let (callers, operators) = (open(Listener::Public).await, open(Listener::Admin).await);
        Self { callers, operators, current, shutdown, doors }
    }

    /// Begins to watch. Returns the connection once the head of the answer is there, and that head.
    async fn watch(&self) -> (TcpStream, String) {
        self.watch_with("").await
    }

    /// The same, with more lines in the head of the request.
    async fn watch_with(&self, lines: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.operators).await.expect("it listens");
        let head = format!("GET /admin/live HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut seen = Vec::new();
        while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
            let read = timeout(SOON, stream.read_buf(&mut seen)).await.expect("an answer").expect("it answers");
            assert!(read > 0, "the connection ended before a head came");
        }
        (stream, String::from_utf8_lossy(&seen).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_a_provider_fail_and_recover_and_its_switches_work() {
    browse("watching", "all", &Running::start(CONFIG).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_when_it_has_lost_the_gateway_and_finds_it_again() {
    browse("watching", "lost", &Running::start(CONFIG).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_others_can_reach_it_the_page_asks_for_the_token() {
    // What counts is what the configuration says of the address; the test's own is a free one.
    browse("watching", "door", &Running::start(&format!("{CONFIG}[server]\nadmin = \"0.0.0.0:1\"\n")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_stand_side_by_side_with_budgets_and_what_a_guard_switched_off() {
    browse("beside", "beside", &Running::start(BESIDE).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_shows_when_calls_began_to_fail_and_what_changed_before() {
    let gateway = Running::start(CONFIG).await;
    gateway.current.refuse(vec!["page.toml:1:1: a mistake".into()]);
    gateway.current.replace(plan(&format!("{CONFIG}[explain]\nkeep = 50\n"))).expect("it can be reloaded");
    browse("history", "real", &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failed_call_is_no_outage_and_calls_that_are_answered_end_one() {
    browse("history", "verdicts", &Running::start(CONFIG).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_and_a_day_are_drawn_with_their_gaps_and_marks_for_every_eye() {
    browse("history", "looks", &Running::start(CONFIG).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_waterfall_and_one_that_runs_is_seen_until_it_has_ended() {
    browse("calls", "waterfall", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_only_provider_is_one_whatever_status_callers_read() {
    let alone = format!("{CONFIG}enabled = false\n[provider.together]\nenabled = false\n");
    browse("outage", "alone", &Running::start(&alone).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_another_stands_in_for_is_said_to_be_and_its_calls_are_listed() {
    browse("outage", "stoodInFor", &Running::start(CONFIG).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_filtered_paused_and_named_for_whoever_has_the_token() {
    browse("calls", "list", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_calls_with_one_id_have_a_row_each_and_none_stays_behind() {
    browse("hardening", "twins", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_does_not_stop_the_list() {
    browse("hardening", "cut", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_says_which_calls_are_listed_and_not_how() {
    browse("hardening", "hashes", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_list_hides_names_filters_and_counts_from_zero() {
    browse("hardening", "paused", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_come_late_do_not_show_in_another_dialog() {
    browse("hardening", "late", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_shows_names_wherever_it_was_given_and_a_stale_one_is_forgotten() {
    browse("hardening", "tokens", &Running::start(CALLS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_names_ends_when_the_admin_token_is_another() {
    let gateway = Running::start(CONFIG).await;
    let (mut named, _) = gateway.watch_with(&format!("connection: close\r\nauthorization: Bearer {TOKEN}\r\n")).await;
    let (mut marked, _) = gateway.watch().await;
    gateway.current.replace(plan_with(CONFIG, "the-next-token-of-the-page-tests")).expect("it can be reloaded");
    let mut rest = String::new();
    timeout(SOON, named.read_to_string(&mut rest)).await.expect("the stream ends").expect("it ends in order");
    assert!(rest.ends_with("0\r\n\r\n"), "a stream that ends in order says so: {rest}");
    // One that shows marks to this machine needs no token, and goes on.
    let mut seen = String::new();
    let goes_on = async {
        while !seen.contains("\"generation\":2") {
            let mut some = [0; 65536];
            let read = marked.read(&mut some).await.expect("it answers");
            assert!(read > 0, "it ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    };
    timeout(SOON, goes_on).await.expect("it shows the new configuration");
}

/// Ten calls of one user in ten seconds, and two of another, as `[record]` writes them.
fn recorded() -> String {
    let calls = (0..10).map(|second| (second, "ann")).chain([(11, "bob"), (12, "bob")]);
    let line = |(second, user): (u32, &str)| {
        let call = RecordedCall {
            at: format!("2026-03-02T09:00:{second:02}Z").parse().expect("a time"),
            route: "openai-chat".into(),
            user: Some(user.into()),
            near: true,
            bytes_in: 400,
            status: 200,
            outcome: "ok".into(),
            took_ms: 20,
            ..RecordedCall::default()
        };
        serde_json::to_string(&call).expect("a row") + "\n"
    };
    calls.map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_rate_of_a_limit_would_have_refused_is_simulated_from_the_page() {
    let folder = root().join(format!("target/tmp/what-if-{}", std::process::id()));
    let (trace, file) = (folder.join("trace"), folder.join("gateway.toml"));
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a file can be written");
    std::fs::create_dir_all(&trace).expect("a folder can be made");
    write(&trace.join("trace-1.jsonl"), &recorded());
    let text = format!("{CONFIG}[record]\nfolder = {trace:?}\n");
    write(&file, &text);
    let gateway = Running::start(&text).await;
    gateway.current.what_if().offer(Simulator::new(env!("CARGO_BIN_EXE_tidegate").into(), Some(&file)));
    browse("what_if", "whatIf", &gateway).await;
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_can_watch_and_who_leaves_makes_room() {
    let gateway = Running::start(CONFIG).await;
    let mut viewers = Vec::new();
    for _ in 0..16 {
        let (stream, head) = gateway.watch().await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        viewers.push(stream);
    }
    assert!(gateway.watch().await.1.starts_with("HTTP/1.1 503"));
    viewers.pop();
    // The gateway sees at its next event that nobody reads it.
    let sits_down = async { while !gateway.watch().await.1.starts_with("HTTP/1.1 200") {} };
    timeout(SOON, sits_down).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_does_not_hold_up_the_end_of_the_gateway() {
    let mut gateway = Running::start(&format!("{CONFIG}[server]\ndrain_timeout = \"5m\"\n")).await;
    let (mut stream, _) = gateway.watch().await;
    gateway.current.gateway().state.drain();
    gateway.shutdown.cancel();
    let mut rest = String::new();
    timeout(SOON, stream.read_to_string(&mut rest)).await.expect("the stream ends").expect("it ends in order");
    assert!(rest.contains("The gateway is shutting down."), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "a stream that ends in order says so: {rest}");
    let ended = async {
        while let Some(is_clean) = gateway.doors.join_next().await {
            assert!(is_clean.expect("it runs"))
        }
    };
    timeout(SOON, ended).await.expect("both doors close");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lets a browser do a part of a script of `tests/page` with a gateway.
async fn browse(file: &str, part: &str, gateway: &Running) {
    let modules = root().join("target/test-tools/node/node_modules");
    for module in ["playwright-core", "axe-core"] {
        assert!(modules.join(module).exists(), "{module} is missing; run: make setup");
    }
    let script: PathBuf = root().join("tests/page/page.mjs");
    let mut browser = Command::new("node");
    browser
        .arg(script)
        .args([file, part])
        .env("PAGE_URL", format!("http://{}", gateway.operators))
        .env("CALLERS_URL", format!("http://{}", gateway.callers))
        .env("ADMIN_TOKEN", TOKEN)
        .env("NODE_MODULES", modules)
        .env("SHOTS", root().join("target/tmp/page"))
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output =
        timeout(SCRIPT, browser.output()).await.expect("the script ends").expect("there is a node; run: make setup");
    assert!(
        output.status.success(),
        "{file}.mjs {part}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
