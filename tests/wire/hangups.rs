//! Callers that leave: the provider's request ends with theirs, whatever stage it is at.

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_in_the_middle_of_a_stream_cancels_the_providers_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    // The provider is silent: it is the caller's end that must be noticed, not a failed write.
    drop(caller);
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_before_the_first_byte_cancels_the_providers_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    for request in [chat(), chat_stream()] {
        let mut caller = gateway.connect().await;
        caller.send(request).await;
        let (mut there, _) = provider.request().await;
        drop(caller);
        assert_eq!(there.closed().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_before_the_first_event_cancels_the_providers_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(": wait\n\n")).await;
    drop(caller);
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_resets_its_connection_cancels_the_providers_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.reset();
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_during_bytes_without_events_cancels_the_providers_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(post("/v1/audio/speech", "", r#"{"model":"m","input":"hi","voice":"v"}"#)).await;
    let (mut there, _) = provider.request().await;
    there.send("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n").await;
    there.send(chunk("sound")).await;
    assert_eq!(caller.head().await.header("content-type"), Some("audio/mpeg"));
    caller.receive("sound").await;
    drop(caller);
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_does_not_trouble_the_next() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let (mut stays, mut leaves) = (gateway.connect().await, gateway.connect().await);
    stays.send(chat_stream()).await;
    let (mut kept, _) = provider.request().await;
    leaves.send(chat_stream()).await;
    let (mut cancelled, _) = provider.request().await;
    for there in [&mut kept, &mut cancelled] {
        there.send(STREAM).await;
        there.send(chunk(event("first"))).await;
    }
    leaves.head().await;
    drop(leaves);
    cancelled.closed().await;
    stays.head().await;
    stays.receive(event("first")).await;
    kept.send(chunk(crate::words::DONE)).await;
    stays.receive(crate::words::DONE).await;
    kept.send(LAST_CHUNK).await;
    assert_eq!(stays.body().await, "");
    stays.send(chat()).await;
    provider.next_request(&mut kept).await;
    kept.send(plain(&completion("ok"))).await;
    assert_eq!(stays.message().await.text(), completion("ok"));
}
