//! Callers that are slow on purpose, played by slowhttptest: heads that never end, bodies that trickle, answers that nobody
//! reads. The program lets go of all of them at its deadlines, holds little until then, and answers another caller meanwhile.
//!
//! `make slowhttptest` does the same with thousands, for a minute.
#![allow(clippy::expect_used, reason = "a test that cannot go on stops, and says what it expected")]

#[path = "wire/shared.rs"]
mod shared;

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::program::{Folder, Program};
use crate::provider::Provider;
use crate::shared::{program, provider, socket, words};
use crate::socket::{Socket, soon};
use crate::words::{chat, completion, plain};

const CONNECTIONS: u64 = 200;

/// More than what the connections' buffers may take, and far less than what they would take without bounds.
const MOST_MEMORY_KIB: u64 = CONNECTIONS * 64 + 20 * 1024;

/// The gateway's deadlines are much shorter: slowhttptest gives up, after this many seconds, only when they do not hold.
const GIVES_UP: &str = "60";

fn slowhttptest(program: &Program, path: &str, words: &[&str]) -> Child {
    let mut command = Command::new("slowhttptest");
    command.args(["-c", &CONNECTIONS.to_string(), "-r", &CONNECTIONS.to_string(), "-l", GIVES_UP, "-p", "5"]);
    command.args(["-u", &format!("http://{}{path}", program.address)]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("slowhttptest is there: scripts/setup installs it")
}

/// Connections that the gateway has, the one that asks included.
async fn connections(caller: &mut Socket) -> u64 {
    let page = caller.ask("GET /metrics HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    let line = page.text().lines().find_map(|line| line.strip_prefix("tidegate_connections ")).expect("a gauge");
    line.parse().expect("a number")
}

async fn hold_out(name: &str, path: &str, words: &[&str]) {
    let folder = Folder::new(&format!("slow-{name}"));
    let provider = Provider::start().await.follow(|mut socket, _| {
        Box::pin(async move {
            socket.send(plain(&completion("ok"))).await;
            Some(socket)
        })
    });
    let deadlines = ["header", "body", "write", "idle"].map(|name| format!("{name}_timeout = \"2s\"\n")).concat();
    let server = format!("{deadlines}show_insides = true\n");
    let program = Program::in_front_of(&folder, provider.address, &server).await;
    let before = program.memory();
    let mut slow = slowhttptest(&program, path, words);
    let (mut answered, mut most, mut memory) = (0, 0, before);
    // It ends by itself when none of its connections is left; those that only read never notice.
    let has_ended = loop {
        let mut caller = program.connect().await;
        assert_eq!(caller.ask(chat()).await.status(), 200, "{name}: after {answered} answers");
        answered += 1;
        let now = connections(&mut caller).await;
        (most, memory) = (most.max(now), memory.max(program.memory()));
        if slow.try_wait().expect("it was started").is_some() {
            break true;
        }
        if most > CONNECTIONS / 2 && now <= 1 {
            break false;
        }
    };
    println!(
        "{name}: {answered} other calls answered; {most} connections at once; memory {before} KiB, {memory} at most"
    );
    if has_ended {
        let said = soon("the end of slowhttptest", slow.wait_with_output()).await.expect("it was started");
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("No open connections left"), "{name}: some were not closed:\n{said}");
    }
    assert!(most > CONNECTIONS / 2, "{name}: only {most} connected");
    assert!(memory - before <= MOST_MEMORY_KIB, "{name}: memory grew by {} KiB", memory - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end_are_cut_off_and_harm_nobody_else() {
    hold_out("heads", "/health/live", &["-H", "-i", "1", "-t", "GET"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_trickle_are_cut_off_and_harm_nobody_else() {
    let words = ["-B", "-i", "1", "-s", "8192", "-t", "POST", "-f", "application/json"];
    hold_out("bodies", "/v1/chat/completions", &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_hardly_read_are_cut_off_and_harm_nobody_else() {
    hold_out("readers", "/metrics", &["-X", "-k", "3", "-n", "2", "-w", "10", "-y", "20", "-z", "32"]).await;
}
