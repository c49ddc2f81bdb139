//! Callers that send more of something than anybody needs: headers, streams given up, heads that never end, connections,
//! requests. They are refused or cut off, and others do not notice.

use std::fmt::Write;

use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::interval;

use crate::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, NO_ERROR, RST_STREAM,
    frame,
};
use crate::gateway::{Gateway, Setup};
use crate::h2c::Http2;
use crate::provider::{Following, Provider};
use crate::socket::soon;
use crate::words::{chat, completion, plain};

async fn gateway_and_provider(server: &str) -> (Gateway, Following) {
    let provider = Provider::start().await.say(plain(&completion("ok")));
    (Setup::over(&[provider.address]).server(server).start().await, provider)
}

fn get(headers: usize) -> String {
    let mut request = String::from("GET /health HTTP/1.1\r\nhost: gateway\r\n");
    for number in 1..headers {
        write!(request, "x-{number}: 1\r\n").expect("text can be written");
    }
    request + "\r\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_headers_than_are_allowed_are_not_read() {
    for (server, most) in [("", 100), ("max_headers = 40\n", 40), ("max_headers = 200\n", 200)] {
        let (gateway, _provider) = gateway_and_provider(server).await;
        assert_eq!(gateway.connect().await.ask(get(most)).await.status(), 200);
        assert_eq!(gateway.connect().await.ask(get(most + 1)).await.status(), 431);
        let mut caller = Http2::connect(&gateway).await;
        assert_eq!(caller.health(most).await, 200);
        assert_eq!(caller.health(most + 1).await, 431);
        assert_eq!(caller.health(1).await, 200, "the connection goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_that_a_connection_gets_says_so() {
    let (gateway, _provider) = gateway_and_provider("max_requests_per_connection = 3\n").await;
    let mut caller = gateway.connect().await;
    for number in 1..=3 {
        let answer = caller.ask(chat()).await;
        assert_eq!((answer.status(), answer.header("connection")), (200, (number == 3).then_some("close")));
    }
    assert_eq!(caller.closed().await, "");

    // In HTTP/2 what runs goes on, and the caller is told that nothing more is taken.
    let mut caller = Http2::connect(&gateway).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(caller.chat(false));
    }
    for answer in answers {
        assert_eq!(soon("an answer", answer).await.expect("an answer").status(), 200);
    }
    caller.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_get_all_connections() {
    let (gateway, _provider) = gateway_and_provider("max_connections_per_address = 2\n").await;
    let (mut one, two) = (gateway.connect().await, gateway.connect().await);
    assert_eq!(one.ask(chat()).await.status(), 200);
    assert_eq!(gateway.connect().await.closed().await, "");
    drop(two);
    // The place is free once the gateway has noticed.
    let again = async {
        loop {
            let mut caller = gateway.connect().await;
            if caller.try_send(chat()).await.is_ok()
                && let Ok(answer) = caller.try_message().await
            {
                return answer;
            }
        }
    };
    assert_eq!(soon("a free place", again).await.status(), 200);
    let trusting = "max_connections_per_address = 2\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let (gateway, _provider) = gateway_and_provider(trusting).await;
    let mut many = Vec::new();
    for _ in 0..5 {
        many.push(gateway.connect().await);
    }
    for caller in &mut many {
        assert_eq!(caller.ask(chat()).await.status(), 200);
    }
}

/// A head without its end: `POST http://gateway/v1/chat/completions` (RFC 7541: 0x83 and 0x86 are entries of the static
/// table, 0x44 and 0x41 literal values of `:path` and `:authority`).
fn head() -> BytesMut {
    let mut block = BytesMut::from(&[0x83, 0x86][..]);
    for (name, value) in [(0x44, "/v1/chat/completions"), (0x41, "gateway")] {
        block.extend_from_slice(&[name, value.len() as u8]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// Another caller is answered, whatever happens beside it.
async fn is_served(gateway: &Gateway) {
    assert_eq!(gateway.connect().await.ask(chat()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_opens_streams_only_to_give_them_up_is_cut_off() {
    let (gateway, provider) = gateway_and_provider("").await;
    let mut caller = Frames::call(TcpStream::connect(gateway.address).await.expect("a connection")).await;
    let head = head();
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        let opened = caller.try_send(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
        if opened.is_err() || caller.try_send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).await.is_err() {
            break;
        }
        if number % 1000 == 0 {
            is_served(&gateway).await;
        }
    }
    let reason = caller.gone().await;
    assert!(matches!(reason, None | Some(ENHANCE_YOUR_CALM)), "{reason:?}");
    is_served(&gateway).await;
    // An empty body is no call: nothing but the other caller's was sent on.
    assert!(provider.requests().len() <= 22, "{}", provider.requests().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_cut_off_in_http_2_too() {
    let (gateway, provider) = gateway_and_provider("").await;
    // Many frames with a little in each, and with nothing at all.
    for piece in [&b"\x00\x03x-a\x01b"[..], b""] {
        let mut caller = Frames::call(TcpStream::connect(gateway.address).await.expect("a connection")).await;
        caller.send(HEADERS, END_STREAM, 1, &head()).await;
        let mut sent = 0;
        while sent < 100_000 && caller.try_send(CONTINUATION, 0, 1, piece).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 100_000, "it takes any number of them");
        let reason = caller.gone().await;
        assert!(matches!(reason, None | Some(ENHANCE_YOUR_CALM)), "{reason:?}");
        is_served(&gateway).await;
    }
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_cut_off_at_its_deadline_in_http_2_too_whatever_else_runs_beside_it() {
    let provider = Provider::start().await;
    // Nothing else would end the connection while the test waits.
    let keys = "header_timeout = \"300ms\"\nidle_timeout = \"5m\"\n";
    let gateway = Setup::over(&[provider.address]).server(keys).start().await;
    for is_busy in [false, true] {
        let mut caller = Frames::call(TcpStream::connect(gateway.address).await.expect("a connection")).await;
        let mut running = None;
        if is_busy {
            caller.send(HEADERS, END_HEADERS, 1, &head()).await;
            caller.send(DATA, END_STREAM, 1, br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).await;
            running = Some(provider.request().await);
        }
        // A whole frame is announced, and comes byte by byte.
        let whole = frame(HEADERS, END_STREAM | END_HEADERS, 3, &[&head()[..], &[0x82; 1000]].concat());
        let mut ticks = interval(Duration::from_millis(20));
        let dripping = async {
            for byte in whole {
                ticks.tick().await;
                if caller.try_send_bytes(&[byte]).await.is_err() {
                    return;
                }
            }
        };
        soon("the end of the connection", dripping).await;
        let reason = caller.gone().await;
        assert!(matches!(reason, None | Some(NO_ERROR)), "{reason:?}");
        drop(running);
    }
}
