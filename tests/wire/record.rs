//! The trace of calls that the program writes: rows without anything that callers or providers say, files that pass from
//! one process to the next, and disks that take no more.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate::model::recorded::{RecordedCall, TraceHeader};
use tidegate::telemetry::record::digest::{Digests, NameKind};

use crate::program::{Folder, Program, Successor, run};
use crate::provider::{Following, Provider};
use crate::socket::{Message, soon};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, answer, chunk, completion, event, plain, post};

const SECRET: &str = "canary-of-the-digests";
const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const STATUS: &str = "GET /health/status HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// What a caller says of itself.
const WHO: &str = "x-restaurant-id: canary-tenant\r\nx-user-id: canary-user\r\nauthorization: Bearer sk-canary\r\n";

fn config(provider: &Following, record: &str) -> String {
    format!(
        "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n[record]\n{record}[retry]\nmax_attempts = 1\n\
         [provider.p]\nkind = \"openai\"\nurl = \"http://{}/v1\"\nkey_env = \"P_KEY\"\n[route.chat]\n\
         paths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n",
        provider.address
    )
}

async fn serve(folder: &Folder) -> Program {
    Program::start(folder, &SERVE, &[("P_KEY", "sk-canary-p"), ("RECORD_SECRET", SECRET)]).await
}

/// A provider whose answers, and one error, are canaries.
async fn canaries() -> Following {
    Provider::start().await.reply(|request| {
        if request.text().contains("\"stream\":true") {
            let events = [event("canary-answer"), FINISH.to_owned(), DONE.to_owned()].map(chunk).concat();
            return [STREAM.as_bytes(), &events, LAST_CHUNK.as_bytes()].concat();
        }
        if request.text().contains("canary-error") {
            return answer(
                "500 Internal Server Error",
                "x-request-id: canary-id\r\n",
                r#"{"error":{"message":"canary"}}"#,
            )
            .into_bytes();
        }
        plain(&completion("canary-answer")).into_bytes()
    })
}

async fn call(program: &Program, more: &str, prompt: &str) -> Message {
    let body = format!(r#"{{"model":"m"{more},"user":"canary","messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let mut caller = program.connect().await;
    caller.ask(post("/v1/chat/completions?canary=1", WHO, &body)).await
}

/// The headers and the rows of all traces in a folder, oldest file first.
fn traces(folder: &Path) -> Vec<(TraceHeader, Vec<RecordedCall>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let read = |path| {
        let text = std::fs::read_to_string(path).expect("a trace");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.ends_with('\n'), "no line ends in the middle: {text}");
        let mut lines = text.lines();
        let header = serde_json::from_str(lines.next().expect("a first line")).expect("a header");
        (header, lines.map(|line| serde_json::from_str(line).expect("a row")).collect())
    };
    files.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_tells_all_of_a_call_but_what_was_said_and_by_whom() {
    let (folder, provider) = (Folder::new("record-rows"), canaries().await);
    // Beside the configuration, whose folder is watched.
    folder.write("gateway.toml", &config(&provider, "folder = \"trace\"\nsecret_env = \"RECORD_SECRET\"\n"));
    let checked =
        run(&folder, &["check", "--config", "gateway.toml"], &[("P_KEY", "k"), ("RECORD_SECRET", SECRET)]).await;
    let checked = String::from_utf8(checked.stdout).expect("text");
    let shown = "calls are recorded: trace, 16 files of up to 64 MiB, names hidden by the secret of the configuration";
    assert!(checked.contains(shown) && !checked.contains("canary"), "{checked}");
    let program = serve(&folder).await;
    assert_eq!(call(&program, "", "canary-prompt").await.status(), 200);
    let streamed = call(&program, ",\"stream\":true", "canary-prompt").await;
    assert!(streamed.text().contains("canary-answer"), "{}", streamed.text());
    assert_eq!(call(&program, "", "canary-error").await.status(), 500);
    let status: Value = program.connect().await.ask(STATUS).await.json();
    assert_eq!(status["config"]["generation"], 1, "a trace that grows is no changed configuration");
    program.terminate().await;
    let (_, written) = program.ended().await;
    assert!(!written.contains(SECRET), "{written}");
    let traces = traces(Path::new(&folder.path_of("trace")));
    let [(header, rows)] = &*traces else { panic!("one process, one file: {traces:?}") };
    let digests = Digests::new(SECRET);
    assert_eq!((header.trace, &header.secret), (TraceHeader::FORMAT, &digests.mark()));
    let [whole, stream, error] = &**rows else { panic!("a row for each call, and none for the status: {rows:?}") };
    assert_eq!(whole.tenant, Some(digests.name(NameKind::Tenant, "canary-tenant")));
    assert_eq!(whole.user, Some(digests.name(NameKind::User, "canary-user")));
    assert!(whole.key.is_some() && whole.near, "{whole:?}");
    assert_eq!((&*whole.route, whole.status, &*whole.outcome, whole.stream), ("chat", 200, "ok", false));
    assert!(whole.question.is_some() && whole.question == stream.question && stream.stream, "{stream:?}");
    assert_ne!(whole.question, error.question);
    assert_eq!((error.status, &*error.outcome, error.attempts[0].status), (500, "provider_error", Some(500)));
    assert!(whole.tokens_in > 0 && whole.tokens_out > 0 && whole.attempts[0].first_ms.is_some(), "{whole:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_begins_moves_and_ends_the_trace_and_a_new_process_has_a_file_of_its_own() {
    let (folder, provider) = (Folder::new("record-reload"), canaries().await);
    let in_folder = |name: &str| config(&provider, &format!("folder = \"{name}\"\nsecret_env = \"RECORD_SECRET\"\n"));
    folder.write("gateway.toml", &config(&provider, ""));
    let mut program = serve(&folder).await;
    let reloaded = "the configuration was reloaded";
    call(&program, "", "unrecorded").await;
    folder.write("gateway.toml", &in_folder("one"));
    program.says("\"recording calls\"", 1).await;
    call(&program, "", "a").await;
    folder.write("gateway.toml", &in_folder("two"));
    program.says("\"recording calls\"", 2).await;
    call(&program, "", "b").await;
    call(&program, "", "b").await;
    folder.write("gateway.toml", &config(&provider, ""));
    program.says("calls are no longer recorded", 1).await;
    call(&program, "", "unrecorded").await;
    folder.write("gateway.toml", &in_folder("two"));
    program.says(reloaded, 4).await;
    program.says("\"recording calls\"", 3).await;
    call(&program, "", "c").await;
    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    assert_eq!(program.is_over().await.code(), Some(0));
    call(&program, "", "d").await;
    successor.signal("TERM").await;
    program.ended().await;
    let rows = |name: &str| -> Vec<usize> {
        traces(Path::new(&folder.path_of(name))).iter().map(|(_, rows)| rows.len()).collect()
    };
    assert_eq!((rows("one"), rows("two")), (vec![1], vec![2, 1, 1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_trace_and_no_call() {
    let (folder, provider) = (Folder::new("record-full"), canaries().await);
    folder.write("gateway.toml", &config(&provider, "folder = \"trace\"\n"));
    // A file may have as many blocks of 512 bytes, and whoever writes more gets an error instead of a signal.
    let shell = "trap '' XFSZ; ulimit -f 4; LISTEN_PID=$$ LISTEN_FDS=1 P_KEY=k exec \"$0\" serve --config gateway.toml 3<&0 0</dev/null";
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let program = Program::start_with_socket(&folder, shell, socket).await;
    let trace = folder.path_of("trace");
    assert_eq!(call(&program, "", "x").await.status(), 200);
    let written = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while traces(Path::new(&trace)).iter().all(|(_, rows)| rows.is_empty()) {
            ticks.tick().await;
        }
    };
    soon("a row", written).await;
    let full = async {
        while !program.written().contains("could not write the trace of calls") {
            assert_eq!(call(&program, "", "x").await.status(), 200);
        }
    };
    soon("a full file", full).await;
    for _ in 0..20 {
        assert_eq!(call(&program, "", "x").await.status(), 200);
    }
    program.terminate().await;
    assert!(program.ended().await.0.success());
    let traces = traces(Path::new(&trace));
    let [(_, rows)] = &*traces else { panic!("one file: {traces:?}") };
    assert!(!rows.is_empty() && rows.iter().all(|row| row.status == 200), "{rows:?}");
}
