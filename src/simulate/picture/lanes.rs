//! Lanes: what was the case when, one strip for each of several things.
//!
//! It does not know what is shown.

use super::canvas::{EDGE, Svg, WIDTH, room};
use super::escape::cut;
use super::lines::below;
use super::scale::{Axis, Range};

/// One strip.
pub struct Lane {
    /// What it is of.
    pub name: String,
    /// From, to, the class in the style, and what a pointer that rests on it is told.
    pub spans: Vec<(f64, f64, &'static str, String)>,
}

/// Draws strips below each other, over the time between two moments.
pub fn lanes(title: &str, axis: Axis, between: (f64, f64), keys: &[(&str, &str)], lanes: &[Lane]) -> Svg {
    const HEIGHT: f64 = 14.0;
    let mut svg = Svg::new(title);
    let x = Range::tight(axis, [between.0, between.1].into_iter());
    let mut key_x = EDGE;
    for (class, words) in keys {
        svg.rect(class, (key_x, 34.0), (14.0, 11.0), "");
        svg.text((key_x + 20.0, 44.0), "name", "start", words);
        key_x += 20.0 + room(words) + 16.0;
    }
    let (left, right) = (EDGE, WIDTH - EDGE);
    let mut top = 58.0;
    for lane in lanes {
        svg.text((left, top + 10.0), "name", "start", &cut(&lane.name, 56));
        top += 16.0;
        svg.rect("closed", (left, top), (right - left, HEIGHT), "");
        for (from, to, class, told) in &lane.spans {
            let (from, to) = (left + x.at(*from) * (right - left), left + x.at(*to) * (right - left));
            // The shortest is still seen.
            svg.rect(class, (from.min(right - 1.5), top), ((to - from).max(1.5), HEIGHT), told);
        }
        top += HEIGHT + 10.0;
    }
    let bottom = top - 10.0;
    below(&mut svg, &x, (left, right), (0.0, bottom));
    svg.set_height(bottom + 30.0);
    svg
}
