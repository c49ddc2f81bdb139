//! Words: phrases that no reader would search for stay out of messages, comments, docs and the configuration.
//!
//! Each has a noun of the field in its place. The list is short: it holds what once was written in many places.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::path::{Path, PathBuf};

/// What is not written, and what is written instead.
const BANNED: [(&str, &str); 15] = [
    ("kept answer", "cached response"),
    ("conversation both ways", "WebSocket"),
    ("so many", "this many, or the limit's name"),
    ("purse", "account"),
    ("asked anew", "refreshed"),
    ("for so long", "for this long"),
    ("not reach for", "would exceed"),
    ("comes to nothing", "fails, or is zero"),
    ("what is off", "what is disabled"),
    ("asks too often", "over its rate limit"),
    ("as much to do as", "at capacity"),
    ("not ready any more", "readiness fails"),
    ("callers still come", "accepting connections"),
    ("without a word", "an empty response"),
    ("is let go", "is closed, or shed"),
];

fn files(place: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        match path.is_dir() {
            true => files(&path, all),
            false if matches!(kind, Some("rs" | "md" | "toml" | "html" | "js" | "lua")) => all.push(path),
            false => {}
        }
    }
}

/// A word, or two, that a line has twice in a row: an edit gone wrong.
fn repeated(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split([' ', '"']).filter(|word| !word.is_empty()).collect();
    let is_word = |word: &&str| word.chars().all(char::is_alphabetic);
    (1..=2).find_map(|length| {
        let twice = words.windows(length * 2).find(|window| {
            window.iter().all(is_word) && window[..length] == window[length..] && window.concat().len() > 2
        });
        twice.map(|window| window.join(" "))
    })
}

#[test]
fn no_word_is_written_twice_in_a_row() {
    assert_eq!(repeated("said: \"The method The method PUT\""), Some("The method The method".into()));
    assert_eq!(repeated("so the the test"), Some("the the".into()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    for place in ["src", "docs", "config"] {
        files(&root.join(place), &mut all);
    }
    let mut found = Vec::new();
    for path in all.iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs" || kind == "md")) {
        for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            if let Some(twice) = repeated(line) {
                let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
                found.push(format!("{name}:{}: `{twice}`", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_readers_see_is_said_in_the_fields_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    for place in ["src", "docs", "config"] {
        files(&root.join(place), &mut all);
    }
    assert!(all.len() > 300, "{} files", all.len());
    let mut found = Vec::new();
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (banned, instead) in BANNED.iter().filter(|(banned, _)| line.contains(&banned.to_lowercase())) {
                let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                found.push(format!("{name}:{}: `{banned}`: write `{instead}`", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
