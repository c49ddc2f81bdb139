//! Lines: one or more panels of lines over one axis.
//!
//! It does not know what the lines are.

use std::fmt::Write as _;

use super::canvas::{EDGE, Ink, Number, Svg, WIDTH, room};
use super::scale::{Axis, Range};

const PANEL: f64 = 92.0;
/// Of a picture that has only one.
const SINGLE: f64 = 150.0;

/// A line.
pub struct Line {
    /// What it is of.
    pub name: String,
    /// How it is drawn.
    pub ink: Ink,
    /// Its points, from left to right; it breaks where there is no value.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Lines with an axis of their own.
pub struct Panel {
    /// What they show, with the unit.
    pub title: String,
    /// The axis of their values.
    pub axis: Axis,
    /// The lines, the hindmost first.
    pub lines: Vec<Line>,
    /// A value that should not be crossed.
    pub bound: Option<f64>,
}

/// The axis below all panels.
pub struct Below {
    /// How its values are spread.
    pub axis: Axis,
    /// From where to where; `None`: as far as there are points.
    pub between: Option<(f64, f64)>,
    /// What it shows.
    pub words: String,
}

/// Draws panels below each other over one axis.
pub fn lines(title: &str, under: &Below, panels: &[Panel]) -> Svg {
    let mut svg = Svg::new(title);
    let points = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let x = match under.between {
        Some((from, to)) => Range::tight(under.axis, [from, to].into_iter()),
        None => Range::tight(under.axis, points().map(|(x, _)| *x)),
    };
    let mut names: Vec<(&str, Ink)> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !names.contains(&(&line.name, line.ink)) {
            names.push((&line.name, line.ink));
        }
    }
    svg.legend(&names, 44.0);
    let height = if panels.len() == 1 { SINGLE } else { PANEL };
    let scales = panels.iter().map(|panel| {
        let values = panel.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        Range::of(panel.axis, values.chain(panel.bound), 3.0)
    });
    let scales: Vec<Range> = scales.collect();
    // The words at the left are as wide as the widest of them.
    let words = scales.iter().flat_map(|scale| scale.ticks(3.0));
    let left = words.map(|(_, words)| room(&words)).fold(20.0, f64::max) + EDGE + 6.0;
    let right = WIDTH - EDGE - 6.0;
    let across = |value: f64| left + x.at(value) * (right - left);
    let mut top = 56.0;
    let begin = top;
    for (panel, scale) in panels.iter().zip(&scales) {
        let is_titled = !panel.title.is_empty();
        let (high, low) = (top + if is_titled { 22.0 } else { 6.0 }, top + height);
        if is_titled {
            svg.text((EDGE, top + 12.0), "panel", "start", &panel.title);
        }
        let up = |value: f64| low - scale.at(value) * (low - high);
        for (value, words) in scale.ticks(3.0) {
            let y = up(value);
            svg.line(if y > low - 0.5 { "base" } else { "grid" }, (left, y), (right, y));
            svg.text((left - 6.0, y + 4.0), "tick", "end", &words);
        }
        for line in &panel.lines {
            let mut steps = String::new();
            let mut is_drawing = false;
            for (at, value) in &line.points {
                if let Some(value) = value {
                    let word = if is_drawing { 'L' } else { 'M' };
                    let _ = write!(steps, "{word}{} {}", Number(across(*at)), Number(up(*value)));
                    // A point without neighbours is seen as the dot that its round ends make.
                    if !is_drawing {
                        steps.push_str("h0");
                    }
                }
                is_drawing = value.is_some();
            }
            if !steps.is_empty() {
                svg.path(&format!("line {}", line.ink.class()), &steps);
            }
        }
        if let Some(bound) = panel.bound {
            svg.line("bound", (left, up(bound)), (right, up(bound)));
            svg.text((right, up(bound) - 4.0), "limit", "end", "goal");
        }
        top = low + 12.0;
    }
    let bottom = top - 12.0;
    below(&mut svg, &x, (left, right), (begin, bottom));
    let end = if under.words.is_empty() {
        bottom + 30.0
    } else {
        svg.text(((left + right) / 2.0, bottom + 36.0), "under", "middle", &under.words);
        bottom + 48.0
    };
    svg.set_height(end);
    svg
}

/// The ticks of the axis below, so far apart that their words do not meet.
pub(super) fn below(svg: &mut Svg, x: &Range, (left, right): (f64, f64), (_, bottom): (f64, f64)) {
    let mut free = f64::MIN;
    for (value, words) in x.ticks(5.0) {
        let at = left + x.at(value) * (right - left);
        let half = room(&words) / 2.0;
        // At the edges they are moved into the picture.
        let middle = at.min(WIDTH - EDGE - half).max(EDGE + half);
        if middle - half < free {
            continue;
        }
        free = middle + half + 10.0;
        svg.line("base", (at, bottom), (at, bottom + 4.0));
        svg.text((middle, bottom + 18.0), "tick", "middle", &words);
    }
}
