//! Slow readers: what the caller does not read, the provider does not get to send. Nothing piles up in between.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame};
use crate::gateway::Setup;
use crate::h2c::{Http2, text};
use crate::provider::Provider;
use crate::socket::soon;
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

/// What the provider would send if it could.
const MUCH: usize = 50 << 20;
/// What it may send before it must wait: the kernel's buffers of two connections (at most 10 MiB each on Linux), and a
/// little of the gateway's own.
const LITTLE: usize = 24 << 20;
/// A write that waits this long waits for the reader.
const BLOCKED: Duration = Duration::from_secs(1);

/// Much to send, in chunks, and what of it the caller is to read.
fn much() -> (Vec<u8>, String) {
    let (piece, count) = (event(&"x".repeat(60_000)), MUCH / 60_000);
    let sent = [chunk(&piece).repeat(count), chunk(DONE), LAST_CHUNK.into()].concat();
    (sent, piece.repeat(count) + DONE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_pauses_makes_its_provider_wait_and_then_gets_everything() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    let (sent, read) = much();
    let accepted = there.send_until_blocked(&sent, BLOCKED).await;
    assert!(accepted < LITTLE, "{accepted} bytes were taken from the provider although nobody reads");
    let sending = async {
        for piece in sent[accepted..].chunks(1 << 20) {
            there.send(piece).await;
        }
    };
    let (message, ()) = tokio::join!(caller.message(), sending);
    assert!(message.body == read, "{} bytes came, not the {} that were sent", message.body.len(), read.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_of_http2_that_is_not_read_makes_its_provider_wait_and_no_other() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    let (sent, _) = much();
    let accepted = there.send_until_blocked(&sent, BLOCKED).await;
    assert!(accepted < LITTLE, "{accepted} bytes were taken from the provider although nobody reads");
    let unread = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    calls.spawn(caller.chat(false));
    let (mut other, _) = provider.request().await;
    other.send(plain(&completion("ok"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(text(response).await.unwrap(), completion("ok"));
    drop(unread);
    there.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_of_http2_that_is_not_read_is_cut_off_and_no_other() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).server("write_timeout = \"250ms\"\n").start().await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    calls.spawn(caller.chat(false));
    let (mut other, _) = provider.request().await;
    let event = chunk(event(&"x".repeat(60_000)));
    while there.try_send(&event).await.is_ok() {}
    other.send(plain(&completion("ok"))).await;
    let mut answers = Vec::new();
    while let Some(response) = soon("an answer", calls.join_next()).await {
        answers.push(text(response.unwrap().unwrap()).await);
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1, "a cut answer must not look complete");
    assert!(answers.contains(&Ok(completion("ok"))));
}

/// A call by HTTP/2, on a connection whose caller has room for nothing.
pub(crate) fn unread_call(stream: u32) -> Vec<u8> {
    let spell = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let pairs = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/chat/completions"), (":authority", "g")];
    let head: Vec<u8> = pairs.iter().flat_map(|(name, value)| [vec![0], spell(name), spell(value)].concat()).collect();
    let body = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, END_STREAM, stream, body)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_its_provider_has_ended_holds_no_permit_though_nobody_reads_it() {
    let provider = Provider::start().await;
    let one = "[concurrency]\ninitial = 1\nmin = 1\nmax = 1\nmax_wait = \"20s\"\n";
    let gateway = Setup::over(&[provider.address]).tables(one).start().await;
    let mut unread = TcpStream::connect(gateway.address).await.unwrap();
    unread.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat()).await.unwrap();
    for number in 0..3 {
        unread.write_all(&unread_call(2 * number + 1)).await.unwrap();
        let (mut there, _) = provider.request().await;
        there.send(STREAM).await;
        there.send(chunk(event("first"))).await;
        let mut caller = gateway.connect().await;
        caller.send(chat()).await;
        // Some hundred tokens more, in pieces.
        for _ in 0..50 {
            there.send(chunk(event("and more"))).await;
        }
        there.send([chunk(FINISH), chunk(DONE), LAST_CHUNK.into()].concat()).await;
        // The only permit is free again, and goes to who waits for it.
        provider.next_request(&mut there).await;
        there.send(plain(&completion("ok"))).await;
        assert_eq!(caller.message().await.text(), completion("ok"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_before_the_first_event_are_signs_of_life_and_do_not_pile_up() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(": working\n\n")).await;
    let many = chunk(": working\n\n".repeat(10_000));
    for _ in 0..100 {
        there.send(&many).await;
    }
    there.send([chunk(event("first")), chunk(DONE), LAST_CHUNK.into()].concat()).await;
    let message = caller.message().await;
    assert!(message.text().starts_with(": working\n\n") && message.text().ends_with(&(event("first") + DONE)));
    assert!(message.body.len() < 8 * 1024, "{} bytes of comments were kept", message.body.len());
}
