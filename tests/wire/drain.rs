//! Leaving: no new connections, no call cut off, and an end even for a call that has none.

use tokio::net::TcpStream;

use crate::gateway::{Gateway, Setup};
use crate::h2c::{Http2, text};
use crate::provider::Provider;
use crate::socket::soon;
use crate::words::{DONE, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

async fn gateway_and_provider(server: &str) -> (Gateway, Provider) {
    let provider = Provider::start().await;
    (Setup::over(&[provider.address]).server(server).start().await, provider)
}

/// Waits until nobody can connect any more.
async fn refuses_connections(gateway: &Gateway) {
    let refused = async {
        // Who came in before the port was closed goes again, and the next one tries.
        while TcpStream::connect(gateway.address).await.is_ok() {}
    };
    soon("a refused connection", refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_refuses_connections_and_finishes_its_calls() {
    let (gateway, provider) = gateway_and_provider("").await;
    let (mut waits, mut streams, mut idle) =
        (gateway.connect().await, gateway.connect().await, gateway.connect().await);
    waits.send(chat()).await;
    let (mut plain_there, _) = provider.request().await;
    streams.send(chat_stream()).await;
    let (mut stream_there, _) = provider.request().await;
    stream_there.send(STREAM).await;
    stream_there.send(chunk(event("first"))).await;
    streams.head().await;
    streams.receive(event("first")).await;

    gateway.leave();
    refuses_connections(&gateway).await;
    assert_eq!(idle.closed().await, "");
    stream_there.send(chunk(event("second"))).await;
    streams.receive(event("second")).await;
    plain_there.send(plain(&completion("ok"))).await;
    let message = waits.message().await;
    assert_eq!(message.text(), completion("ok"));
    assert_eq!(message.header("connection"), Some("close"), "its caller must not send another call here");
    stream_there.send(chunk(DONE)).await;
    stream_there.send(LAST_CHUNK).await;
    assert_eq!(streams.body().await, DONE);
    for caller in [&mut waits, &mut streams] {
        assert_eq!(caller.closed().await, "");
    }
    assert!(gateway.left().await, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_cuts_off_a_stream_that_never_ends() {
    let (gateway, provider) = gateway_and_provider("drain_timeout = \"250ms\"\n").await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    gateway.leave();
    assert!(!gateway.left().await, "somebody was cut off");
    assert_eq!(there.closed().await, "");
    assert!(caller.try_body().await.is_err(), "a cut answer must not look complete");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_a_kept_connection_sends_to_a_leaving_gateway_is_answered_and_the_last() {
    let (gateway, provider) = gateway_and_provider("drain_idle = \"10s\"\n").await;
    let (mut used, mut fresh) = (gateway.connect().await, gateway.connect().await);
    used.send(chat()).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("before"))).await;
    assert_eq!(used.message().await.header("connection"), None);
    gateway.leave();
    refuses_connections(&gateway).await;
    for caller in [&mut used, &mut fresh] {
        caller.send(chat()).await;
        provider.next_request(&mut there).await;
        there.send(plain(&completion("after"))).await;
        let message = caller.message().await;
        assert_eq!((message.text(), message.header("connection")), (&*completion("after"), Some("close")));
        assert_eq!(caller.closed().await, "");
    }
    assert!(gateway.left().await, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_nothing_of_a_leaving_gateway_is_let_go() {
    let (gateway, provider) = gateway_and_provider("drain_idle = \"50ms\"\n").await;
    let (mut used, mut fresh) = (gateway.connect().await, gateway.connect().await);
    used.send(chat()).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok"))).await;
    used.message().await;
    gateway.leave();
    assert_eq!((used.closed().await, fresh.closed().await), ("".into(), "".into()));
    assert!(gateway.left().await, "that is no call cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_still_arriving_is_waited_for() {
    let (gateway, provider) = gateway_and_provider("").await;
    let mut caller = gateway.connect().await;
    let request = chat();
    let (begin, end) = request.split_at(request.len() - 10);
    caller.send(begin.replace("content-type", "expect: 100-continue\r\ncontent-type")).await;
    assert_eq!(caller.head().await.status(), 100, "the gateway reads the body");
    gateway.leave();
    refuses_connections(&gateway).await;
    caller.send(end).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
    assert!(gateway.left().await, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_finishes_the_streams_of_http2_too() {
    let (gateway, provider) = gateway_and_provider("").await;
    let mut caller = Http2::connect(&gateway).await;
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(caller.chat(true));
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    let response = soon("an answer", calls.join_next()).await.unwrap().unwrap().unwrap();
    gateway.leave();
    refuses_connections(&gateway).await;
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    assert_eq!(text(response).await.unwrap(), event("first") + DONE);
    assert!(gateway.left().await, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_sent_before_the_gateway_was_told_to_leave_is_answered() {
    let provider = Provider::start().await.say(plain(&completion("ok")));
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut callers = Vec::new();
    for _ in 0..50 {
        let mut caller = gateway.connect().await;
        caller.send(chat()).await;
        callers.push(caller);
    }
    gateway.leave();
    let mut lost = 0;
    for caller in &mut callers {
        match caller.try_message().await {
            Ok(message) => assert_eq!(message.text(), completion("ok")),
            Err(_) => lost += 1,
        }
    }
    assert_eq!(lost, 0, "calls were lost");
    assert!(gateway.left().await, "nobody was cut off");
}
