//! Heat: a map of one value over two keys: the darker, the more of it.
//!
//! It does not know what the value is.

use super::canvas::{EDGE, Number, Svg, WIDTH, room};
use super::escape::{cut, escape};

/// One field of the map.
pub struct Cell {
    /// The value; `None`: nothing was measured.
    pub value: Option<f64>,
    /// What is written in it.
    pub words: String,
    /// True where everything that was asked for holds: it gets a frame.
    pub holds: bool,
}

/// Draws a row for each value of one key, a column for each of the other; `rows` begins at the top.
pub fn heat(title: &str, (key, values): (&str, &[String]), (row_key, rows): (&str, &[(String, Vec<Cell>)])) -> Svg {
    const HEIGHT: f64 = 30.0;
    let mut svg = Svg::new(title);
    svg.text((EDGE, 44.0), "name", "start", &format!("down: {row_key}"));
    svg.text((WIDTH - EDGE, 44.0), "name", "end", &format!("across: {key}"));
    let left = rows.iter().map(|(label, _)| room(&cut(label, 14))).fold(20.0, f64::max) + EDGE + 6.0;
    let width = (WIDTH - EDGE - left) / values.len().max(1) as f64;
    let all = || rows.iter().flat_map(|(_, cells)| cells).filter_map(|cell| cell.value);
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let top = 74.0;
    // As many words as fit.
    let fits = ((width - 2.0) / 6.6).max(1.0) as usize;
    let every = (values.iter().map(|value| value.chars().count()).max().unwrap_or(1).div_ceil(fits)).max(1);
    for (at, value) in values.iter().enumerate().filter(|(at, _)| at % every == 0) {
        svg.text((left + (at as f64 + 0.5) * width, top - 8.0), "tick", "middle", value);
    }
    for (row, (label, cells)) in rows.iter().enumerate() {
        let y = top + row as f64 * HEIGHT;
        svg.text((left - 6.0, y + 19.0), "tick", "end", &cut(label, 14));
        for (at, (cell, value)) in cells.iter().zip(values).enumerate() {
            let x = left + at as f64 * width;
            let heat = cell.value.map_or(0.0, |value| if high > low { (value - low) / (high - low) } else { 0.0 });
            let (opacity, told) =
                (Number(1.0 + heat * 5.0), escape(&format!("{row_key} {label}, {key} {value}: {}", cell.words)));
            svg.raw(format_args!(
                "<rect class=\"heat\" fill-opacity=\".{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{told}</title></rect>",
                opacity.to_string().replace('.', ""),
                Number(x + 1.0),
                Number(y + 1.0),
                Number(width - 2.0),
                Number(HEIGHT - 2.0)
            ));
            if cell.holds {
                svg.rect("held", (x + 2.0, y + 2.0), (width - 4.0, HEIGHT - 4.0), "");
            }
            if cell.words.chars().count() <= fits {
                svg.text((x + width / 2.0, y + 19.0), "name", "middle", &cell.words);
            }
        }
    }
    svg.set_height(top + rows.len() as f64 * HEIGHT + EDGE);
    svg
}
