//! Thousands of WebSockets and streams that are held at once, by the program itself, while its configuration changes: what
//! each of them costs in memory, and that none is lost.
//!
//! Asked for by `make hold-test` only. It prints; of what it measures it judges nothing but what is promised.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use crate::backpressure::unread_call;
use crate::frames::{PREFACE, SETTINGS, frame};
use crate::program::{Folder, Program};
use crate::provider::{Following, Provider};
use crate::socket::{Socket, soon};
use crate::talk::{VOICE, Ws, ask, config, echo, heard};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat_stream, chunk, event};

/// Of each kind, unless `HELD` says otherwise.
const HELD: usize = 2000;

/// As many open at the same time.
const AT_ONCE: usize = 50;

/// The most that one of them may cost.
const MOST_KIB: f64 = 64.0;

/// The most that one may cost whose provider sends without end and that nobody reads. The aim is 64 (`docs/numbers.md`).
const MOST_UNREAD_KIB: f64 = 128.0;

const STATUS: &str = "GET /health/status HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// A provider whose streams begin, and end when they are told to.
async fn streams(go: watch::Receiver<bool>) -> Following {
    Provider::start().await.follow(move |mut socket, _| {
        let mut go = go.clone();
        Box::pin(async move {
            socket.send([STREAM.as_bytes(), &chunk(event("first"))].concat()).await;
            let _ = go.wait_for(|go| *go).await;
            socket.send([chunk(FINISH), chunk(DONE), LAST_CHUNK.into()].concat()).await;
            None
        })
    })
}

/// Says something that the provider says again.
async fn echoed(near: &mut Ws) {
    let message = Message::binary(vec![7; 1024]);
    soon("room", near.send(message.clone())).await.expect("the gateway listens");
    assert_eq!(heard(near).await, message);
}

async fn open(program: &Program) -> Ws {
    let mut near = ask(program.address, VOICE, &[]).await.expect("the gateway agrees").0;
    echoed(&mut near).await;
    near
}

async fn begin(program: &Program) -> Socket {
    let mut caller = program.connect().await;
    caller.send(chat_stream()).await;
    assert_eq!(caller.head().await.status(), 200);
    caller.receive(event("first")).await;
    caller
}

/// The status page once it shows this generation.
async fn status(program: &Program, generation: u64) -> serde_json::Value {
    let mut operator = program.connect().await;
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let status = operator.ask(STATUS).await.json();
            if status["config"]["generation"] == generation {
                return status;
            }
        }
    };
    soon("a generation", asking).await
}

#[ignore = "needs thousands of file descriptors: make hold-test"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_are_held_at_once_and_a_reload_loses_none() {
    let held: usize = std::env::var("HELD").map_or(HELD, |held| held.parse().expect("a number"));
    let (go, gone) = watch::channel(false);
    let (voice, _echo) = echo().await;
    let chat = streams(gone).await;
    let folder = Folder::new("held");
    let write = |level: &str| {
        let more = format!(
            "[server]\nport = 0\nadmin = \"off\"\n[log]\nlevel = \"{level}\"\n[concurrency]\nenabled = false\n\
             [timeout]\nidle = \"10m\"\ntotal = \"10m\"\n[provider.chat]\nkind = \"openai\"\n\
             url = \"http://{}/v1\"\nkey_env = \"REALTIME_KEY\"\n[route.chat]\npaths = [\"/v1/chat/completions\"]\n\
             methods = [\"POST\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"chat\"]\n",
            chat.address
        );
        folder.write("gateway.toml", &config(&[voice], "max_connections = 100000\nmax_per_address = 100000\n", &more));
    };
    write("info");
    let variables = [("VOICE_KEY", "sk-voice"), ("REALTIME_KEY", "sk-realtime")];
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
    // What is there once, whoever comes.
    let (mut sockets, mut callers) = (vec![open(&program).await], vec![begin(&program).await]);
    let before = program.memory();
    sockets.extend(stream::iter(1..held).map(|_| open(&program)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    let between = program.memory();
    callers.extend(stream::iter(1..held).map(|_| begin(&program)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    let after = program.memory();
    assert_eq!(status(&program, 1).await["services"]["websocket"]["connections"], held);

    write("warn");
    assert_eq!(status(&program, 2).await["services"]["websocket"]["connections"], held);
    for near in &mut sockets {
        echoed(near).await;
    }
    go.send(true).expect("the provider waits");
    for caller in &mut callers {
        assert_eq!(caller.body().await, FINISH.to_owned() + DONE);
    }
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / held.saturating_sub(1).max(1) as f64;
    let (socket, caller) = (each(before, between), each(between, after));
    println!("held at once: {held} WebSockets and {held} streams, through a reload; lost: none");
    println!("memory before: {:.1} MiB, with all: {:.1} MiB", before as f64 / 1024.0, after as f64 / 1024.0);
    println!("a WebSocket (with its provider's end): {socket:.1} KiB; a stream (with its provider's): {caller:.1} KiB");
    assert!(socket.max(caller) <= MOST_KIB, "more than {MOST_KIB} KiB");
    drop((sockets, callers));
    program.terminate().await;
    let (status, _) = program.ended().await;
    assert_eq!(status.code(), Some(0));
}

/// Unread streams at once.
const UNREAD: usize = 100;

/// A provider that sends events of this size as long as anybody takes them, and tells when nobody does.
async fn endless(size: usize, blocked: mpsc::UnboundedSender<()>) -> Following {
    let piece = event(&"x".repeat(size));
    let much = chunk(&piece).repeat((4 << 20) / piece.len() + 1);
    Provider::start().await.follow(move |mut socket, _| {
        let (much, blocked) = (much.clone(), blocked.clone());
        Box::pin(async move {
            socket.send(STREAM).await;
            socket.send_until_blocked(&much, Duration::from_secs(1)).await;
            // The test may have ended.
            let _ = blocked.send(());
            socket.closed().await;
            None
        })
    })
}

#[ignore = "measures a program's memory: make hold-test"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_reads_costs_little_whatever_the_size_of_its_events() {
    for size in [20, 1_000, 20_000] {
        let (tell, mut blocked) = mpsc::unbounded_channel();
        let chat = endless(size, tell).await;
        let folder = Folder::new("unread");
        let text = format!(
            "defaults = false\n[server]\nport = 0\nadmin = \"off\"\n[concurrency]\nenabled = false\n\
             [provider.chat]\nkind = \"openai\"\nurl = \"http://{}/v1\"\nkey_env = \"CHAT_KEY\"\n\
             [route.chat]\npaths = [\"/v1/chat/completions\"]\nmethods = [\"POST\"]\ncaller = \"openai\"\n\
             call = \"chat\"\ntargets = [\"chat\"]\n",
            chat.address
        );
        folder.write("gateway.toml", &text);
        let variables = [("CHAT_KEY", "sk-chat")];
        let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
        let before = program.memory();
        let mut callers = Vec::new();
        for _ in 0..2 {
            let mut caller = TcpStream::connect(program.address).await.unwrap();
            caller.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()).await.unwrap();
            for number in 0..UNREAD / 2 {
                caller.write_all(&unread_call(2 * number as u32 + 1)).await.unwrap();
            }
            callers.push(caller);
        }
        for _ in 0..UNREAD {
            soon("a blocked provider", blocked.recv()).await.unwrap();
        }
        let each = program.memory().saturating_sub(before) as f64 / UNREAD as f64;
        println!("an unread stream with events of {size} bytes: {each:.1} KiB");
        assert!(each <= MOST_UNREAD_KIB, "more than {MOST_UNREAD_KIB} KiB");
        drop(callers);
    }
}
