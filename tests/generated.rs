//! What the program says of itself: the committed pages are the ones that it prints, and the schema of the configuration finds
//! the mistakes that it is for.
//!
//! `make generate` writes the pages anew. The schema is judged by what reads it at an editor's, not by code of our own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tidegate::config;

#[path = "generated/dashboard.rs"]
mod dashboard;

const SCHEMA: &str = "config/gateway.schema.json";

/// A file, and what prints it.
type Page = (&'static str, fn() -> String);

const PAGES: [Page; 6] = [
    (SCHEMA, config::schema),
    ("docs/configuration.md", config::reference),
    ("docs/metrics.md", tidegate::commands::reference::metrics),
    ("docs/api.md", tidegate::server::operator::reference::page),
    ("docs/openapi.json", tidegate::server::operator::reference::openapi),
    ("deploy/grafana/tidegate.json", dashboard::json),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_committed_is_what_the_program_prints() {
    let is_blessing = std::env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1");
    for (name, print) in PAGES {
        let (path, printed) = (root().join(name), print());
        if is_blessing {
            std::fs::write(&path, &printed).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let line = committed.lines().zip(printed.lines()).position(|(left, right)| left != right);
        assert!(
            committed == printed,
            "{name} is out of date from line {:?}; run: make generate",
            line.map(|at| at + 1)
        );
    }
}

/// A tool that `make setup` installs.
fn tool(name: &str) -> PathBuf {
    let path = root().join("target/test-tools/venv/bin").join(name);
    assert!(path.exists(), "{} is missing; run: make setup", path.display());
    path
}

/// What a validator of JSON Schema finds in each of these configurations.
fn mistakes(configurations: &[&str]) -> Vec<Vec<String>> {
    let documents: Vec<toml::Table> = configurations.iter().map(|text| toml::from_str(text).unwrap()).collect();
    let mut validator = Command::new(tool("python"))
        .arg(root().join("tests/generated/validate.py"))
        .arg(root().join(SCHEMA))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let documents = serde_json::to_vec(&documents).unwrap();
    validator.stdin.take().unwrap().write_all(&documents).unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success(), "the schema itself is wrong");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_schema_finds_nothing_wrong_with_what_is_shipped() {
    let shipped = ["config/gateway.toml", "config/demo.toml", "config/models.toml"]
        .map(|name| std::fs::read_to_string(root().join(name)).unwrap());
    // With everything that is only shown, too: each key is in the schema, with what it takes.
    let everything = config::uncommented(&shipped[0]);
    let providers = root().join("config/providers").read_dir().unwrap();
    let providers: Vec<_> = providers.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let mut configurations =
        vec![&*everything, &shipped[0], &shipped[1], &shipped[2], "auth = 'none'\n", "auth = ['jwt', 'api_key']\n"];
    configurations.extend(providers.iter().map(String::as_str));
    assert_eq!(mistakes(&configurations), vec![Vec::<String>::new(); configurations.len()]);
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let wrong = [
        ("[server]\nprot = 80\n", "'prot' was unexpected"),
        ("[server]\nport = 80000\n", "80000 is greater than the maximum of 65535"),
        ("[server]\nidle_timeout = '75'\n", "'75' does not match"),
        ("[server]\nmax_head = '32kB'\n", "'32kB' does not match"),
        ("[log]\nformat = 'xml'\n", "'xml' is not one of ['json', 'pretty']"),
        ("[retry]\nbudget = 2\n", "2 is greater than the maximum of 1.0"),
        ("[limit.mine]\nrate = '5/week'\n", "'5/week' does not match"),
        ("[provider.mine]\nretry = { max_attempts = 0 }\n", "0 is less than the minimum of 1"),
        ("[provider.mine]\nurl = ['ftp://a']\n", "['ftp://a'] is not valid"),
        ("[route.mine]\ncache = { tll = '5m' }\n", "'tll' was unexpected"),
        ("[route.mine]\ntargets = [{ provdier = 'openai' }]\n", "{'provdier': 'openai'} is not valid"),
        ("[price.mine]\ninput = '1 USD'\n", "'1 USD' is not of type 'number'"),
        ("[model_map.mine]\na = 1\n", "1 is not of type 'string'"),
        ("zzz = 1\n", "'zzz' was unexpected"),
    ];
    for ((text, expected), found) in wrong.iter().zip(mistakes(&wrong.map(|(text, _)| text))) {
        assert!(found.len() == 1 && found[0].contains(expected), "{text:?}: expected {expected:?}, found {found:?}");
    }
}

#[test]
fn an_editor_of_toml_takes_the_schema() {
    let folder = root().join("target/tmp/generated");
    std::fs::create_dir_all(&folder).unwrap();
    let lint = |file: &Path| {
        let schema = format!("file://{}", root().join(SCHEMA).display());
        let output =
            Command::new(tool("taplo")).args(["lint", "--no-auto-config", "--schema", &schema]).arg(file).output();
        output.unwrap().status.success()
    };
    let (right, wrong) = (folder.join("right.toml"), folder.join("wrong.toml"));
    let everything = config::uncommented(&std::fs::read_to_string(root().join("config/gateway.toml")).unwrap());
    std::fs::write(&right, everything).unwrap();
    std::fs::write(&wrong, "[server]\nidle_timeout = 75\n").unwrap();
    assert!(lint(&right) && !lint(&wrong));
}

/// Keys of the schema that say nothing about what they take.
fn silent(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if inner.get("type").is_none() && inner.get("anyOf").is_none() {
            found.push(path.clone());
        }
        silent(inner, &path, found);
    }
    if schema["additionalProperties"] == Value::Bool(true) {
        found.push(format!("{path}.NAME"));
    }
    for form in schema["anyOf"].as_array().into_iter().flatten().chain(schema.get("additionalProperties")) {
        silent(form, path, found);
    }
}

#[test]
fn every_key_says_what_it_takes_and_what_it_is_for() {
    let mut found = Vec::new();
    silent(&serde_json::from_str(&config::schema()).unwrap(), "", &mut found);
    assert!(found.is_empty(), "these keys are taken from a table without a parser, see `Section::note`: {found:?}");
    // What these tables hold is said where they are.
    let is_explained = |section: &&str| section.starts_with("Tables in") || section.starts_with("`[price.");
    let page = config::reference();
    let sections = page.split("\n## ").filter(|section| !is_explained(section));
    let unsaid: Vec<&str> =
        sections.flat_map(str::lines).filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(unsaid.is_empty(), "these keys have no comment in config/gateway.toml or config/models.toml: {unsaid:#?}");
}

/// Every name that is registered or sampled, as the source has it: `counters("x_total", ...)`, in whichever file.
fn metrics_in_sources(folder: &Path, found: &mut BTreeSet<String>) {
    const MAKERS: [&str; 9] = [
        ".counter",
        ".counters",
        ".float_counters",
        ".gauge",
        ".gauges",
        ".histogram",
        ".histograms",
        ".family",
        ".register",
    ];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics_in_sources(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (at, _) in code.match_indices('(') {
            let is_made = MAKERS.iter().any(|maker| code[..at].ends_with(maker));
            if let Some(name) = code[at + 1..].trim_start().strip_prefix('"').filter(|_| is_made) {
                found.insert(name.split('"').next().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn every_metric_is_in_the_reference_and_nothing_else() {
    let mut named = BTreeSet::new();
    metrics_in_sources(&root().join("src"), &mut named);
    // The only info: its ending is the library's.
    assert!(named.remove("tidegate_build") && named.insert("tidegate_build_info".into()), "{named:?}");
    let reference = tidegate::commands::reference::metrics();
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(listed, named, "a metric that `commands/reference` does not reach, or one that is named elsewhere");
}
