//! Table: rows of words in columns, for a terminal.
//!
//! It does not know what the words mean. They may hold anything: no control character leaves here.

use std::fmt::Write as _;

use crate::model::text::clean;

/// The rows with their columns aligned, each row a line without spaces at its end.
pub(super) fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    aligned_with_numbers(rows, &[])
}

/// The same, with the columns at these places aligned to the right, as numbers are read.
pub(super) fn aligned_with_numbers<R: AsRef<[String]>>(rows: &[R], numbers: &[usize]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.as_ref().iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = (*width).max(cell.chars().count()));
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(place, (cell, width))| match numbers.contains(&place) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:width$}"),
        });
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_nothing_moves_the_cursor() {
        let rows =
            [["NAME", "CALLS", "NOTE"], ["a\u{1b}[2J", "1,234", ""], ["b", "7", "x"]].map(|it| it.map(String::from));
        let expected = "NAME   CALLS  NOTE\na?[2J  1,234\nb          7  x\n";
        assert_eq!(aligned_with_numbers(&rows, &[1]), expected);
    }
}
