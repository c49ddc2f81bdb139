//! Outcome: what a report of `tidegate simulate --json` says about one limit: as it was recorded, as it is configured, and with
//! the other rate; and whose calls would be refused.
//!
//! It reads the members that it needs, and does not know what else a report says.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Callers that are named: those with most refusals.
const NAMED: usize = 10;

/// What would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// When the first of the calls came.
    pub from: Timestamp,
    /// When the last of them ended.
    pub to: Timestamp,
    /// Lines of the trace that could not be read.
    pub skipped: u64,
    /// As it was, as it is configured, and with the other rate.
    pub columns: Vec<Column>,
    /// Whose calls the limit would refuse with the other rate.
    pub refused: Vec<Refused>,
}

/// A column of numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// `recorded`, `configured` or `asked`.
    pub name: &'static str,
    /// All calls.
    pub calls: u64,
    /// Refused by any limit or budget.
    pub refused: u64,
    /// Refused by the limit.
    pub refused_by_limit: u64,
    /// Calls whose callers saw an error.
    pub errors: u64,
    /// 95 % of answered calls took no longer.
    pub p95_ms: Option<u64>,
    /// What all attempts cost.
    pub cost_usd: f64,
    /// The share of lookups in the cache that found something; `None`: there were none.
    pub hit_rate: Option<f64>,
    /// Calls that could not be played: those of routes that are gone, for example.
    pub unplayed: u64,
}

/// A caller, by the name that the trace has for it.
#[derive(Debug, PartialEq, Serialize)]
pub struct Refused {
    /// `user`, `key` or `tenant`.
    pub kind: &'static str,
    /// The name.
    pub name: Arc<str>,
    /// Its calls.
    pub calls: u64,
    /// Those that the limit refused, as recorded; `None`: the trace does not say.
    pub recorded: Option<u64>,
    /// Those that the limit refuses as it is configured.
    pub configured: u64,
    /// ... and with the other rate.
    pub asked: u64,
}

#[derive(Deserialize)]
struct Report {
    about: About,
    columns: Vec<Numbered>,
    tenants: Names,
    users: Names,
    keys: Names,
}

#[derive(Deserialize)]
struct About {
    skipped: u64,
}

#[derive(Deserialize)]
struct Numbered {
    is_recorded: bool,
    from: Timestamp,
    to: Timestamp,
    all: Numbers,
    #[serde(default)]
    unplayed: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Numbers {
    calls: u64,
    refused: u64,
    errors: u64,
    refused_by: BTreeMap<String, Rule>,
    cache: Cache,
    cost: f64,
    latency: Latency,
}

#[derive(Deserialize)]
struct Rule {
    calls: u64,
}

#[derive(Deserialize)]
struct Cache {
    consulted: u64,
    hits: u64,
}

#[derive(Deserialize)]
struct Latency {
    p95_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Names {
    rows: Vec<Name>,
}

#[derive(Deserialize)]
struct Name {
    name: Arc<str>,
    values: Vec<Option<Share>>,
}

#[derive(Deserialize)]
struct Share {
    calls: u64,
    #[serde(default)]
    refused_by: BTreeMap<String, u64>,
}

impl Outcome {
    /// Reads a report. An error says what is wrong with it.
    pub(super) fn of(report: &[u8], limit: &str) -> Result<Self, String> {
        let report: Report = serde_json::from_slice(report).map_err(|fault| fault.to_string())?;
        let mut played = (0..report.columns.len()).filter(|index| !report.columns[*index].is_recorded);
        let (Some(configured), Some(asked)) = (played.next(), played.next()) else {
            return Err("it does not compare two configurations".into());
        };
        let recorded = report.columns.iter().position(|column| column.is_recorded);
        let shown = [(recorded, "recorded"), (Some(configured), "configured"), (Some(asked), "asked")];
        let column = |(index, name): (Option<usize>, _)| Some(Column::of(report.columns.get(index?)?, name, limit));
        let (from, to) = report.columns.get(configured).map(|column| (column.from, column.to)).unwrap_or_default();
        let mut refused = Vec::new();
        for (kind, names) in [("user", &report.users), ("key", &report.keys), ("tenant", &report.tenants)] {
            for Name { name, values } in &names.rows {
                let share = |index: usize| values.get(index)?.as_ref();
                let by_limit = |share: &Share| share.refused_by.get(limit).copied().unwrap_or(0);
                let Some(last) = share(asked).filter(|share| by_limit(share) > 0) else { continue };
                refused.push(Refused {
                    kind,
                    name: name.clone(),
                    calls: last.calls,
                    recorded: recorded.and_then(share).map(by_limit),
                    configured: share(configured).map_or(0, by_limit),
                    asked: by_limit(last),
                });
            }
        }
        // Stable: users stay before keys and tenants.
        refused.sort_by_key(|refused| std::cmp::Reverse(refused.asked));
        refused.truncate(NAMED);
        let columns = shown.into_iter().filter_map(column).collect();
        Ok(Self { from, to, skipped: report.about.skipped, columns, refused })
    }
}

impl Column {
    fn of(column: &Numbered, name: &'static str, limit: &str) -> Self {
        let Numbers { calls, refused, errors, refused_by, cache, cost, latency } = &column.all;
        Self {
            name,
            calls: *calls,
            refused: *refused,
            refused_by_limit: refused_by.get(limit).map_or(0, |rule| rule.calls),
            errors: *errors,
            p95_ms: latency.p95_ms,
            cost_usd: *cost,
            hit_rate: (cache.consulted > 0).then(|| cache.hits as f64 / cache.consulted as f64),
            unplayed: column.unplayed.values().sum(),
        }
    }
}
