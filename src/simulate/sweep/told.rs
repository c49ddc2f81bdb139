//! Told: what a sweep found, in sentences, for the terminal and the page.
//!
//! It does not know how they are shown.

use super::find::{Found, Stop};
use super::{Point, Row, Swept};
use crate::simulate::report::measure::Measure;
use crate::simulate::report::words;

/// The columns of a table, with their headings.
const SHOWN: [(Measure, &str); 6] = [
    (Measure::Refused, "refused"),
    (Measure::Errors, "errors"),
    (Measure::Hits, "hits"),
    (Measure::P95, "p95"),
    (Measure::FirstP95, "ttft p95"),
    (Measure::CostPerDay, "USD/day"),
];

/// The measures that a table shows: the usual ones, and those of goals.
pub(super) fn columns(swept: &Swept) -> Vec<(Measure, &'static str)> {
    let mut columns = SHOWN.to_vec();
    for goal in swept.goals.iter().filter(|goal| goal.route.is_none()) {
        if columns.iter().all(|(measure, _)| *measure != goal.measure) {
            columns.push((goal.measure, goal.measure.name()));
        }
    }
    columns
}

/// The cells of a row under these columns.
pub(super) fn cells(row: &Row, columns: &[(Measure, &'static str)]) -> Vec<String> {
    columns.iter().map(|(measure, _)| words::cell(measure.kind(), row.measure(*measure))).collect()
}

/// The goals of a row that do not hold, with what was measured; empty: all hold.
pub(super) fn broken(swept: &Swept, row: &Row) -> String {
    goals(swept, row, &row.broken())
}

/// Values of a point: `40/min`, or `40/min, 64MiB`.
pub(super) fn values(point: &Point) -> String {
    point.values.iter().map(|value| &*value.text).collect::<Vec<_>>().join(", ")
}

fn goals(swept: &Swept, row: &Row, places: &[usize]) -> String {
    let goal = |place: &usize| {
        let (goal, judged) = (swept.goals.get(*place)?, row.goals.get(*place)?);
        Some(match judged.measured {
            Some(_) => format!("{goal} ({})", words::value(goal.measure.kind(), judged.measured)),
            None => format!("{goal} (nothing to measure)"),
        })
    };
    places.iter().filter_map(goal).collect::<Vec<_>>().join(", ")
}

/// What there is to say, a sentence each.
pub(super) fn sentences(swept: &Swept) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(found) = &swept.found {
        all.extend(found_sentences(swept, found));
    }
    if swept.is_flat() {
        let keys: Vec<&str> = swept.sweep.iter().map(|axis| &*axis.key).collect();
        all.push(format!(
            "No value of {} changes a result: this traffic does not reach what is configured there.",
            keys.join(" or ")
        ));
    }
    all
}

fn found_sentences(swept: &Swept, found: &Found) -> Vec<String> {
    let key = swept.sweep.first().map_or("", |axis| &*axis.key);
    let mut all = Vec::new();
    match &*found.ranges {
        [] => {
            all.push(format!("No value of {key} keeps all goals."));
            let nearest = swept.points.iter().min_by_key(|point| point.row.broken().len());
            if let Some(point) = nearest.filter(|point| point.row.broken().len() < swept.goals.len()) {
                all.push(format!("{} breaks the fewest: {}.", values(point), broken(swept, &point.row)));
            }
        }
        [range] if range.below.is_none() && range.above.is_none() => all.push(format!(
            "Each value of {key} from {} to {} keeps all goals; the sweep does not reach an end.",
            range.lowest.text, range.highest.text
        )),
        ranges => {
            if ranges.len() > 1 {
                all.push(format!(
                    "All goals hold in {} separate ranges of {key}: more of it is not always better or worse.",
                    ranges.len()
                ));
            }
            for range in ranges {
                let (low, high) = (&range.lowest.text, &range.highest.text);
                all.push(match low == high {
                    true => format!("{key} = {low} keeps all goals."),
                    false => format!("{key} from {low} (lowest) to {high} (highest) keeps all goals."),
                });
                all.push(end(swept, "Below", low, range.below.as_ref()));
                all.push(end(swept, "Above", high, range.above.as_ref()));
            }
        }
    }
    if found.is_cut_short {
        all.push("The search ended before the ends were exact: sweep a narrower range.".to_owned());
    }
    all
}

fn end(swept: &Swept, side: &str, value: &str, stop: Option<&Stop>) -> String {
    let Some(stop) = stop else { return format!("{side} {value} the sweep has no value.") };
    let at = swept.points.iter().find(|point| point.values.first() == Some(&stop.value));
    let goals = at.map(|point| goals(swept, &point.row, &stop.broken)).unwrap_or_default();
    format!("{side} it, {} does not keep {goals}.", stop.value.text)
}
