//! Callers that send more while they are answered: the requests that come too early are answered in their turn, and a
//! caller that leaves is noticed whatever it has sent before.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, frame};
use crate::gateway::Setup;
use crate::linger::secured;
use crate::provider::Provider;
use crate::socket::soon;
use crate::talk::{Far, VOICE};
use crate::words::{STREAM, chat, chat_of, chat_stream, chunk, completion, event, plain};

/// What a caller may send after its request: a line end too many, half a request, whole ones, and far more than is kept.
fn too_early() -> Vec<Vec<u8>> {
    let large = chat_of(&"x".repeat(5 << 20));
    let many = "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n";
    vec![b"\r\n".to_vec(), b"G".to_vec(), many.into(), many.repeat(10_000).into(), large.into(), vec![b'\n'; 1 << 20]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_is_noticed_whatever_it_sent_after_its_request() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    for request in [chat(), chat_stream()] {
        for early in too_early() {
            let mut caller = gateway.connect().await;
            caller.send(&request).await;
            let (mut there, _) = provider.request().await;
            caller.send(&early).await;
            drop(caller);
            assert_eq!(there.closed().await, "");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_a_stream_is_noticed_whatever_it_sent_and_however_it_leaves() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    for early in too_early() {
        for how in 0..3 {
            let mut caller = gateway.connect().await;
            caller.send([chat_stream().as_bytes(), &early].concat()).await;
            let (mut there, _) = provider.request().await;
            there.send(STREAM).await;
            there.send(chunk(event("first"))).await;
            caller.head().await;
            caller.receive(event("first")).await;
            match how {
                0 => drop(caller),
                1 => caller.reset(),
                _ => {
                    caller.finish().await;
                    assert_eq!(caller.closed().await, "");
                }
            }
            assert_eq!(there.closed().await, "");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_tls_that_leaves_is_noticed_whatever_it_sent() {
    let provider = Provider::start().await;
    let (gateway, authority) = secured("ahead", &provider).await;
    for early in too_early() {
        let mut caller = authority.connect(&gateway, &[]).await;
        caller.write_all(chat().as_bytes()).await.unwrap();
        let (mut there, _) = provider.request().await;
        soon("a write", caller.write_all(&early)).await.unwrap();
        caller.flush().await.unwrap();
        // It ends TLS in order, and would still listen.
        soon("a write", caller.shutdown()).await.unwrap();
        assert_eq!(there.closed().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_http2_that_leaves_is_noticed_whatever_it_sent() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let spell = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let pairs = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/chat/completions"), (":authority", "g")];
    let head: Vec<u8> = pairs.iter().flat_map(|(name, value)| [vec![0], spell(name), spell(value)].concat()).collect();
    let request = [
        PREFACE,
        &frame(SETTINGS, 0, 0, b""),
        &frame(HEADERS, END_HEADERS, 1, &head),
        &frame(DATA, END_STREAM, 1, body),
    ]
    .concat();
    let half = frame(HEADERS, END_HEADERS, 3, &head);
    for early in [half[..4].to_vec(), half, frame(PING, 0, 0, b"are you?").repeat(50)] {
        let mut caller = TcpStream::connect(gateway.address).await.unwrap();
        caller.write_all(&request).await.unwrap();
        let (mut there, _) = provider.request().await;
        caller.write_all(&early).await.unwrap();
        drop(caller);
        assert_eq!(there.closed().await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_while_its_websocket_is_asked_for_is_noticed_whatever_it_sent() {
    let far = Far::start().await;
    let gateway = crate::talk::gateway(&[far.address], "", "").await;
    let mut caller = gateway.connect().await;
    caller
        .send(format!(
            "GET {VOICE} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
    let (there, _) = far.asked().await;
    caller.send(b"\x81\x85\0\0\0\0early").await;
    drop(caller);
    assert_eq!(crate::socket::Socket::new(there).closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_says_before_its_websocket_is_open_is_heard() {
    let far = Far::start().await;
    let gateway = crate::talk::gateway(&[far.address], "", "").await;
    let mut caller = gateway.connect().await;
    let request = format!(
        "GET {VOICE} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    caller.send([request.as_bytes(), b"\x81\x85\0\0\0\0early"].concat()).await;
    let (mut there, _) = far.agrees().await;
    assert_eq!(crate::talk::heard(&mut there).await.to_text().expect("text"), "early");
    assert_eq!(caller.head().await.status(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_too_early_are_answered_in_their_turn() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    let named = |name: &str| chat_of(&format!(r#"{{"model":"{name}","messages":[{{"role":"user","content":"hi"}}]}}"#));
    caller.send(["one", "two", "three"].map(named).concat()).await;
    let (mut there, mut request) = provider.request().await;
    for name in ["one", "two", "three"] {
        assert_eq!(request.json()["model"], name);
        there.send(plain(&completion(name))).await;
        assert_eq!(caller.message().await.text(), completion(name));
        if name != "three" {
            request = provider.next_request(&mut there).await;
        }
    }
    // The connection is as good as before.
    caller.send(named("four")).await;
    assert_eq!(provider.next_request(&mut there).await.json()["model"], "four");
    there.send(plain(&completion("four"))).await;
    assert_eq!(caller.message().await.text(), completion("four"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_sends_far_too_much_too_early_is_answered_what_was_kept_and_let_go() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    let early = "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n";
    caller.send(early.repeat(10_000)).await;
    there.send(plain(&completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
    let mut answers = 0;
    while let Ok(message) = caller.try_message().await {
        assert_eq!(message.status(), 200);
        answers += 1;
    }
    // 64 KiB of them.
    assert!((1_000..2_000).contains(&answers), "{answers}");
}
