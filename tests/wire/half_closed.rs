//! Connections of which one side has said all that it will say, and the other has not.

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{STREAM, answer, chat, chat_of, chat_stream, chunk, completion, event, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_falls_silent_for_good_in_a_stream_is_hung_up_on() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    there.finish().await;
    let rest = caller.body().await;
    let rest = std::str::from_utf8(&rest).expect("text");
    assert!(rest.contains(r#""code":"stream_incomplete""#) && !rest.contains("[DONE]"), "{rest}");
    // It would listen for ever: it is the gateway that must let go.
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_the_provider_ends_while_it_is_idle_is_not_used_again() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    for _ in 0..20 {
        caller.send(chat()).await;
        let (mut there, _) = provider.request().await;
        there.send(plain(&completion("first"))).await;
        assert_eq!(caller.message().await.text(), completion("first"));
        there.finish().await;
        assert_eq!(there.closed().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_comes_before_the_provider_has_read_the_request_reaches_the_caller() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    // More than the sockets between the two hold.
    let long = "x".repeat(3 << 20);
    caller.send(chat_of(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{long}"}}]}}"#))).await;
    let mut there = provider.connection().await;
    there.head().await;
    let refusal = r#"{"error":{"message":"too long for this model","type":"invalid_request_error","code":"too_long"}}"#;
    there.send(answer("400 Bad Request", "connection: close\r\n", refusal)).await;
    there.finish().await;
    let message = caller.message().await;
    assert_eq!((message.status(), &message.json()["error"]["code"]), (400, &"too_long".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_ends_its_side_has_left() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    // No client of HTTP does this and still wants an answer; nearly all that are gone look like it.
    caller.finish().await;
    assert_eq!(there.closed().await, "");
    assert_eq!(caller.closed().await, "");
}
