//! Policies that act on broken connections, over real ones: the same provider once more, and another for the rest.

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat, chat_stream, chunk, completion, event, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_before_the_answer_costs_one_retry_at_the_same_provider() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address]).with_policies().start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (there, lost) = first.request().await;
    there.reset();
    let (mut there, again) = first.request().await;
    assert_eq!(again.body, lost.body, "the same call");
    there.send(plain(&completion("first"))).await;
    assert_eq!(caller.message().await.text(), completion("first"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_goes_on_at_the_next_provider_as_if_nothing_had_happened() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address]).with_policies().start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = first.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("one "))).await;
    caller.head().await;
    caller.receive(event("one ")).await;
    there.reset();
    let (mut there, _) = second.request().await;
    there.send(STREAM).await;
    // The same answer in other pieces: what the caller has is not sent again, the rest comes as it is.
    for piece in [event("o"), event("ne two"), event(" three"), FINISH.into(), DONE.into()] {
        there.send(chunk(piece)).await;
    }
    there.send(LAST_CHUNK).await;
    let rest = caller.body().await;
    let rest = std::str::from_utf8(&rest).expect("text");
    let said: String = rest
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, "two three");
    assert!(rest.ends_with(DONE) && rest.contains("\"finish_reason\":\"stop\"") && !rest.contains("error"), "{rest}");
}
