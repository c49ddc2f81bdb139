//! Providers that break off, speak nonsense or close as they are asked: another answers, or the caller is told; a cut
//! answer never looks complete.

use crate::gateway::{Gateway, Setup};
use crate::provider::Provider;
use crate::socket::Socket;
use crate::words::{
    DONE, FINISH, LAST_CHUNK, STREAM, answer, chat, chat_stream, chunk, completion, event, plain, post,
};

/// What a provider may do instead of an answer.
#[derive(Clone, Copy, Debug)]
enum End {
    /// An orderly end of the connection, too early.
    Close,
    /// A reset.
    Reset,
}

impl End {
    const ALL: [End; 2] = [End::Close, End::Reset];

    fn of(self, socket: Socket) {
        match self {
            End::Close => drop(socket),
            End::Reset => socket.reset(),
        }
    }
}

async fn two() -> (Gateway, Provider, Provider) {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address]).start().await;
    (gateway, first, second)
}

async fn one() -> (Gateway, Provider) {
    let provider = Provider::start().await;
    (Setup::over(&[provider.address]).start().await, provider)
}

/// Answers cut short, up to where they are cut.
fn cut_answers() -> Vec<(&'static str, String)> {
    let whole = plain(&completion("cut"));
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    vec![
        ("nothing", String::new()),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-ty".into()),
        ("a head alone", whole[..whole.len() - completion("cut").len()].into()),
        ("a short body", whole[..whole.len() - 1].into()),
        ("half a chunk", format!("{chunked}ff\r\n{{")),
        ("no last chunk", format!("{chunked}2\r\n{{}}\r\n")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_answer_that_is_cut_short_is_replaced_by_the_next_targets() {
    let (gateway, first, second) = two().await;
    for end in End::ALL {
        for (name, cut) in cut_answers() {
            let mut caller = gateway.connect().await;
            caller.send(chat()).await;
            let (mut there, _) = first.request().await;
            there.send(cut).await;
            end.of(there);
            let (mut there, _) = second.request().await;
            there.send(plain(&completion("whole"))).await;
            assert_eq!(caller.message().await.text(), completion("whole"), "{name}, {end:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_answer_that_is_cut_short_is_a_502_when_there_is_no_other_target() {
    let (gateway, provider) = one().await;
    for end in End::ALL {
        for (name, cut) in cut_answers() {
            let mut caller = gateway.connect().await;
            caller.send(chat()).await;
            let (mut there, _) = provider.request().await;
            there.send(cut).await;
            end.of(there);
            let message = caller.message().await;
            assert_eq!(
                (message.status(), &message.json()["error"]["code"]),
                (502, &"provider_broken".into()),
                "{name}, {end:?}"
            );
        }
    }
}

/// The only thing that follows the events of a broken stream.
fn is_an_error_event(rest: &str) {
    let data = rest.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let event: serde_json::Value = serde_json::from_str(data.unwrap_or_else(|| panic!("{rest:?}"))).unwrap();
    assert_eq!(event["error"]["code"], "stream_incomplete", "{event}");
    assert_eq!(event["error"]["type"], "server_error", "{event}");
    assert!(event["error"]["message"].is_string(), "{event}");
}

/// A stream of the provider, of which the caller has the first event.
async fn stream(caller: &mut Socket, provider: &Provider) -> Socket {
    caller.send(chat_stream()).await;
    let (mut there, _) = provider.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("first"))).await;
    caller.head().await;
    caller.receive(event("first")).await;
    there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_ends_in_a_typed_error_event() {
    let (gateway, first, _second) = two().await;
    for end in End::ALL {
        for cut in [&b""[..], &chunk("data: {\"choices\""), b"ff\r\ndata: {}\n", b"f", b"5\r\n: hi\n"] {
            let mut caller = gateway.connect().await;
            let mut there = stream(&mut caller, &first).await;
            there.send(cut).await;
            end.of(there);
            is_an_error_event(std::str::from_utf8(&caller.body().await).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_cleanly_or_in_nonsense_before_its_answer_does_ends_in_a_typed_error_event() {
    let (gateway, first, _second) = two().await;
    for cut in ["0\r\n\r\n", "zz\r\ndata: {}\n\n\r\n", "-1\r\n", "fffffffffffffffff\r\n"] {
        let mut caller = gateway.connect().await;
        let mut there = stream(&mut caller, &first).await;
        there.send(cut).await;
        // The provider's connection is still open: it need not close to be understood.
        is_an_error_event(std::str::from_utf8(&caller.body().await).unwrap());
        drop(there);
    }
}

/// How servers say within a stream that there will be no more of it, and then end it as if nothing were the matter.
const GIVEN_UP: [(&str, &str); 7] = [
    ("vLLM and SGLang", r#"data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"abort"}]}"#),
    ("DeepSeek", r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}]}"#),
    (
        "OpenRouter",
        r#"data: {"error":{"code":502,"message":"x"},"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#,
    ),
    ("Groq", r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":null}],"x_groq":{"error":"over capacity"}}"#),
    ("older vLLM", r#"data: {"object":"error","message":"the engine died","type":"InternalServerError","code":500}"#),
    ("older llama.cpp", r#"error: {"code":500,"message":"no slot","type":"server_error"}"#),
    ("Ollama", r#"{"error":{"message":"model runner has unexpectedly stopped","type":"api_error"}}"#),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_its_server_gives_up_ends_in_an_error_event_and_never_cleanly() {
    let (gateway, provider) = one().await;
    for (server, event) in GIVEN_UP {
        let mut caller = gateway.connect().await;
        let mut there = stream(&mut caller, &provider).await;
        // Ollama says no more than that.
        let end = if server == "Ollama" { "" } else { DONE };
        there.send(chunk(format!("{event}\n\n{end}"))).await;
        there.send(LAST_CHUNK).await;
        let rest = caller.body().await;
        let rest = std::str::from_utf8(&rest).unwrap();
        let last = rest.trim_end().rsplit_once("data: ").map_or("", |(_, last)| last);
        let last: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{server}: {rest:?}"));
        assert!(last["error"]["message"].is_string() && !rest.contains("[DONE]"), "{server}: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_a_short_content_length_ends_in_a_typed_error_event() {
    let (gateway, first, _second) = two().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = first.request().await;
    there
        .send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5000\r\n\r\n{}",
            event("first")
        ))
        .await;
    caller.head().await;
    caller.receive(event("first")).await;
    drop(there);
    is_an_error_event(std::str::from_utf8(&caller.body().await).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_complete_when_the_connection_broke_is_completed() {
    let (gateway, first, _second) = two().await;
    for end in End::ALL {
        let mut caller = gateway.connect().await;
        let mut there = stream(&mut caller, &first).await;
        there.send(chunk(FINISH)).await;
        caller.receive(FINISH).await;
        end.of(there);
        assert_eq!(caller.body().await, DONE, "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_before_its_first_event_is_another_targets() {
    let (gateway, first, second) = two().await;
    for end in End::ALL {
        for begin in ["", STREAM, &format!("{STREAM}7\r\n: hi\n\n\r\n"), &format!("{STREAM}6\r\ndata: \r\n")] {
            let mut caller = gateway.connect().await;
            caller.send(chat_stream()).await;
            let (mut there, _) = first.request().await;
            there.send(begin).await;
            end.of(there);
            let (mut there, _) = second.request().await;
            there.send(STREAM).await;
            there.send(chunk(event("other") + DONE)).await;
            there.send(LAST_CHUNK).await;
            assert_eq!(caller.message().await.text(), event("other") + DONE, "{begin:?}, {end:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_events_break_off_as_they_came() {
    let (gateway, first, _second) = two().await;
    for end in End::ALL {
        let mut caller = gateway.connect().await;
        caller.send(post("/v1/audio/speech", "", r#"{"model":"m","input":"hi","voice":"v"}"#)).await;
        let (mut there, _) = first.request().await;
        there.send("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n").await;
        there.send(chunk("sound")).await;
        caller.head().await;
        caller.receive("sound").await;
        end.of(there);
        assert!(caller.try_body().await.is_err(), "a cut answer must not look complete");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_not_an_answer_and_the_next_call_is_fine() {
    let (gateway, first, second) = two().await;
    let body = completion("nonsense");
    let json = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let nonsense = [
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("TLS", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{16}".into()),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("a version that is none", format!("HTTP/9.9 200 OK\r\n{json}\r\n{body}")),
        ("a status that is none", format!("HTTP/1.1 abc OK\r\n{json}\r\n{body}")),
        ("a header without a name", format!("HTTP/1.1 200 OK\r\n: x\r\n{json}\r\n{body}")),
        ("a chunk size that is none", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".into()),
        ("two lengths", format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n{json}\r\n{body}")),
        ("length and chunks", format!("HTTP/1.1 200 OK\r\n{json}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{}{json}\r\n{body}", format!("x-header: {}\r\n", "x".repeat(90)).repeat(1000))),
        ("a huge header", format!("HTTP/1.1 200 OK\r\nx-ratelimit-huge: {}\r\n{json}\r\n{body}", "x".repeat(100_000))),
        ("an endless head", format!("HTTP/1.1 200 OK\r\nx-header: {}", "x".repeat(1_000_000))),
        ("a switch of protocols", format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{body}")),
        ("a page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>".into()),
        ("no JSON", plain("{\"object\":")),
    ];
    let mut caller = gateway.connect().await;
    for (name, nonsense) in nonsense {
        caller.send(chat()).await;
        let (mut there, _) = first.request().await;
        // The gateway may hang up before it has read all of it.
        let _ = there.try_send(&nonsense).await;
        let (mut other, _) = second.request().await;
        other.send(answer("200 OK", "connection: close\r\n", &completion("sense"))).await;
        assert_eq!(caller.message().await.text(), completion("sense"), "{name}");
        caller.send(chat()).await;
        first.next_request(&mut there).await;
        there.send(answer("200 OK", "connection: close\r\n", &completion("after"))).await;
        assert_eq!(caller.message().await.text(), completion("after"), "after {name}");
    }
}

/// The last words of an answer and its end may come in one event: the words the caller has, the end it has not.
#[tokio::test]
async fn a_resumed_answer_ends_as_the_one_that_went_on() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gateway = Setup::over(&[first.address, second.address]).resume("replay").start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat_stream()).await;
    let (mut there, _) = first.request().await;
    there.send(STREAM).await;
    there.send(chunk(event("Yes."))).await;
    assert_eq!(caller.head().await.status(), 200);
    caller.receive(event("Yes.")).await;
    drop(there);
    let (mut there, _) = second.request().await;
    let last = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Yes.\"},\"finish_reason\":\"length\"}]}\n\n";
    there.send(STREAM).await;
    there.send(chunk(last)).await;
    caller.receive(last.replace("Yes.", "")).await;
    there.send(chunk(DONE)).await;
    there.send(LAST_CHUNK).await;
    caller.receive(DONE).await;
}
