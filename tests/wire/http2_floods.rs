//! Callers that send the program as many frames of HTTP/2 as they can of a kind that costs them little: each is cut off or
//! costs little here too, memory stays bounded, and another caller is answered all the while.
//!
//! What a frame costs is printed, beside an ordinary request of the same run, and not judged: it is the machine's business.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::frames::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Happened, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::program::{Folder, Program};
use crate::provider::{Following, Provider};
use crate::socket::soon;
use crate::words::{chat, completion, plain};

/// More than the buffers of one connection, and far less than any of these floods brings along.
const MOST_MEMORY_KIB: u64 = 16 * 1024;

/// Written at once.
const BATCH: u32 = 250;

/// Not one of the program's.
const MARK: &[u8; 8] = b"are you?";

/// Something that is sent over and over.
struct Flood {
    name: &'static str,
    /// What comes before it on each connection.
    opening: fn() -> Vec<u8>,
    /// The one of this number on its connection.
    piece: fn(u32) -> Vec<u8>,
    pieces: u32,
}

/// `GET /health/live`, or a chat whose body is still to come (RFC 7541: 0x82 and 0x83 are GET and POST, 0x86 is `http`, and
/// 0x04 and 0x01 values of `:path` and `:authority` that are not remembered).
fn head(method: u8, path: &str) -> Vec<u8> {
    [&[method, 0x86, 0x04, path.len() as u8], path.as_bytes(), b"\x01\x07gateway"].concat()
}

fn get(number: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &head(0x82, "/health/live"))
}

fn with(mut first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
    first.extend(second);
    first
}

fn open_stream() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &head(0x83, "/v1/chat/completions"))
}

/// Remembers a header of 4000 bytes (a length of 127, and 3873 more in pieces of seven bits), and repeats it ten thousand
/// times, with a byte for each.
fn bomb(number: u32) -> Vec<u8> {
    let mut block = head(0x82, "/health/live");
    block.extend_from_slice(b"\x40\x03x-a\x7F\xA1\x1E");
    block.extend_from_slice(&[b'a'; 4000]);
    block.extend_from_slice(&[0x80 | 62; 10_000]);
    frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &block)
}

const FLOODS: [Flood; 12] = [
    Flood {
        name: "streams given up at once",
        opening: Vec::new,
        piece: |number| with(get(number), frame(RST_STREAM, 0, number * 2 + 1, &CANCEL.to_be_bytes())),
        pieces: 10_000,
    },
    Flood {
        name: "streams that the gateway has to end",
        opening: Vec::new,
        piece: |number| with(get(number), frame(WINDOW_UPDATE, 0, number * 2 + 1, &[0; 4])),
        pieces: 10_000,
    },
    Flood {
        name: "streams that go on after their end",
        opening: Vec::new,
        piece: |number| with(get(number), frame(DATA, 0, number * 2 + 1, b"more")),
        pieces: 10_000,
    },
    Flood {
        name: "a head without an end",
        opening: || frame(HEADERS, 0, 1, &head(0x82, "/health/live")),
        piece: |_| frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x01b"),
        pieces: 50_000,
    },
    Flood { name: "a header table that is a bomb", opening: Vec::new, piece: bomb, pieces: 250 },
    Flood {
        name: "settings",
        opening: Vec::new,
        piece: |number| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, number as u8]),
        pieces: 50_000,
    },
    Flood { name: "pings", opening: Vec::new, piece: |_| frame(PING, 0, 0, b"12345678"), pieces: 50_000 },
    Flood {
        name: "priorities",
        opening: Vec::new,
        piece: |number| frame(PRIORITY, 0, number * 2 + 1, &[0; 5]),
        pieces: 50_000,
    },
    Flood {
        name: "windows of a connection",
        opening: Vec::new,
        piece: |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        pieces: 50_000,
    },
    Flood {
        name: "windows of a stream",
        opening: open_stream,
        piece: |_| frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()),
        pieces: 50_000,
    },
    Flood { name: "a body of nothing", opening: open_stream, piece: |_| frame(DATA, 0, 1, b""), pieces: 50_000 },
    Flood { name: "frames of no known kind", opening: Vec::new, piece: |_| frame(0x77, 0, 0, b"what"), pieces: 50_000 },
];

/// The program in front of a provider that answers every chat with a text of this size.
async fn program(folder: &Folder, size: usize) -> (Program, Following) {
    let provider = Provider::start().await.say(plain(&completion(&"x".repeat(size))));
    // Nothing but `write_timeout` ends a connection while a test waits.
    let server = "write_timeout = \"1s\"\nidle_timeout = \"5m\"\n";
    let program = Program::in_front_of(folder, provider.address, server).await;
    (program, provider)
}

async fn connect(address: SocketAddr) -> Frames<TcpStream> {
    Frames::call(soon("a connection", TcpStream::connect(address)).await.expect("the gateway accepts")).await
}

/// How a connection stood that was sent so much.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It was ended for this reason, or without a word.
    Cut(Option<u32>),
    /// It is still served.
    Served,
}

async fn end(caller: &mut Frames<TcpStream>) -> End {
    // Where a head has not ended, not even this is allowed.
    let _ = caller.try_send_bytes(&frame(PING, 0, 0, MARK)).await;
    loop {
        match caller.read().await {
            None => return End::Cut(None),
            Some(said) if said.kind == GOAWAY => return End::Cut(Some(said.reason())),
            Some(said) if (said.kind, said.flags, &said.payload[..]) == (PING, ACK, MARK) => return End::Served,
            Some(_) => {}
        }
    }
}

/// Sends all of it, on a new connection whenever one is cut off; returns how many that took and how they ended.
async fn send(address: SocketAddr, flood: &Flood) -> (u32, BTreeSet<End>) {
    let (mut sent, mut connections, mut ends) = (0, 0, BTreeSet::new());
    while sent < flood.pieces {
        let mut caller = connect(address).await;
        connections += 1;
        // What has begun is known not to have ended; the rest is written without looking.
        let mut is_taken = caller.try_send_bytes(&(flood.opening)()).await.is_ok();
        let mut number = 0;
        while is_taken && sent < flood.pieces {
            let batch: Vec<u8> = (number..number + BATCH).flat_map(flood.piece).collect();
            is_taken = caller.try_send_bytes(&batch).await.is_ok();
            (number, sent) = (number + BATCH, sent + BATCH);
        }
        ends.insert(end(&mut caller).await);
    }
    (connections, ends)
}

/// What an ordinary request costs the program, on a connection of many.
async fn ordinary(program: &Program) -> Duration {
    const REQUESTS: u32 = 5000;
    let live = "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n";
    assert_eq!(program.connect().await.ask(live).await.status(), 200);
    let before = program.busy();
    let mut caller = connect(program.address).await;
    // Room for all the answers.
    caller.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).await;
    for first in (0..REQUESTS).step_by(50) {
        let requests: Vec<u8> = (first..first + 50).flat_map(get).collect();
        caller.try_send_bytes(&requests).await.expect("the gateway reads");
        for _ in 0..50 {
            let answer = caller.next().await;
            assert!(matches!(answer, Happened::Request(..)), "{answer:?} instead of an answer");
        }
    }
    (program.busy() - before) / REQUESTS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_harm_nobody_else_and_fill_no_memory() {
    let folder = Folder::new("http2-floods");
    let (program, provider) = program(&folder, 2).await;
    let request = ordinary(&program).await;
    println!("an ordinary request: {request:?} of a processor");
    let mut asked = 0;
    for flood in &FLOODS {
        let (memory, busy) = (program.memory(), program.busy());
        let mut most = memory;
        let mut sending = std::pin::pin!(send(program.address, flood));
        let (connections, ends) = loop {
            let mut other = program.connect().await;
            // One at a time, so that what it costs is little beside the flood.
            let asking = async { assert_eq!(other.ask(chat()).await.status(), 200, "during {}", flood.name) };
            tokio::select! {
                sent = &mut sending => break sent,
                () = asking => asked += 1,
            }
            most = most.max(program.memory());
        };
        let busy = program.busy() - busy;
        println!(
            "{}: {} on {connections} connections, which ended {ends:?}; {busy:?} of a processor, {:.2} of what as many \
             ordinary requests take; memory grew by {} KiB",
            flood.name,
            flood.pieces,
            busy.as_secs_f64() / (request.as_secs_f64() * f64::from(flood.pieces)),
            most - memory,
        );
        assert!(most - memory <= MOST_MEMORY_KIB, "{}: memory grew by {} KiB", flood.name, most - memory);
    }
    assert!(asked > 0);
    // What the other caller asked, and nothing of the floods.
    let others: Vec<_> = provider.requests().into_iter().filter(|request| request.body.is_empty()).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_whose_windows_stay_shut_are_cut_off_whatever_the_size_of_their_answers() {
    const STREAMS: u32 = 50;
    let folder = Folder::new("http2-windows");
    // Less than what is handed over at once, and more.
    for size in [100, 100_000] {
        let (program, provider) = program(&folder, size).await;
        // SETTINGS_INITIAL_WINDOW_SIZE: bytes of each answer that are wanted, and more never will be.
        for window in [0, 1] {
            let mut caller = connect(program.address).await;
            caller.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, window]).await;
            let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
            let ask = |number: u32| {
                let head = frame(HEADERS, END_HEADERS, number * 2 + 1, &head(0x83, "/v1/chat/completions"));
                with(head, frame(DATA, END_STREAM, number * 2 + 1, body))
            };
            let requests: Vec<u8> = (0..STREAMS).flat_map(ask).collect();
            caller.try_send_bytes(&requests).await.expect("the gateway reads");
            // At `write_timeout`: nothing else would end it while the test waits.
            caller.gone().await;
            assert_eq!(program.connect().await.ask(chat()).await.status(), 200);
        }
        assert_eq!(provider.requests().len() as u32, 2 * (STREAMS + 1));
    }
}
