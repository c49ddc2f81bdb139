//! What a simulation says: the table, the JSON and the page, of rows that never change.
//!
//! `TIDEGATE_BLESS=1` writes the golden files in `tests/report/` anew.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "report/rows.rs"]
mod rows;

use std::path::Path;

use tidegate::simulate::report::table::table;

/// Compares with a golden file, or writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name);
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(wanted.lines()).position(|(is, was)| is != was);
    assert!(
        text == wanted,
        "{name} differs, first in line {:?}; TIDEGATE_BLESS=1 writes it anew",
        differs.map(|at| at + 1)
    );
}

#[test]
fn the_table_fits_a_terminal_of_a_hundred_columns() {
    let text = table(&rows::report(), false);
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:#?}");
    golden("report.txt", &text);
}

#[test]
fn no_name_moves_the_cursor_of_a_terminal() {
    let text = table(&rows::report(), false);
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'));
    let painted = table(&rows::report(), true);
    let codes: Vec<&str> = painted.split('\u{1b}').skip(1).map(|code| code.split_once('m').unwrap().0).collect();
    assert!(codes.iter().all(|code| ["[0", "[1", "[2", "[31", "[32"].contains(code)), "{codes:?}");
}

#[test]
fn the_json_has_the_same_names_and_numbers_each_time() {
    let mut report = serde_json::to_value(rows::report()).unwrap();
    assert_eq!(report, serde_json::to_value(rows::report()).unwrap());
    for column in report["columns"].as_array_mut().unwrap() {
        // A few of a hundred show the names.
        column["timeline"]["buckets"].as_array_mut().unwrap().truncate(2);
    }
    golden("report.json", &serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn a_failure_is_of_the_last_configuration() {
    let failures = rows::report().failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].starts_with("refused>10%: refused is ") && failures[0].ends_with(" in B"), "{failures:?}");
}
