//! The binary and what its callers are known by: tokens and keys stay out of its log, its answers and its providers' sight, over
//! HTTP/1.1 and HTTP/2, at the talkative end of log levels.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::{Folder, Program, run};
use crate::provider::{Handed, Provider};
use crate::socket::{Message, Socket, soon};
use crate::tokens::{SECRET, head, signed};
use crate::words::{completion, plain, post};

const ADMIN: &str = "canary-admin-token-0123456789";
const KEY: &str = "canary-api-key-0123456789";
const CHAT: &str = r#"{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}"#;

fn token(claims: serde_json::Value, secret: &str) -> String {
    signed(&head(SECRET), &claims, secret)
}

/// A gateway in front of one provider, as talkative as it can be.
async fn start(folder: &Folder) -> (Program, Handed) {
    let provider = Provider::start().await;
    let url = format!("http://{}/v1", provider.address);
    let hash = tidegate::model::api_key::Digest::of(KEY);
    folder.write("gateway.toml", &format!("[api_key.shop]\nhash = \"{hash}\"\n"));
    let variables = [
        ("PORT", "0"),
        ("ADMIN_ADDR", "127.0.0.1:0"),
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_API_KEY", "key-of-openai"),
        ("SUPABASE_JWT_SECRET", SECRET),
        ("ADMIN_TOKEN", ADMIN),
        ("LOG_LEVEL", "trace"),
    ];
    let path = folder.path_of("gateway.toml");
    (Program::start(folder, &["serve", "--config", &path], &variables).await, provider.hand_over())
}

/// Asks, answers for the provider if it is asked, and returns both what the caller got and what the provider saw.
async fn ask(caller: &mut Socket, provider: &mut Handed, request: String) -> (Message, Option<Message>) {
    caller.send(request).await;
    tokio::select! {
        (mut there, seen) = provider.call() => {
            there.send(plain(&completion("ok"))).await;
            (caller.message().await, Some(seen))
        }
        message = caller.message() => (message, None),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_keys_are_in_no_log_line_no_answer_and_no_request_to_a_provider() {
    let folder = Folder::new("credentials");
    let (program, mut provider) = start(&folder).await;
    let good = token(json!({"sub": "u1", "exp": 4_000_000_000u64}), SECRET);
    let (late, forged) = (token(json!({"exp": 1}), SECRET), token(json!({"exp": 4_000_000_000u64}), "other"));
    let mut caller = program.connect().await;
    let mut read = Vec::new();
    for (header, status) in [
        (format!("authorization: Bearer {good}\r\n"), 200),
        (format!("authorization: Bearer {KEY}\r\n"), 200),
        (format!("x-api-key: {KEY}\r\n"), 200),
        (format!("authorization: Bearer {late}\r\n"), 401),
        (format!("authorization: Bearer {forged}\r\n"), 401),
        (format!("authorization: Bearer {KEY}x\r\n"), 401),
        (format!("x-api-key: {KEY}\r\nx-api-key: {KEY}\r\n"), 401),
        (format!("authorization: Basic {KEY}\r\n"), 401),
        (format!("upgrade: websocket\r\nconnection: upgrade\r\nx-api-key: {KEY}y\r\n"), 401),
    ] {
        let request = post("/v1/chat/completions", &header, CHAT);
        let (message, seen) = ask(&mut caller, &mut provider, request).await;
        assert_eq!(message.status(), status, "{header}");
        read.push(format!("{}{}", message.head(), message.text()));
        read.extend(seen.map(|seen| format!("{}{}", seen.head(), seen.text())));
    }
    // A WebSocket's address, as browsers write it; its token is no better elsewhere. Who is let in is told what is missing.
    let socket = format!("GET /v1/realtime?model=m&token={good} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\n");
    for (upgrade, status) in [("upgrade: websocket\r\n\r\n", 426), ("\r\n", 401)] {
        let message = caller.ask(format!("{socket}{upgrade}")).await;
        assert_eq!(message.status(), status, "{upgrade}");
        read.push(format!("{}{}", message.head(), message.text()));
    }
    let mut h2 = JoinSet::new();
    let stream = TcpStream::connect(program.address).await.expect("the gateway accepts");
    let (mut requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a handshake");
    h2.spawn(driver);
    for shown in [&late, &forged, &format!("{KEY}z")] {
        let request =
            Request::post("http://gateway/v1/chat/completions").header("authorization", format!("Bearer {shown}"));
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(CHAT)));
        let response = soon("an answer", requests.send_request(request.expect("a request"))).await.expect("an answer");
        assert_eq!(response.status(), 401);
        read.push(
            String::from_utf8_lossy(&soon("a body", response.into_body().collect()).await.expect("a body").to_bytes())
                .into(),
        );
    }
    drop((requests, h2));
    program.terminate().await;
    let (_, written) = program.ended().await;
    assert!(
        written.contains("\"level\":\"trace\"") && written.contains("token_expired"),
        "it is as talkative as it was asked to be"
    );
    let secrets =
        good.split('.').chain(late.split('.').skip(1)).chain(forged.split('.').skip(2)).chain(["canary", SECRET]);
    // The head of a token is the same for all tokens of a kind, and no secret.
    for secret in secrets.filter(|part| !part.starts_with("eyJhbGci")) {
        let leaks: Vec<&str> =
            read.iter().map(String::as_str).chain(written.lines()).filter(|text| text.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret} was read or logged:\n{}", leaks.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_make_and_revoke_keys_at_their_own_address() {
    let folder = Folder::new("admin");
    let (program, mut provider) = start(&folder).await;
    let admin = |method: &str, path: &str, token: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    // What is for operators is not at the callers' address.
    let elsewhere = program.connect().await.ask(admin("GET", "/admin/keys", ADMIN, "")).await;
    assert_eq!(elsewhere.status(), 404);
    let mut operator =
        Socket::connect(program.operators().trim_start_matches("http://").parse().expect("an address")).await;
    let refused = operator.ask(admin("GET", "/admin/keys", "wrong", "")).await;
    assert_eq!((refused.status(), refused.header("content-type")), (401, Some("application/problem+json")));
    let made = operator.ask(admin("POST", "/admin/keys", ADMIN, r#"{"name":"till"}"#)).await;
    assert_eq!((made.status(), &made.json()["is_shared"]), (201, &false.into()));
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let call = post("/v1/chat/completions", &format!("authorization: Bearer {key}\r\n"), CHAT);
    let mut caller = program.connect().await;
    assert_eq!(ask(&mut caller, &mut provider, call.clone()).await.0.status(), 200);
    assert_eq!(operator.ask(admin("DELETE", "/admin/keys/till", ADMIN, "")).await.status(), 200);
    assert_eq!(ask(&mut caller, &mut provider, call).await.0.status(), 401);
    program.terminate().await;
    let (_, written) = program.ended().await;
    let audits: Vec<&str> = written.lines().filter(|line| line.contains("API key changed")).collect();
    assert!(
        matches!(&*audits, [made, revoked] if made.contains("\"action\":\"create\"") && revoked.contains("\"action\":\"revoke\"")),
        "{audits:?}"
    );
    assert!(!written.contains(&key) && !written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_it_does_not_start_with_an_open_door_that_nobody_opened() {
    let folder = Folder::new("open-door");
    let variables = [("PORT", "0"), ("ADMIN_ADDR", "off"), ("OPENAI_API_KEY", "k"), ("NODE_ENV", "production")];
    let output = run(&folder, &["serve"], &variables).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("NODE_ENV") && said.contains("auth = \"none\"") && said.contains("SUPABASE_JWT_SECRET"),
        "{said}"
    );
    folder.write("open.toml", "auth = \"none\"\n");
    let program = Program::start(&folder, &["serve", "--config", &folder.path_of("open.toml")], &variables).await;
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(written.contains("callers are not authenticated"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_anyone_can_spend_are_warned_of_once() {
    const WARNING: &str = "anyone who can reach";
    let folder = Folder::new("open-keys");
    folder.write("gateway.toml", "");
    let file = folder.path_of("gateway.toml");
    let key = ("OPENAI_API_KEY", "canary-openai");
    let started = |more: &[(&'static str, &'static str)]| {
        let (folder, file) = (&folder, file.clone());
        let variables = [&[("PORT", "0"), ("ADMIN_ADDR", "127.0.0.1:0")], more].concat();
        async move { Program::start(folder, &["serve", "--config", &file], &variables).await }
    };
    let open = started(&[("HOST", "0.0.0.0"), key]).await;
    // A reload says no more of it.
    folder.write("gateway.toml", "[limit.ai]\nrate = \"7/min\"\n");
    open.says("the configuration was reloaded", 1).await;
    open.terminate().await;
    let (_, written) = open.ended().await;
    let lines: Vec<&str> = written.lines().filter(|line| line.contains(WARNING)).collect();
    assert!(
        matches!(&*lines, [only] if only.contains("(openai)") && only.contains("HOST=127.0.0.1") && only.contains("\"warn\"")),
        "{written}"
    );
    assert!(!written.contains("canary"), "{written}");
    for closed in [
        &[("HOST", "127.0.0.1"), key][..],
        &[("HOST", "0.0.0.0"), key, ("SUPABASE_JWT_SECRET", SECRET)],
        &[("HOST", "0.0.0.0")],
    ] {
        let program = started(closed).await;
        program.terminate().await;
        let (_, written) = program.ended().await;
        assert!(!written.contains(WARNING), "{closed:?}: {written}");
    }
}
