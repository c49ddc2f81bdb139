//! Requests that two parsers might read differently: refused, the connection closed, and nothing of them sent on.

use crate::gateway::{Gateway, Setup};
use crate::provider::{Following, Provider};
use crate::socket::Socket;
use crate::words::{chat_of, completion, plain};

/// What must never reach the provider.
const SMUGGLED: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
                        content-length: 41\r\n\r\n{\"model\":\"smuggled\",\"messages\":[{\"a\":1}]}";
const BODY: &str = r#"{"model":"m","messages":[{}]}"#;

/// A request with these header lines and this body, whatever they say about each other.
fn request(headers: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
    )
}

/// The answers on a connection, up to its end.
async fn answers(caller: &mut Socket) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Ok(message) = caller.try_message().await {
        statuses.push(message.status());
    }
    statuses
}

/// A gateway that does not keep idle connections for long, and a provider that answers whatever comes.
async fn gateway_and_provider() -> (Gateway, Following) {
    let provider = Provider::start().await.say(plain(&completion("ok")));
    (Setup::over(&[provider.address]).server("idle_timeout = \"500ms\"\n").start().await, provider)
}

async fn are_refused(requests: &[(&str, String)]) {
    let (gateway, provider) = gateway_and_provider().await;
    let mut wrong = Vec::new();
    for (name, request) in requests {
        // Whole, and byte by byte: what is refused must not depend on how it arrives.
        for pieces in [request.len(), 1] {
            let mut caller = gateway.connect().await;
            for piece in request.as_bytes().chunks(pieces).chain([SMUGGLED.as_bytes()]) {
                // The gateway may have closed already.
                let _ = caller.try_send(piece).await;
            }
            let statuses = answers(&mut caller).await;
            if !matches!(statuses[..], [] | [400]) {
                wrong.push(format!("{name}, in pieces of {pieces}: {statuses:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "answered:\n{}", wrong.join("\n"));
    assert_eq!(provider.requests().len(), 0, "the provider saw something: {:?}", provider.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_two_ends_is_refused() {
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let length = BODY.len();
    are_refused(&[
        (
            "length, then chunks",
            request(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"), &chunked),
        ),
        ("chunks, then length", request("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &chunked)),
        ("two lengths", request(&format!("content-length: {length}\r\ncontent-length: 4\r\n"), BODY)),
        ("two lengths in one", request(&format!("content-length: {length}, 4\r\n"), BODY)),
        ("chunks twice", request("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", &chunked)),
        ("chunks in chunks", request("transfer-encoding: chunked, chunked\r\n", &chunked)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_whose_end_is_unclear_is_refused() {
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let requests = [
        ("length with a sign", "content-length: +29\r\n", BODY),
        ("negative length", "content-length: -1\r\n", BODY),
        ("length in hexadecimal", "content-length: 0x1d\r\n", BODY),
        ("length with a blank", "content-length: 2 9\r\n", BODY),
        ("no length", "content-length:\r\n", BODY),
        ("endless length", "content-length: 99999999999999999999999\r\n", BODY),
        ("unknown coding", "transfer-encoding: identity\r\n", BODY),
        ("disguised coding", "transfer-encoding: xchunked\r\n", &chunked),
        ("quoted coding", "transfer-encoding: \"chunked\"\r\n", &chunked),
        ("compressed", "transfer-encoding: gzip, chunked\r\n", &chunked),
        ("coding with a control character", "transfer-encoding: \u{b}chunked\r\n", &chunked),
        ("chunk size that is none", "transfer-encoding: chunked\r\n", "xyz\r\n"),
        ("chunk size with a prefix", "transfer-encoding: chunked\r\n", "0x1d\r\n"),
        ("chunk size with a sign", "transfer-encoding: chunked\r\n", "-1\r\n"),
        ("endless chunk size", "transfer-encoding: chunked\r\n", "1000000000000000000000000000\r\n"),
        ("chunk that goes on", "transfer-encoding: chunked\r\n", "2\r\n{}{}\r\n0\r\n\r\n"),
        ("chunk size with a bare line feed", "transfer-encoding: chunked\r\n", "2\n{}\r\n0\r\n\r\n"),
        ("chunk extension with a bare line feed", "transfer-encoding: chunked\r\n", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ("bare line feed after a chunk", "transfer-encoding: chunked\r\n", "2\r\n{}\n0\r\n\r\n"),
        ("bare line feed at the end", "transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\n"),
    ];
    are_refused(&requests.map(|(name, headers, body)| (name, request(headers, body)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_may_be_read_in_two_ways_is_refused() {
    let length = format!("content-length: {}\r\n", BODY.len());
    let whole = request(&length, BODY);
    are_refused(&[
        ("folded header", request(&format!("x: a\r\n b\r\n{length}"), BODY)),
        ("header folded with a tab", request(&format!("x: a\r\n\tb\r\n{length}"), BODY)),
        ("blank before the first header", whole.replace("\r\nhost", "\r\n host")),
        ("blank before a colon", whole.replace("content-length:", "content-length :")),
        ("tab before a colon", whole.replace("content-length:", "content-length\t:")),
        ("bare line feeds", whole.replace("\r\n", "\n")),
        ("bare line feed after the request line", whole.replacen("\r\n", "\n", 1)),
        ("bare line feed after a header", whole.replace("gateway\r\n", "gateway\n")),
        ("bare line feed at the end", whole.replace("\r\n\r\n", "\r\n\n")),
        ("bare line feed in a value", request(&format!("x: a\ntransfer-encoding: chunked\r\n{length}"), BODY)),
        ("bare carriage return", request(&format!("x: a\rtransfer-encoding: chunked\r\n{length}"), BODY)),
        ("zero byte", request(&format!("x: a\0b\r\n{length}"), BODY)),
        ("header without a name", request(&format!(": a\r\n{length}"), BODY)),
        ("header without a colon", request(&format!("content-length 1\r\n{length}"), BODY)),
        ("two hosts", request(&format!("host: other\r\n{length}"), BODY)),
        ("no host", whole.replace("host: gateway\r\n", "")),
        ("two blanks in the request line", whole.replace("POST /", "POST  /")),
        ("a tab in the request line", whole.replace("POST /", "POST\t/")),
        ("a word too many in the request line", whole.replace("HTTP/1.1", "x HTTP/1.1")),
        ("an unknown version", whole.replace("HTTP/1.1", "HTTP/1.2")),
        ("chunks in HTTP/1.0", request("transfer-encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_of_a_request_that_needs_none_is_not_the_next_request() {
    let (gateway, provider) = gateway_and_provider().await;
    let length = SMUGGLED.len();
    for head in ["GET /health", "HEAD /health", "GET /nowhere", "POST /nowhere", "DELETE /v1/chat/completions"] {
        let mut caller = gateway.connect().await;
        caller.send(format!("{head} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}")).await;
        caller.send("GET /health/live HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n").await;
        let said = caller.closed().await;
        let count = memchr::memmem::find_iter(&said, b"HTTP/1.1 ").count();
        // The last one may have been lost with a connection that was closed early, but none may be added.
        assert!((1..=2).contains(&count), "{head}: {}", String::from_utf8_lossy(&said));
    }
    assert_eq!(provider.requests().len(), 0, "the provider saw something: {:?}", provider.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_fine_are_served_one_after_the_other_even_when_sent_at_once() {
    let (gateway, provider) = gateway_and_provider().await;
    let chunked = request("transfer-encoding: chunked\r\n", "");
    let body: String = [&BODY[..1], &BODY[1..20], &BODY[20..]]
        .iter()
        .map(|piece| format!("{:X};ext=\"a b\"\r\n{piece}\r\n", piece.len()))
        .collect();
    let requests = [
        "\r\n".to_owned(),
        chat_of(BODY),
        format!("{chunked}{body}0\r\nx-trailer: 1\r\n\r\n"),
        "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n".into(),
        format!("{chunked}{body}000\r\n\r\n"),
        request(&format!("Content-Length: \t{} \r\n", BODY.len()), BODY),
    ]
    .concat();
    for pieces in [requests.len(), 1, 7] {
        let mut caller = gateway.connect().await;
        for piece in requests.as_bytes().chunks(pieces) {
            caller.send(piece).await;
        }
        for _ in 0..5 {
            assert_eq!(caller.message().await.status(), 200, "in pieces of {pieces}");
        }
        // A request that is refused does not take those before it along.
        caller.send([&chat_of(BODY), "GET /health HTTP/1.1\nhost: gateway\r\n\r\n"].concat()).await;
        assert_eq!(answers(&mut caller).await, [200, 400], "in pieces of {pieces}");
    }
    assert!(provider.requests().iter().all(|request| request.text() == BODY));
    assert_eq!(provider.requests().len(), 3 * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_spelt_in_one_way_or_refused() {
    let (gateway, provider) = gateway_and_provider().await;
    let ask = |target: &str, host: &str| {
        let length = BODY.len();
        format!(
            "POST {target} HTTP/1.1\r\nhost:{host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{BODY}"
        )
    };
    let spellings = [
        "/v1/chat/completions",
        "/v1/%63hat//./completions/?a=%2F..//",
        "http://gateway/v1/x/%2e%2e/chat/completions",
        "HTTP://gateway:80/v1/chat/completions/",
    ];
    for target in spellings {
        let mut caller = gateway.connect().await;
        caller.send(ask(target, " gateway")).await;
        assert_eq!(caller.message().await.status(), 200, "{target}");
    }
    let starts: Vec<String> = provider.requests().iter().map(|request| request.start.clone()).collect();
    assert_eq!(starts.len(), spellings.len());
    for start in &starts {
        let path = start.split(' ').nth(1).and_then(|path| path.split('?').next());
        assert_eq!(path, Some("/v1/chat/completions"), "{start}");
    }
    assert!(starts[1].contains("?a=%2F..//"), "a query stays as it is: {}", starts[1]);
    for (target, host) in [
        ("/v1/chat%2fcompletions", " gateway"),
        ("/v1/%252e%252e/admin", " gateway"),
        ("/v1/chat/completions;x=1", " gateway"),
        ("/v1\\chat\\completions", " gateway"),
        ("http://gateway/v1/chat%5ccompletions", " gateway"),
        ("http://me@gateway/v1/chat/completions", " gateway"),
        ("v1/chat/completions", " gateway"),
        ("/v1/chat/completions", ""),
        ("/v1/chat/completions", " a b"),
        ("/v1/chat/completions", " me@gateway"),
    ] {
        let mut caller = gateway.connect().await;
        // The gateway may have closed already.
        let _ = caller.try_send(ask(target, host).as_bytes()).await;
        let statuses = answers(&mut caller).await;
        assert!(matches!(statuses[..], [] | [400]), "{target}, host{host}: {statuses:?}");
    }
    assert_eq!(provider.requests().len(), spellings.len());
}
