//! A usage report as a table for a terminal: rows by period or added up, the total, and how exact the numbers are.
//!
//! It knows the gateway's answer, and asks for none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::commands::table::aligned_with_numbers;
use crate::model::money::{NANOS, Usd};
use crate::model::text;

/// A row's numbers. Fields that an answer leaves out are zero.
#[derive(Clone, Copy, Default)]
struct Numbers {
    calls: u64,
    hits: u64,
    default_priced: u64,
    input: u64,
    cached: u64,
    written: u64,
    output: u64,
    estimated: u64,
    cost: Usd,
    saved: Usd,
}

impl Numbers {
    fn of(row: &Value) -> Self {
        let count = |field: &str| row[field].as_u64().unwrap_or_default();
        // Exact up to nine million dollars: a float has that many digits.
        let usd =
            |field: &str| Usd::from_nanos((row[field].as_f64().unwrap_or_default() * NANOS as f64).round() as u64);
        Self {
            calls: count("calls"),
            hits: count("cache_hits"),
            default_priced: count("default_priced_calls"),
            input: count("input_tokens"),
            cached: count("cached_input_tokens"),
            written: count("cache_write_tokens"),
            output: count("output_tokens"),
            estimated: count("estimated_tokens"),
            cost: usd("cost_usd"),
            saved: usd("saved_usd"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            hits: self.hits + other.hits,
            default_priced: self.default_priced + other.default_priced,
            input: self.input + other.input,
            cached: self.cached + other.cached,
            written: self.written + other.written,
            output: self.output + other.output,
            estimated: self.estimated + other.estimated,
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
pub(super) fn report(answer: &Value, is_by_period: bool) -> String {
    let by: Vec<&str> = answer["by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let total = Numbers::of(&answer["total"]);
    let mut groups: BTreeMap<Vec<String>, Numbers> = BTreeMap::new();
    let mut rows: Vec<(Vec<String>, Numbers)> = Vec::new();
    for row in answer["rows"].as_array().into_iter().flatten() {
        let names = by.iter().map(|word| row[*word].as_str().unwrap_or("-").to_owned());
        match is_by_period {
            true => {
                let start = start(row["start"].as_str().unwrap_or_default(), answer["period"].as_str());
                rows.push(([start].into_iter().chain(names).collect(), Numbers::of(row)));
            }
            false => {
                let sum = groups.entry(names.collect()).or_default();
                *sum = sum.plus(Numbers::of(row));
            }
        }
    }
    rows.extend(groups);
    if !is_by_period {
        rows.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers.cost));
    }
    let mut head: Vec<String> = if is_by_period { vec!["START".into()] } else { Vec::new() };
    head.extend(by.iter().map(|word| word.replace('_', " ").to_uppercase()));
    let names = head.len();
    head.extend(["CALLS", "HITS", "INPUT", "CACHED"].map(String::from));
    head.extend((total.written > 0).then(|| "CACHE WRITE".into()));
    head.push("OUTPUT".into());
    head.extend((total.estimated > 0).then(|| "ESTIMATED".into()));
    head.extend(["COST USD", "SAVED USD"].map(String::from));
    let numbers: Vec<usize> = (names..head.len()).collect();
    let mut cells = vec![head];
    let is_empty = rows.is_empty();
    cells.extend(rows.into_iter().map(|(names, numbers)| [names, numbers.cells(&total)].concat()));
    let mut last = vec![String::new(); names];
    last[0] = "total".into();
    last.extend(total.cells(&total));
    cells.push(last);
    let mut out = if is_empty { "no calls\n".to_owned() } else { aligned_with_numbers(&cells, &numbers) };
    out.push_str(&notes(answer, &total));
    out
}

/// What the numbers cover, and what to know about them.
fn notes(answer: &Value, total: &Numbers) -> String {
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    let source = match text("source") {
        "redis" => "counted by all gateways",
        "local" => "counted by this gateway alone: the shared store is down, and what others counted is missing",
        _ => "counted by this gateway since it started",
    };
    let mut out = format!("\n{} to {}, {source}\n", text("from"), text("to"));
    // Writing to a String cannot fail, here and below.
    if total.estimated > 0 {
        let all = total.input + total.output;
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
fn start(moment: &str, period: Option<&str>) -> String {
    let length = match period {
        Some("month") => "2026-01".len(),
        Some("day") => "2026-01-31".len(),
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
    let micros = (amount.nanos() + 500) / 1000;
    match (micros, amount.nanos()) {
        (0, 1..) => "<0.000001".into(),
        _ => format!("{}.{:06}", grouped(micros / 1_000_000), micros % 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        let row = |start: &str, model: Value, calls: u64, cost: f64| {
            json!({
                "start": start, "model": model, "calls": calls, "cache_hits": 1, "default_priced_calls": 0, "input_tokens": 1000 * calls,
                "cached_input_tokens": 0, "output_tokens": 7, "estimated_tokens": 3, "cost_usd": cost, "saved_usd": 0.0,
            })
        };
        json!({
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
        })
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
        let nothing = json!({"from": "a", "to": "b", "source": "memory", "by": [], "rows": [], "total": {}});
        assert_eq!(report(&nothing, true), "no calls\n\na to b, counted by this gateway since it started\n");
    }
}
