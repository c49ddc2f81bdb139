//! Providers whose certificate is not good, or whose handshake never ends: nothing of the call reaches them, another target
//! answers, and without one the caller gets a prompt and honest error.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::frames::Frames;
use crate::gateway::Setup;
use crate::provider::Provider;
use crate::secure::{Authority, Paper, SecureProvider};
use crate::socket::{Message, soon};
use crate::words::{chat, completion, plain};

/// The gateway hangs up in the handshake: what would come after it never does.
async fn hangs_up(provider: &SecureProvider) {
    let fault = provider.try_connection().await.expect_err("the gateway does not go on");
    let alert = fault.to_string();
    assert!(alert.contains("certificate") || alert.contains("CA") || alert.contains("alert"), "{alert}");
}

fn is_unreachable(message: &Message) {
    assert_eq!((message.status(), &message.json()["error"]["code"]), (502, &"provider_unreachable".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_with_a_private_certificate_is_trusted_when_the_config_says_whose_it_is() {
    let authority = Authority::new("tls-good");
    let provider = authority.provider(Paper::Good, &["h2", "http/1.1"]).await;
    let gateway = Setup::over(&[provider.address]).first_over_tls(&authority.file()).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let mut there = Frames::greet(provider.connection().await).await;
    let (stream, _) = there.request().await;
    there.answer(stream, &completion("over TLS")).await;
    assert_eq!(caller.message().await.text(), completion("over TLS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_only_speaks_http_1_over_tls_is_spoken_to_in_it() {
    let authority = Authority::new("tls-h1");
    let provider = authority.provider(Paper::Good, &["http/1.1"]).await;
    let gateway = Setup::over(&[provider.address]).first_over_tls(&authority.file()).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let mut there = provider.connection().await;
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        soon("a request", there.read_buf(&mut read)).await.expect("the gateway writes");
    }
    assert!(read.starts_with(b"POST /v1/chat/completions HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&read));
    there.write_all(plain(&completion("over TLS")).as_bytes()).await.expect("the gateway reads");
    assert_eq!(caller.message().await.text(), completion("over TLS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_expired_or_for_another_name_is_no_connection() {
    let authority = Authority::new("tls-bad");
    for paper in [Paper::Expired, Paper::ForAnother] {
        let provider = authority.provider(paper, &["h2"]).await;
        let gateway = Setup::over(&[provider.address]).first_over_tls(&authority.file()).start().await;
        let mut caller = gateway.connect().await;
        caller.send(chat()).await;
        hangs_up(&provider).await;
        is_unreachable(&caller.message().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_nobody_trusts_is_none() {
    let (authority, stranger) = (Authority::new("tls-known"), Authority::new("tls-stranger"));
    let provider = stranger.provider(Paper::Good, &["h2"]).await;
    let gateway = Setup::over(&[provider.address]).first_over_tls(&authority.file()).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    hangs_up(&provider).await;
    is_unreachable(&caller.message().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_certificate_costs_the_caller_nothing_when_there_is_another_target() {
    let authority = Authority::new("tls-failover");
    let (first, second) = (authority.provider(Paper::Expired, &["h2"]).await, Provider::start().await);
    let setup = Setup::over(&[first.address, second.address]).first_over_tls(&authority.file());
    let gateway = setup.start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    hangs_up(&first).await;
    let (mut there, _) = second.request().await;
    there.send(plain(&completion("second"))).await;
    assert_eq!(caller.message().await.text(), completion("second"));
}

/// What a peer that never answers gets to see of a TLS handshake, until the gateway gives up.
async fn seen_by_silence(listener: TcpListener) -> Vec<u8> {
    let (mut stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
    let mut seen = Vec::new();
    // A reset is an end too.
    let _ = soon("the end of the connection", stream.read_to_end(&mut seen)).await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_ends_is_given_up_and_nothing_of_the_call_was_said() {
    let authority = Authority::new("tls-stall");
    let (first, second) = (TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port"), Provider::start().await);
    let address = first.local_addr().expect("a bound port");
    let setup = Setup::over(&[address, second.address]).first_over_tls(&authority.file());
    // `first_byte` is far longer than the test waits: it is the connection that is given up.
    let gateway = setup.tables("[timeout]\nconnect = \"300ms\"\nfirst_byte = \"60s\"\n").start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let seen = seen_by_silence(first).await;
    // A record of a handshake (RFC 8446, 5.1), and none in the clear.
    assert_eq!(seen[0], 0x16, "{seen:?}");
    let text = String::from_utf8_lossy(&seen);
    assert!(!text.contains("POST") && !text.contains("messages") && !text.contains("sk-first"), "{text}");
    let (mut there, _) = second.request().await;
    there.send(plain(&completion("second"))).await;
    assert_eq!(caller.message().await.text(), completion("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_answers_a_handshake_in_the_clear_is_no_connection() {
    let authority = Authority::new("tls-clear");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let gateway = Setup::over(&[address]).first_over_tls(&authority.file()).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
    stream.write_all(plain(&completion("in the clear")).as_bytes()).await.expect("the gateway reads");
    is_unreachable(&caller.message().await);
}
