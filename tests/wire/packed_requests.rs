//! Compressed requests: whatever a caller packs its body with, the provider gets the plain one; bombs, broken bodies and
//! unknown codings are refused by name, and before anybody is asked.

use std::collections::BTreeMap;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, NO_POLICIES, Setup};
use crate::provider::{Following, Provider};
use crate::socket::{Message, soon};
use crate::words::{chunk, completion, plain};

const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"héllo, hello, hello"}]}"#;

async fn all(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.expect("it is in memory, and whole");
    bytes
}

/// A body with these codings, applied in this order; `raw` is deflate without zlib's frame.
async fn packed(codings: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    for coding in codings {
        bytes = match *coding {
            "gzip" => all(GzipEncoder::with_quality(&bytes[..], Level::Fastest)).await,
            "deflate" => all(ZlibEncoder::with_quality(&bytes[..], Level::Fastest)).await,
            "raw" => all(DeflateEncoder::with_quality(&bytes[..], Level::Fastest)).await,
            "br" => all(BrotliEncoder::with_quality(&bytes[..], Level::Fastest)).await,
            "zstd" => all(ZstdEncoder::with_quality(&bytes[..], Level::Fastest)).await,
            other => panic!("{other} is no coding"),
        };
    }
    bytes
}

fn request(path: &str, content_type: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: {content_type}\r\n{coding}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A provider that answers whatever it is asked.
async fn obliging() -> Following {
    let provider = Provider::start().await;
    provider.say(plain(&completion("ok").replacen('{', "{\"text\":\"ok\",", 1)))
}

/// The gateway with its default routes, in front of this provider alone.
async fn with_all_routes(provider: &Following) -> Gateway {
    let variables = [
        ("OPENAI_BASE_URL", format!("http://{}/v1", provider.address)),
        ("OPENAI_API_KEY", "sk-canary".to_owned()),
        ("DISABLE_RATE_LIMITING", "true".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Gateway::start(NO_POLICIES, BTreeMap::from(variables)).await
}

fn is_plain(request: &Message, body: &[u8]) {
    assert_eq!(request.header("content-encoding"), None);
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.header("content-length"), Some(&*request.body.len().to_string()));
    assert!(request.body == body, "{:?}", request.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_gets_the_plain_body_whatever_the_caller_packs_it_with() {
    let provider = obliging().await;
    let gateway = with_all_routes(&provider).await;
    let mut caller = gateway.connect().await;
    let large = CHAT.replace("hello", &"a long story ".repeat(100_000));
    for (lines, codings) in [
        ("content-encoding: gzip\r\n", &["gzip"][..]),
        ("Content-Encoding: X-GZIP\r\n", &["gzip"]),
        ("content-encoding: deflate\r\n", &["deflate"]),
        ("content-encoding: deflate\r\n", &["raw"]),
        ("content-encoding: Br\r\n", &["br"]),
        ("content-encoding: zstd\r\n", &["zstd"]),
        ("content-encoding: identity\r\n", &[]),
        ("content-encoding: identity, gzip\r\n", &["gzip"]),
        ("content-encoding: gzip, br\r\n", &["gzip", "br"]),
        ("content-encoding: deflate\r\ncontent-encoding: zstd , gzip\r\n", &["deflate", "zstd", "gzip"]),
    ] {
        for body in [CHAT, &large] {
            let packed = packed(codings, body.as_bytes()).await;
            for is_chunked in [false, true] {
                let whole = request("/v1/chat/completions", "application/json", lines, &packed);
                let sent = match is_chunked {
                    false => whole,
                    true => {
                        let length = format!("content-length: {}", packed.len());
                        let head = String::from_utf8_lossy(&whole[..whole.len() - packed.len()])
                            .replace(&length, "transfer-encoding: chunked");
                        [head.into_bytes(), chunk(&packed), chunk("")].concat()
                    }
                };
                let answer = caller.ask(sent).await;
                assert_eq!(answer.status(), 200, "{lines} {answer:?}");
                is_plain(provider.requests().last().expect("a request"), body.as_bytes());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_and_every_form_may_be_packed() {
    let provider = obliging().await;
    let gateway = with_all_routes(&provider).await;
    let mut caller = gateway.connect().await;
    let form = "--b0b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
                --b0b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b0b--\r\n";
    let upload = "--b0b\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a.wav\"\r\n\
                  Content-Type: audio/wav\r\n\r\nRIFF....WAVE\r\n--b0b--\r\n";
    let (json, multipart) = ("application/json", "multipart/form-data; boundary=b0b");
    let cases = [
        ("/v1/chat/completions", json, CHAT, true),
        ("/v1/responses", json, r#"{"model":"gpt-4o","input":"x"}"#, true),
        ("/v1/embeddings", json, r#"{"model":"text-embedding-3-small","input":"x"}"#, true),
        ("/v1/moderations", json, r#"{"model":"gpt-4o","input":"x"}"#, true),
        ("/v1/audio/transcriptions", multipart, form, true),
        ("/api/v1/ai/chat", json, r#"{"message":"hi"}"#, false),
        ("/api/llm/chat", json, r#"{"prompt":"hi","model":"gpt-4o"}"#, false),
        ("/api/chat", json, r#"{"message":"hi"}"#, false),
        ("/api/v1/ai/transcribe-with-metadata", multipart, upload, false),
    ];
    for (path, content_type, body, is_wire) in cases {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let packed = packed(&[coding], body.as_bytes()).await;
            let before = provider.requests().len();
            let answer =
                caller.ask(request(path, content_type, &format!("content-encoding: {coding}\r\n"), &packed)).await;
            assert_eq!(answer.status(), 200, "{path} {coding} {answer:?}");
            let requests = provider.requests();
            assert_eq!(requests.len(), before + 1, "{path} {coding}");
            assert_eq!(requests[before].header("content-encoding"), None);
            if is_wire {
                is_plain(&requests[before], body.as_bytes());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_broken_bodies_and_unknown_codings_are_refused_by_name() {
    let provider = obliging().await;
    let gateway = Setup::over(&[provider.address]).route("max_body = \"1MiB\"\n").start().await;
    let empty = r#"{"model":"m","messages":[{"role":"user","content":""}]}"#;
    let body_of = |size: usize| empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())));
    let ask = async |coding: &str, packed: &[u8]| {
        let lines = format!("content-encoding: {coding}\r\n");
        let mut caller = gateway.connect().await;
        caller.ask(request("/v1/chat/completions", "application/json", &lines, packed)).await
    };
    // As large as it may be, and one byte more; and far more.
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let fits = packed(&[coding], body_of(1 << 20).as_bytes()).await;
        assert_eq!(ask(coding, &fits).await.status(), 200, "{coding}");
        for size in [(1 << 20) + 1, 64 << 20] {
            let bomb = packed(&[coding], body_of(size).as_bytes()).await;
            assert!(bomb.len() < 1 << 20);
            let refusal = ask(coding, &bomb).await;
            assert_eq!(refusal.status(), 413, "{coding} {refusal:?}");
            let error = &refusal.json()["error"];
            assert_eq!(error["code"], "request_too_large");
            assert!(error["message"].as_str().unwrap().contains("decompressed request body"), "{error}");
        }
        let twice = packed(&[coding, coding], body_of(64 << 20).as_bytes()).await;
        assert_eq!(ask(&format!("{coding}, {coding}"), &twice).await.status(), 413, "{coding}");
        let whole = packed(&[coding], CHAT.as_bytes()).await;
        for broken in [CHAT.as_bytes(), &whole[..whole.len() - 1], &whole[..3], b"\0"] {
            let refusal = ask(coding, broken).await;
            assert_eq!(refusal.status(), 400, "{coding} {broken:?} {refusal:?}");
            assert!(refusal.text().contains("Content-Encoding"), "{coding} {broken:?} {refusal:?}");
        }
    }
    for unknown in ["compress", "x-compress", "snappy", "gzip, aws-chunked", "gzip;q=1", "gzip, gzip, gzip, gzip, gzip"]
    {
        let refusal = ask(unknown, CHAT.as_bytes()).await;
        assert_eq!(refusal.status(), 415, "{unknown} {refusal:?}");
        assert_eq!(refusal.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
        assert_eq!(refusal.json()["error"]["code"], "unsupported_content_encoding");
    }
    assert_eq!(provider.requests().len(), 4, "only what fits was passed on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_over_http2_may_pack_its_body_too() {
    let provider = obliging().await;
    let gateway = Setup::over(&[provider.address]).route("max_body = \"64KiB\"\n").start().await;
    let stream = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
    let (mut requests, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    let bomb = packed(&["zstd"], &vec![b' '; 8 << 20]).await;
    let fits = packed(&["zstd"], CHAT.as_bytes()).await;
    for (coding, body, status) in [("zstd", fits, 200), ("zstd", bomb, 413), ("lzma", vec![1, 2, 3], 415)] {
        let request = Request::post("http://gateway/v1/chat/completions").header("content-type", "application/json");
        let request = request.header("content-encoding", coding).body(Full::new(Bytes::from(body))).expect("a request");
        let answer = soon("an answer", requests.send_request(request)).await.expect("an answer");
        assert_eq!(answer.status(), status, "{coding}");
    }
    is_plain(provider.requests().last().expect("a request"), CHAT.as_bytes());
}
