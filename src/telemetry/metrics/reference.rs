//! Reference: all metrics as a page for readers: name, kind, labels and meaning, by name.
//!
//! It knows no metric: it reads a scrape with at least one sample of each, so the page lists exactly what is
//! registered.

use std::collections::BTreeMap;

const INTRODUCTION: &str = "\
# Metrics reference

Generated from the program (`make generate`). `GET /metrics` on the operators' address shows them
all (on the callers' too with `server.show_insides`), as Prometheus text or, where `Accept` asks for
it, as OpenMetrics.

Labels are bounded: routes, providers, rules and fault codes come from the configuration and the
code. Names that come with requests become labels only up to `metrics.max_models` and
`metrics.max_tenants`, and only once a call with that name succeeded; all others are `other`. A
histogram `x` has `x_bucket`, `x_sum` and `x_count`. `gen_ai_*` follow OpenTelemetry's semantic
conventions for generative AI (v1.41.0) in Prometheus' form.

| metric | kind | labels | meaning |
| --- | --- | --- | --- |
";

/// The reference of the metrics on a page.
pub(super) fn of(page: &str) -> String {
    let mut labels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for sample in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = sample.split_once('{') else { continue };
        let names = rest.split("\",").filter_map(|label| label.split('=').next());
        labels.entry(name).or_insert_with(|| names.filter(|name| !matches!(*name, "le" | "} ")).collect());
    }
    let mut rows = BTreeMap::new();
    let mut about = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            about = rest.split_once(' ').map_or("", |(_, about)| about);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let sum = format!("{name}_sum");
            let names = labels.get(name).or_else(|| labels.get(&*sum)).map(Vec::as_slice).unwrap_or_default();
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let about = about.trim_end_matches('.').replace('|', "\\|");
            rows.insert(name, format!("| `{name}` | {kind} | {} | {about} |\n", names.join(", ")));
        }
    }
    INTRODUCTION.to_owned() + &rows.into_values().collect::<String>()
}
