//! Event streams: their bytes do not change, and no event waits for the next.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::Setup;
use crate::provider::{Following, Provider};
use crate::socket::{Socket, soon};
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat_stream, chunk, event};

/// A stream with everything that the format allows: comments, names, ids, delays, data in several lines, no space after
/// the colon, fields nobody knows, characters of two to four bytes.
const EVERYTHING: &str = concat!(
    ": begin €\n\n",
    "id: 1\nevent: note\nretry: 3000\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é€😀\"}}]}\n\n",
    ":\n:ping\n\n",
    "data:{\"choices\":[{\"index\":0,\ndata:  \"delta\":{\"content\":\"b\"}}]}\nid\n\n",
    "unknown: field\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
);

/// A provider that answers each request with the next of these bodies, each cut into chunks at its places.
fn cut_up(provider: Provider, bodies: Vec<(String, Vec<usize>)>) -> Following {
    let next = std::sync::atomic::AtomicUsize::new(0);
    provider.follow(move |mut socket, _| {
        let index = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (body, cuts) = bodies[index].clone();
        Box::pin(async move {
            // A piece is a chunk of its own, and a write of its own: neither HTTP nor TCP joins what was cut.
            socket.send(STREAM).await;
            let mut from = 0;
            for to in cuts.into_iter().chain([body.len()]) {
                socket.send(chunk(&body.as_bytes()[from..to])).await;
                from = to;
            }
            socket.send(LAST_CHUNK).await;
            Some(socket)
        })
    })
}

async fn is_exact_however_it_is_cut(body: &str, cuts: Vec<Vec<usize>>) {
    let bodies = cuts.iter().map(|cuts| (body.to_owned(), cuts.clone())).collect();
    let provider = cut_up(Provider::start().await, bodies);
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    for cuts in cuts {
        let answer = caller.ask(chat_stream()).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.text(), body, "cut at {cuts:?}");
    }
    // Not quite always: the next call may come before the connection is back in its pool.
    let (connections, streams) = (provider.connections(), provider.requests().len());
    assert!(connections <= 1 + streams / 2, "{streams} streams that ended well took {connections} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_byte_exact_wherever_the_provider_cuts_it_in_two() {
    for body in [EVERYTHING.to_owned(), EVERYTHING.replace('\n', "\r\n")] {
        is_exact_however_it_is_cut(&body, (1..body.len()).map(|cut| vec![cut]).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_comes_byte_by_byte_is_byte_exact() {
    for body in [EVERYTHING.to_owned(), EVERYTHING.replace('\n', "\r\n")] {
        is_exact_however_it_is_cut(&body, vec![(1..body.len()).collect()]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_with_its_connection_is_byte_exact() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    there.send(EVERYTHING).await;
    drop(there);
    assert_eq!(caller.message().await.text(), EVERYTHING);
}

/// The provider sends an event only when the caller has the one before.
async fn lock_step(caller: &mut Socket, there: &mut Socket) {
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    for number in 0..20 {
        let event = event(&format!("number {number}"));
        there.send(chunk(&event)).await;
        caller.receive(event).await;
    }
    there.send(chunk(FINISH)).await;
    caller.receive(FINISH).await;
    there.send(chunk(DONE)).await;
    caller.receive(DONE).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(caller.body().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_leaves_before_the_provider_sends_the_next() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    lock_step(&mut caller, &mut there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kept_connections_too_an_event_leaves_at_once() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    lock_step(&mut caller, &mut there).await;
    for _ in 0..3 {
        caller.send(chat_stream()).await;
        provider.next_request(&mut there).await;
        lock_step(&mut caller, &mut there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_events_that_come_at_once_are_passed_on_in_one_piece_and_a_large_one_by_itself() {
    let large = event(&"x".repeat(8 * 1024));
    let small = event("one") + &event("two");
    for (body, pieces) in [
        (format!("{small}{FINISH}{DONE}"), vec![format!("{small}{FINISH}{DONE}")]),
        (format!("{small}{large}{FINISH}{DONE}"), vec![small.clone(), large.clone(), format!("{FINISH}{DONE}")]),
    ] {
        let provider = Provider::start().await;
        let gateway = Setup::over(&[provider.address]).start().await;
        let mut caller = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        caller.write_all(chat_stream().as_ref()).await.unwrap();
        let (mut there, _) = provider.request().await;
        there.send([STREAM.as_bytes(), &chunk(&body), LAST_CHUNK.as_bytes()].concat()).await;
        let mut wanted: Vec<u8> = pieces.iter().flat_map(chunk).collect();
        wanted.extend_from_slice(LAST_CHUNK.as_bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(LAST_CHUNK.as_bytes()) {
            assert_ne!(soon("the answer", caller.read_buf(&mut answer)).await.unwrap(), 0);
        }
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase();
        assert_eq!(text(&answer[body..]), text(&wanted));
    }
}
