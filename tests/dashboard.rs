//! The dashboard and the alerts as a real Prometheus sees them, with a real gateway: new, healthy, with providers, credentials,
//! budgets and the store failing, and after a restart.
//!
//! Every expression of every panel, mark, alert and recorded rule is evaluated. Nothing waits for time to pass, but Prometheus
//! reads the gateway only once a second.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "store/server.rs"]
#[allow(dead_code, reason = "the tests of limits need all of it")]
mod server;
#[path = "wire/shared.rs"]
mod shared;

#[path = "dashboard/prometheus.rs"]
mod prometheus;
#[path = "dashboard/scene.rs"]
mod scene;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, interval};

use crate::prometheus::{Found, Prometheus};
use crate::scene::Scene;
use crate::shared::{program, provider, socket, words};

/// Longer than anything takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panels that show only zeros, or nothing but limits, at a gateway where nothing is wrong.
const QUIET: [&str; 19] = [
    "Errors by route",
    "Degraded answers",
    "Circuit breaker",
    "Failing attempts",
    "Failed attempts by outcome",
    "Concurrent calls",
    "Waiting for a permit",
    "Refused by an open breaker",
    "Keys that a provider refuses",
    "Ejected instances",
    "Spent share of budgets",
    "Refused by a budget",
    "Attempts priced by default",
    "Users over their amount",
    "Rate limits hit",
    "Age of the keys that verify tokens",
    "Flags switched off by their guard",
    "Failing variants",
    "Requests by prompt version",
];
/// ... and those of which it depends on the moment, or that are about what this gateway does not do.
const IDLE: [&str; 11] = [
    "In flight",
    "Open streams",
    "Waiting jobs",
    "Age of the oldest waiting job",
    "Running jobs",
    "Dead letters",
    "Leases and webhooks",
    "Open WebSockets",
    "Messages",
    "Overruns",
    "Flags that are not fully on",
];

/// Panels that show what is wrong when everything fails that can.
const FAILING: [&str; 16] = [
    "Errors by route",
    "Answers by status",
    "Degraded answers",
    "Circuit breaker",
    "Failing attempts",
    "Failed attempts by outcome",
    "Attempts by reason",
    "Refused by an open breaker",
    "Spent share of budgets",
    "Refused by a budget",
    "Attempts priced by default",
    "Rate limits hit",
    "Credentials by result",
    "Guardrail matches",
    "Failing variants",
    "Configuration",
];

/// Alerts whose condition is met then. The time for which it must be is left out.
const FIRING: [&str; 13] = [
    "AuthFailures",
    "BreakerOpen",
    "BudgetSpent",
    "BuildPanelUnreachable",
    "ErrorRateCritical",
    "ErrorRateElevated",
    "PricedByDefault",
    "ProbeFailed",
    "ProviderErrors",
    "StoreOut",
    "TidegateJobsStoreOut",
    "VariantFailing",
    "VoiceFailing",
];

/// A query, with the title of its panel or the name of its alert.
#[derive(Clone, Debug)]
struct Query {
    title: String,
    expression: String,
    /// True for a panel that says in words that there is nothing to show yet.
    may_be_empty: bool,
}

/// The expression as Grafana would ask it, with these routes chosen.
fn filled(expression: &str, route: &str) -> String {
    let variables =
        [("$__rate_interval", "5s"), ("$job", "tidegate"), ("$instance", ".*"), ("$provider", ".*"), ("$route", route)];
    let filled = variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('$'), "a variable that nobody fills: {filled}");
    filled
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string("deploy/grafana/tidegate.json").unwrap()).unwrap()
}

/// The queries of all panels.
fn panels(dashboard: &Value, route: &str) -> Vec<Query> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| Query {
            title: panel["title"].as_str().unwrap().to_owned(),
            expression: filled(target["expr"].as_str().unwrap(), route),
            may_be_empty: panel["fieldConfig"]["defaults"]["noValue"].is_string(),
        })
    });
    queries.collect()
}

/// The queries of all marks.
fn marks(dashboard: &Value) -> Vec<Query> {
    let marks = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let query = |mark: &Value| Query {
        title: mark["name"].as_str().unwrap().to_owned(),
        expression: filled(mark["expr"].as_str().unwrap(), ".*"),
        may_be_empty: true,
    };
    marks.map(query).collect()
}

/// The conditions of all alerts, as Prometheus has read them.
async fn alerts(prometheus: &Prometheus) -> Vec<Query> {
    let alerts = prometheus.alerts().await;
    alerts.into_iter().map(|(title, expression)| Query { title, expression, may_be_empty: true }).collect()
}

fn is_positive(found: &Found) -> bool {
    found.iter().any(|(_, values)| values.iter().any(|value| *value > 0.0))
}

/// Asks these again and again, between the rounds of something, until each is as it must be.
async fn until_all(
    prometheus: &Prometheus,
    since: f64,
    mut open: Vec<Query>,
    is_fine: impl Fn(&Query, &Found) -> bool,
    mut round: impl AsyncFnMut(),
) {
    let (began, mut ticks) = (Instant::now(), interval(Duration::from_millis(500)));
    while !open.is_empty() {
        round().await;
        ticks.tick().await;
        let mut left = Vec::new();
        for query in open {
            let found = prometheus.values(&query.expression, since).await;
            let strange = found.iter().find(|(_, values)| values.iter().any(|value| !value.is_finite()));
            assert!(strange.is_none(), "{query:?} shows what is no number: {strange:?}");
            if !is_fine(&query, &found) {
                left.push(query);
            }
        }
        open = left;
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {open:#?}");
    }
}

/// How many rounds in a row alerts must be as they should: one that flaps is not.
const STEADY: usize = 5;

/// Asks alerts until those of these names, and no others among them, have their condition met, and still have it after some
/// rounds.
async fn until_alerts(
    prometheus: &Prometheus,
    alerts: &[Query],
    expected: impl Fn(&str) -> Option<bool>,
    mut round: impl AsyncFnMut(),
) {
    let (began, mut ticks, mut steady) = (Instant::now(), interval(Duration::from_millis(500)), 0);
    loop {
        round().await;
        ticks.tick().await;
        let mut wrong = Vec::new();
        for alert in alerts {
            let found = prometheus.value(&alert.expression).await;
            if expected(&alert.title).is_some_and(|expected| expected == found.is_empty()) {
                wrong.push((&alert.title, found));
            }
        }
        steady = if wrong.is_empty() { steady + 1 } else { 0 };
        if steady == STEADY {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "alerts whose conditions are not as they should be: {wrong:#?}");
    }
}

/// Each panel has data, and shows what happens.
fn has_what_it_is_for(query: &Query, found: &Found) -> bool {
    let is_quiet = QUIET.iter().chain(&IDLE).any(|title| *title == query.title);
    // Panels with several lines have some of what goes wrong, or is over before Prometheus looks.
    let at_times = [
        "refused",
        "cancelled_total",
        "evicted",
        "failures",
        "shed",
        "estimated",
        "queue_depth",
        "flights",
        "reports",
        "rows",
        "spans",
    ];
    let is_quiet = is_quiet || at_times.iter().any(|word| query.expression.contains(word));
    found.iter().any(|(_, values)| !values.is_empty()) && (is_quiet || is_positive(found))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_and_every_alert_shows_what_a_gateway_does() {
    let mut scene = Scene::start().await;
    let prometheus = Prometheus::watching(&scene.folder, scene.operators).await;
    let (dashboard, alerts) = (dashboard(), alerts(&prometheus).await);
    let panels_of = |route: &str| panels(&dashboard, route);
    let all = panels_of(".*");
    assert!(all.len() > 80 && alerts.len() > 35, "{} queries of panels, {} alerts", all.len(), alerts.len());

    // New: nobody has called yet.
    let is_shown =
        |query: &Query, found: &Found| query.may_be_empty || found.iter().any(|(_, values)| !values.is_empty());
    until_all(&prometheus, prometheus.now().await, all.clone(), is_shown, async || ()).await;
    until_alerts(&prometheus, &alerts, |_| Some(false), async || ()).await;

    // BuildPanel's calls have no model with a price of its own, and that is told, of a healthy gateway too.
    let healthy = |name: &str| (name != "PricedByDefault").then_some(false);
    // Healthy, while an operator looks at the live page.
    let began = prometheus.now().await;
    scene.watch_live(3).await;
    let mut made = 0;
    until_all(&prometheus, began, all.clone(), has_what_it_is_for, async || made += scene.calls().await).await;
    until_alerts(&prometheus, &alerts, healthy, async || ()).await;
    let seen = "sum(http_request_duration_seconds_sum{kind=\"gateway\",route=\"page\"}) > 1";
    assert!(is_positive(&prometheus.value(seen).await), "the live page's stream was not counted at all");
    let counted = "sum(tidegate_time_to_first_token_seconds_count{kind=\"call\"}) or vector(0)";
    assert!(is_positive(&prometheus.value(counted).await));
    for query in panels_of("page|health|admin|jobs|canvas-jobs|canvas-job-submit")
        .iter()
        .filter(|it| it.expression.contains("kind=\"call\""))
    {
        // Voice has a panel of its own, with its own routes.
        if query.title != "Voice success" {
            let found = prometheus.values(&query.expression, began).await;
            assert!(!is_positive(&found), "{query:?} counts what is no caller's call: {found:?}");
        }
    }
    println!("healthy: {made} calls, {:.0} s", prometheus.now().await - began);

    // A reload and a flag are marked.
    let began = prometheus.now().await;
    let marks_named = |names: &[&str]| {
        let marks = marks(&dashboard).into_iter();
        marks.filter(|mark| names.contains(&&*mark.title)).collect::<Vec<_>>()
    };
    scene.reload().await;
    scene.switch("policy_hedge", false).await;
    until_all(&prometheus, began, marks_named(&["Reloads", "Flags"]), |_, found| is_positive(found), async || ()).await;

    // A configuration that is refused is marked as such, and as no reload.
    let reloads = marks_named(&["Reloads"]).remove(0);
    let marked = |found: Found| -> std::collections::BTreeSet<u64> {
        found.iter().flat_map(|(_, values)| values).map(|it| *it as u64).collect()
    };
    scene.break_configuration(true).await;
    let refused = marks_named(&["Refused configurations"]);
    until_all(&prometheus, began, refused.clone(), |_, found| is_positive(found), async || ()).await;
    let refused = marked(prometheus.values(&refused[0].expression, began).await);
    let reloaded = marked(prometheus.values(&reloads.expression, began).await);
    assert!(!reloaded.is_empty() && reloaded.is_disjoint(&refused), "{reloaded:?} {refused:?}");
    scene.break_configuration(false).await;
    let mended = format!("({}) > {}", reloads.expression, refused.last().unwrap());
    let mended = vec![Query { expression: mended, ..reloads }];
    until_all(&prometheus, began, mended, |_, found| is_positive(found), async || ()).await;

    let off = all.iter().filter(|query| query.title == "Flags that are not fully on").cloned().collect();
    let names_it =
        |found: &Found| found.iter().any(|(labels, values)| labels.contains("policy_hedge") && values.contains(&0.0));
    until_all(&prometheus, began, off, |_, found| names_it(found), async || ()).await;

    // Everything fails that can.
    scene.spend().await;
    scene.fail(true);
    let began = prometheus.now().await;
    let failing = all.iter().filter(|query| FAILING.contains(&&*query.title)).cloned().collect();
    until_all(&prometheus, began, failing, |_, found| is_positive(found), async || scene.failing_calls().await).await;
    scene.store.kill().await;
    let expected = |name: &str| match name {
        // GuardrailSurge needs an hour to compare with; deploy/prometheus/tidegate.test.yml gives it one.
        "GuardrailSurge" => Some(false),
        "KeyRefused" | "ConfigRefused" | "AuthUnavailable" | "FlagTripped" | "MemoryHigh" | "CostHourly" => Some(false),
        _ => FIRING.contains(&name).then_some(true),
    };
    until_alerts(&prometheus, &alerts, expected, async || scene.failing_calls().await).await;
    until_all(&prometheus, began, marks_named(&["Breakers"]), |_, found| is_positive(found), async || ()).await;
    println!("failing: {:.0} s", prometheus.now().await - began);

    // Gone, and there again: counters begin anew.
    let began = prometheus.now().await;
    scene.stop_gateway().await;
    until_alerts(&prometheus, &alerts, |name| (name == "TidegateDown").then_some(true), async || ()).await;
    scene.store.restart().await;
    scene.fail(false);
    let nobody = format!("http://127.0.0.1:{}", server::free_port());
    scene.start_gateway(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)]).await;
    let begun = prometheus.now().await;
    until_all(&prometheus, begun, all, has_what_it_is_for, async || made += scene.calls().await).await;
    let expected = |name: &str| match name {
        "TidegateDown" | "StoreOut" | "BreakerOpen" | "ProbeFailed" => Some(false),
        "SpansDropped" => Some(true),
        _ => None,
    };
    until_alerts(&prometheus, &alerts, expected, async || ()).await;
    let restarts = marks_named(&["Restarts"]).remove(0);
    let starts = prometheus.values(&restarts.expression, began).await;
    let starts: std::collections::BTreeSet<u64> =
        starts.iter().flat_map(|(_, values)| values).map(|it| *it as u64).collect();
    assert!(starts.len() >= 2, "a restart is marked at the time of each start: {starts:?}");
    println!("restarted: {:.0} s", prometheus.now().await - began);

    let (unhealthy, rules) = prometheus.unhealthy_rules().await;
    assert!(unhealthy.is_empty() && rules > 40, "of {rules} rules these cannot be evaluated: {unhealthy:#?}");
}
