//! Which SDK of which API works with a target of which API: the table in `docs/providers.md`, written by what passes.
//!
//! A provider that speaks three APIs stands behind a gateway whose routes have all three as targets, and each script tries every
//! feature with every target. `TIDEGATE_BLESS=1 cargo test --test sdk every_sdk` writes the table. It knows no API's words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Demo, SCRIPT, interpret, python, root, tool};

const KEY: &str = "tg_key-of-the-sdk-tests";

/// APIs, as the configuration calls them, and as people do.
const APIS: [(&str, &str); 3] = [("chat", "Chat Completions"), ("messages", "Messages"), ("responses", "Responses")];

const FEATURES: [&str; 8] =
    ["chat", "stream", "tools", "parallel tools", "images", "structured output", "errors", "cancel"];

const SCRIPTS: [&str; 7] = [
    "anthropic_python.py",
    "langchain_anthropic_python.py",
    "openai_python.py",
    "anthropic_node.mjs",
    "ai_sdk_node.mjs",
    "ai_sdk_openai_node.mjs",
    "openai_node.mjs",
];

/// What the document has around the table.
const BEGIN: &str = "<!-- table: callers and targets -->\n";
const END: &str = "<!-- table: end -->\n";

/// What one SDK found of one feature.
#[derive(Deserialize)]
struct Found {
    sdk: String,
    caller: String,
    target: String,
    feature: String,
    /// Why it does not work.
    why: Option<String>,
}

#[tokio::test]
async fn every_sdk_works_with_a_target_of_every_api_as_far_as_the_document_says() {
    tool("node/node_modules/@ai-sdk/anthropic/package.json");
    tool("node/node_modules/@ai-sdk/openai/package.json");
    let python = python();
    let provider = Demo::run(Command::new(&python).arg(root().join("tests/sdk/matrix/provider.py"))).await;
    let folder = root().join("target/tmp/sdk-matrix");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join("gateway.toml"), config(&provider.url)).expect("a file can be written");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    serve.args(["serve", "--config", "gateway.toml"]).current_dir(&folder).env_clear();
    let gateway = Demo::run(serve.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("ADMIN_ADDR", "off")])).await;
    let variables = [("TIDEGATE_KEY", KEY), ("PROVIDER_URL", &*provider.url)];
    let (mut found, mut failed) = (Vec::new(), String::new());
    for script in SCRIPTS {
        let interpreter = if script.ends_with(".py") { &*python } else { Path::new("node") };
        let script_path = format!("matrix/{script}");
        let ran = timeout(SCRIPT, interpret(interpreter, &script_path, &gateway.url, &variables)).await;
        let output = ran.unwrap_or_else(|_| panic!("{script} did not end within {SCRIPT:?}"));
        let lines = String::from_utf8(output.stdout).expect("a script writes text");
        found.extend(
            lines.lines().map(|line| serde_json::from_str::<Found>(line).expect("a script writes what it found")),
        );
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            writeln!(failed, "{script}: {}\n{error}", output.status).expect("text can be written");
        }
    }
    let log = gateway.stop().await;
    provider.stop().await;
    assert!(failed.is_empty(), "{failed}\n--- gateway\n{log}");
    for it in found.iter().filter(|it| it.why.is_some()) {
        let why = it.why.as_deref().unwrap_or_default();
        println!("{}: {} -> {}, {}: {why}\n", it.sdk, it.caller, it.target, it.feature);
    }
    compare(&table(&found));
}

/// Three providers, one for each API, and routes that have them all: a model's name says which of them is asked.
fn config(provider: &str) -> String {
    let hash = tidegate::model::api_key::Digest::of(KEY);
    let routes = ["openai-chat", "openai-responses", "anthropic-messages"]
        .map(|route| format!("[route.{route}]\ntargets = [\"chat\", \"responses\", \"messages\"]\n"));
    format!(
        r#"
[auth]
default = "api_key"
failures = "1000/min"
[api_key.sdk]
hash = "{hash}"
[limits]
enabled = false
# What fails here fails on purpose, and each failure is looked at once.
[quota]
enabled = false
[retry]
max_attempts = 1
[breaker]
min_calls = 1000
consecutive = 1000
[provider.chat]
kind = "openai"
url = "{provider}/chat/v1"
apis = ["chat"]
models = ["of-chat"]
stream_usage = "ask"
[provider.responses]
kind = "openai"
url = "{provider}/responses/v1"
apis = ["responses"]
models = ["of-responses"]
[provider.messages]
kind = "anthropic"
url = "{provider}/messages"
models = ["of-messages"]
[route.anthropic-count-tokens]
targets = ["messages"]
{}"#,
        routes.concat()
    )
}

/// A row for each caller's and target's API. A feature works where all SDKs that have tried it say so.
fn table(found: &[Found]) -> String {
    let mut cells: BTreeMap<(&str, &str, &str), bool> = BTreeMap::new();
    let mut sdks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for it in found {
        *cells.entry((&it.caller, &it.target, &it.feature)).or_insert(true) &= it.why.is_none();
        sdks.entry(&it.caller).or_default().insert(&it.sdk);
    }
    let mut table =
        format!("| caller | target | {} |\n| --- | --- |{}\n", FEATURES.join(" | "), " --- |".repeat(FEATURES.len()));
    for (caller, name) in APIS {
        for (target, target_name) in APIS {
            let words = FEATURES.map(|feature| match cells.get(&(caller, target, feature)) {
                Some(true) => "yes",
                Some(false) => "no",
                None => "untried",
            });
            writeln!(table, "| {name} | {target_name} | {} |", words.join(" | ")).expect("text can be written");
        }
    }
    table.push_str("\n| caller | tried with |\n| --- | --- |\n");
    for (caller, name) in APIS {
        let tried = sdks.get(caller).map(|sdks| sdks.iter().copied().collect::<Vec<_>>().join(", "));
        writeln!(table, "| {name} | {} |", tried.unwrap_or_default()).expect("text can be written");
    }
    table
}

/// The committed table must be this one.
fn compare(table: &str) {
    let path = root().join("docs/providers.md");
    let document = std::fs::read_to_string(&path).expect("the document can be read");
    let (before, rest) = document.split_once(BEGIN).expect("the document has the mark before the table");
    let (committed, after) = rest.split_once(END).expect("the document has the mark after the table");
    if std::env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the document can be written");
        return;
    }
    assert_eq!(
        committed, table,
        "docs/providers.md is out of date; see above what failed. If it is meant to be so: \
                                  TIDEGATE_BLESS=1 cargo test --test sdk every_sdk"
    );
}
