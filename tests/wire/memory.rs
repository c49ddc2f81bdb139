//! Large requests share a bounded memory: who finds none waits a little, and is refused then; small ones do not notice.

use crate::gateway::{Gateway, Setup};
use crate::provider::Provider;
use crate::socket::{Socket, soon};
use crate::words::{chat, chat_of, completion, plain};

/// A chat whose body takes so many KiB.
fn large(kib: usize) -> String {
    chat_of(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(kib * 1024 - 70)))
}

/// The same without saying how long it is.
fn in_chunks(kib: usize) -> Vec<u8> {
    let mut request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
                        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    let whole = large(kib);
    let body = whole.split_once("\r\n\r\n").expect("a body").1;
    for piece in body.as_bytes().chunks(50_000) {
        request.extend(crate::words::chunk(piece));
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

async fn gateway_and_provider(wait: &str) -> (Gateway, Provider) {
    let provider = Provider::start().await;
    let server = format!("max_buffered_bytes = \"1MiB\"\nbuffer_wait = \"{wait}\"\n");
    (Setup::over(&[provider.address]).server(&server).start().await, provider)
}

fn buffered(gateway: &Gateway) -> String {
    let page = gateway.current.gateway().metrics_text(false);
    let line = page.lines().find(|line| line.starts_with("tidegate_buffered_bytes ")).expect("a gauge");
    line.rsplit(' ').next().expect("a number").to_owned()
}

/// Waits until no memory is taken any more: an answer may be read before its call has quite ended.
async fn is_free(gateway: &Gateway) {
    soon("free memory", async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
        while buffered(gateway) != "0" {
            ticks.tick().await;
        }
    })
    .await;
}

async fn answered(there: &mut Socket, caller: &mut Socket) {
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_without_room_is_refused_and_small_ones_are_not() {
    for request in [large(700).into_bytes(), in_chunks(700)] {
        let (gateway, provider) = gateway_and_provider("200ms").await;
        let mut first = gateway.connect().await;
        first.send(&request).await;
        let (mut there, _) = provider.request().await;
        assert_ne!(buffered(&gateway), "0");
        for other in [large(700).into_bytes(), in_chunks(700)] {
            let mut second = gateway.connect().await;
            // It may be refused before it has sent everything.
            let _ = second.try_send(&other).await;
            let refusal = second.message().await;
            assert_eq!((refusal.status(), refusal.header("retry-after")), (503, Some("1")));
            assert_eq!(refusal.json()["error"]["code"], "overloaded");
        }
        let mut small = gateway.connect().await;
        small.send(chat()).await;
        let (mut small_there, _) = provider.request().await;
        answered(&mut small_there, &mut small).await;
        answered(&mut there, &mut first).await;
        is_free(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_waits_for_one_that_ends_soon() {
    let (gateway, provider) = gateway_and_provider("10s").await;
    let (mut first, mut second) = (gateway.connect().await, gateway.connect().await);
    first.send(large(700)).await;
    let (mut there, _) = provider.request().await;
    // The second is not read before there is room for it, so that its sender waits too.
    tokio::join!(second.send(large(700)), answered(&mut there, &mut first));
    let request = provider.next_request(&mut there).await;
    assert!(request.body.len() > 600 * 1024);
    answered(&mut there, &mut second).await;
    is_free(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_in_the_middle_takes_nothing_with_it() {
    let (gateway, provider) = gateway_and_provider("10s").await;
    let request = large(700);
    let mut first = gateway.connect().await;
    first.send(&request[..request.len() / 2]).await;
    drop(first);
    let mut second = gateway.connect().await;
    second.send(&request).await;
    let (mut there, _) = provider.request().await;
    answered(&mut there, &mut second).await;
    is_free(&gateway).await;
}
