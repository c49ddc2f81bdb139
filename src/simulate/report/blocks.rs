//! Blocks: a report as titled rows of words, one cell for each column and the change, the most important first.
//!
//! The terminal's table and the page show the same blocks, so they say the same. They are cut to what a person reads; the JSON
//! has the rest. It does not know how rows are drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::column::{Breaker, Column, Numbers, Provider, Share};
use super::goals::Judgement;
use super::measure::{Kind, Measure};
use super::words;
use super::{Judged, Named, Report};

/// Rows of names in a block: a screen of them.
const MOST_ROWS: usize = 10;
/// Routes and providers that have a block of their own.
const MOST_BLOCKS: usize = 12;

/// Titled rows.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// What the rows are of.
    pub title: String,
    /// What a reader should know of them, if anything.
    pub remark: String,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What its cells are of. It may have been named by a trace: nothing in it is to be trusted.
    pub label: String,
    /// One for each column.
    pub cells: Vec<String>,
    /// From the first configuration to the last.
    pub change: String,
    /// True where that is better, false where it is worse.
    pub is_better: Option<bool>,
}

/// What rows of one report have in common.
struct Rows<'a> {
    columns: &'a [Column],
    /// The first and the last of the columns that were played, where there are two.
    ends: Option<(usize, usize)>,
}

impl Rows<'_> {
    fn of(columns: &[Column]) -> Rows<'_> {
        let first = columns.iter().position(|column| !column.is_recorded);
        let last = columns.iter().rposition(|column| !column.is_recorded);
        Rows { columns, ends: first.zip(last).filter(|(first, last)| first < last) }
    }

    /// A row of numbers; `None` where all of them are nothing.
    fn row(&self, label: &str, kind: Kind, is_more_better: Option<bool>, values: &[Option<f64>]) -> Option<Row> {
        if values.iter().all(|value| value.is_none_or(|value| value == 0.0)) {
            return None;
        }
        let at = |at: usize| values.get(at).copied().flatten();
        let (from, change) = match self.ends {
            Some((first, last)) => (at(first), at(first).zip(at(last)).map(|(from, to)| to - from)),
            None => (None, None),
        };
        Some(Row {
            label: label.to_owned(),
            cells: values.iter().map(|value| words::cell(kind, *value)).collect(),
            change: self.ends.map(|_| words::change(kind, from, change)).unwrap_or_default(),
            is_better: change.filter(|change| *change != 0.0).zip(is_more_better).map(|(by, more)| (by > 0.0) == more),
        })
    }

    /// The same, of counts.
    fn counts(&self, label: &str, is_more_better: Option<bool>, count: impl Fn(&Column) -> u64) -> Option<Row> {
        let values: Vec<_> = self.columns.iter().map(|column| Some(count(column) as f64)).collect();
        self.row(label, Kind::Count, is_more_better, &values)
    }

    /// A row of counts for each name that any column has, the largest first.
    fn named(&self, of: impl Fn(&Column) -> BTreeMap<Arc<str>, u64>) -> Vec<Row> {
        let all: Vec<_> = self.columns.iter().map(of).collect();
        let count = |column: &BTreeMap<Arc<str>, u64>, name: &Arc<str>| column.get(name).copied().unwrap_or(0);
        let mut names: Vec<&Arc<str>> =
            all.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().into_iter().collect();
        // Stable: equal ones stay in the order of their names.
        names.sort_by_key(|name| std::cmp::Reverse(all.iter().map(|column| count(column, name)).max()));
        let row = |name: &&Arc<str>| {
            let values: Vec<_> = all.iter().map(|column| Some(count(column, name) as f64)).collect();
            self.row(name, Kind::Count, Some(false), &values)
        };
        names.iter().filter_map(row).collect()
    }

    fn measures(&self, measures: &[Measure], of: impl Fn(&Column) -> Option<Numbers>) -> Vec<Row> {
        let numbers: Vec<_> = self.columns.iter().map(of).collect();
        let row = |measure: &Measure| {
            let values: Vec<_> =
                numbers.iter().map(|numbers| numbers.as_ref().and_then(|of| measure.of_numbers(of))).collect();
            self.row(measure.words(), measure.kind(), measure.is_more_better(), &values)
        };
        measures.iter().filter_map(row).collect()
    }
}

/// All blocks that have rows.
pub fn blocks(report: &Report) -> Vec<Block> {
    let rows = Rows::of(&report.columns);
    let mut all = vec![
        goals("Goals", &report.goals, &["holds", "FAILS"], true, &rows),
        goals("Fail if", &report.fail_if, &["IS SO", "is not"], false, &rows),
        block("All calls", rows.measures(Measure::ALL, |column| Some(column.all.clone()))),
        refusals(&rows),
        who("Refused most: tenants", &report.tenants, 1, &rows),
        who("Refused most: users", &report.users, 1, &rows),
        who("Refused most: API keys", &report.keys, 1, &rows),
        block("Errors that callers saw", rows.named(|column| column.all.errors_by.clone())),
    ];
    routes(&rows, &mut all);
    providers(&rows, &mut all);
    all.push(who("Cost by tenant, USD", &report.tenants, 2, &rows));
    all.push(budgets(&rows));
    all.push(block("Calls by gateway", rows.named(|column| of_shares(&column.gateways, |share| share.calls))));
    all.push(block("Refused by gateway", rows.named(|column| of_shares(&column.gateways, |share| share.refused))));
    all.push(block(
        "Not played",
        rows.named(|column| column.unplayed.iter().map(|(reason, count)| (reason.as_str().into(), *count)).collect()),
    ));
    all.retain(|block| !block.rows.is_empty());
    all
}

fn block(title: &str, rows: Vec<Row>) -> Block {
    Block { title: title.to_owned(), remark: String::new(), rows }
}

fn of_shares(shares: &BTreeMap<Arc<str>, Share>, of: impl Fn(&Share) -> u64) -> BTreeMap<Arc<str>, u64> {
    shares.iter().map(|(name, share)| (name.clone(), of(share))).collect()
}

/// Goals, with the word for one that holds and one that does not, and whether it is good that it holds.
fn goals(title: &str, judged: &[Judged], [yes, no]: &[&str; 2], is_good: bool, rows: &Rows<'_>) -> Block {
    let row = |judged: &Judged| {
        let cell = |judgement: &Judgement| match judgement.holds {
            Some(holds) => {
                let measured = words::value(judged.goal.measure.kind(), judgement.measured);
                format!("{measured} {}", if holds { yes } else { no })
            }
            None => "no data".to_owned(),
        };
        // The candidate is judged: the last that was played.
        let last = rows.columns.iter().rposition(|column| !column.is_recorded);
        let candidate = last.and_then(|at| judged.columns.get(at));
        Row {
            label: judged.goal.to_string(),
            cells: judged.columns.iter().map(cell).collect(),
            change: String::new(),
            is_better: candidate.and_then(|judgement| judgement.holds).map(|holds| holds == is_good),
        }
    };
    block(title, judged.iter().map(row).collect())
}

fn refusals(rows: &Rows<'_>) -> Block {
    let counts =
        |column: &Column| column.all.refused_by.iter().map(|(rule, refusals)| (rule.clone(), refusals.calls)).collect();
    Block { remark: "calls that a rule or budget refused".to_owned(), ..block("Limits", rows.named(counts)) }
}

/// Those who lead by refusals (1) or cost (2).
fn who(title: &str, names: &super::Names, rank: usize, rows: &Rows<'_>) -> Block {
    let nanos = |share: &Share| if rank == 1 { share.refused } else { share.cost.nanos() };
    let largest = |row: &Named| row.values.iter().flatten().map(nanos).max().unwrap_or(0);
    let mut order: Vec<&Named> = names.rows.iter().filter(|row| largest(row) > 0).collect();
    order.sort_by(|left, right| largest(right).cmp(&largest(left)).then_with(|| left.name.cmp(&right.name)));
    let cell = |share: Option<&Share>| match share {
        None => "-".to_owned(),
        Some(share) if rank == 1 => {
            format!("{} of {}", words::count(share.refused as f64), words::count(share.calls as f64))
        }
        Some(share) => words::amount(share.cost.as_f64()),
    };
    let make = |label: &str, shares: Vec<Option<&Share>>| {
        let kind = if rank == 1 { Kind::Count } else { Kind::Money };
        let number = |share: &Share| if rank == 1 { share.refused as f64 } else { share.cost.as_f64() };
        let values: Vec<_> = shares.iter().map(|share| share.map(number)).collect();
        let row = rows.row(label, kind, Some(false), &values)?;
        Some(Row { cells: shares.into_iter().map(cell).collect(), ..row })
    };
    let shown = order.iter().take(MOST_ROWS);
    let mut list: Vec<Row> =
        shown.filter_map(|row| make(&row.name, row.values.iter().map(Option::as_ref).collect())).collect();
    // All that is not shown: the others, and rows beyond the most.
    let mut rest = names.others.clone();
    for row in names.rows.iter().filter(|row| order.iter().take(MOST_ROWS).all(|shown| shown.name != row.name)) {
        rest.iter_mut().zip(&row.values).for_each(|(sum, share)| {
            if let Some(share) = share {
                sum.calls += share.calls;
                sum.refused += share.refused;
                sum.cost += share.cost;
            }
        });
    }
    if !list.is_empty() {
        list.extend(make("all others", rest.iter().map(Some).collect()));
    }
    let is_short = names.short.iter().any(|short| short.get(rank).is_some_and(|most| *most > 0));
    let remark = if is_short { "more names than are kept: numbers may be a little too small" } else { "" };
    Block { remark: remark.to_owned(), ..block(title, list) }
}

/// What is said of one route.
const OF_ROUTE: [Measure; 13] = [
    Measure::Calls,
    Measure::Refused,
    Measure::Errors,
    Measure::P50,
    Measure::P90,
    Measure::P95,
    Measure::P99,
    Measure::FirstP50,
    Measure::FirstP95,
    Measure::FirstP99,
    Measure::Hits,
    Measure::QueuedP95,
    Measure::Cost,
];

/// The busiest first. Where only one has calls, all is said of it already.
fn routes(rows: &Rows<'_>, all: &mut Vec<Block>) {
    let calls = |column: &Column| column.routes.iter().map(|(name, numbers)| (name.clone(), numbers.calls)).collect();
    let names = rows.named(calls);
    if names.len() < 2 {
        return;
    }
    for Row { label, .. } in names.iter().take(MOST_BLOCKS) {
        let list = rows.measures(&OF_ROUTE, |column| column.routes.get(label.as_str()).cloned());
        all.push(block(&format!("Route {label}"), list));
    }
    if let Some(more) = names.len().checked_sub(MOST_BLOCKS + 1) {
        let list = names.into_iter().skip(MOST_BLOCKS).take(MOST_ROWS).collect();
        let remark = format!("calls of {} further routes; the JSON has all", more + 1);
        all.push(Block { remark, ..block("Further routes", list) });
    }
}

fn providers(rows: &Rows<'_>, all: &mut Vec<Block>) {
    let attempts = |column: &Column| column.providers.iter().map(|(name, of)| (name.clone(), of.attempts)).collect();
    for Row { label: name, .. } in rows.named(attempts).iter().take(MOST_BLOCKS) {
        let of = |column: &Column| column.providers.get(name.as_str()).cloned().unwrap_or_default();
        let time = |pick: fn(&Provider) -> Option<u64>, label: &str| {
            let values: Vec<_> = rows.columns.iter().map(|column| pick(&of(column)).map(|ms| ms as f64)).collect();
            rows.row(label, Kind::Time, Some(false), &values)
        };
        let mut list: Vec<Row> = Vec::new();
        list.extend(rows.counts("calls", None, |column| of(column).calls));
        list.extend(rows.counts("attempts", None, |column| of(column).attempts));
        list.extend(rows.named(|column| of(column).attempts_by.clone()).into_iter().map(|row| Row {
            label: format!("  {}", row.label),
            is_better: None,
            ..row
        }));
        list.extend(rows.counts("failed", Some(false), |column| of(column).failed));
        list.extend(
            rows.named(|column| of(column).failures_by.clone())
                .into_iter()
                .map(|row| Row { label: format!("  {}", row.label), ..row }),
        );
        list.extend(rows.counts("given up", None, |column| of(column).cancelled));
        list.extend(time(|of| of.first.p50_ms, "first token p50"));
        list.extend(time(|of| of.first.p95_ms, "first token p95"));
        list.extend(time(|of| of.took.p95_ms, "attempt p95"));
        list.extend(rows.counts("circuit breaker opened", Some(false), |column| of(column).breaker_opened));
        list.extend(time(|of| Some(of.breaker_open_ms), "circuit breaker open for"));
        all.push(block(&format!("Provider {name}"), list));
    }
}

fn budgets(rows: &Rows<'_>) -> Block {
    let mut accounts: Vec<(&Arc<str>, &Arc<str>)> = Vec::new();
    for left in rows.columns.iter().flat_map(|column| column.budgets.iter().take(MOST_ROWS)) {
        if !accounts.contains(&(&left.budget, &left.key)) {
            accounts.push((&left.budget, &left.key));
        }
    }
    let row = |(budget, key): &(&Arc<str>, &Arc<str>)| {
        let left = |column: &Column| {
            let account = column.budgets.iter().find(|left| left.budget == **budget && left.key == **key);
            account.map(|left| format!("{} of {}", words::amount(left.spent.as_f64()), words::amount(left.of.as_f64())))
        };
        Row {
            label: format!("{budget} {key}"),
            cells: rows.columns.iter().map(|column| left(column).unwrap_or_else(|| "-".to_owned())).collect(),
            change: String::new(),
            is_better: None,
        }
    };
    let remark = "USD spent of the period that runs at the end, the emptiest first";
    Block { remark: remark.to_owned(), ..block("Budgets", accounts.iter().take(MOST_ROWS).map(row).collect()) }
}

/// The circuit breakers of a column by provider: those of a fleet's gateways are one.
pub fn breakers(column: &Column) -> BTreeMap<&Arc<str>, Vec<&Breaker>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    column.breakers.iter().for_each(|breaker| all.entry(&breaker.provider).or_default().push(breaker));
    all
}
