//! What is shipped for those who run it: alerts that fire when they should, about metrics that exist, with a way out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::live::{Health, Live};
use tidegate::provider::simulated::Simulation;
use tidegate::server::ingress;
use tidegate::world::World;

const RULES: &str = "deploy/prometheus/tidegate.rules.yml";
const TESTS: [&str; 2] = ["tidegate.test.yml", "cost.test.yml"];

fn promtool(arguments: &[&str], folder: &str, input: &str) -> Result<String, String> {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|fault| panic!("promtool: {fault}; run: make setup"));
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The metrics page of a gateway that has answered a call.
fn page() -> String {
    let variables = [("TOGETHER_API_KEY", "k"), ("OPENAI_API_KEY", "k"), ("USE_BUILDPANEL", "true")];
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let plan = config::load(None, &Variables::new(variables, Default::default())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::simulated(Arc::new(Simulation::default()), "2026-01-01T00:00:00Z".parse().unwrap(), 7);
        let live = Arc::new(Live::new(&plan, world.chance()));
        let gateway = Gateway::new(plan, live, Arc::new(world)).unwrap();
        let health = Health::Connected { latency: Duration::from_millis(3) };
        gateway.live.provider("buildpanel").unwrap().note_health(health);
        let body = r#"{"prompt": "hi", "model": "m"}"#;
        let request = Request::post("/api/llm/chat").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = ingress::handle(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        gateway.metrics_text(false)
    })
}

#[test]
fn the_alerts_fire_when_they_should_and_not_otherwise() {
    promtool(&["check", "rules", "tidegate.rules.yml"], "deploy/prometheus", "").unwrap();
    for tests in TESTS {
        promtool(&["test", "rules", tests], "deploy/prometheus", "").unwrap();
    }
}

#[test]
fn the_metrics_page_is_as_prometheus_likes_it() {
    promtool(&["check", "metrics"], ".", &page()).unwrap();
}

#[test]
fn every_metric_that_an_alert_looks_at_exists() {
    let page = page();
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let rules = fs::read_to_string(RULES).unwrap();
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    let ours =
        words.filter(|word| ["tidegate_", "http_request", "process_"].iter().any(|start| word.starts_with(start)));
    for word in ours {
        let name = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(known.contains(name), "{RULES} looks at {word}, which no gateway has; it has {known:?}");
    }
}

#[test]
fn every_alert_has_a_test_and_a_page_that_says_what_to_do() {
    let rules = fs::read_to_string(RULES).unwrap();
    let tests: String = TESTS.map(|file| fs::read_to_string(format!("deploy/prometheus/{file}")).unwrap()).concat();
    let runbook = fs::read_to_string("docs/runbook.md").unwrap();
    let mut alerts = 0;
    for alert in rules.split("- alert: ").skip(1) {
        alerts += 1;
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname: {name},")), "no test of {name}");
        let link = alert.lines().find_map(|line| line.trim().strip_prefix("runbook: ")).unwrap();
        let (page, anchor) = link.split_once('#').unwrap();
        assert!(Path::new(page).exists(), "{link}");
        let heading = runbook.lines().filter_map(|line| line.strip_prefix("## ")).any(|it| it.to_lowercase() == anchor);
        assert!(heading, "{name} points to {link}, which the runbook does not have");
    }
    assert!(alerts >= 20, "only {alerts} alerts were found");
}
