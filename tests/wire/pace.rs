//! The pace of a caller's connection: silent, slow and idle ones are closed at their deadlines, and not before.
//!
//! A deadline is measured from before it can have begun, so that "not before" holds on any machine; the other side of
//! it is the patience of the tests.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::{Gateway, Setup};
use crate::provider::Provider;
use crate::socket::{Message, Socket};
use crate::words::{DONE, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

const SHORT: Duration = Duration::from_millis(250);

/// A gateway whose `key` of `[server]` is [`SHORT`], and its only provider.
async fn short(key: &str) -> (Gateway, Provider) {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).server(&format!("{key} = \"250ms\"\n")).start().await;
    (gateway, provider)
}

const NOW_AND_THEN: Duration = Duration::from_millis(20);

fn is_408(said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said:?}");
    assert!(said.contains("connection: close\r\n"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_closed() {
    let (gateway, _provider) = short("header_timeout").await;
    let start = Instant::now();
    let mut caller = gateway.connect().await;
    assert_eq!(caller.closed().await, "");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_refused_however_steadily_it_comes() {
    let (gateway, _provider) = short("header_timeout").await;
    let start = Instant::now();
    let mut caller = gateway.connect().await;
    is_408(&caller.drip(b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n", NOW_AND_THEN).await);
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_head_is_refused() {
    let (gateway, _provider) = short("header_timeout").await;
    for half in ["P", "PRI", "GET", "GET / HTTP/1.1\r\nhost: gateway\r\n"] {
        let mut caller = gateway.connect().await;
        caller.send(half).await;
        let said = caller.closed().await;
        // What may still become HTTP/2 is not answered in HTTP/1.
        if "PRI ".starts_with(half) { assert_eq!(said, "", "{half:?}") } else { is_408(&said) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_head_of_a_connection_has_its_own_deadline() {
    let (gateway, provider) = short("header_timeout").await;
    let mut caller = gateway.connect().await;
    provider_answers(&provider, &mut caller, None).await;
    let start = Instant::now();
    caller.send("POST /v1/chat").await;
    is_408(&caller.closed().await);
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_refused_in_the_callers_own_shape() {
    let (gateway, _provider) = short("body_timeout").await;
    let mut caller = gateway.connect().await;
    let request = chat();
    let start = Instant::now();
    caller.send(&request[..request.len() - 10]).await;
    let refusal = caller.message().await;
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    is_slow_body(&refusal);
    assert_eq!(caller.closed().await, "", "what comes after half a body cannot be understood");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_refused_however_steadily_it_comes() {
    let (gateway, _provider) = short("body_timeout").await;
    let mut caller = gateway.connect().await;
    caller
        .send("POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let said = caller.drip(b"1\r\n \r\n", NOW_AND_THEN).await;
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said:?}");
    assert!(said.contains(r#""code":"request_timeout""#), "{said:?}");
}

/// One call, on the connection to the provider that was kept or on a new one.
async fn provider_answers(provider: &Provider, caller: &mut Socket, kept: Option<Socket>) -> Socket {
    caller.send(chat()).await;
    let there = match kept {
        None => provider.request().await.0,
        Some(mut kept) => {
            provider.next_request(&mut kept).await;
            kept
        }
    };
    answered(there, caller).await
}

async fn answered(mut there: Socket, caller: &mut Socket) -> Socket {
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
    there
}

fn is_slow_body(refusal: &Message) {
    assert_eq!(refusal.status(), 408);
    let error = &refusal.json()["error"];
    assert_eq!(error["code"], "request_timeout");
    assert_eq!(error["type"], "invalid_request_error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_is_closed_when_it_has_been_idle_and_not_before() {
    let (gateway, provider) = short("idle_timeout").await;
    let mut caller = gateway.connect().await;
    let mut there = provider_answers(&provider, &mut caller, None).await;
    let mut start = Instant::now();
    for _ in 0..3 {
        start = Instant::now();
        there = provider_answers(&provider, &mut caller, Some(there)).await;
    }
    assert_eq!(caller.closed().await, "");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_longer_than_every_deadline_of_its_connection_is_answered() {
    let provider = Provider::start().await;
    let keys =
        "header_timeout = \"250ms\"\nbody_timeout = \"250ms\"\nidle_timeout = \"250ms\"\nwrite_timeout = \"250ms\"\n";
    let gateway = Setup::over(&[provider.address]).server(keys).start().await;
    let (mut plain_caller, mut stream_caller) = (gateway.connect().await, gateway.connect().await);
    plain_caller.send(chat()).await;
    let (mut plain_there, _) = provider.request().await;
    stream_caller.send(chat_stream()).await;
    let (mut stream_there, _) = provider.request().await;
    stream_there.send(STREAM).await;
    stream_there.send(chunk(event("first"))).await;
    // Silent connections, one after the other, are the clock: each lives for one deadline.
    for _ in 0..3 {
        assert_eq!(gateway.connect().await.closed().await, "");
    }
    plain_there.send(plain(&completion("ok"))).await;
    assert_eq!(plain_caller.message().await.text(), completion("ok"));
    stream_there.send(chunk(DONE)).await;
    stream_there.send(LAST_CHUNK).await;
    assert_eq!(stream_caller.message().await.text(), event("first") + DONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_does_not_read_is_cut_off_and_its_provider_cancelled() {
    let (gateway, provider) = short("write_timeout").await;
    let mut caller = gateway.connect().await;
    let start = Instant::now();
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    let event = chunk(event(&"x".repeat(60_000)));
    while there.try_send(&event).await.is_ok() {}
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    let said = String::from_utf8_lossy(&caller.closed().await).into_owned();
    assert!(!said.contains("[DONE]") && !said.ends_with(LAST_CHUNK), "a cut answer must not look complete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_closed_and_the_others_work() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).server("max_connections = 1\n").start().await;
    let mut caller = gateway.connect().await;
    let there = provider_answers(&provider, &mut caller, None).await;
    assert_eq!(gateway.connect().await.closed().await, "");
    provider_answers(&provider, &mut caller, Some(there)).await;
}
