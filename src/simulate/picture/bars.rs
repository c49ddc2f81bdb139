//! Bars: a group of them for each name.
//!
//! It does not know what they count.

use super::canvas::{EDGE, Ink, Svg, WIDTH, room};
use super::escape::cut;

/// The bars of a name.
pub struct Group {
    /// The name.
    pub name: String,
    /// One for each of the legend's; no value, no bar. With the words at its end.
    pub bars: Vec<(Option<f64>, String)>,
}

/// Draws the groups below each other; all bars have one scale, which begins at zero.
pub fn bars(title: &str, legend: &[(&str, Ink)], groups: &[Group]) -> Svg {
    const BAR: f64 = 13.0;
    let mut svg = Svg::new(title);
    svg.legend(legend, 44.0);
    let all = || groups.iter().flat_map(|group| &group.bars);
    let most = all().filter_map(|(value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let words = all().map(|(_, words)| room(words)).fold(0.0, f64::max);
    let (left, widest) = (EDGE, (WIDTH - 2.0 * EDGE - words - 8.0).max(40.0));
    let mut top = 58.0;
    for group in groups {
        svg.text((left, top + 10.0), "name", "start", &cut(&group.name, 56));
        top += 15.0;
        for ((value, words), (name, ink)) in group.bars.iter().zip(legend) {
            let Some(value) = value else { continue };
            let width = value / most * widest;
            svg.rect(
                ink.class(),
                (left, top),
                (width.max(1.0), BAR - 2.0),
                &format!("{}, {name}: {words}", group.name),
            );
            svg.text((left + width.max(1.0) + 6.0, top + BAR - 2.0), "tick", "start", words);
            top += BAR + 1.0;
        }
        top += 9.0;
    }
    svg.set_height(top + 4.0);
    svg
}
