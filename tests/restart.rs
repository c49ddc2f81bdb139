//! The program under load while it is replaced again and again (SIGUSR2) and its configuration changes: no call is refused,
//! lost or cut off. And killed, and without file descriptors: what is left of it works on.
//!
//! Each caller checks every answer byte for byte and never tries again. `make restart-test` plays ten rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "store/server.rs"]
#[allow(dead_code, reason = "the tests of limits need all of it")]
mod server;
#[path = "wire/shared.rs"]
mod shared;

#[path = "restart/jobs.rs"]
mod jobs;
#[path = "restart/load.rs"]
mod load;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::load::{ANSWER, Load};
use crate::program::{Folder, Program, Successor};
use crate::provider::{Following, Provider};
use crate::server::Server;
use crate::shared::{program, provider, socket, words};
use crate::socket::{Socket, soon};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat_stream, chunk, completion, event, plain};

/// A config file that sends chats to the provider at this address; `round` makes a difference that nobody notices.
fn config(provider: SocketAddr, port: u16, round: usize) -> String {
    format!(
        "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = {port}\nadmin = \"off\"\nmax_headers = {}\n\
         [provider.p]\nkind = \"openai\"\nurl = \"http://{provider}/v1\"\nkey_env = \"P_KEY\"\n[route.chat]\n\
         paths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n",
        100 + round
    )
}

const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const KEY: [(&str, &str); 1] = [("P_KEY", "sk-canary")];

/// A provider that takes a while: streams come in pieces, so that some are always under way.
async fn provider() -> Following {
    let pause = || tokio::time::sleep(Duration::from_millis(20));
    Provider::start().await.follow(move |mut socket, request| {
        Box::pin(async move {
            let is_stream = request.text().contains(r#""stream":true"#);
            if !is_stream {
                pause().await;
                socket.send(plain(&completion(ANSWER))).await;
                return Some(socket);
            }
            // A gateway that was killed reads no more.
            socket.try_send(STREAM).await.ok()?;
            for piece in [&*event(ANSWER), &*event(ANSWER), FINISH, DONE] {
                pause().await;
                socket.try_send(chunk(piece)).await.ok()?;
            }
            socket.try_send(LAST_CHUNK).await.ok()?;
            Some(socket)
        })
    })
}

fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_processes_and_configurations_are_replaced() {
    let provider = provider().await;
    let folder = Folder::new("restart");
    folder.write("gateway.toml", &config(provider.address, 0, 0));
    let program = Program::start(&folder, &SERVE, &KEY).await;
    let load = Load::start(program.address);
    let mut successors: Vec<Successor> = Vec::new();
    for round in 1..=rounds() {
        load.goes_on().await;
        match successors.last() {
            Some(now) => now.signal("USR2").await,
            None => program.hand_over().await,
        }
        successors.push(Successor::of(&program, round).await);
        load.goes_on().await;
        folder.write("gateway.toml", &config(provider.address, 0, round));
        program.says("\"the configuration was reloaded\"", round).await;
    }
    load.goes_on().await;
    let counts = load.stop().await;
    successors.last().expect("a round").signal("TERM").await;
    let (_, written) = program.ended().await;
    println!("{} restarts, {} reloads: {counts}", rounds(), rounds());
    assert_eq!(counts.lost, [""; 0], "calls were lost");
    let ends = written.matches("\"stopped; all calls completed\"").count();
    assert_eq!(ends, rounds() + 1, "every process ends by itself and in order:\n{written}");
    assert!(counts.all() > 100 * rounds(), "that was no load: {counts}");
}

/// Starts it as a supervisor does that keeps the listening socket; `before` is done by the shell first.
async fn supervised(folder: &Folder, socket: &TcpListener, before: &str) -> Program {
    let shell = format!(
        "{before} LISTEN_PID=$$ LISTEN_FDS=1 P_KEY=sk-canary exec \"$0\" serve --config gateway.toml 3<&0 0</dev/null"
    );
    Program::start_with_socket(folder, &shell, socket.try_clone().expect("a copy of the socket")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_refuses_nobody_new_and_spoils_neither_what_is_kept_nor_what_is_counted() {
    let (provider, store) = (Provider::start().await, Server::start().await);
    let folder = Folder::new("killed");
    let more = format!(
        "cache = {{}}\n[cache]\nenabled = true\ncluster_wait = \"100ms\"\n[store]\nredis_url = \"{}\"\n\
         [limit.mine]\nkey = [\"address\"]\nrate = \"9/day\"\n",
        store.url()
    );
    folder.write("gateway.toml", &(config(provider.address, 0, 0) + &more));
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let mut program = supervised(&folder, &socket, "").await;
    let mut caller = program.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event(ANSWER))).await;
    assert_eq!(caller.head().await.header("x-ratelimit-remaining"), Some("8"));
    caller.receive(event(ANSWER)).await;
    program.signal("KILL").await;
    program.is_over().await;
    assert!(caller.try_body().await.is_err(), "a cut answer must not look complete");

    // Who comes now waits for the next process.
    let address = program.address;
    let mut early = Socket::connect(address).await;
    early.send(chat_stream()).await;
    let _next = supervised(&folder, &socket, "").await;
    let (mut there, _) = soon("the same question, asked anew", provider.request()).await;
    there.send(STREAM).await;
    let whole = event(ANSWER) + FINISH + DONE;
    there.send(chunk(&whole)).await;
    there.send(LAST_CHUNK).await;
    let answer = early.message().await;
    assert_eq!((answer.text(), answer.header("x-ratelimit-remaining")), (&*whole, Some("7")));
    let kept = Socket::connect(address).await.ask(chat_stream()).await;
    assert_eq!(kept.header("x-ratelimit-remaining"), Some("6"));
    assert!(kept.text().contains(ANSWER) && kept.text().ends_with(DONE), "{}", kept.text());
    assert!(kept.header("cache-status").is_some_and(|it| it.starts_with("tidegate; hit")), "{}", kept.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_callers_are_let_go_at_once_and_served_again_as_soon_as_there_are_some() {
    const ALIVE: &str = "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n";
    let folder = Folder::new("descriptors");
    folder.write("gateway.toml", &config(([127, 0, 0, 1], 1).into(), 0, 0));
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let program = supervised(&folder, &socket, "ulimit -n 40;").await;
    let mut served = Vec::new();
    // Each that is served keeps one; the first that is not finds none left.
    soon("the last file descriptor", async {
        loop {
            let mut caller = program.connect().await;
            match caller.try_send(ALIVE).await {
                Ok(()) if caller.try_message().await.is_ok() => served.push(caller),
                _ => return,
            }
        }
    })
    .await;
    assert!((10..40).contains(&served.len()), "{} were served", served.len());
    // Those who are connected notice nothing, and nobody new waits.
    for _ in 0..20 {
        assert_eq!(program.connect().await.closed().await, "");
    }
    for caller in &mut served {
        assert_eq!(caller.ask(ALIVE).await.status(), 200);
    }
    drop(served.split_off(5));
    soon("a served caller", async {
        loop {
            let mut caller = program.connect().await;
            if caller.try_send(ALIVE).await.is_ok() && caller.try_message().await.is_ok() {
                return;
            }
        }
    })
    .await;
    program.says("accepting connections again", 1).await;
    let complaints = program.written().matches("shedding new connections").count();
    assert!(complaints <= 3, "once for each time that it begins:\n{}", program.written());
}
