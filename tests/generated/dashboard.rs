//! The dashboard as Grafana imports it, made of `deploy/grafana/tidegate.toml`: where panels are, their numbers, and what is the
//! same for all of them.
//!
//! It does not know what the queries mean.

use serde::Deserialize;
use serde_json::{Value, json};

const SOURCE: &str = "deploy/grafana/tidegate.toml";

/// Grafana's grid has so many columns.
const COLUMNS: u64 = 24;

/// What the words of the source stand for in a query, longer ones first.
const MATCHERS: [(&str, &str); 3] = [
    ("{CALLS", r#"{kind="call",job=~"$job",instance=~"$instance",route=~"$route""#),
    ("{PROVIDER", r#"{job=~"$job",instance=~"$instance",provider=~"$provider""#),
    ("{OWN", r#"{job=~"$job",instance=~"$instance""#),
];

/// Variables with the query of their values, and what All stands for where it is not just these values.
const VARIABLES: [(&str, &str, Option<&str>); 4] = [
    // Not everything: other jobs have a metric `up`, too.
    ("job", "label_values(tidegate_build_info, job)", None),
    ("instance", r#"label_values(tidegate_build_info{job=~"$job"}, instance)"#, Some(".*")),
    ("route", r#"label_values(http_requests_total{kind="call",job=~"$job"}, route)"#, Some(".*")),
    ("provider", r#"label_values(tidegate_breaker_state{job=~"$job"}, provider)"#, Some(".*")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    mark: Vec<Mark>,
    row: Vec<Row>,
}

/// Events that are marked on all panels.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    name: String,
    color: String,
    query: String,
    text: String,
    /// The value is the moment, in milliseconds since 1970.
    #[serde(default)]
    at_value: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panel: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    about: Option<String>,
    r#type: Option<String>,
    unit: Option<String>,
    max: Option<f64>,
    /// The text of a panel without data.
    empty: Option<String>,
    /// What the values 0, 1, ... mean.
    #[serde(default)]
    words: Vec<String>,
    query: Option<String>,
    legend: Option<String>,
    #[serde(default)]
    quantiles: Vec<f64>,
    #[serde(default)]
    queries: Vec<Query>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    query: String,
    legend: String,
}

/// The dashboard.
pub(crate) fn json() -> String {
    let source = std::fs::read_to_string(SOURCE).unwrap();
    let source: Source = toml::from_str(&source).unwrap_or_else(|fault| panic!("{SOURCE}: {fault}"));
    let mut panels = Vec::new();
    let mut top = 0;
    for row in &source.row {
        panels.push(json!({
            "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": top, "w": COLUMNS, "h": 1 },
        }));
        top += 1;
        let (mut left, mut bottom) = (0, top);
        for panel in &row.panel {
            let (width, height) = if panel.kind() == "stat" { (6, 5) } else { (8, 8) };
            if left + width > COLUMNS {
                (left, top) = (0, bottom);
            }
            let mut made = panel.json();
            made["gridPos"] = json!({ "x": left, "y": top, "w": width, "h": height });
            panels.push(made);
            left += width;
            bottom = bottom.max(top + height);
        }
        top = bottom;
    }
    for (number, panel) in (1_u64..).zip(&mut panels) {
        panel["id"] = number.into();
    }
    let dashboard = json!({
        "title": "Tidegate",
        "uid": "tidegate",
        "description": "Made of deploy/grafana/tidegate.toml. What alerts mean: docs/runbook.md.",
        "tags": ["tidegate"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "15s",
        "time": { "from": "now-1h", "to": "now" },
        "editable": true,
        "annotations": { "list": source.mark.iter().map(Mark::json).collect::<Vec<_>>() },
        "templating": { "list": variables() },
        "panels": panels,
    });
    one_a_line(&dashboard)
}

/// As JSON in which each panel, variable and mark is a line, so that a change of one is a change of one.
fn one_a_line(dashboard: &Value) -> String {
    let list = |items: &Vec<Value>| {
        let lines = items.iter().map(|item| format!("    {item}")).collect::<Vec<_>>();
        format!("[\n{}\n  ]", lines.join(",\n"))
    };
    let fields = dashboard.as_object().unwrap().iter().map(|(key, value)| match value {
        Value::Array(items) if key == "panels" => format!("  \"{key}\": {}", list(items)),
        Value::Object(fields) if fields.contains_key("list") => {
            format!("  \"{key}\": {{ \"list\": {} }}", list(fields["list"].as_array().unwrap()))
        }
        value => format!("  \"{key}\": {value}"),
    });
    format!("{{\n{}\n}}\n", fields.collect::<Vec<_>>().join(",\n"))
}

fn variables() -> Vec<Value> {
    let mut list =
        vec![json!({ "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" })];
    for (name, query, all) in VARIABLES {
        let mut variable = json!({
            "name": name, "label": name, "type": "query", "datasource": datasource(), "definition": query,
            "query": { "query": query, "refId": "StandardVariableQuery" },
            // When the dashboard is loaded, and when its time range changes.
            "refresh": 2,
            "sort": 1, "multi": true, "includeAll": true, "current": { "text": ["All"], "value": ["$__all"] },
        });
        if let Some(all) = all {
            variable["allValue"] = all.into();
        }
        list.push(variable);
    }
    list
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn expanded(query: &str) -> String {
    MATCHERS.iter().fold(query.trim().to_owned(), |query, (word, matchers)| query.replace(word, matchers))
}

/// The query with its zero, which has no labels, named `none` in the legend.
fn with_named_zero(query: String, legend: &str) -> String {
    let label = legend.split_once("{{").and_then(|(_, rest)| rest.split_once("}}")).map(|(label, _)| label);
    let (Some(rest), Some(label)) = (query.strip_suffix("or on() vector(0)"), label) else { return query };
    format!(r#"{rest}or on() label_replace(vector(0), "{label}", "none", "", "")"#)
}

impl Mark {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "datasource": datasource(), "enable": true, "iconColor": self.color, "expr": expanded(&self.query),
            "step": "60s", "titleFormat": self.text, "useValueForTime": self.at_value,
        })
    }
}

impl Panel {
    fn kind(&self) -> &str {
        self.r#type.as_deref().unwrap_or("timeseries")
    }

    /// Its queries, each with its legend.
    fn queries(&self) -> Vec<(String, String)> {
        let named = |(query, legend): (String, String)| (with_named_zero(query, &legend), legend);
        self.plain_queries().into_iter().map(named).collect()
    }

    fn plain_queries(&self) -> Vec<(String, String)> {
        let mut queries: Vec<_> = self.queries.iter().map(|it| (expanded(&it.query), it.legend.clone())).collect();
        let Some(query) = self.query.as_deref().map(expanded) else { return queries };
        if self.quantiles.is_empty() {
            queries.push((query.clone(), self.legend.clone().unwrap_or_else(|| self.title.to_lowercase())));
        }
        for quantile in &self.quantiles {
            let legend = self.legend.clone().unwrap_or_else(|| format!("p{}", quantile * 100.0));
            // Without calls it is NaN, which is no value to show.
            queries.push((format!("histogram_quantile({quantile}, {query}) >= 0"), legend));
        }
        queries
    }

    fn json(&self) -> Value {
        let mut defaults = json!({ "unit": self.unit.as_deref().unwrap_or("short"), "min": 0 });
        if let Some(max) = self.max {
            defaults["max"] = max.into();
        }
        if let Some(empty) = &self.empty {
            defaults["noValue"] = empty.as_str().into();
        }
        if !self.words.is_empty() {
            let words = self.words.iter().enumerate().map(|(value, word)| (value.to_string(), json!({ "text": word })));
            defaults["mappings"] = json!([{ "type": "value", "options": words.collect::<serde_json::Map<_, _>>() }]);
        }
        let options = if self.kind() == "stat" {
            json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "graphMode": "area" })
        } else {
            defaults["custom"] = json!({ "fillOpacity": 8, "lineWidth": 1, "showPoints": "never" });
            json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" } })
        };
        let targets = ('A'..).zip(self.queries()).map(|(letter, (expr, legend))| {
            json!({ "refId": letter.to_string(), "datasource": datasource(), "expr": expr, "legendFormat": legend })
        });
        json!({
            "type": self.kind(), "title": self.title, "description": self.about.as_deref().unwrap_or_default(),
            "datasource": datasource(), "fieldConfig": { "defaults": defaults, "overrides": [] },
            "targets": targets.collect::<Vec<_>>(), "options": options,
        })
    }
}
