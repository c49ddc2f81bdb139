//! What a simulation says: the table, the JSON and the page, of rows that never change.
//!
//! `TIDEGATE_BLESS=1` writes the golden files in `tests/report/` anew; `SHOTS=folder` writes page and pictures there, to be looked at.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "report/markup.rs"]
mod markup;
#[path = "report/rows.rs"]
mod rows;

use std::path::Path;

use tidegate::simulate::picture::heat::{Cell, heat};
use tidegate::simulate::picture::lines::{Below, Line, Panel, lines};
use tidegate::simulate::picture::{Axis, Ink, Scale};
use tidegate::simulate::report::goals::Goals;
use tidegate::simulate::report::page::page;
use tidegate::simulate::report::page::pictures::pictures;
use tidegate::simulate::report::table::table;
use tidegate::simulate::report::{About, Report, Run};
use tidegate::simulate::tally::{Ending, Tally};

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

#[test]
fn the_page_is_the_same_each_time() {
    golden("report.html", &page(&rows::report()));
}

#[test]
fn the_page_is_well_formed_runs_no_script_and_asks_for_nothing() {
    let text = page(&rows::report());
    let markup = markup::read(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
    for element in
        ["script", "img", "link", "iframe", "object", "embed", "form", "a", "image", "use", "foreignObject", "animate"]
    {
        assert!(!markup.elements.iter().any(|name| name.eq_ignore_ascii_case(element)), "<{element}>");
    }
    for (key, value) in &markup.attributes {
        let is_harmless =
            !key.starts_with("on") && !["src", "href", "srcdoc", "style", "action", "data"].contains(&&**key);
        assert!(is_harmless, "{key}={value}");
    }
    let style = text.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert!(!style.contains("url(") && !style.contains("@import"));
    // The policy allows this style and nothing else.
    let hash = data_encoding::BASE64.encode(ring::digest::digest(&ring::digest::SHA256, style.as_bytes()).as_ref());
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    assert!(markup.attributes.contains(&("content".to_owned(), policy)));
}

#[test]
fn hostile_names_are_shown_as_they_are_and_do_nothing() {
    let text = page(&rows::report());
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(text.contains("&quot;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(text.contains("a&amp;amp;b ]]&gt; &lt;!-- --&gt;"));
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()));
    assert!(!text.contains('\u{202e}'));
    // The only address is in a tenant's name, as text.
    let without = text.replace("https://evil.example/", "");
    assert!(!without.contains("http:") && !without.contains("https:"), "an address");
}

#[test]
fn each_picture_is_also_a_file_of_its_own() {
    let all = pictures(&rows::report());
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let wanted = [
        "calls",
        "latency-over-time",
        "latency",
        "first-token",
        "cost",
        "breakers",
        "refused-tenants",
        "refused-users",
        "refused-keys",
    ];
    assert_eq!(names, wanted);
    for (name, svg) in all {
        let text = svg.file();
        let markup = markup::read(&text).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        assert!(
            text.contains("prefers-color-scheme: dark")
                && text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"")
        );
        assert!(text.len() < 100_000, "{name} has {} bytes", text.len());
        assert!(!text.contains("NaN") && !text.contains("inf"), "{name}: {text}");
        assert!(markup.elements.contains(&"path".to_owned()) || markup.elements.contains(&"rect".to_owned()));
    }
}

#[test]
fn a_run_without_a_call_has_a_report_too() {
    let nothing = Run {
        name: "A".to_owned(),
        config: None,
        is_recorded: false,
        tally: Tally::default(),
        ending: Ending::default(),
    };
    let report = Report::of(About::default(), vec![nothing], &Goals::default(), &Goals::parse("p95>1s").unwrap());
    assert!(markup::read(&page(&report)).is_ok());
    assert!(table(&report, false).contains("no data"));
    assert_eq!(report.failures(), Vec::<String>::new());
    assert!(serde_json::to_string(&report).is_ok());
}

fn words(value: f64) -> String {
    format!("{value}")
}

#[test]
fn a_sweep_is_drawn_as_lines_and_as_a_map() {
    let axis = Axis { scale: Scale::Linear, words };
    let line = |name: &str, factor: f64| Line {
        name: name.to_owned(),
        ink: Ink::First,
        points: (1..=12).map(|at| (f64::from(at) * 10.0, Some(factor / f64::from(at)))).collect(),
    };
    let panel =
        |title: &str, factor| Panel { title: title.to_owned(), axis, lines: vec![line("B", factor)], bound: Some(1.0) };
    let under = Below { axis, between: None, words: "calls in a minute".to_owned() };
    let svg = lines("limit.ai.rate", &under, &[panel("refused", 30.0), panel("cost", 7.0), panel("p95", 5000.0)]);
    markup::read(&svg.file()).unwrap();
    let cells = |row: usize| {
        (0..6).map(move |at| Cell {
            value: (at + row > 0).then_some((at * row) as f64),
            words: format!("{}", at * row),
            holds: at * row > 6,
        })
    };
    let rows: Vec<(String, Vec<Cell>)> = (0..5).map(|row| (format!("{row}0/min"), cells(row).collect())).collect();
    let values: Vec<String> = (0..6).map(|at| format!("{at} s<&>")).collect();
    let map = heat("refused", ("limit.ai.rate", &values), ("timeout.total", &rows));
    markup::read(&map.file()).unwrap();
    if let Some(folder) = std::env::var_os("SHOTS") {
        let write = |name: &str, text: String| std::fs::write(Path::new(&folder).join(name), text).unwrap();
        write("sweep.svg", svg.file());
        write("heat.svg", map.file());
        write("report.html", page(&rows::report()));
        pictures(&rows::report()).iter().for_each(|(name, svg)| write(&format!("{name}.svg"), svg.file()));
    }
}
