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
    let mut helps: BTreeMap<Vec<&str>, String> = BTreeMap::new();
    for (path, words) in named {
        let command = words[0];
        if !command.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        // Some have commands of their own.
        let inner = words
            .get(1)
            .filter(|word| matches!(command, "flags" | "jobs" | "keys" | "prompt") && !word.starts_with('-'));
        let command: Vec<&str> = [command].into_iter().chain(inner.copied()).collect();
        let command = if command.iter().any(|word| word.contains('|')) { command[..1].to_vec() } else { command };
        let help = helps.entry(command.clone()).or_insert_with(|| {
            let told = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(&command).arg("--help").output().unwrap();
            assert!(told.status.success(), "{}: there is no `tidegate {}`", path.display(), command.join(" "));
            String::from_utf8(told.stdout).unwrap()
        });
        let command = command.join(" ");
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

/// Every default: of both files that the program carries.
fn defaults() -> toml::Table {
    let read = |name: &str| -> toml::Table {
        toml::from_str(&std::fs::read_to_string(root().join("config").join(name)).unwrap()).unwrap()
    };
    let (mut all, models) = (read("gateway.toml"), read("models.toml"));
    all.extend(models.into_iter().filter(|(table, _)| matches!(table.as_str(), "price" | "model_map")));
    all
}

#[test]
fn every_default_that_is_told_is_the_one_of_the_configuration() {
    let defaults = defaults();
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
    let defaults = defaults();
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

/// Files and folders of the project as documents name them: with and without their ending, `x` for `x/mod.rs`.
fn names_of(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        found.extend(name.rsplit_once('.').map(|(stem, _)| stem.to_owned()));
        found.push(name);
        if path.is_dir() {
            names_of(&path, found);
        }
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let mut names = Vec::new();
    for folder in ["src", "tests", "docs", "deploy", "config", "fuzz", "scripts", "benches"] {
        names.push(folder.to_owned());
        names_of(&root().join(folder), &mut names);
    }
    let is_path = |text: &&str| {
        let is_plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/.".contains(c));
        is_plain && text.split('/').count() > 1 && text.split('/').all(|part| part.len() != 1) && !text.starts_with('/')
    };
    // Words of other programs, files of the operator's own, and rates.
    let others = ["http/protobuf", "text/plain", ".ci/run", "deploy/.env", "prometheus.io/scrape"];
    // What is below the prefix of an installation, and in a folder of the reader's own.
    let elsewhere = ["bin/", "share/", "lib/systemd/", "mine/"];
    let is_elsewhere = |text: &str| elsewhere.iter().any(|folder| text.starts_with(folder));
    let is_other = |text: &str| {
        others.contains(&text) || is_elsewhere(text) || text.starts_with(|first: char| first.is_ascii_digit())
    };
    let mut missing = Vec::new();
    for (path, text) in texts() {
        for named in code(&text).into_iter().filter(is_path).filter(|text| !is_other(text)) {
            let named = named.trim_end_matches('/');
            let is_there = names.iter().any(|name| name == named || name.ends_with(&format!("/{named}")));
            if !is_there {
                missing.push(format!("{} names `{named}`", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The lines of the tree in `ARCHITECTURE.md`: a path below `src`, from the names and their indentation.
fn told_tree() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = page.split("## The tree\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut folder = String::new();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let mut paths = Vec::new();
    for line in lines {
        let name = line.split_whitespace().next().unwrap();
        match line.starts_with(' ') {
            true => paths.push(format!("{folder}{name}")),
            false => {
                folder = name.to_owned();
                paths.push(folder.clone());
            }
        }
    }
    paths
}

#[test]
fn the_tree_in_the_architecture_is_that_of_src() {
    let told = told_tree();
    for path in &told {
        assert!(root().join("src").join(path).exists(), "ARCHITECTURE.md: there is no src/{path}");
    }
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let storeys: Vec<&str> = library.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    let told: Vec<&str> = told
        .iter()
        .filter(|path| path.trim_end_matches('/').matches('/').count() == 0)
        .map(|path| path.trim_end_matches('/').trim_end_matches(".rs"))
        .collect();
    let storeys: Vec<&str> = storeys.iter().map(|line| line.trim_end_matches(';')).collect();
    assert_eq!(told, storeys, "the tree in ARCHITECTURE.md has other storeys than src/lib.rs");
}

#[test]
fn every_metric_that_the_documents_name_is_in_the_reference() {
    let reference = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut missing = Vec::new();
    for (path, text) in texts() {
        for after in text.split("tidegate_").skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            let name = &after[..end.unwrap_or(after.len())];
            // A pattern means several.
            if !name.is_empty() && !name.ends_with('_') && !reference.contains(&format!("`tidegate_{name}`")) {
                missing.push(format!("{} names tidegate_{name}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
