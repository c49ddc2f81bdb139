//! A provider that dies under load: no call is lost that had not yet streamed its first event.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, Setup};
use crate::h2c::{Http2, receive};
use crate::provider::{Following, Provider};
use crate::socket::soon;
use crate::words::{DONE, FINISH, LAST_CHUNK, STREAM, chunk, completion, event, plain};

/// How far a call has come when the first provider dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was answered long ago.
    Answered,
    /// The request was read, and nothing said.
    Asked,
    /// Half of a plain answer has come.
    Half,
    /// The head of a stream has come.
    Head,
    /// A comment has come, which says nothing.
    Comment,
    /// The caller has the first event.
    Begun,
    /// It begins while the provider dies.
    Late,
}

const STAGES: [Stage; 7] =
    [Stage::Answered, Stage::Asked, Stage::Half, Stage::Head, Stage::Comment, Stage::Begun, Stage::Late];

/// What a call got.
struct Got {
    stage: Stage,
    is_stream: bool,
    status: u16,
    body: String,
}

/// The provider that will die: it brings each call to the stage that its model names, and counts it.
fn first(provider: Provider, brought: Arc<Semaphore>) -> Following {
    provider.follow(move |mut socket, request| {
        let brought = brought.clone();
        let stage = STAGES.into_iter().find(|stage| request.text().contains(&format!("{stage:?}")));
        let is_stream = request.text().contains(r#""stream":true"#);
        Box::pin(async move {
            match stage.expect("a stage in the model's name") {
                Stage::Answered if is_stream => socket.send(whole_stream("first")).await,
                Stage::Answered => socket.send(plain(&completion("first"))).await,
                Stage::Half => socket.send(&plain(&completion("first"))[..120]).await,
                Stage::Head => socket.send(STREAM).await,
                Stage::Comment => socket.send([STREAM.as_bytes(), &chunk(": wait\n\n")].concat()).await,
                Stage::Begun => socket.send([STREAM.as_bytes(), &chunk(event("first"))].concat()).await,
                Stage::Asked | Stage::Late => {}
            }
            brought.add_permits(1);
            match stage {
                Some(Stage::Answered) => Some(socket),
                _ => std::future::pending().await,
            }
        })
    })
}

fn second(provider: Provider) -> Following {
    provider.reply(|request| match request.text().contains(r#""stream":true"#) {
        true => whole_stream("second"),
        false => plain(&completion("second")).into(),
    })
}

fn whole_stream(text: &str) -> Vec<u8> {
    [STREAM.as_bytes(), &chunk(event(text)), &chunk(FINISH), &chunk(DONE), LAST_CHUNK.as_bytes()].concat()
}

/// Makes calls at every stage, over several connections; `begun` counts the callers that have their first event.
async fn call(gateway: &Gateway, stages: &[Stage], count: usize, begun: &Arc<Semaphore>) -> JoinSet<Got> {
    let mut calls = JoinSet::new();
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.push(Http2::connect(gateway).await);
    }
    for index in 0..count {
        let stage = stages[index % stages.len()];
        let is_stream = match stage {
            Stage::Head | Stage::Comment | Stage::Begun => true,
            Stage::Half => false,
            Stage::Answered | Stage::Asked | Stage::Late => (index / stages.len()).is_multiple_of(2),
        };
        let response = callers[index % 4].chat_with(&format!("{stage:?}"), is_stream);
        let begun = begun.clone();
        calls.spawn(async move {
            let response = soon("an answer", response).await.expect("an answer");
            let status = response.status().as_u16();
            let mut body = response.into_body();
            let mut text = String::new();
            if stage == Stage::Begun {
                receive(&mut body, &event("first")).await;
                text = event("first");
                begun.add_permits(1);
            }
            let rest = soon("the rest", body.collect()).await.expect("an end in order").to_bytes();
            text.push_str(std::str::from_utf8(&rest).expect("text"));
            Got { stage, is_stream, status, body: text }
        });
    }
    // The connections live as long as somebody waits for an answer on them.
    calls.spawn(async move {
        std::future::pending::<()>().await;
        drop(callers);
        unreachable!()
    });
    calls
}

fn check(got: &Got, by: &str) {
    let Got { stage, is_stream, status, body } = got;
    assert_eq!(*status, 200, "{stage:?}: {body}");
    match (stage, is_stream) {
        (Stage::Begun, _) => {
            let rest = body.strip_prefix(&event("first")).expect("the first event");
            assert!(rest.contains(r#""code":"stream_incomplete""#) && !rest.contains("[DONE]"), "{rest}");
        }
        (_, true) => assert_eq!(*body, event(by) + FINISH + DONE, "{stage:?}"),
        (_, false) => assert_eq!(*body, completion(by), "{stage:?}"),
    }
}

const CALLS: usize = 180;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_dies_under_load_costs_no_call_that_had_not_begun_to_stream() {
    let (first, second) = dies_under_load(|setup| setup).await;
    let of =
        |stage: Stage| first.requests().iter().filter(|request| request.text().contains(&format!("{stage:?}"))).count();
    for stage in &STAGES[..6] {
        assert_eq!(of(*stage), CALLS / 6, "{stage:?}: no call was repeated at the first provider");
    }
    assert_eq!(second.requests().len(), CALLS - 2 * CALLS / 6 + 20, "no call was repeated at the second");
}

/// Retries, breakers and resuming must not make it worse. The second provider says something else than the first, so
/// that no stream can be resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_policies_too_it_costs_no_call_that_had_not_begun_to_stream() {
    dies_under_load(Setup::with_policies).await;
}

async fn dies_under_load(with: impl FnOnce(Setup) -> Setup) -> (Following, Following) {
    let (brought, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut first = first(Provider::start().await, brought.clone());
    let second = second(Provider::start().await);
    let gateway = with(Setup::over(&[first.address, second.address])).start().await;
    let early = &STAGES[..6];
    let mut calls = call(&gateway, early, CALLS, &begun).await;
    let wait = |semaphore: Arc<Semaphore>, count: usize| async move {
        soon("the calls' stages", semaphore.acquire_many(count as u32)).await.expect("an open semaphore").forget();
    };
    wait(brought, CALLS).await;
    wait(begun.clone(), CALLS / early.len()).await;
    let mut late = call(&gateway, &[Stage::Late], 20, &begun).await;
    first.die().await;

    let mut seen = 0;
    while seen < CALLS {
        let got = soon("an answer", calls.join_next()).await.expect("a call").expect("a call that does not panic");
        check(&got, if got.stage == Stage::Answered { "first" } else { "second" });
        seen += 1;
    }
    for _ in 0..20 {
        check(
            &soon("an answer", late.join_next()).await.expect("a call").expect("a call that does not panic"),
            "second",
        );
    }
    (first, second)
}
