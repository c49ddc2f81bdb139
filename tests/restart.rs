//! The program under load while it is replaced again and again (SIGUSR2) and its configuration changes: no call is refused,
//! lost or cut off.
//!
//! Each caller checks every answer byte for byte and never tries again. `make restart-test` plays ten rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on stops, and says what it expected"
)]

#[path = "wire/program.rs"]
#[allow(dead_code, reason = "the tests of the wire need all of it")]
mod program;
#[path = "wire/provider.rs"]
#[allow(dead_code, reason = "the tests of the wire need all of it")]
mod provider;
#[path = "wire/socket.rs"]
#[allow(dead_code, reason = "the tests of the wire need all of it")]
mod socket;
#[path = "wire/words.rs"]
#[allow(dead_code, reason = "the tests of the wire need all of it")]
mod words;

#[path = "restart/load.rs"]
mod load;

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{ANSWER, Load};
use crate::program::{Folder, Program, Successor};
use crate::provider::{Following, Provider};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chunk, completion, event, plain};

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
    let ends = written.matches("\"stopped; every call was finished\"").count();
    assert_eq!(ends, rounds() + 1, "every process ends by itself and in order:\n{written}");
    assert!(counts.all() > 100 * rounds(), "that was no load: {counts}");
}
