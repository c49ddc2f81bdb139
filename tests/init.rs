//! The files that `tidegate init` writes: each is a configuration without mistakes and warnings, and a gateway started with it
//! answers the call that it is made for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "wire/shared.rs"]
mod shared;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use crate::program::{Folder, Program, run};
use crate::provider::{Following, Provider};
use crate::shared::{program, provider, socket, words};
use crate::socket::{Message, Socket};
use crate::words::{completion, plain};

const SETTINGS: [&str; 6] = ["openai", "together-openai", "anthropic", "local", "restaurant", "behind-proxy"];

/// The variables that a file says to set.
const KEYS: [(&str, &[(&str, &str)]); 6] = [
    ("openai", &[("OPENAI_API_KEY", "sk-o")]),
    ("together-openai", &[("TOGETHER_API_KEY", "sk-t"), ("OPENAI_API_KEY", "sk-o")]),
    ("anthropic", &[("ANTHROPIC_API_KEY", "sk-a")]),
    ("local", &[]),
    ("restaurant", &[("BUILDPANEL_URL", ""), ("TOGETHER_API_KEY", "sk-t"), ("OPENAI_API_KEY", "sk-o")]),
    ("behind-proxy", &[("OPENAI_API_KEY", "sk-o"), ("ADMIN_TOKEN", "an-admin-token-of-tests-0123456789")]),
];

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn init(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(folder, &[&["init"], arguments].concat(), &[]).await;
    (output.status.code(), text(&output))
}

/// The variables of a setting, with each provider at an address where nobody reaches the real one.
fn variables(setting: &str, address: &str) -> Vec<(&'static str, String)> {
    let (_, keys) = KEYS.iter().find(|(name, _)| *name == setting).unwrap();
    let at = |path: &str| format!("http://{address}{path}");
    let mut all: Vec<(&str, String)> = keys.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.retain(|(name, _)| *name != "BUILDPANEL_URL");
    all.extend([("OPENAI_BASE_URL", at("/v1")), ("TOGETHER_BASE_URL", at("/v1")), ("ANTHROPIC_BASE_URL", at(""))]);
    all.extend([("BUILDPANEL_URL", at("")), ("PORT", "0".into()), ("ADMIN_ADDR", "127.0.0.1:0".into())]);
    all
}

/// Answers as the provider would whose path it is.
async fn providers() -> Following {
    Provider::start().await.reply(|request| {
        let body = match &*request.start {
            start if start.contains("/v1/messages") => {
                r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#.to_owned()
            }
            start if start.contains("/api/chatbot") => r#"{"response":"hello"}"#.to_owned(),
            start if start.starts_with("GET") => r#"{"object":"list","data":[],"status":"ok"}"#.to_owned(),
            _ => completion("hello"),
        };
        plain(&body)
    })
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// The call that a file shows.
fn call(setting: &str, key: &str) -> String {
    let chat = |model: &str, headers: &str| {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}"#);
        post("/v1/chat/completions", headers, &body)
    };
    match setting {
        "openai" => chat("gpt-6.2-sol", ""),
        "together-openai" => chat("meta-llama/Llama-3.3-70B-Instruct-Turbo", ""),
        "local" => chat("my-model", ""),
        "anthropic" => post(
            "/v1/messages",
            "anthropic-version: 2023-06-01\r\n",
            r#"{"model":"claude-sonnet-5-5","max_tokens":100,"messages":[{"role":"user","content":"Hello"}]}"#,
        ),
        "restaurant" => {
            post("/api/v1/ai/chat", "X-Restaurant-ID: r1\r\n", r#"{"message":"What is on the menu today?"}"#)
        }
        _ => chat("gpt-6.2-sol", &format!("Authorization: Bearer {key}\r\nX-Forwarded-Proto: https\r\n")),
    }
}

#[tokio::test]
async fn without_a_setting_they_are_listed_and_a_wrong_one_is_told_with_those_that_there_are() {
    let folder = Folder::new("init-list");
    let (code, said) = init(&folder, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(SETTINGS.iter().all(|setting| said.contains(&format!("  {setting} "))), "{said}");
    let (code, said) = init(&folder, &["opnai"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("opnai") && said.contains("openai"), "{said}");
    assert!(folder.files().is_empty());
}

#[tokio::test]
async fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
    let folder = Folder::new("init-force");
    let (code, said) = init(&folder, &["openai"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("wrote gateway.toml") && said.contains("export OPENAI_API_KEY"), "{said}");
    assert!(said.contains("tidegate check --config gateway.toml"), "{said}");
    folder.write("gateway.toml", "mine");
    let (code, said) = init(&folder, &["local"]).await;
    assert_eq!((code, said.contains("gateway.toml exists") && said.contains("--force")), (Some(1), true), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path_of("gateway.toml")).unwrap(), "mine");
    let (code, said) = init(&folder, &["local", "--force"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = init(&folder, &["local", "--output", "-"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(std::fs::read_to_string(folder.path_of("gateway.toml")).unwrap(), said);
    // A link stays one, rights stay as they are, and nothing is left beside the file.
    std::os::unix::fs::symlink("gateway.toml", folder.path_of("link.toml")).unwrap();
    let rights = |name: &str| std::fs::symlink_metadata(folder.path_of(name)).unwrap().permissions();
    std::fs::set_permissions(folder.path_of("gateway.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let (code, said) = init(&folder, &["openai", "--output", "link.toml", "--force"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rights("gateway.toml").mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(folder.path_of("link.toml")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(folder.path_of("gateway.toml")).unwrap().contains("OpenAI"));
    let mut files = folder.files();
    files.sort();
    assert_eq!(files, ["gateway.toml", "link.toml"]);
    std::fs::create_dir(folder.path_of("sub")).unwrap();
    for forced in [&["local", "--output", "sub"][..], &["local", "--output", "sub", "--force"]] {
        let (code, said) = init(&folder, forced).await;
        assert_eq!((code, said.contains("sub is a folder: name a file")), (Some(1), true), "{said}");
    }
    let (code, said) = init(&folder, &["local", "--output", "no/such/folder.toml"]).await;
    assert_eq!((code, said.contains("cannot write no/such/folder.toml")), (Some(1), true), "{said}");
    let (_, said) = init(&folder, &["local", "--output", "other.toml"]).await;
    assert!(said.contains("tidegate serve --config other.toml"), "{said}");
    let (_, said) = init(&folder, &["local", "--output", "it's mine.toml"]).await;
    assert!(said.contains(r"tidegate serve --config 'it'\''s mine.toml'"), "{said}");
}

#[tokio::test]
async fn each_file_begins_with_its_schema_and_is_checked_without_a_warning() {
    for setting in SETTINGS {
        let folder = Folder::new(&format!("init-check-{setting}"));
        init(&folder, &[setting]).await;
        let file = std::fs::read_to_string(folder.path_of("gateway.toml")).unwrap();
        assert!(file.starts_with("#:schema gateway.schema.json\n"), "{setting}");
        assert!(file.lines().count() <= 90, "{setting} is long");
        let variables = variables(setting, "127.0.0.1:9");
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        let output = run(&folder, &["check", "--config", "gateway.toml"], &variables).await;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{setting}: {said}");
        let warnings: Vec<&str> = said.lines().filter(|line| line.contains("warning")).collect();
        assert!(warnings.is_empty(), "{setting}: {warnings:#?}");
    }
}

#[tokio::test]
async fn a_gateway_with_each_file_answers_the_call_that_it_is_made_for() {
    for setting in SETTINGS {
        let providers = providers().await;
        let folder = Folder::new(&format!("init-serve-{setting}"));
        init(&folder, &[setting]).await;
        let file = std::fs::read_to_string(folder.path_of("gateway.toml")).unwrap();
        let address = providers.address.to_string();
        // There is no variable for the address of a provider of one's own, and here this machine is the balancer.
        let file = file.replace("127.0.0.1:8000", &address).replace("\"10.0.0.0/8\"", "\"127.0.0.0/8\"");
        folder.write("gateway.toml", &file);
        let variables = variables(setting, &address);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
        let key = if setting == "behind-proxy" { made_key(&program).await } else { String::new() };
        let answer = program.connect().await.ask(call(setting, &key)).await;
        assert_eq!(answer.status(), 200, "{setting}: {}\n{}", answer.text(), program.written());
        assert!(answer.text().contains("hello"), "{setting}: {}", answer.text());
        if setting == "behind-proxy" {
            let refused = program.connect().await.ask(call("behind-proxy", "none")).await;
            assert_eq!(refused.status(), 401, "nobody calls without a key");
        }
        program.terminate().await;
    }
}

/// A key for callers, made by the operators' API.
async fn made_key(program: &Program) -> String {
    let operators = program.operators();
    let address = operators.trim_start_matches("http://").parse().unwrap();
    let headers = "Authorization: Bearer an-admin-token-of-tests-0123456789\r\n";
    let answer: Message = Socket::connect(address).await.ask(post("/admin/keys", headers, r#"{"name":"first"}"#)).await;
    answer.json()["key"].as_str().expect("the secret of a new key").to_owned()
}
