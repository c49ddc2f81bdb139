//! Policies that act on broken connections, over real ones: the same provider once more, and another for the rest.

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chat, chat_of, chat_stream, chunk, completion, event, plain};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_answer_that_is_shorter_is_continued_by_the_one_who_gave_it() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let setup = Setup::over(&[first.address, second.address]).with_policies().resume("replay+continue");
    let gateway = setup.second_target(", continues = true").start().await;
    let mut caller = gateway.connect().await;
    let asked = "{ \"messages\" : [ {\"role\":\"user\",\"content\":\"\\u0068i\"} ], \"stream\":true, \"model\":\"m\", \"z\":1.0 }";
    caller.send(chat_of(asked)).await;
    let (mut there, _) = first.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("one two "))).await;
    caller.head().await;
    caller.receive(event("one two ")).await;
    there.reset();
    let (mut there, _) = second.request().await;
    there.send(STREAM).await;
    for piece in [event("one"), FINISH.into(), DONE.into()] {
        there.send(chunk(piece)).await;
    }
    there.send(LAST_CHUNK).await;
    let request = second.next_request(&mut there).await;
    let wanted = asked.replace(" ], \"stream\"", " ,{\"role\":\"assistant\",\"content\":\"one two \"}], \"stream\"");
    assert_eq!(request.text(), wanted, "the caller's own bytes with one more message");
    there.send(STREAM).await;
    let opening = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    for piece in [opening.into(), event("three"), FINISH.into(), DONE.into()] {
        there.send(chunk(piece)).await;
    }
    there.send(LAST_CHUNK).await;
    let rest = caller.body().await;
    let rest = std::str::from_utf8(&rest).expect("text");
    assert!(rest.starts_with("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"three\"}"), "{rest}");
    assert!(rest.ends_with(DONE) && rest.contains("\"finish_reason\":\"stop\"") && !rest.contains("error"), "{rest}");
}
