//! A usage report as a table for a terminal: rows by period or added up, the total, and how exact the numbers are.
//!
//! It knows the gateway's answer, and asks for none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::commands::table::aligned_with_numbers;
use crate::model::money::{NANOS, Usd};
use crate::model::text::{self, clean};

/// A gateway's answer.
#[derive(Deserialize)]
pub(super) struct Report {
    period: String,
    from: String,
    to: String,
    by: Vec<String>,
    source: String,
    rows: Vec<Row>,
    total: Numbers,
}

#[derive(Deserialize)]
struct Row {
    start: String,
    #[serde(flatten)]
    numbers: Numbers,
    /// The value of each dimension that was asked for, and fields that are not shown.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A row's numbers. The gateway leaves out some that are zero.
#[derive(Clone, Copy, Default, Deserialize)]
struct Numbers {
    calls: u64,
    #[serde(rename = "cache_hits")]
    hits: u64,
    #[serde(rename = "default_priced_calls", default)]
    default_priced: u64,
    #[serde(rename = "input_tokens")]
    input: u64,
    #[serde(rename = "cached_input_tokens", default)]
    cached: u64,
    #[serde(rename = "cache_write_tokens", default)]
    written: u64,
    #[serde(rename = "output_tokens")]
    output: u64,
    #[serde(rename = "estimated_tokens", default)]
    estimated: u64,
    #[serde(rename = "cost_usd", deserialize_with = "usd")]
    cost: Usd,
    #[serde(rename = "saved_usd", deserialize_with = "usd")]
    saved: Usd,
}

/// Exact up to nine million dollars: a float has that many digits.
fn usd<'de, D: Deserializer<'de>>(number: D) -> Result<Usd, D::Error> {
    f64::deserialize(number).map(|dollars| Usd::from_nanos((dollars * NANOS as f64).round() as u64))
}

impl Numbers {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            hits: self.hits.saturating_add(other.hits),
            default_priced: self.default_priced.saturating_add(other.default_priced),
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            written: self.written.saturating_add(other.written),
            output: self.output.saturating_add(other.output),
            estimated: self.estimated.saturating_add(other.estimated),
            cost: self.cost + other.cost,
            saved: self.saved + other.saved,
        }
    }

    /// The cells, without the columns in which no row has anything.
    fn cells(&self, total: &Self) -> Vec<String> {
        let mut cells = [self.calls, self.hits, self.input, self.cached].map(grouped).to_vec();
        cells.extend((total.written > 0).then(|| grouped(self.written)));
        cells.push(grouped(self.output));
        cells.extend((total.estimated > 0).then(|| grouped(self.estimated)));
        cells.extend([money(self.cost), money(self.saved)]);
        cells
    }
}

/// The report: a row for each period and group, or with the periods added up.
pub(super) fn report(answer: &Report, is_by_period: bool) -> String {
    let Report { by, total, .. } = answer;
    let mut groups: BTreeMap<Vec<String>, Numbers> = BTreeMap::new();
    let mut rows: Vec<(Vec<String>, Numbers)> = Vec::new();
    for Row { start: begin, numbers, others } in &answer.rows {
        let names = by.iter().map(|word| others.get(word).and_then(Value::as_str).unwrap_or("-").to_owned());
        match is_by_period {
            true => rows.push(([start(begin, &answer.period)].into_iter().chain(names).collect(), *numbers)),
            false => {
                let sum = groups.entry(names.collect()).or_default();
                *sum = sum.plus(*numbers);
            }
        }
    }
    rows.extend(groups);
    if !is_by_period {
        rows.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.cost));
    }
    let mut head: Vec<String> = if is_by_period { vec!["START".into()] } else { Vec::new() };
    head.extend(by.iter().map(|word| word.replace('_', " ").to_uppercase()));
    if head.is_empty() {
        // All in one row, where nothing tells rows apart.
        head.push(String::new());
        rows.iter_mut().for_each(|(names, _)| names.push(String::new()));
    }
    let names = head.len();
    head.extend(["CALLS", "HITS", "INPUT", "CACHED"].map(String::from));
    head.extend((total.written > 0).then(|| "CACHE WRITE".into()));
    head.push("OUTPUT".into());
    head.extend((total.estimated > 0).then(|| "ESTIMATED".into()));
    head.extend(["COST USD", "SAVED USD"].map(String::from));
    let numbers: Vec<usize> = (names..head.len()).collect();
    let mut cells = vec![head];
    let is_empty = rows.is_empty();
    cells.extend(rows.into_iter().map(|(names, numbers)| [names, numbers.cells(total)].concat()));
    let mut last = vec![String::new(); names];
    last[0] = "total".into();
    last.extend(total.cells(total));
    cells.push(last);
    let mut out = if is_empty { "no calls\n".to_owned() } else { aligned_with_numbers(&cells, &numbers) };
    out.push_str(&notes(answer));
    out
}

/// What the numbers cover, and what to know about them.
fn notes(answer: &Report) -> String {
    let Report { total, from, to, .. } = answer;
    let source = match &*answer.source {
        "redis" => "counted by all gateways",
        "local" => "counted by this gateway alone: the shared store is down, and what others counted is missing",
        _ => "counted by this gateway since it started",
    };
    let mut out = format!("\n{} to {}, {source}\n", clean(from), clean(to));
    // Writing to a String cannot fail, here and below.
    if total.estimated > 0 {
        let all = total.input.saturating_add(total.output);
        let _ = writeln!(
            out,
            "{} of {} tokens are estimated: no provider counted them",
            grouped(total.estimated),
            grouped(all)
        );
    }
    if total.default_priced > 0 {
        let _ = writeln!(
            out,
            "{} of {} calls have the default price (\"*\"): their models have none in [price]",
            grouped(total.default_priced),
            grouped(total.calls)
        );
    }
    out
}

/// The start of a period, as short as the period allows.
fn start(moment: &str, period: &str) -> String {
    let length = match period {
        "month" => "2026-01".len(),
        "day" => "2026-01-31".len(),
        _ => "2026-01-31T12:00".len(),
    };
    moment.get(..length).unwrap_or(moment).replace('T', " ")
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    text::grouped(&number.to_string())
}

/// An amount to the millionth of a dollar, so that points stand below each other; one below that says so.
fn money(amount: Usd) -> String {
    let micros = amount.nanos().saturating_add(500) / 1000;
    match (micros, amount.nanos()) {
        (0, 1..) => "<0.000001".into(),
        _ => format!("{}.{:06}", grouped(micros / 1_000_000), micros % 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Report {
        serde_json::from_value(answer).unwrap()
    }

    fn answer() -> Report {
        let row = |start: &str, model: Value, calls: u64, cost: f64| {
            json!({
                "start": start, "model": model, "calls": calls, "cache_hits": 1, "default_priced_calls": 0, "input_tokens": 1000 * calls,
                "cached_input_tokens": 0, "output_tokens": 7, "estimated_tokens": 3, "cost_usd": cost, "saved_usd": 0.0,
            })
        };
        read(json!({
            "period": "day", "from": "2026-01-30T00:00:00Z", "to": "2026-02-01T00:00:00Z", "by": ["model"], "source": "local",
            "rows": [
                row("2026-01-30T00:00:00Z", "cheap".into(), 2, 0.5),
                row("2026-01-31T00:00:00Z", Value::Null, 1, 0.0000004),
                row("2026-01-31T00:00:00Z", "cheap".into(), 1200, 1000.25),
            ],
            "total": {
                "calls": 1203, "cache_hits": 3, "default_priced_calls": 2, "input_tokens": 1_203_000, "cached_input_tokens": 0,
                "output_tokens": 21, "estimated_tokens": 9, "cost_usd": 1000.7500004, "saved_usd": 0.0,
            },
        }))
    }

    const NOTES: &str = "
2026-01-30T00:00:00Z to 2026-02-01T00:00:00Z, counted by this gateway alone: the shared store is down, and what others counted is missing
9 of 1,203,021 tokens are estimated: no provider counted them
2 of 1,203 calls have the default price (\"*\"): their models have none in [price]
";

    #[test]
    fn periods_are_added_up_and_the_most_expensive_stands_first() {
        let expected = "\
MODEL  CALLS  HITS      INPUT  CACHED  OUTPUT  ESTIMATED      COST USD  SAVED USD
cheap  1,202     2  1,202,000       0      14          6  1,000.750000   0.000000
-          1     1      1,000       0       7          3     <0.000001   0.000000
total  1,203     3  1,203,000       0      21          9  1,000.750000   0.000000
";
        assert_eq!(report(&answer(), false), format!("{expected}{NOTES}"));
    }

    #[test]
    fn periods_have_rows_of_their_own() {
        let expected = "\
START       MODEL  CALLS  HITS      INPUT  CACHED  OUTPUT  ESTIMATED      COST USD  SAVED USD
2026-01-30  cheap      2     1      2,000       0       7          3      0.500000   0.000000
2026-01-31  -          1     1      1,000       0       7          3     <0.000001   0.000000
2026-01-31  cheap  1,200     1  1,200,000       0       7          3  1,000.250000   0.000000
total              1,203     3  1,203,000       0      21          9  1,000.750000   0.000000
";
        assert_eq!(report(&answer(), true), format!("{expected}{NOTES}"));
    }

    #[test]
    fn without_a_call_there_is_no_table() {
        let zero = json!({"calls": 0, "cache_hits": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0, "saved_usd": 0.0});
        let nothing =
            json!({"period": "day", "from": "a", "to": "b", "source": "memory", "by": [], "rows": [], "total": zero});
        let nothing = read(nothing);
        assert_eq!(report(&nothing, true), "no calls\n\na to b, counted by this gateway since it started\n");
    }

    #[test]
    fn what_no_gateway_counts_is_shown_all_the_same() {
        let most = u64::MAX;
        let row = json!({
            "start": "é", "calls": most, "cache_hits": most, "input_tokens": most, "output_tokens": most, "cost_usd": 1e300,
            "saved_usd": -1.0, "model": 7,
        });
        let answer = json!({
            "period": "day", "from": "a\u{1b}[2J", "to": "b\nc", "source": "memory", "by": [], "rows": [row, row], "total": row,
        });
        let mut answer = read(answer);
        for by in [vec![], vec!["model".to_owned()]] {
            answer.by = by;
            for text in [report(&answer, true), report(&answer, false)] {
                assert!(text.contains("18,446,744,073,709,551,615") && text.contains("a?[2J to b?c"), "{text}");
            }
        }
    }
}
