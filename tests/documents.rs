//! What the documents say is so: every `make TARGET`, every `tidegate COMMAND` and its options exist, and the defaults that
//! they tell are the defaults.
//!
//! It does not run the commands: what they do is tested elsewhere.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let folders = [root().to_owned(), root().join("docs"), root().join("docs/decisions"), root().join("fuzz")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// What stands in code: lines of blocks, and what is between backticks.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(block) => found.push(block.split("  #").next().unwrap_or(block)),
            None => found.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    found
}

/// The words of a command, without the variables before it.
fn words(command: &str) -> Vec<&str> {
    let is_variable =
        |word: &&str| word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| !c.is_lowercase()));
    command.split_whitespace().skip_while(is_variable).collect()
}

/// The words behind `program` of every command of it, each with where it stands.
fn commands<'t>(texts: &'t [(PathBuf, String)], program: &str) -> Vec<(&'t Path, Vec<&'t str>)> {
    let all =
        texts.iter().flat_map(|(path, text)| code(text).into_iter().map(move |code| (path.as_path(), words(code))));
    all.filter(|(_, words)| words.first() == Some(&program) && words.len() > 1)
        .map(|(path, words)| (path, words[1..].to_vec()))
        .collect()
}

fn texts() -> Vec<(PathBuf, String)> {
    documents().into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_target_that_the_documents_name_is_in_the_makefile() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let texts = texts();
    let named = commands(&texts, "make");
    assert!(named.len() > 10, "only {} were found", named.len());
    for (path, words) in named {
        let target = words[0].trim_end_matches([',', ';', '.']);
        let is_there = makefile.lines().any(|line| line.split(':').next() == Some(target));
        assert!(is_there, "{}: there is no `make {target}`", path.display());
    }
}

#[test]
fn every_command_and_option_that_the_documents_name_is_one_of_the_programs() {
    let texts = texts();
    let named = commands(&texts, "tidegate");
    assert!(named.len() > 10, "only {} were found", named.len());
    let mut helps: BTreeMap<&str, String> = BTreeMap::new();
    for (path, words) in named {
        let command = words[0];
        if !command.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        let help = helps.entry(command).or_insert_with(|| {
            let told = Command::new(env!("CARGO_BIN_EXE_tidegate")).args([command, "--help"]).output().unwrap();
            assert!(told.status.success(), "{}: there is no `tidegate {command}`", path.display());
            String::from_utf8(told.stdout).unwrap()
        });
        for option in words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--")) {
            let option = option.split('=').next().unwrap_or(option);
            assert!(help.contains(option), "{}: `tidegate {command}` has no {option}", path.display());
        }
    }
}

/// The rows of `docs/defaults.md`: a key and its value, as they stand there.
fn told_defaults() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/defaults.md")).unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| (cells[1].clone(), cells[2].clone())).collect()
}

#[test]
fn every_default_that_is_told_is_the_one_of_the_configuration() {
    let text = std::fs::read_to_string(root().join("config/gateway.toml")).unwrap();
    let defaults: toml::Table = toml::from_str(&text).unwrap();
    let told = told_defaults();
    assert!(told.len() > 40, "only {} rows were found", told.len());
    let keys: std::collections::BTreeSet<&String> = told.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), told.len(), "docs/defaults.md tells a key twice");
    for (key, value) in told {
        let found =
            key.split('.').try_fold(toml::Value::Table(defaults.clone()), |table, name| table.get(name).cloned());
        let row: toml::Table = toml::from_str(&format!("value = {value}"))
            .unwrap_or_else(|fault| panic!("docs/defaults.md, {key}: {fault}"));
        assert_eq!(found.as_ref(), row.get("value"), "docs/defaults.md says that {key} is {value}");
    }
}

/// The tables of the configuration whose values protect, bound or delay something.
const TOLD: [&str; 22] = [
    "server",
    "timeout",
    "patience",
    "retry",
    "breaker",
    "concurrency",
    "quota",
    "balance",
    "limits",
    "limit",
    "tunnel",
    "cache",
    "store",
    "auth",
    "health",
    "explain",
    "log",
    "metrics",
    "usage",
    "compression",
    "tracing",
    "idempotency",
];

/// Every number, switch, duration, size and rate below a table, by its key.
fn bounds(table: &toml::Table, path: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = format!("{path}.{name}");
        match value {
            toml::Value::Table(inner) => bounds(inner, &path, found),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => found.push(path),
            toml::Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn every_default_that_bounds_something_is_told() {
    let text = std::fs::read_to_string(root().join("config/gateway.toml")).unwrap();
    let defaults: toml::Table = toml::from_str(&text).unwrap();
    let mut found = Vec::new();
    for name in TOLD {
        bounds(defaults[name].as_table().unwrap(), name, &mut found);
    }
    // Where the gateway listens is no bound.
    found.retain(|key| !matches!(key.as_str(), "server.host" | "server.port" | "server.admin"));
    let told: Vec<String> = told_defaults().into_iter().map(|(key, _)| key).collect();
    found.retain(|key| !told.contains(key));
    assert!(found.is_empty(), "docs/defaults.md has no row for these defaults, with a reason: {found:#?}");
}
