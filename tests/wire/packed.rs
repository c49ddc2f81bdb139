//! Packed answers: what a provider packs and what the gateway packs are two things, and every caller gets the same text.

use std::process::Stdio;

use async_compression::tokio::bufread::{
    BrotliDecoder, BrotliEncoder, GzipDecoder, GzipEncoder, ZstdDecoder, ZstdEncoder,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::gateway::Setup;
use crate::provider::Provider;
use crate::socket::soon;
use crate::words::{DONE, FINISH, chat, chat_stream, completion, event, plain, post};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

async fn read(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("it is in memory, and whole");
    bytes
}

async fn unpack(coding: Option<&str>, bytes: &[u8]) -> String {
    let text = match coding {
        Some("gzip") => read(GzipDecoder::new(bytes)).await,
        Some("br") => read(BrotliDecoder::new(bytes)).await,
        Some("zstd") => read(ZstdDecoder::new(bytes)).await,
        None => bytes.to_vec(),
        Some(other) => panic!("nobody asked for {other}"),
    };
    String::from_utf8(text).expect("a text")
}

fn accepting(codings: &str) -> String {
    let headers = format!("accept-encoding: {codings}\r\n");
    post("/v1/chat/completions", &headers, r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_gets_the_text_whatever_the_provider_packs_and_the_caller_takes() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let text = completion(&"the same again ".repeat(200));
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, request) = provider.request().await;
    assert_eq!(request.header("accept-encoding"), Some("identity"), "whatever the caller takes");
    there.send(plain(&text)).await;
    let plainly = caller.message().await;
    assert_eq!((plainly.text(), plainly.header("content-encoding")), (&*text, None));
    for packed_by_provider in ["gzip", "br", "zstd", ""] {
        let packed = match packed_by_provider {
            "gzip" => read(GzipEncoder::new(text.as_bytes())).await,
            "br" => read(BrotliEncoder::new(text.as_bytes())).await,
            "zstd" => read(ZstdEncoder::new(text.as_bytes())).await,
            _ => text.clone().into_bytes(),
        };
        for taken in ["gzip", "br", "zstd", "identity"] {
            caller.send(accepting(taken)).await;
            provider.next_request(&mut there).await;
            let coding = if packed_by_provider.is_empty() { "identity" } else { packed_by_provider };
            let length = packed.len();
            there
                .send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\netag: \"theirs\"\r\n\
                     content-length: {length}\r\n\r\n"
                ))
                .await;
            there.send(&packed).await;
            let answer = caller.message().await;
            let expected = Some(taken).filter(|coding| CODINGS.contains(coding));
            assert_eq!(answer.header("content-encoding"), expected, "{packed_by_provider} to {taken}");
            assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            assert_eq!(unpack(expected, &answer.body).await, text);
            assert!(expected.is_none() || answer.body.len() < text.len() / 4, "{}", answer.body.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_is_packed_while_it_leaves() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    // Not all alike, so that it comes to several pieces.
    let words: String = (0..60_000_u64).map(|n| format!("{:x} ", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let text = completion(&words);
    let mut caller = gateway.connect().await;
    let mut there = None;
    for coding in CODINGS {
        caller.send(accepting(coding)).await;
        let mut socket = match there.take() {
            None => provider.request().await.0,
            Some(mut kept) => {
                provider.next_request(&mut kept).await;
                kept
            }
        };
        socket.send(plain(&text)).await;
        there = Some(socket);
        let answer = caller.message().await;
        assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (Some("chunked"), None));
        assert!(unpack(Some(coding), &answer.body).await == text, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_not_packed_and_short_texts_neither() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(accepting("gzip, br, zstd")).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("short"))).await;
    let short = caller.message().await;
    assert_eq!((short.header("content-encoding"), short.text()), (None, &*completion("short")));
    caller.send(chat_stream().replacen("host:", "accept-encoding: gzip, br, zstd\r\nhost:", 1)).await;
    provider.next_request(&mut there).await;
    let events = format!("{}{FINISH}{DONE}", event("short"));
    there
        .send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncontent-length: {}\r\n\r\n{events}",
            events.len()
        ))
        .await;
    let stream = caller.message().await;
    assert_eq!((stream.header("content-encoding"), stream.header("vary")), (None, None));
    assert_eq!((stream.text(), stream.header("content-type")), (&*events, Some("text/event-stream; charset=utf-8")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_unpacks_what_it_asks_for() {
    let provider = Provider::start().await;
    let text = completion(&"the same again ".repeat(200));
    let provider = provider.say(plain(&text));
    let gateway = Setup::over(&[provider.address]).start().await;
    let url = format!("http://{}/v1/chat/completions", gateway.address);
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--compressed", "--write-out", "\n%{size_download}"]);
    curl.args(["--header", "content-type: application/json", "--data", body, &url]);
    curl.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon("curl", curl.output()).await.expect("curl is installed");
    let written = String::from_utf8(output.stdout).expect("text");
    let (unpacked, size) = written.rsplit_once('\n').expect("two lines");
    assert_eq!(unpacked, text);
    assert!(size.parse::<usize>().expect("a size") < text.len() / 4, "{size} bytes came: it was not packed");
}
