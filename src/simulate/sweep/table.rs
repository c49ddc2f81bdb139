//! Table: a sweep for a terminal: what was played, what was found, a line for each value.
//!
//! It does not know how a picture looks.

use std::fmt::Write as _;

use super::told;
use super::{Point, Row, Swept};
use crate::model::text::clean;

/// What the line of the configuration as it is says.
const UNCHANGED: &str = "as it is";

/// The table; with colours for a terminal that shows them.
pub fn table(swept: &Swept, with_colours: bool) -> String {
    let paint = |code: &str, text: &str| match with_colours && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut text = heading(swept);
    let sentences = told::sentences(swept);
    if !sentences.is_empty() {
        text.push('\n');
        sentences.iter().for_each(|sentence| line(&mut text, &paint("1", &clean(sentence))));
    }
    let columns = told::columns(swept);
    let keys = swept.sweep.iter().map(|axis| clean(&axis.key));
    let headings: Vec<String> = keys.chain(columns.iter().map(|(_, heading)| (*heading).to_owned())).collect();
    let cells = |labels: Vec<String>, row: &Row| -> Vec<String> {
        labels.into_iter().chain(told::cells(row, &columns)).collect()
    };
    let mut lines = vec![(cells(unchanged(swept), &swept.unchanged), &swept.unchanged)];
    lines.extend(swept.points.iter().map(|point| (cells(labels(point), &point.row), &point.row)));
    let width = |at: usize| {
        let cell = |cells: &[String]| cells.get(at).map_or(0, |cell| cell.chars().count());
        lines.iter().map(|(cells, _)| cell(cells)).chain([cell(&headings)]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let aligned = |cells: &[String]| {
        let aligned = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at < swept.sweep.len() {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        aligned.collect::<Vec<_>>().join("   ")
    };
    text.push('\n');
    let goals = if swept.goals.is_empty() { "" } else { "   goals" };
    line(&mut text, &paint("1", &format!("{}{goals}", aligned(&headings))));
    let mut outer = None;
    for (cells, row) in &lines {
        // Where there are two keys, a group for each value of the first.
        let group = cells.first().filter(|_| swept.sweep.len() > 1);
        if outer.is_some() && outer != group {
            text.push('\n');
        }
        outer = group;
        let goals = match (swept.goals.is_empty(), row.is_kept()) {
            (true, _) => String::new(),
            (false, true) => format!("   {}", paint("32", "all hold")),
            (false, false) => format!("   {}", paint("31", &format!("no: {}", told::broken(swept, row)))),
        };
        line(&mut text, &format!("{}{goals}", aligned(cells)));
    }
    text
}

fn labels(point: &Point) -> Vec<String> {
    point.values.iter().map(|value| clean(&value.text)).collect()
}

/// The labels of the configuration as it is.
fn unchanged(swept: &Swept) -> Vec<String> {
    let empty = swept.sweep.iter().skip(1).map(|_| String::new());
    [UNCHANGED.to_owned()].into_iter().chain(empty).collect()
}

fn heading(swept: &Swept) -> String {
    let about = &swept.about;
    let mut text = String::new();
    let mut add = |label: &str, words: &str| line(&mut text, &format!("{label:<10}{}", clean(words)));
    add("trace", &about.trace);
    if let Some(world) = &about.world {
        add("world", world);
    }
    add("config", &swept.config);
    for axis in &swept.sweep {
        let ends = axis.values().first().zip(axis.values().last());
        let (first, last) = ends.map(|(first, last)| (&*first.text, &*last.text)).unwrap_or_default();
        add("sweep", &format!("{}, {} values from {first} to {last}", axis.key, axis.values().len()));
    }
    if !swept.goals.is_empty() {
        add("goals", &swept.goals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    add("seed", &about.seed.to_string());
    if about.skipped > 0 {
        add("skipped", &format!("{} lines of the trace that could not be read", about.skipped));
        about.skipped_lines.iter().for_each(|skipped| add("", skipped));
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}
