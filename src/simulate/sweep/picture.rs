//! Picture: what the values of one key come to, as lines over a range, or as bars of a list; maps of two keys.
//!
//! It does not know how a run is played, nor what is around a picture.

use super::{Point, Row, Swept, told};
use crate::simulate::picture::bars::{Group, bars};
use crate::simulate::picture::heat::{Cell, heat};
use crate::simulate::picture::lines::{Below, Line, Panel, lines};
use crate::simulate::picture::{Axis, Ink, Scale, Svg};
use crate::simulate::report::goals::Goal;
use crate::simulate::report::measure::{Kind, Measure};
use crate::simulate::report::words;

/// What pictures show, with a name for a file. Panels that are zero everywhere are left out, except the first.
const SHOWN: [(Measure, &str); 5] = [
    (Measure::Refused, "refused"),
    (Measure::Errors, "errors"),
    (Measure::P95, "p95"),
    (Measure::FirstP95, "ttft"),
    (Measure::CostPerDay, "cost"),
];

/// A goal this many times above all values is not drawn: it would press them to the ground.
const FAR: f64 = 3.0;

/// Ends this many times apart are shown by factors.
const APART: f64 = 10.0;

/// The pictures, each with a name for a file: one where there is one key with a range.
pub fn pictures(swept: &Swept) -> Vec<(&'static str, Svg)> {
    let shown: Vec<_> = SHOWN.into_iter().filter(|(measure, _)| is_shown(swept, *measure)).collect();
    match &*swept.sweep {
        [one] if one.is_range() => vec![("sweep", over_range(swept, &shown))],
        [_] => shown.iter().map(|(measure, name)| (*name, of_list(swept, *measure))).collect(),
        _ => shown.iter().filter_map(|(measure, name)| Some((*name, map(swept, *measure)?))).collect(),
    }
}

fn is_shown(swept: &Swept, measure: Measure) -> bool {
    let rows = swept.points.iter().map(|point| &point.row).chain([&swept.unchanged]);
    let values: Vec<_> = rows.filter_map(|row| row.measure(measure)).collect();
    !values.is_empty() && (measure == Measure::Refused || values.iter().any(|value| *value > 0.0))
}

fn over_range(swept: &Swept, shown: &[(Measure, &str)]) -> Svg {
    let places: Vec<f64> =
        swept.points.iter().filter_map(|point| point.values.first().and_then(|value| value.place())).collect();
    let ends = places.first().copied().unwrap_or_default()..=places.last().copied().unwrap_or_default();
    let scale = if *ends.start() > 0.0 && ends.end() / ends.start() >= APART { Scale::Log } else { Scale::Linear };
    let key = swept.sweep.first().map_or("", |axis| &*axis.key);
    let panel = |(measure, _): &(Measure, &str)| {
        let of = |point: &Point| point.row.measure(*measure);
        let unchanged = swept.unchanged.measure(*measure);
        let most = swept.points.iter().filter_map(of).chain(unchanged).fold(0.0, f64::max);
        let is_meant = |goal: &&Goal| goal.measure == *measure && goal.route.is_none() && goal.bound() <= most * FAR;
        let meant = swept.goals.iter().find(is_meant);
        Panel {
            title: measure.words().to_owned(),
            axis: Axis { scale: Scale::Linear, words: of_kind(measure.kind()) },
            lines: vec![
                Line {
                    name: "as it is".to_owned(),
                    ink: Ink::Past,
                    points: vec![(*ends.start(), unchanged), (*ends.end(), unchanged)],
                },
                Line {
                    name: key.to_owned(),
                    ink: Ink::First,
                    points: places.iter().copied().zip(swept.points.iter().map(of)).collect(),
                },
            ],
            bound: meant.map(|goal| goal.bound()),
        }
    };
    let panels: Vec<Panel> = shown.iter().map(panel).collect();
    let unit = swept.sweep.first().and_then(|axis| axis.unit()).unwrap_or_default();
    let words = if unit.is_empty() { key.to_owned() } else { format!("{key}, {unit}") };
    lines("By value", &Below { axis: Axis { scale, words: plain }, between: None, words }, &panels)
}

fn of_list(swept: &Swept, measure: Measure) -> Svg {
    let group = |name: &str, row: &Row| {
        let value = row.measure(measure);
        Group { name: name.to_owned(), bars: vec![(value, words::value(measure.kind(), value))] }
    };
    let mut groups = vec![group("as it is", &swept.unchanged)];
    groups.extend(swept.points.iter().map(|point| group(&told::values(point), &point.row)));
    let key = swept.sweep.first().map_or("", |axis| &*axis.key);
    bars(measure.words(), &[(key, Ink::First)], &groups)
}

/// A map of two keys.
fn map(swept: &Swept, measure: Measure) -> Option<Svg> {
    let [down, across] = &*swept.sweep else { return None };
    let columns: Vec<String> = across.values().iter().map(|value| value.text.clone()).collect();
    let cell = |point: &Point| {
        let value = point.row.measure(measure);
        let holds = point.is_kept && !swept.goals.is_empty();
        Cell { value, words: words::cell(measure.kind(), value), holds }
    };
    let cells = swept.points.chunks(columns.len().max(1)).map(|points| points.iter().map(cell).collect());
    let rows: Vec<(String, Vec<Cell>)> = down.values().iter().map(|value| value.text.clone()).zip(cells).collect();
    Some(heat(measure.words(), (&across.key, &columns), (&down.key, &rows)))
}

/// The words for a value at a tick.
fn of_kind(kind: Kind) -> fn(f64) -> String {
    match kind {
        Kind::Share => words::share,
        Kind::Time => words::time,
        Kind::Count => words::count,
        Kind::Money | Kind::MoneyPerDay => plain,
    }
}

/// A number without digits that are nothing.
fn plain(number: f64) -> String {
    let digits = format!("{number:.6}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}
