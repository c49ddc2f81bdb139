//! A process that takes another one's place: by SIGUSR2, with nobody refused and no call lost, or not at all; and sockets
//! and words that a supervisor passes.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;

use crate::program::{Folder, Program, Successor};
use crate::provider::Provider;
use crate::socket::{Socket, soon};
use crate::words::{DONE, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

const STATUS: &str = "GET /health/status HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// A config file that sends chats to the provider at this address.
fn config(address: SocketAddr, server: &str) -> String {
    format!(
        "defaults = false\n[server]\nhost = \"127.0.0.1\"\nport = 0\nadmin = \"off\"\n{server}[provider.p]\nkind = \"openai\"\n\
         url = \"http://{address}/v1\"\nkey_env = \"P_KEY\"\n[route.chat]\npaths = [\"/v1/chat/completions\"]\n\
         caller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n"
    )
}

const SERVE: [&str; 3] = ["serve", "--config", "gateway.toml"];
const KEY: [(&str, &str); 1] = [("P_KEY", "sk-canary")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_takes_over_the_socket_and_what_runs_finishes_where_it_is() {
    let provider = Provider::start().await;
    let folder = Folder::new("handover");
    folder.write("gateway.toml", &config(provider.address, ""));
    let mut program = Program::start(&folder, &SERVE, &KEY).await;
    let (mut streams, mut kept) = (program.connect().await, program.connect().await);
    streams.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    streams.head().await;
    streams.receive(event("first")).await;
    kept.ask(STATUS).await;

    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    // The same address; another process. For a moment both accept, and the old one says that it does not stay.
    let mut fresh = soon("an answer of the new process", async {
        loop {
            let mut fresh = program.connect().await;
            if fresh.ask(STATUS).await.header("connection").is_none() {
                return fresh;
            }
        }
    })
    .await;
    fresh.send(chat()).await;
    let (mut new, _) = provider.request().await;
    new.send(plain(&completion("new"))).await;
    assert_eq!(fresh.message().await.text(), completion("new"));
    // A connection that the old process keeps is good for one more request, and nobody is told that it is not ready.
    let answer = kept.ask("GET /health/ready HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")));
    // A supervisor that stops the service tells all of its processes; for this one that is not the second time.
    program.terminate().await;
    program.says("shutting down anyway", 1).await;
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(streams.body().await, DONE);
    // A kept connection that has been told nothing does not cut anything off, either.
    drop(streams);
    assert_eq!(program.is_over().await.code(), Some(0));
    assert_eq!(fresh.ask(STATUS).await.status(), 200, "the new process does not end with the old one");
    successor.signal("TERM").await;
    assert_eq!(fresh.closed().await, "");
    let (_, written) = program.ended().await;
    assert_eq!(written.matches("stopped; all calls completed").count(), 2, "{written}");
    assert!(!written.contains("canary"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_stop_is_not_ready_at_once_and_takes_calls_for_a_while() {
    let provider = Provider::start().await;
    let folder = Folder::new("leave-delay");
    folder.write("gateway.toml", &config(provider.address, "leave_delay = \"1h\"\n"));
    let mut program = Program::start(&folder, &SERVE, &KEY).await;
    program.terminate().await;
    program.says("readiness now fails; accepting connections", 1).await;
    let mut caller = program.connect().await;
    assert_eq!(caller.ask("GET /health/ready HTTP/1.1\r\nhost: gateway\r\n\r\n").await.status(), 503);
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok"))).await;
    let message = caller.message().await;
    assert_eq!((message.text(), message.header("connection")), (&*completion("ok"), None));
    // The second signal ends that while, and running calls are still finished.
    caller.send(chat()).await;
    provider.next_request(&mut there).await;
    program.terminate().await;
    program.says("no new connections", 1).await;
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.header("connection"), Some("close"));
    assert_eq!(program.is_over().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_configuration_is_bad_takes_nobodys_place() {
    let folder = Folder::new("handover-bad");
    let good = config(([127, 0, 0, 1], 1).into(), "");
    folder.write("gateway.toml", &good);
    let program = Program::start(&folder, &SERVE, &KEY).await;
    folder.write("gateway.toml", &good.replace("port = 0", "port = -1"));
    program.hand_over().await;
    let line = program.says("hand-over failed; this process keeps serving", 1).await;
    assert!(line.contains("gateway.toml:4:8: server.port"), "{line}");
    assert_eq!(program.connect().await.ask(STATUS).await.status(), 200);
    // Mended, it works.
    folder.write("gateway.toml", &good);
    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    successor.signal("TERM").await;
    assert_eq!(program.ended().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_get_ready_is_ended_and_the_old_one_goes_on() {
    let folder = Folder::new("handover-late");
    // Whoever opens a pipe waits until somebody writes to it: the second process does, for ever.
    let made = std::process::Command::new("mkfifo").arg(folder.path_of("gateway.toml")).status();
    assert!(made.expect("mkfifo").success());
    let (path, text) =
        (folder.path_of("gateway.toml"), config(([127, 0, 0, 1], 1).into(), "handover_timeout = \"300ms\"\n"));
    let writes = tokio::task::spawn_blocking(move || std::fs::write(path, text));
    let program = Program::start(&folder, &SERVE, &KEY).await;
    soon("the config is read", writes).await.expect("no panic").expect("it is read");
    program.hand_over().await;
    let line = program.says("hand-over failed; this process keeps serving", 1).await;
    assert!(line.contains("it was not ready within 0.3 s"), "{line}");
    assert_eq!(program.connect().await.ask(STATUS).await.status(), 200);
    program.terminate().await;
    // Its output ends with the last process that has it.
    assert_eq!(program.ended().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_address_in_the_config_is_taken_up_by_the_new_process() {
    let folder = Folder::new("handover-moves");
    let text = config(([127, 0, 0, 1], 1).into(), "");
    folder.write("gateway.toml", &text);
    let program = Program::start(&folder, &SERVE, &KEY).await;
    let other = SocketAddr::from(([127, 0, 0, 2], program.address.port()));
    folder.write(
        "gateway.toml",
        &text.replace("127.0.0.1\"\nport = 0", &format!("127.0.0.2\"\nport = {}", other.port())),
    );
    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    assert_eq!(Socket::connect(other).await.ask(STATUS).await.status(), 200);
    let closed = async { while tokio::net::TcpStream::connect(program.address).await.is_ok() {} };
    soon("the end of the old address", closed).await;
    successor.signal("TERM").await;
    program.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_supervisor_passes_is_used_whatever_the_config_says() {
    let folder = Folder::new("activation");
    folder.write("gateway.toml", &config(([127, 0, 0, 1], 1).into(), ""));
    let pass = |names: &str| {
        format!(
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names} P_KEY=k exec \"$0\" serve --config gateway.toml 3<&0 0</dev/null"
        )
    };
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = socket.local_addr().expect("a bound port");
    // Who comes before the gateway is there waits; nobody is refused.
    let mut early = Socket::connect(address).await;
    early.send(STATUS).await;
    let mut program = Program::start_with_socket(&folder, &pass("tidegate.socket"), socket).await;
    assert_eq!(program.address, address);
    assert_eq!(early.message().await.status(), 200);
    drop(early);
    // It is passed on like one of its own.
    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    assert_eq!(program.is_over().await.code(), Some(0));
    assert_eq!(Socket::connect(address).await.ask(STATUS).await.status(), 200);
    successor.signal("TERM").await;
    program.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_learns_who_answers_and_who_leaves() {
    let folder = Folder::new("notify");
    folder.write("gateway.toml", &config(([127, 0, 0, 1], 1).into(), ""));
    let heard = UnixDatagram::bind(folder.path_of("notify")).expect("a socket");
    heard.set_read_timeout(Some(crate::socket::PATIENCE)).expect("a timeout");
    let hear = || {
        let mut said = [0; 200];
        let length = heard.recv(&mut said).expect("something is said");
        String::from_utf8_lossy(&said[..length]).into_owned()
    };
    let path = folder.path_of("notify");
    let program = Program::start(&folder, &SERVE, &[("P_KEY", "k"), ("NOTIFY_SOCKET", &path)]).await;
    assert_eq!(hear(), "READY=1\n");
    program.hand_over().await;
    let successor = Successor::of(&program, 1).await;
    assert_eq!([hear(), hear()], ["READY=1\n".to_owned(), format!("MAINPID={}\n", successor.id)]);
    successor.signal("TERM").await;
    assert_eq!(hear(), "STOPPING=1\n");
    program.ended().await;
}
