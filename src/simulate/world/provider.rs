//! Provider: reads `[defaults]` and `[provider.NAME]` of a world file, the two tables that describe a provider.
//!
//! It does not know which providers there are.

use std::time::Duration;

use super::values::{self, Moment};
use crate::config::engine::document::{Node, Value};
use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::config::engine::value::Expected;
use crate::provider::simulated::model::{Brownout, Distribution, ErrorShare, Outage, ProviderModel, Trouble, Window};

/// The kinds of trouble, by their names in a world file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Status,
    Refuse,
    Blackhole,
    Reset,
    Hang,
    Cut,
    Stall,
    Slow,
}

const ERRORS: &[(Kind, &str)] = &[
    (Kind::Status, "status"),
    (Kind::Refuse, "refuse"),
    (Kind::Blackhole, "blackhole"),
    (Kind::Reset, "reset"),
    (Kind::Hang, "hang"),
    (Kind::Cut, "cut"),
    (Kind::Stall, "stall"),
    (Kind::Slow, "slow"),
];

/// What a provider that is down may do.
const OUTAGES: &[(Kind, &str)] = &[
    (Kind::Refuse, "refuse"),
    (Kind::Status, "status"),
    (Kind::Blackhole, "blackhole"),
    (Kind::Reset, "reset"),
    (Kind::Hang, "hang"),
];

/// The quantiles that a distribution may be written with, the lowest first, and the shares that stay below them.
pub(in crate::simulate) const QUANTILES: [(&str, f64); 12] = [
    ("min", 0.0),
    ("p1", 0.01),
    ("p5", 0.05),
    ("p10", 0.1),
    ("p25", 0.25),
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("max", 1.0),
];

/// Reads the table of a provider; what it does not say is as in `base`.
pub(super) fn read(section: &mut Section<'_>, base: &ProviderModel) -> ProviderModel {
    let mut model = base.clone();
    for (key, distribution) in [
        ("first_token", &mut model.first_token),
        ("per_token", &mut model.per_token),
        ("error_after", &mut model.error_after),
    ] {
        if let Some(read) = self::distribution(section, key) {
            *distribution = read;
        }
    }
    if let Some(capacity) = section.optional("capacity", value::count) {
        model.capacity = Some(capacity);
    }
    let over = section.optional("over_capacity", value::word("an answer beyond the capacity", values::OVER_CAPACITY));
    model.over_capacity = over.unwrap_or(model.over_capacity);
    let per_minute = |section: &mut Section<'_>, key| {
        let read = value::integer("a number a minute", 1, 1_000_000_000_000);
        section.optional(key, read).map(i64::unsigned_abs)
    };
    model.requests_per_minute = per_minute(section, "requests_per_minute").or(model.requests_per_minute);
    model.tokens_per_minute = per_minute(section, "tokens_per_minute").or(model.tokens_per_minute);
    model.repeats = section.optional("repeats", value::boolean).unwrap_or(model.repeats);
    if let Some(errors) = errors(section) {
        model.errors = errors;
    }
    if let Some(tables) = section.tables("outage") {
        model.outages =
            tables.into_iter().filter_map(|mut table| outage(&mut table).filter(|_| closed(table))).collect();
    }
    if let Some(tables) = section.tables("brownout") {
        let read = |mut table: Section<'_>| brownout(&mut table).filter(|_| closed(table));
        model.brownouts = tables.into_iter().filter_map(read).collect();
    }
    check_shares(section, &model);
    model
}

fn closed(section: Section<'_>) -> bool {
    section.close();
    true
}

/// A duration, or a table of quantiles.
fn distribution(section: &mut Section<'_>, key: &'static str) -> Option<Distribution> {
    let node = section.node(key)?;
    let Value::Table(_) = &node.value else {
        return fixed(section, key, node);
    };
    let mut table = section.section(key);
    let mut found: Vec<(&'static str, f64, Duration)> = Vec::new();
    let mut is_whole = true;
    for (name, share) in QUANTILES {
        let Some(time) = table.located(name, values::latency) else {
            is_whole &= !table.has(name);
            continue;
        };
        if let Some((before, _, less)) = found.last().filter(|(_, _, less)| *less > time.value) {
            let message = format!("{:?} is less than the {less:?} of `{before}`: quantiles never fall", time.value);
            table.problem(name, message);
            is_whole = false;
        }
        found.push((name, share, time.value));
    }
    if is_whole && found.len() < 2 {
        section.problem(
            key,
            "two quantiles are needed at least, such as { p50 = \"300ms\", p99 = \"2s\" }; a duration alone is the same each time",
        );
    }
    if let [("p50", _, Duration::ZERO), ("p99", ..)] = found.as_slice() {
        table.problem("p50", "0ms has no log-normal distribution around it: write more quantiles, or a longer time");
    }
    table.close();
    Some(match found.as_slice() {
        [("p50", _, p50), ("p99", _, p99)] => Distribution::LogNormal { p50: *p50, p99: *p99 },
        _ => Distribution::Quantiles(found.iter().map(|(_, share, time)| (*share, *time)).collect()),
    })
}

fn fixed(section: &mut Section<'_>, key: &'static str, node: &Node) -> Option<Distribution> {
    match values::latency(&node.value) {
        Ok(time) => Some(Distribution::Fixed(time)),
        Err(_) => {
            let wanted = Expected::new(
                "a duration or quantiles",
                "\"300ms\", { p50 = \"300ms\", p99 = \"2s\" } or more of min, p1, p5, p10, p25, p50, p75, p90, p95, p99, p99_9, max",
            );
            section.problem(key, wanted.message(&node.value));
            None
        }
    }
}

fn errors(section: &mut Section<'_>) -> Option<Vec<ErrorShare>> {
    let tables = section.tables("error")?;
    let read = |mut table: Section<'_>| {
        let share = table.required("share", value::share);
        let trouble = trouble(&mut table, ERRORS);
        table.close();
        Some(ErrorShare { share: share?, trouble: trouble? })
    };
    Some(tables.into_iter().filter_map(read).collect())
}

/// `kind` and the keys that belong to it.
fn trouble(table: &mut Section<'_>, kinds: &'static [(Kind, &'static str)]) -> Option<Trouble> {
    let kind = table.required("kind", value::word("a kind of error", kinds));
    let status = table.optional("status", value::integer("an error status", 400, 599));
    let retry_after = table.optional("retry_after", values::span);
    let (share, factor) = match kinds == ERRORS {
        true => (table.optional("at", value::share), table.optional("factor", values::times)),
        false => (None, None),
    };
    let kind = kind?;
    let belongs = |key| match key {
        "status" | "retry_after" => kind == Kind::Status,
        "at" => matches!(kind, Kind::Cut | Kind::Stall),
        _ => kind == Kind::Slow,
    };
    for (key, is_for) in [("status", "status"), ("retry_after", "status"), ("at", "cut` or `stall"), ("factor", "slow")]
    {
        let is_known = kinds == ERRORS || matches!(key, "status" | "retry_after");
        if is_known && table.has(key) && !belongs(key) {
            table.problem(key, format!("this key goes with kind = `{is_for}` only"));
        }
    }
    if kind == Kind::Status && !table.has("status") {
        table.problem("status", "this key is missing: which status, 400 to 599");
    }
    if kind == Kind::Slow && !table.has("factor") {
        table.problem("factor", "this key is missing: how many times as long it takes");
    }
    Some(match kind {
        Kind::Status => Trouble::Status { status: u16::try_from(status.unwrap_or(500)).unwrap_or(500), retry_after },
        Kind::Refuse => Trouble::Refuse,
        Kind::Blackhole => Trouble::Blackhole,
        Kind::Reset => Trouble::Reset,
        Kind::Hang => Trouble::Hang,
        Kind::Cut => Trouble::Cut(share),
        Kind::Stall => Trouble::Stall(share),
        Kind::Slow => Trouble::Slow(factor.unwrap_or(1.0)),
    })
}

fn outage(table: &mut Section<'_>) -> Option<Outage> {
    let window = window(table);
    let trouble = match table.has("kind") {
        true => trouble(table, OUTAGES),
        false => {
            for key in ["status", "retry_after"] {
                if table.has(key) {
                    table.problem(key, "this key goes with kind = `status` only");
                }
            }
            Some(Trouble::Refuse)
        }
    };
    let instance = table.optional("instance", value::integer("an instance, counted from 0", 0, 62));
    let instance = instance.and_then(|instance| usize::try_from(instance).ok());
    Some(Outage { window: window?, trouble: trouble?, instance })
}

fn brownout(table: &mut Section<'_>) -> Option<Brownout> {
    let window = window(table);
    let latency = table.optional("latency", values::times).unwrap_or(1.0);
    let errors = errors(table).unwrap_or_default();
    let capacity = table.optional("capacity", value::count);
    if !["latency", "error", "capacity"].into_iter().any(|key| table.has(key)) {
        table.problem("latency", "a brown-out changes something: give it `latency`, `error` or `capacity`");
    }
    Some(Brownout { window: window?, latency, errors, capacity })
}

/// `from` and `to`, or `from` and `for`.
fn window(table: &mut Section<'_>) -> Option<Window> {
    let from = table.required("from", values::moment);
    let length = table.optional("for", values::length);
    let to = table.optional("to", values::moment);
    match table.exclusive(&["to", "for"]) {
        None => table.problem("to", "this key is missing: `to` says when it ends, or `for` how long it lasts"),
        Some("for") => {
            return Some(match (from?, length?) {
                (Moment::After(from), length) => Window::Once { from, to: from + length },
                (Moment::Clock(from), length) => {
                    if length >= DAY {
                        table.problem("for", "a window of each day is shorter than 24h");
                        return None;
                    }
                    let to = from + length;
                    Window::Daily { from, to: if to >= DAY { to - DAY } else { to } }
                }
            });
        }
        Some(_) => {}
    }
    match (from?, to?) {
        (Moment::After(from), Moment::After(to)) if from < to => Some(Window::Once { from, to }),
        (Moment::Clock(from), Moment::Clock(to)) if from != to => Some(Window::Daily { from, to }),
        (Moment::After(_), Moment::After(_)) => {
            table.problem("to", "it ends before it begins: `to` must be later than `from`");
            None
        }
        (Moment::Clock(_), Moment::Clock(_)) => {
            table.problem("to", "it ends when it begins: `to` must be another time of the day than `from`");
            None
        }
        (Moment::After(_), Moment::Clock(_)) | (Moment::Clock(_), Moment::After(_)) => {
            table.problem("to", "`from` and `to` are both durations from the beginning, or both times of the day");
            None
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Shares of one whole are at most 1 together, those of brown-outs included.
fn check_shares(section: &mut Section<'_>, model: &ProviderModel) {
    let sum = |errors: &[ErrorShare]| errors.iter().map(|error| error.share).sum::<f64>();
    let worst = model.brownouts.iter().map(|brownout| sum(&brownout.errors)).fold(0.0, f64::max);
    let usual = sum(&model.errors);
    if usual > 1.0 + 1e-9 {
        section.problem("error", format!("the shares add up to {usual:.3}; allowed: at most 1 together"));
    } else if usual + worst > 1.0 + 1e-9 {
        let message =
            format!("with the errors of a brown-out the shares add up to {:.3}; allowed: at most 1", usual + worst);
        section.problem("brownout", message);
    }
}
