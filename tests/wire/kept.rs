//! Kept connections to a provider that closes them as they are used: the caller gets an answer, and a call is executed
//! no more often than its route allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::words::{answer, chat, completion, plain};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_closes_while_the_second_call_is_on_its_way_costs_the_caller_nothing() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let first = first.follow(|mut socket, _| {
        // The end of the connection leaves right after the answer, and meets the next request wherever it is by then.
        Box::pin(async move {
            socket.send(plain(&completion("first"))).await;
            drop(socket);
            None
        })
    });
    let second = second.say(plain(&completion("second")));
    let gateway = Setup::over(&[first.address, second.address]).start().await;
    let calls = 200;
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let mut caller = gateway.connect().await;
        callers.spawn(async move {
            let mut by_first = 0;
            for _ in 0..calls / 4 {
                let message = caller.ask(chat()).await;
                assert_eq!(message.status(), 200, "{:?}", message.body);
                by_first += usize::from(message.text() == completion("first"));
            }
            by_first
        });
    }
    let by_first: usize = callers.join_all().await.into_iter().sum();
    // What the first provider read it answered: no call was executed twice.
    assert_eq!(first.requests().len(), by_first);
    assert_eq!(second.requests().len(), calls - by_first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_kept_connection_lost_goes_to_the_next_target_once() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = first.request().await;
    there.send(plain(&completion("first"))).await;
    assert_eq!(caller.message().await.text(), completion("first"));
    caller.send(chat()).await;
    first.next_request(&mut there).await;
    // It read the call, and may have executed it.
    drop(there);
    let (mut there, _) = second.request().await;
    there.send(plain(&completion("second"))).await;
    assert_eq!(caller.message().await.text(), completion("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_must_not_be_repeated_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // Every second request is read, and the connection closed instead of an answer.
    let first = Provider::start().await.follow(move |mut socket, _| {
        let is_lost = count.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        Box::pin(async move {
            if is_lost {
                return None;
            }
            socket.send(plain(&completion("first"))).await;
            Some(socket)
        })
    });
    let second = Provider::start().await.follow(|_, _| Box::pin(async { None }));
    let gateway = Setup::over(&[first.address, second.address]).route("idempotent = false\n").start().await;
    let mut caller = gateway.connect().await;
    for _ in 0..10 {
        assert_eq!(caller.ask(chat()).await.status(), 200);
        let refusal = caller.ask(chat()).await;
        let error = &refusal.json()["error"];
        assert_eq!((refusal.status(), &error["code"]), (502, &"provider_broken".into()));
        // It says what happened, and what is not known.
        let message = "The AI provider first closed the connection before it responded. It may have executed the call.";
        assert_eq!(error["message"], message);
    }
    assert_eq!(first.requests().len(), 20, "each call was executed at most once");
    assert_eq!(second.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_has_no_second_is_asked_again_when_its_kept_connection_lost_a_call() {
    let provider = Provider::start().await.follow(|mut socket, _| {
        Box::pin(async move {
            socket.send(plain(&completion("ok"))).await;
            drop(socket);
            None
        })
    });
    let gateway = Setup::over(&[provider.address]).with_policies().start().await;
    let mut caller = gateway.connect().await;
    for call in 0..1000 {
        assert_eq!(caller.ask(chat()).await.text(), completion("ok"), "call {call}");
    }
    assert_eq!(provider.requests().len(), 1000, "no call was executed twice");
}

/// Answers the first request of a connection, and hangs up on the second as a provider does that closes idle connections.
async fn first_only(head: &'static str) -> crate::provider::Following {
    Provider::start().await.follow(move |mut socket, _| {
        Box::pin(async move {
            socket.send(answer("200 OK", head, &completion("ok"))).await;
            let _ = socket.try_message().await;
            None
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_must_not_be_repeated_goes_over_a_connection_that_nobody_can_be_closing() {
    let provider = first_only("").await;
    let gateway = Setup::over(&[provider.address]).route("idempotent = false\n").start().await;
    let mut caller = gateway.connect().await;
    for call in 0..200 {
        assert_eq!(caller.ask(chat()).await.text(), completion("ok"), "call {call}");
    }
    assert_eq!((provider.requests().len(), provider.connections()), (200, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_not_used_for_longer_than_its_provider_says_that_it_keeps_it() {
    let provider = first_only("keep-alive: timeout=0\r\n").await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    for call in 0..20 {
        assert_eq!(caller.ask(chat()).await.text(), completion("ok"), "call {call}");
    }
    assert_eq!(provider.connections(), 20);
}
