//! The binary from outside: it serves with nothing but variables, leaves when it is told to, and keeps its secrets.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::bodies;
use crate::program::{Folder, Program, run};
use crate::provider::{Handed, Provider};
use crate::socket::{Message, soon};
use crate::words::{DONE, LAST_CHUNK, STREAM, answer, chat, chat_stream, chunk, completion, event, plain, post};

const GET_HEALTH: &str = "GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// Variables for a gateway on a free port, in front of these three.
fn variables(addresses: [SocketAddr; 3]) -> Vec<(&'static str, String)> {
    let [buildpanel, together, openai] = addresses.map(|address| format!("http://{address}"));
    vec![
        ("PORT", "0".into()),
        ("ADMIN_ADDR", "off".into()),
        ("USE_BUILDPANEL", "true".into()),
        ("BUILDPANEL_URL", buildpanel),
        ("BUILDPANEL_API_KEY", KEYS[0].into()),
        ("TOGETHER_BASE_URL", format!("{together}/v1")),
        ("TOGETHER_API_KEY", KEYS[1].into()),
        ("OPENAI_BASE_URL", format!("{openai}/v1")),
        ("OPENAI_API_KEY", KEYS[2].into()),
    ]
}

const KEYS: [&str; 3] = ["key-canary-buildpanel", "key-canary-together", "key-canary-openai"];

async fn serve(folder: &Folder, variables: &[(&'static str, String)]) -> Program {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    Program::start(folder, &["serve"], &variables).await
}

/// Providers that answer probes by themselves and hand calls to the test.
async fn three() -> ([SocketAddr; 3], [Handed; 3]) {
    let three = [Provider::start().await, Provider::start().await, Provider::start().await];
    (three.each_ref().map(|provider| provider.address), three.map(Provider::hand_over))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_but_variables_it_answers_and_ends_with_0_when_terminated() {
    let folder = Folder::new("variables");
    let (addresses, [mut buildpanel, ..]) = three().await;
    let program = serve(&folder, &variables(addresses)).await;
    let mut caller = program.connect().await;
    let health = caller.ask(GET_HEALTH).await;
    assert_eq!(health.status(), 200);
    assert_eq!(health.json()["environment"], "development");
    caller.send(post("/api/v1/ai/chat", "x-restaurant-id: r1\r\n", r#"{"message":"hi"}"#)).await;
    let (mut there, request) = buildpanel.call().await;
    assert_eq!(request.start, "POST /api/chatbot HTTP/1.1");
    assert_eq!(request.header("authorization"), Some("Bearer key-canary-buildpanel"));
    assert_eq!(request.header("x-restaurant-id"), Some("r1"));
    there.send(plain(r#"{"message":"hello","suggestions":["a"]}"#)).await;
    let message = caller.message().await;
    assert_eq!(message.text(), r#"{"success":true,"message":"hello","restaurantId":"r1","suggestions":["a"]}"#);
    program.terminate().await;
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(written.contains("all calls completed"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_it_finishes_a_stream_first() {
    let folder = Folder::new("terminate");
    let (addresses, [_, mut together, _]) = three().await;
    let program = serve(&folder, &variables(addresses)).await;
    let mut caller = program.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = together.call().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    program.terminate().await;
    let refused = async {
        while let Ok(stream) = tokio::net::TcpStream::connect(program.address).await {
            crate::socket::Socket::new(stream).closed().await;
        }
    };
    soon("a refused connection", refused).await;
    there.send(chunk(event("second"))).await;
    caller.receive(event("second")).await;
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(caller.body().await, DONE);
    let (status, written) = program.ended().await;
    assert_eq!(status.code(), Some(0), "{written}");
    assert!(written.contains("all calls completed"), "{written}");
}

/// What providers say when they are at their worst: each answer has the key of the provider in it.
fn indiscreet(key: &str) -> Vec<String> {
    let error = |code: &str| format!(r#"{{"error":{{"message":"no: Bearer {key}","type":"{code}","code":"{code}"}}}}"#);
    let stream = |events: &str| [STREAM, std::str::from_utf8(&chunk(events)).unwrap(), LAST_CHUNK].concat();
    vec![
        answer("401 Unauthorized", &format!("www-authenticate: {key}\r\n"), &error("invalid_api_key")),
        answer("403 Forbidden", "", &error("forbidden")),
        answer("400 Bad Request", "", &error("bad")),
        answer("400 Bad Request", "", &format!(r#"{{"message":"{key}"}}"#)),
        answer("400 Bad Request", "", &format!(r#"{{"error":"{key}"}}"#)),
        answer("429 Too Many Requests", "", &error("rate_limit_exceeded")),
        answer("500 Internal Server Error", "", &format!("<html>{key}</html>")),
        answer("302 Found", &format!("location: http://elsewhere.example/?key={key}\r\n"), ""),
        answer("200 OK", "", &error("invalid_api_key")),
        answer("200 OK", "", &format!("{key} is not JSON")),
        format!("{key} is not HTTP\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{key}\r\n\r\n"),
        stream(&format!("data: {}\n\n", error("server_error"))),
        stream(&(event("first") + &format!("data: {}\n\n", error(key)))),
        stream(&(event("first") + &format!("event: error\ndata: {{\"message\":\"{key}\"}}\n\n"))),
        stream(&(event("first") + &format!("data: {key} is malformed\n\n") + DONE)),
    ]
}

/// Sends these calls and lets every provider that is asked answer indiscreetly; returns what the callers got to read.
async fn provoke(program: &Program, handed: &mut [Handed; 3]) -> Vec<String> {
    let [buildpanel, together, openai] = handed;
    let mut read = Vec::new();
    let show = |message: &Message| format!("{}\n{}", message.head(), String::from_utf8_lossy(&message.body));
    let calls = [
        post("/api/v1/ai/chat", "", r#"{"message":"prompt-canary"}"#),
        post("/api/llm/chat", "", r#"{"prompt":"prompt-canary","model":"gpt-4"}"#),
        post("/v1/chat/completions", "", r#"{"model":"m","messages":[{"role":"user","content":"prompt-canary"}]}"#),
        post(
            "/v1/chat/completions",
            "",
            r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"prompt-canary"}]}"#,
        ),
        post("/api/chat", "", r#"{"message":"prompt-canary","stream":true}"#),
    ];
    for call in calls {
        for case in 0..indiscreet("").len() {
            let mut caller = program.connect().await;
            caller.send(&call).await;
            let message = loop {
                let (mut there, key) = tokio::select! {
                    message = caller.message() => break message,
                    (there, _) = buildpanel.call() => (there, KEYS[0]),
                    (there, _) = together.call() => (there, KEYS[1]),
                    (there, _) = openai.call() => (there, KEYS[2]),
                };
                there.send(&indiscreet(key)[case]).await;
            };
            read.push(show(&message));
        }
    }
    for path in ["/health/status", "/metrics", "/info", "/api/llm/health"] {
        let message = program.connect().await.ask(format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
        read.push(show(&message));
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_prompts_are_in_no_answer_and_no_log_line_whatever_providers_say() {
    let folder = Folder::new("secrets");
    let (addresses, mut handed) = three().await;
    let mut variables = variables(addresses);
    variables.push(("LOG_LEVEL", "trace".into()));
    let program = serve(&folder, &variables).await;
    let read = provoke(&program, &mut handed).await;
    program.terminate().await;
    let (_, written) = program.ended().await;
    let leaks: Vec<_> =
        read.iter().map(|text| &**text).chain(written.lines()).filter(|text| text.contains("canary")).collect();
    assert!(leaks.is_empty(), "{} secrets were read or logged:\n{}", leaks.len(), leaks.join("\n"));
    assert!(written.contains("\"level\":\"trace\""), "the log is as talkative as it was asked to be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_key_is_an_error_in_the_log_once_and_says_where_it_comes_from() {
    let folder = Folder::new("refused-key");
    let (addresses, [_, mut together, mut openai]) = three().await;
    let program = serve(&folder, &variables(addresses)).await;
    let mut caller = program.connect().await;
    for is_refused in [true, true, false] {
        caller.send(chat()).await;
        let (mut there, _) = together.call().await;
        if is_refused {
            there.send(answer("401 Unauthorized", "", r#"{"error":{"message":"no such key: sk-canary"}}"#)).await;
            (there, _) = openai.call().await;
        }
        there.send(plain(&completion("ok"))).await;
        assert_eq!(caller.message().await.text(), completion("ok"));
    }
    program.terminate().await;
    let (_, written) = program.ended().await;
    let lines = |text: &str| written.lines().filter(|line| line.contains(text)).count();
    let refused = "together rejects the gateway's key; calls go to the next target: check TOGETHER_API_KEY";
    assert_eq!((lines(refused), lines("together accepts the gateway's key again")), (1, 1), "{written}");
    assert!(written.lines().any(|line| line.contains(refused) && line.contains("\"error\"")), "{written}");
    assert!(!written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_call_is_logged_where_its_level_is_wanted() {
    for (level, times) in [("info,tidegate::access=warn", 1), ("info,tidegate::access=error", 0)] {
        let folder = Folder::new("failed-call");
        let nobody = Provider::start().await.address;
        let config = format!(
            "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n\
             [log]\nlevel = \"{level}\"\nformat = \"json\"\n\
             [provider.p]\nkind = \"openai\"\nurl = \"http://{nobody}/v1\"\nkey_env = \"P_KEY\"\n\
             [route.chat]\npaths = [\"/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\n\
             call = \"chat\"\ntargets = [\"p\"]\n"
        );
        folder.write("gateway.toml", &config);
        let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &[("P_KEY", "sk-p")]).await;
        assert!(program.connect().await.ask(chat()).await.status() >= 500);
        program.terminate().await;
        let (_, written) = program.ended().await;
        let lines = written.lines().filter(|line| line.contains("\"message\":\"request\""));
        assert_eq!(lines.count(), times, "{level}: {written}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_leaves_nothing_on_the_disk() {
    let folder = Folder::new("recording");
    let (addresses, [mut buildpanel, ..]) = three().await;
    let program = serve(&folder, &variables(addresses)).await;
    let mut caller = program.connect().await;
    caller.send(bodies::upload(&bodies::recording())).await;
    let (mut there, _) = buildpanel.call().await;
    assert_eq!(folder.files(), [""; 0], "while the recording is with the provider");
    there.send(plain(r#"{"transcription":"two flat whites"}"#)).await;
    assert_eq!(caller.message().await.json()["text"], "two flat whites");
    program.terminate().await;
    program.ended().await;
    assert_eq!(folder.files(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_ten_mistakes_in_one_pass() {
    let folder = Folder::new("check");
    let mistakes = "colour = \"red\"\nenvironment = \"moon\"\n[server]\nport = 70000\nheader_timeout = \"10\"\n\
                    [log]\nlevle = \"info\"\n[provider.openai]\nkind = \"opnai\"\nurl = \"ftp://x\"\n\
                    [route.openai-chat]\nmethods = [\"FETCH\"]\ntargets = [\"togehter\"]\nmax_body = \"4MB!\"\n";
    folder.write("bad.toml", mistakes);
    let output = run(&folder, &["check", "--config", "bad.toml"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let written = String::from_utf8(output.stderr).unwrap();
    let found = [
        ("bad.toml:1:1: colour", "unknown key"),
        ("bad.toml:2:15: environment", "development"),
        ("bad.toml:4:8: server.port", "65535"),
        ("bad.toml:5:18: server.header_timeout", "250ms"),
        ("bad.toml:7:1: log.levle", "`level`"),
        ("bad.toml:9:8: provider.openai.kind", "`openai`"),
        ("bad.toml:10:7: provider.openai.url", "https://"),
        ("bad.toml:12:12: route.openai-chat.methods", "POST"),
        ("bad.toml:13:12: route.openai-chat.targets", "`together`"),
        ("bad.toml:14:12: route.openai-chat.max_body", "10MiB"),
    ];
    for (place, help) in found {
        let line = written.lines().find(|line| line.starts_with(place));
        assert!(line.is_some_and(|line| line.contains(help)), "{place} with {help} is not in:\n{written}");
    }
    let mut lines = written.trim().lines();
    assert!(lines.next_back().is_some_and(|verdict| verdict.ends_with("10 problems")), "{written}");
    assert_eq!(lines.count(), found.len(), "{written}");
    assert_eq!(run(&folder, &["serve", "--config", "bad.toml"], &[]).await.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_shows_the_routes_of_a_config_without_mistakes() {
    let folder = Folder::new("routes");
    let output = run(&folder, &["check"], &[("OPENAI_API_KEY", KEYS[2])]).await;
    let written = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{written}");
    assert!(written.contains("POST /v1/chat/completions") && written.contains("openai"), "{written}");
    assert!(!written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_by_its_exit_code_how_the_gateway_is() {
    let folder = Folder::new("health");
    let program = Program::start(&folder, &["demo", "--listen", "127.0.0.1:0"], &[]).await;
    let url = format!("http://{}", program.address);
    let question = ["health", &url];
    let ask = || run(&folder, &question, &[]);
    // Until the first probes have ended nobody can know.
    let healthy = async { while ask().await.status.code() != Some(0) {} };
    soon("health", healthy).await;
    // The gateway answers with a fallback: degraded.
    let mut caller = program.connect().await;
    let refuse = r#"{"fault":"refuse"}"#;
    let put = post("/demo/providers/buildpanel", "", refuse)
        .replace("POST", "PUT")
        .replace("host: gateway", "host: localhost");
    assert_eq!(caller.ask(put).await.status(), 200);
    assert_eq!(caller.ask(post("/api/v1/ai/chat", "", r#"{"message":"hi"}"#)).await.status(), 200);
    let output = ask().await;
    let written = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{written}");
    for word in [
        "gateway",
        "degraded",
        "because       some calls are answered by fallback targets",
        "store",
        "buildpanel",
        "together",
        "openai",
        "memory",
    ] {
        assert!(written.contains(word), "{word} is not in:\n{written}");
    }
    // For a health check that would restart it. The address may be named as other commands name it.
    let allowing = ["health", "--allow-degraded", "--url", &url];
    let output = run(&folder, &allowing, &[]).await;
    assert!(output.status.code() == Some(0) && String::from_utf8_lossy(&output.stdout).contains("degraded"));
    program.terminate().await;
    assert_eq!(program.ended().await.0.code(), Some(0));
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let output = run(&folder, &["health", "--allow-degraded", &format!("http://{nobody}")], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    let both = run(&folder, &["health", &url, "--url", &url], &[]).await;
    let said = String::from_utf8(both.stderr).unwrap();
    assert!(both.status.code() == Some(2) && said.contains("--url") && both.stdout.is_empty(), "{said}");
    // Something that answers and is no gateway.
    let other = Provider::start().await.say(plain("{}"));
    let output = run(&folder, &["health", &format!("http://{}", other.address)], &[]).await;
    assert_eq!(output.status.code(), Some(2));
}
