//! The pictures of a report: calls over time, how long answers took, circuit breakers, cost, whom limits refused.
//!
//! Each can also be a file of its own. They know nothing of the page around them.

use jiff::Timestamp;

use crate::simulate::picture::bars::{Group, bars};
use crate::simulate::picture::lanes::{Lane, lanes};
use crate::simulate::picture::lines::{Below, Line, Panel, lines};
use crate::simulate::picture::{Axis, Ink, Scale, Svg};
use crate::simulate::report::column::{CURVE, Column, Moment, Percentiles};
use crate::simulate::report::measure::Measure;
use crate::simulate::report::{Named, Names, Report, words};

/// Names of which bars are drawn.
const MOST_BARS: usize = 8;

/// Columns with their inks.
type Inked<'a> = Vec<(&'a Column, Ink)>;

/// The place of what was recorded, if anything, then those of what was played: the order in which columns are drawn.
fn order(report: &Report) -> Vec<usize> {
    let is_recorded = |at: &usize| report.columns.get(*at).is_some_and(|column| column.is_recorded);
    let (mut past, played): (Vec<usize>, Vec<usize>) = (0..report.columns.len()).partition(is_recorded);
    past.extend(played);
    past
}

/// The pictures that have something to show, each with a name for a file.
pub fn pictures(report: &Report) -> Vec<(&'static str, Svg)> {
    let order = order(report);
    let columns = inked(report, &order);
    let all = [
        ("calls", calls(&columns)),
        ("latency-over-time", latency_over_time(report, &columns)),
        ("latency", distribution("How long answers took", &columns, |column| &column.all.latency)),
        ("first-token", distribution("When answers began", &columns, |column| &column.all.first)),
        ("cost", cost(&columns)),
        ("breakers", breakers(&columns)),
        ("refused-tenants", refused("Whom limits refused: tenants", &report.tenants, &columns, &order)),
        ("refused-users", refused("Whom limits refused: users", &report.users, &columns, &order)),
        ("refused-keys", refused("Whom limits refused: API keys", &report.keys, &columns, &order)),
    ];
    all.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
}

fn inked<'a>(report: &'a Report, order: &[usize]) -> Inked<'a> {
    let mut played = 0;
    let ink = |at: &usize| {
        let column = report.columns.get(*at)?;
        if column.is_recorded {
            return Some((column, Ink::Past));
        }
        played += 1;
        Some((column, Ink::of(played - 1)))
    };
    order.iter().filter_map(ink).collect()
}

fn second(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// When the first column begins and the last one ends.
fn between(columns: &Inked<'_>) -> (f64, f64) {
    let begin = columns.iter().map(|(column, _)| second(column.from)).fold(f64::MAX, f64::min);
    let end = columns.iter().map(|(column, _)| second(column.to)).fold(f64::MIN, f64::max);
    (begin, end)
}

/// The axis of time, with the words that go under it.
fn time(columns: &Inked<'_>) -> Below {
    let (begin, end) = between(columns);
    let at = |value: f64| Timestamp::from_second(value as i64).unwrap_or_default();
    let words: fn(f64) -> String = match end - begin {
        short if short < 240.0 => {
            |value| Timestamp::from_second(value as i64).unwrap_or_default().strftime("%H:%M:%S").to_string()
        }
        days if days >= 172_800.0 => {
            |value| Timestamp::from_second(value as i64).unwrap_or_default().strftime("%m-%d").to_string()
        }
        _ => |value| Timestamp::from_second(value as i64).unwrap_or_default().strftime("%H:%M").to_string(),
    };
    let axis = Axis { scale: Scale::Time, words };
    Below { axis, between: Some((begin, end)), words: format!("{} UTC", at(begin).strftime("%Y-%m-%d")) }
}

/// The value of each bucket, those without calls included.
fn over_time(column: &Column, of: impl Fn(Option<&Moment>) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let (width, buckets) = (column.timeline.width_seconds, &column.timeline.buckets);
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return Vec::new() };
    let mut points = Vec::new();
    let (mut next, mut at) = (buckets.iter().peekable(), first.at.as_second());
    while at <= last.at.as_second() {
        let bucket = next.next_if(|bucket| bucket.at.as_second() == at);
        points.push((at as f64 + width as f64 / 2.0, of(bucket)));
        at = at.saturating_add(width.max(1));
    }
    points
}

fn panel(title: &str, words: fn(f64) -> String, lines: Vec<Line>) -> Option<Panel> {
    let is_something =
        lines.iter().flat_map(|line| &line.points).any(|(_, value)| value.is_some_and(|value| value > 0.0));
    let axis = Axis { scale: Scale::Linear, words };
    is_something.then(|| Panel { title: title.to_owned(), axis, lines, bound: None })
}

fn line(column: &Column, ink: Ink, points: Vec<(f64, Option<f64>)>) -> Line {
    Line { name: column.name.clone(), ink, points }
}

/// Calls, refusals and errors.
fn calls(columns: &Inked<'_>) -> Option<Svg> {
    let of = |title: &str, pick: fn(&Moment) -> u64| {
        let of = |(column, ink): &(&Column, Ink)| {
            let minute = 60.0 / column.timeline.width_seconds.max(1) as f64;
            line(column, *ink, over_time(column, |bucket| Some(bucket.map_or(0, pick) as f64 * minute)))
        };
        panel(title, rate, columns.iter().map(of).collect())
    };
    let panels: Vec<Panel> = [
        of("calls in a minute", |at| at.calls),
        of("refused in a minute", |at| at.refused),
        of("errors in a minute", |at| at.errors),
        of("cache hits in a minute", |at| at.hits),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!panels.is_empty()).then(|| lines("Calls over time", &time(columns), &panels))
}

/// A count that may be less than one.
fn rate(value: f64) -> String {
    if value == value.round() { words::count(value) } else { format!("{value:.1}") }
}

fn latency_over_time(report: &Report, columns: &Inked<'_>) -> Option<Svg> {
    let of =
        |(column, ink): &(&Column, Ink)| line(column, *ink, over_time(column, |bucket| Some(bucket?.p95_ms? as f64)));
    let mut panel = panel("", ticks, columns.iter().map(of).collect())?;
    let is_meant = |goal: &&super::super::Judged| goal.goal.measure == Measure::P95 && goal.goal.route.is_none();
    panel.bound = report.goals.iter().find(is_meant).map(|judged| judged.goal.bound());
    Some(lines("Latency over time, p95", &time(columns), &[panel]))
}

/// A time at a tick: no digits that are nothing.
fn ticks(ms: f64) -> String {
    match ms {
        short if short < 1000.0 => format!("{short:.0} ms"),
        short if short < 120_000.0 => format!("{} s", (ms / 100.0).round() / 10.0),
        long if long < 7_200_000.0 => format!("{} min", (long / 6000.0).round() / 10.0),
        long => format!("{} h", (long / 360_000.0).round() / 10.0),
    }
}

/// Which share of the answers took how long, on a logarithmic axis.
fn distribution(title: &str, columns: &Inked<'_>, of: fn(&Column) -> &Percentiles) -> Option<Svg> {
    let of = |(column, ink): &(&Column, Ink)| {
        let times = of(column).curve_ms.iter().map(|ms| (*ms as f64).max(1.0));
        let shares = CURVE.iter().map(|share| Some(*share as f64 / 1000.0));
        line(column, *ink, times.zip(shares).collect())
    };
    let panel = panel("", |share| format!("{:.0} %", share * 100.0), columns.iter().map(of).collect())?;
    let axis = Axis { scale: Scale::Log, words: ticks };
    let words = "share of answers that took at most this long".to_owned();
    Some(lines(title, &Below { axis, between: None, words }, &[panel]))
}

/// What was spent by then.
fn cost(columns: &Inked<'_>) -> Option<Svg> {
    let of = |(column, ink): &(&Column, Ink)| {
        let mut points = over_time(column, |bucket| Some(bucket.map_or(0.0, |bucket| bucket.cost.as_f64())));
        let mut sum = 0.0;
        for (at, value) in &mut points {
            sum += value.unwrap_or(0.0);
            *value = Some(sum);
            // By the end of the bucket.
            *at += column.timeline.width_seconds as f64 / 2.0;
        }
        line(column, *ink, points)
    };
    let panel = panel("", dollars, columns.iter().map(of).collect())?;
    Some(lines("Cost, added up, USD", &time(columns), &[panel]))
}

fn dollars(usd: f64) -> String {
    // A tick has few digits of its own; what is after them is the noise of floats.
    let digits = format!("{usd:.6}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn breakers(columns: &Inked<'_>) -> Option<Svg> {
    let (begin, end) = between(columns);
    let mut all = Vec::new();
    for (column, _) in columns {
        for (provider, breakers) in super::super::blocks::breakers(column) {
            let spans = breakers.iter().flat_map(|breaker| {
                let of = breaker.gateway.as_ref().map(|gateway| format!("{gateway}, ")).unwrap_or_default();
                breaker.spans.iter().map(move |span| {
                    let (from, to) = (second(span.from), second(span.to));
                    let class = if span.state == "open" { "open" } else { "half" };
                    let words = format!(
                        "{of}{} from {} for {}",
                        span.state,
                        span.from.strftime("%H:%M:%S"),
                        words::seconds(to - from)
                    );
                    (from, to, class, words)
                })
            });
            let mut spans: Vec<_> = spans.collect();
            // Open is drawn last, over what is half-open in another gateway.
            spans.sort_by_key(|(_, _, class, _)| *class == "open");
            all.push(Lane { name: format!("{} · {provider}", column.name), spans });
        }
    }
    // A screen of lanes.
    all.truncate(24);
    let keys = [("open", "open"), ("half", "half-open"), ("closed", "closed")];
    let axis = time(columns).axis;
    (!all.is_empty()).then(|| lanes("Circuit breakers", axis, (begin, end), &keys, &all))
}

/// Those whom limits refused most.
fn refused(title: &str, names: &Names, columns: &Inked<'_>, order: &[usize]) -> Option<Svg> {
    let legend: Vec<(&str, Ink)> = columns.iter().map(|(column, ink)| (&*column.name, *ink)).collect();
    let most = |row: &&Named| row.values.iter().flatten().any(|share| share.refused > 0);
    let group = |row: &Named| Group {
        name: row.name.to_string(),
        bars: order
            .iter()
            .map(|at| match row.values.get(*at).and_then(Option::as_ref) {
                Some(share) => (
                    Some(share.refused as f64),
                    format!("{} of {}", words::count(share.refused as f64), words::count(share.calls as f64)),
                ),
                None => (None, String::new()),
            })
            .collect(),
    };
    let groups: Vec<Group> = names.rows.iter().filter(most).take(MOST_BARS).map(group).collect();
    (!groups.is_empty()).then(|| bars(title, &legend, &groups))
}
