//! Slow readers: what the caller does not read, the provider does not get to send. Nothing piles up in between.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::gateway::Setup;
use crate::h2c::{Http2, text};
use crate::provider::Provider;
use crate::socket::soon;
use crate::words::{DONE, LAST_CHUNK, STREAM, chat_stream, chunk, completion, event, plain};

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
