//! What commands make of a server that answers something else than a gateway does.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::desk::{TOKEN, run_at};
use crate::program::{Folder, run};
use crate::provider::{Following, Provider};
use crate::words::{answer, plain};

const ID: &str = "01234567-89ab-8def-8123-456789abcdef";

/// What asks a gateway, and what changes something there.
const COMMANDS: [&[&str]; 18] = [
    &["explain"],
    &["explain", "--json"],
    &["explain", "0"],
    &["flags", "list"],
    &["flags", "show", "use_x"],
    &["flags", "off", "use_x"],
    &["flags", "undo", "use_x"],
    &["keys", "list"],
    &["keys", "create", "shop"],
    &["keys", "rotate", "shop"],
    &["keys", "revoke", "shop"],
    &["usage"],
    &["usage", "--by", "tenant"],
    &["usage", "--csv"],
    &["jobs", "list"],
    &["jobs", "show", ID],
    &["jobs", "retry", "--state", "failed"],
    &["jobs", "purge", "--state", "failed"],
];

const BAD: &str = "<b>\u{1b}[2J\r\nok: all is well\u{9b}1m\u{202e}</b>";

/// A server that answers each request like this, and its address.
async fn stand_in(answer: impl Into<Vec<u8>>) -> (Following, String) {
    let server = Provider::start().await.say(answer);
    let url = format!("http://{}", server.address);
    (server, url)
}

fn page(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{BAD}", BAD.len())
}

fn is_harmless(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || (!letter.is_control() && letter != '\u{202e}'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_of_a_gateway_is_no_success() {
    let folder = Folder::new("rubbish");
    let keys = r#"{"keys":[],"is_shared":false,"flags":[],"jobs":[]}"#;
    let lacking = r#"{"key":7,"version":"\u001b[2J","purged":true,"calls":{},"rows":[{}],"by":["a"]}"#;
    let bodies = ["{}", "[]", "null", "\"\\u001b[2J\"", "[[[[", keys, lacking];
    for reply in bodies.iter().map(|body| plain(body)).chain([page("200 OK")]) {
        let (_server, url) = stand_in(reply.clone()).await;
        for command in COMMANDS {
            // What has the shape of a list is one.
            if reply.ends_with(keys) && command == ["keys", "list"] {
                continue;
            }
            let problem = run_at(&folder, &url, command, &[("ADMIN_TOKEN", TOKEN)]).await.problem();
            assert!(problem.contains("is not answered as Tidegate's admin API does"), "{command:?} {reply}: {problem}");
            assert!(is_harmless(&problem) && problem.lines().count() == 1, "{command:?} {reply}: {problem:?}");
        }
        let output = run(&folder, &["health", &url], &[]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{reply}: {text}");
        assert!(
            text.contains("is not a Tidegate gateway") && is_harmless(&text) && text.lines().count() == 1,
            "{text:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirection_is_said_and_not_followed() {
    let folder = Folder::new("rubbish-redirection");
    let target = "https://elsewhere.example/admin";
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {target}\r\n");
        let (server, url) = stand_in(answer(status, &location, r#"{"keys":[],"is_shared":false}"#)).await;
        for command in COMMANDS {
            let problem = run_at(&folder, &url, command, &[("ADMIN_TOKEN", TOKEN)]).await.problem();
            assert!(problem.contains(&format!("points to {target}")) && problem.contains(&status[..3]), "{problem}");
        }
        assert_eq!(server.requests().len(), COMMANDS.len(), "one request each");
        let output = run(&folder, &["health", &url], &[]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(2) && text.contains(&format!("points to {target}")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_does_nothing_to_the_terminal() {
    let folder = Folder::new("rubbish-terminal");
    let detail = serde_json::json!({"detail": BAD}).to_string();
    for reply in [answer("409 Conflict", "", &detail), page("503 Service Unavailable")] {
        let (_server, url) = stand_in(reply).await;
        for command in COMMANDS {
            let problem = run_at(&folder, &url, command, &[("ADMIN_TOKEN", TOKEN)]).await.problem();
            assert!(is_harmless(&problem) && problem.lines().count() == 1, "{command:?}: {problem:?}");
        }
    }
    let status = serde_json::json!({
        "status": "healthy", "version": BAD, "uptime": 1, "services": {BAD: {"status": BAD, "error": BAD}}, "memory": {},
    });
    let (_server, url) = stand_in(plain(&status.to_string())).await;
    let output = run(&folder, &["health", &url], &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(is_harmless(&text) && text.lines().count() == 4, "{text:?}");
    // As JSON it is the same value, in other letters.
    let flags = serde_json::json!({"flags": [], "persisted": true, "kept": BAD});
    let (_server, url) = stand_in(plain(&flags.to_string())).await;
    let text = run_at(&folder, &url, &["flags", "list", "--json"], &[]).await.text();
    assert!(is_harmless(&text), "{text:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), flags);
}

/// The bound is below what the memory of a small machine holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_answer_is_not_read_to_its_end() {
    let folder = Folder::new("rubbish-endless");
    let server = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "no gateway runs in this process")]
    let endless = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut sent = 0;
        // Until the command hangs up.
        while let Ok(bytes) = stream.write(&[b' '; 1 << 16]).await {
            sent += bytes;
        }
        sent
    });
    let problem = run_at(&folder, &url, &["flags", "list"], &[]).await.problem();
    assert!(problem.contains("a response of more than 64 MiB from"), "{problem}");
    let sent = endless.await.unwrap();
    // What the buffers of both sockets hold comes on top.
    assert!(sent < 96 << 20, "{sent}");
}
