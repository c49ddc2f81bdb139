//! Providers that speak HTTP/2 over TLS: a refused stream, a connection that is to end, a stream that breaks, a caller that
//! leaves. What happens to one stream leaves the others of its connection alone.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::frames::{CANCEL, Frames, Happened, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM};
use crate::gateway::{Gateway, Setup};
use crate::secure::{Authority, Paper, SecureProvider};
use crate::socket::Socket;
use crate::words::{DONE, FINISH, chat, chat_of, chat_stream, completion, event};

type There = Frames<TlsStream<TcpStream>>;

/// A gateway with retries in front of one provider.
async fn one(test: &str) -> (Gateway, SecureProvider) {
    let authority = Authority::new(test);
    let provider = authority.provider(Paper::Good, &["h2"]).await;
    let setup = Setup::over(&[provider.address]).first_over_tls(&authority.file());
    (setup.with_policies().start().await, provider)
}

async fn connection(provider: &SecureProvider) -> There {
    Frames::greet(provider.connection().await).await
}

/// A stream of which the caller has the first event.
async fn begun(caller: &mut Socket, there: &mut There, stream: u32) {
    there.head(stream, "text/event-stream").await;
    there.data(stream, event("first")).await;
    caller.head().await;
    caller.receive(event("first")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_share_a_connection_and_do_not_wait_for_each_other() {
    let (gateway, provider) = one("h2-shared").await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let mut there = connection(&provider).await;
    let (stream, _) = there.request().await;
    begun(&mut caller, &mut there, stream).await;
    let mut other = gateway.connect().await;
    other.send(chat()).await;
    let (second, _) = there.request().await;
    there.answer(second, &completion("second")).await;
    assert_eq!(other.message().await.text(), completion("second"));
    there.last_data(stream, format!("{FINISH}{DONE}")).await;
    assert_eq!(caller.body().await, format!("{FINISH}{DONE}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_provider_refuses_is_asked_for_again() {
    let (gateway, provider) = one("h2-refused").await;
    let mut caller = gateway.connect().await;
    for request in [chat(), chat_of(r#"{"model":"m","messages":[{"role":"user","content":"again"}]}"#)] {
        caller.send(request).await;
        let mut there = connection(&provider).await;
        let (stream, lost) = there.request().await;
        there.reset(stream, REFUSED_STREAM).await;
        let (stream, again) = there.request().await;
        assert_eq!(lost, again, "the same call");
        there.answer(stream, &completion("first")).await;
        assert_eq!(caller.message().await.text(), completion("first"));
        // The next one begins with a connection of its own.
        there.go_away(stream, NO_ERROR).await;
        assert_eq!(there.next().await, Happened::Closed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_leaving_connection_did_not_look_at_are_asked_for_elsewhere_and_the_others_finish() {
    let (gateway, provider) = one("h2-goaway").await;
    let (mut caller, mut late) = (gateway.connect().await, gateway.connect().await);
    caller.send(chat_stream()).await;
    let mut there = connection(&provider).await;
    let (stream, _) = there.request().await;
    begun(&mut caller, &mut there, stream).await;
    late.send(chat()).await;
    let (unseen, lost) = there.request().await;
    assert!(unseen > stream);
    there.go_away(stream, NO_ERROR).await;
    let mut elsewhere = connection(&provider).await;
    let (again, repeated) = elsewhere.request().await;
    assert_eq!(lost, repeated, "the same call");
    elsewhere.answer(again, &completion("elsewhere")).await;
    assert_eq!(late.message().await.text(), completion("elsewhere"));
    // The stream that it did look at is not troubled.
    there.data(stream, event("second")).await;
    caller.receive(event("second")).await;
    there.last_data(stream, format!("{FINISH}{DONE}")).await;
    assert_eq!(caller.body().await, format!("{FINISH}{DONE}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_after_a_connection_was_told_to_end_goes_over_a_new_one() {
    let (gateway, provider) = one("h2-drained").await;
    let mut caller = gateway.connect().await;
    for _ in 0..5 {
        caller.send(chat()).await;
        let mut there = connection(&provider).await;
        let (stream, _) = there.request().await;
        there.go_away(stream, NO_ERROR).await;
        there.answer(stream, &completion("last words")).await;
        assert_eq!(caller.message().await.text(), completion("last words"));
        assert_eq!(there.next().await, Happened::Closed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_in_its_middle_ends_in_a_typed_error_event_and_leaves_its_connection_alone() {
    let (gateway, provider) = one("h2-reset").await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let mut there = connection(&provider).await;
    let (stream, _) = there.request().await;
    begun(&mut caller, &mut there, stream).await;
    there.reset(stream, INTERNAL_ERROR).await;
    let rest = caller.body().await;
    let rest = std::str::from_utf8(&rest).expect("text");
    assert!(rest.contains(r#""code":"stream_incomplete""#) && !rest.contains("[DONE]"), "{rest}");
    caller.send(chat()).await;
    let (stream, _) = there.request().await;
    there.answer(stream, &completion("same connection")).await;
    assert_eq!(caller.message().await.text(), completion("same connection"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_cancels_its_stream_and_no_other() {
    let (gateway, provider) = one("h2-cancel").await;
    let (mut leaves, mut stays) = (gateway.connect().await, gateway.connect().await);
    leaves.send(chat_stream()).await;
    let mut there = connection(&provider).await;
    let (cancelled, _) = there.request().await;
    begun(&mut leaves, &mut there, cancelled).await;
    stays.send(chat_stream()).await;
    let (kept, _) = there.request().await;
    begun(&mut stays, &mut there, kept).await;
    drop(leaves);
    assert_eq!(there.next().await, Happened::Reset(cancelled, CANCEL));
    there.last_data(kept, format!("{FINISH}{DONE}")).await;
    assert_eq!(stays.body().await, format!("{FINISH}{DONE}"));
}
