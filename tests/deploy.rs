//! What is shipped for those who run it: alerts that fire when they should, about metrics that exist, with a way out; and
//! manifests.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::{GatewayState, Health};
use tidegate::gateway::world::World;
use tidegate::provider::simulated::Simulation;
use tidegate::server::dispatch;

#[path = "deploy/chart.rs"]
mod chart;
#[path = "deploy/manifests.rs"]
mod manifests;

const RULES: &str = "deploy/prometheus/tidegate.rules.yml";
const DASHBOARD: &str = "deploy/grafana/tidegate.json";
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
        let state = Arc::new(GatewayState::new(&plan, &world));
        let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
        let health = Health::Connected { latency: Duration::from_millis(3) };
        gateway.state.provider("buildpanel").unwrap().note_health(health);
        let body = r#"{"prompt": "hi", "model": "m"}"#;
        let request = Request::post("/api/llm/chat").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = dispatch::handle(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
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

/// Names of our metrics, and of those labels that look like one, in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    const BEGINNINGS: [&str; 8] =
        ["tidegate_", "http_request", "process_", "cache_", "chat_", "gen_ai_", "tokio_", "voice_"];
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    let is_metric = |word: &&str| BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
    let of_histogram = |word| ["_bucket", "_sum", "_count"].iter().find_map(|end| str::strip_suffix(word, end));
    words.filter(is_metric).map(|word| of_histogram(word).unwrap_or(word)).collect()
}

#[test]
fn every_metric_that_alerts_and_the_dashboard_look_at_exists() {
    let reference = tidegate::commands::reference::metrics();
    let known = metrics_in(&reference);
    for file in [RULES, DASHBOARD] {
        let text = fs::read_to_string(file).unwrap();
        for name in metrics_in(&text) {
            assert!(known.contains(name), "{file} looks at {name}, which no gateway has; it has {known:?}");
        }
    }
}

#[test]
fn the_dashboard_is_json_whose_queries_prometheus_can_read() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 30, "only {} queries", queries.len());
    // As rules they are checked by the tool that knows the language.
    // As Grafana would send them.
    let filled = |query: &str| query.replace("$__rate_interval", "1m");
    let rule =
        |(number, query): (usize, &&str)| format!("  - record: q{number}\n    expr: {}\n", Value::from(filled(query)));
    let rules: String = queries.iter().enumerate().map(rule).collect();
    let folder = std::env::temp_dir().join(format!("tidegate-dashboard-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("queries.yml"), format!("groups:\n- name: dashboard\n  rules:\n{rules}")).unwrap();
    let checked = promtool(&["check", "rules", "queries.yml"], folder.to_str().unwrap(), "");
    fs::remove_dir_all(&folder).unwrap();
    checked.unwrap();
}

#[test]
fn the_panels_have_numbers_and_places_of_their_own_and_ask_as_the_dashboard_is_set() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let (mut numbers, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "two panels have this number: {panel:#}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && x + w <= 24, "wider than the grid: {panel:#}");
        let cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
        for cell in cells {
            assert!(taken.insert(cell), "another panel is here: {panel:#}");
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let chosen = query.matches('{').count() == query.matches(r#"job=~"$job",instance=~"$instance""#).count();
            assert!(chosen, "a selector without the variables: {query}");
            // The cost of an hour is that of an hour, whatever is shown.
            let windows = query.split('[').skip(1).map(|rest| rest.split(']').next().unwrap());
            let fixed: Vec<_> = windows.filter(|window| !["$__rate_interval", "1h"].contains(window)).collect();
            assert!(fixed.is_empty(), "fixed windows {fixed:?}: {query}");
        }
    }
}

/// The selectors of these metrics in a text, each with what follows the name.
fn selectors<'a>(text: &'a str, names: &[&str]) -> Vec<&'a str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let found = names.iter().flat_map(|name| text.match_indices(name));
    let whole = found.filter(|(at, _)| !text[..*at].ends_with(is_part)).map(|(at, name)| &text[at + name.len()..]);
    whole.filter(|rest| rest.starts_with('{')).map(|rest| rest.split('}').next().unwrap()).collect()
}

#[test]
fn what_other_programs_have_too_is_asked_for_by_job_and_calls_are_those_of_callers() {
    let text = fs::read_to_string(RULES).unwrap();
    let shared = selectors(&text, &["http_requests_total", "process_resident_memory_bytes", "up"]);
    assert!(shared.len() >= 6, "{shared:?}");
    for selector in &shared {
        assert!(selector.contains(r#"job="tidegate""#), "any program's: {selector}");
    }
    for file in [RULES, DASHBOARD] {
        let text = fs::read_to_string(file).unwrap().replace("\\\"", "\"");
        let of_calls = [
            "http_requests_total",
            "http_request_duration_seconds_bucket",
            "tidegate_time_to_first_token_seconds_bucket",
        ];

        let of_calls = selectors(&text, &of_calls);
        assert!(of_calls.len() >= 5, "{file}: {of_calls:?}");
        for selector in &of_calls {
            assert!(selector.contains("kind="), "{file} counts operators and jobs: {selector}");
        }
    }
}

#[test]
fn every_alert_has_a_test_and_an_entry_of_its_own_that_says_what_to_do() {
    let rules = fs::read_to_string(RULES).unwrap();
    let tests: String = TESTS.map(|file| fs::read_to_string(format!("deploy/prometheus/{file}")).unwrap()).concat();
    let runbook = fs::read_to_string("docs/runbook.md").unwrap();
    let headings: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut alerts = 0;
    for alert in rules.split("- alert: ").skip(1) {
        alerts += 1;
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname: {name},")), "no test of {name}");
        assert!(headings.contains(&name), "docs/runbook.md has no heading {name}");
        let link = alert.lines().find_map(|line| line.trim().strip_prefix("runbook: ")).unwrap();
        assert_eq!(link, format!("docs/runbook.md#{}", name.to_lowercase()), "the link of {name}");
    }
    assert!(alerts >= 20, "only {alerts} alerts were found");
}
