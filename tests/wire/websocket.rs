//! WebSockets: how they are asked for over both versions of HTTP, what reaches the provider, and that what is said arrives
//! as it was said.

use futures_util::SinkExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::program::{Folder, Program};
use crate::socket::soon;
use crate::talk::{
    Far, Http2, VOICE, agreement, ask, carry, close, closed, code, gateway, header, heard, metric, open, over, refused,
    until_metric,
};

/// What is hard to pass on unchanged.
pub(crate) fn messages() -> [Message; 8] {
    [
        Message::text("{\"type\":\"start\"}"),
        Message::text(""),
        Message::text("Grüße \u{1F950} \0"),
        Message::binary(Vec::new()),
        Message::binary((0..=255).collect::<Vec<u8>>()),
        // Nothing after the handshake is HTTP, whatever it looks like.
        Message::binary(&b"\nPOST / HTTP/1.1\nhost: a\nhost: b\ncontent-length: 1\ncontent-length: 2\r\n\r\n"[..]),
        Message::binary(vec![7; 100_000]),
        Message::text("x".repeat(70_000)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_as_they_were_said_both_ways_and_in_order() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    for message in messages() {
        carry(&mut near, &mut there, message.clone()).await;
        carry(&mut there, &mut near, message).await;
    }
    for number in 0..200_u32 {
        near.feed(Message::binary(number.to_be_bytes().to_vec())).await.unwrap();
    }
    near.flush().await.unwrap();
    for number in 0..200_u32 {
        assert_eq!(heard(&mut there).await, Message::binary(number.to_be_bytes().to_vec()));
    }
    assert_eq!(metric(&gateway, "voice_active_connections"), 1);
    assert_eq!(metric(&gateway, "voice_chunks_total{direction=\"in\"}"), 208);
    assert_eq!(metric(&gateway, "voice_chunks_total{direction=\"out\"}"), 8);
    near.send(close(1000, "done")).await.unwrap();
    assert_eq!(closed(&mut there).await, Some((1000, "done".into())));
    assert_eq!(code(&mut near).await, 1000);
    over(&mut near).await;
    over(&mut there).await;
    until_metric(&gateway, "voice_active_connections", 0).await;
    until_metric(&gateway, "http_requests_total{route=\"voice\",method=\"GET\",status=\"101\",kind=\"call\"}", 1).await;
    until_metric(&gateway, "tidegate_provider_calls_total{provider=\"bp0\",outcome=\"ok\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_it_is_the_same_and_tunnels_of_one_connection_do_not_wait_for_each_other() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut caller = Http2::connect(&gateway).await;
    let (mut near, mut there, head) = caller.open(&far).await;
    assert!(head.starts_with("GET /voice-stream HTTP/1.1\r\n") && !head.contains("canary\r\n"), "{head}");
    assert_eq!(header(&head, "x-restaurant-id"), Some("r2"));
    let (mut other_near, mut other_there, _) = caller.open(&far).await;
    for message in messages() {
        carry(&mut near, &mut there, message.clone()).await;
        carry(&mut other_there, &mut other_near, message.clone()).await;
        carry(&mut there, &mut near, message).await;
    }
    near.send(close(4000, "bye")).await.unwrap();
    assert_eq!(closed(&mut there).await, Some((4000, "bye".into())));
    over(&mut near).await;
    carry(&mut other_near, &mut other_there, "still here").await;
    other_there.send(close(1000, "enough")).await.unwrap();
    assert_eq!(closed(&mut other_near).await, Some((1000, "enough".into())));
    until_metric(&gateway, "voice_active_connections", 0).await;
    until_metric(&gateway, "http_requests_total{route=\"voice\",method=\"CONNECT\",status=\"200\",kind=\"call\"}", 2)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_http2_that_its_caller_drops_closes_its_provider_and_no_other() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut caller = Http2::connect(&gateway).await;
    let (near, mut there, _) = caller.open(&far).await;
    let (mut other_near, mut other_there, _) = caller.open(&far).await;
    drop(near);
    assert_eq!(code(&mut there).await, 1001);
    carry(&mut other_near, &mut other_there, "still here").await;
    caller.cord.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(code(&mut other_there).await, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_what_is_no_tunnel_cannot_be_opened_as_one() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut caller = Http2::connect(&gateway).await;
    for path in ["/v1/models", "/health", "/health/live"] {
        assert_eq!(caller.ask(path).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(caller.ask("/nothing").await.status(), StatusCode::NOT_FOUND);
    let plain = caller.send(Request::get("http://gateway/voice-stream?token=canary")).await;
    assert_eq!(plain.status(), StatusCode::UPGRADE_REQUIRED);
    let body = soon("a body", plain.into_body().collect()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("upgrade_required"), "{body:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_fragments_arrives_whole_and_pings_are_answered_by_the_gateway() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    let pieces = [("Hel", Data::Text, false), ("lo ", Data::Continue, false), ("you", Data::Continue, true)];
    for (text, kind, is_last) in pieces {
        near.send(Message::Frame(Frame::message(text, OpCode::Data(kind), is_last))).await.unwrap();
        near.send(Message::Ping("are you there?".into())).await.unwrap();
        assert_eq!(
            soon("a pong", futures_util::StreamExt::next(&mut near)).await.unwrap().unwrap().into_data(),
            "are you there?"
        );
    }
    // The first that the provider gets to hear: no ping was passed on.
    let first = soon("a message", futures_util::StreamExt::next(&mut there)).await.unwrap().unwrap();
    assert_eq!(first, Message::text("Hello you"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_gets_its_own_key_and_the_tenant_and_nothing_that_was_secret() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let headers = [
        ("authorization", "Bearer token-canary"),
        ("cookie", "session=cookie-canary"),
        ("x-restaurant-id", "r1"),
        ("x-user-id", "u1"),
        ("sec-websocket-protocol", "bearer, protocol-canary"),
    ];
    let path = "/voice-stream?token=address-canary&restaurantId=other-canary";
    let (near, (there, head)) = tokio::join!(ask(gateway.address, path, &headers), far.agrees());
    // The library's caller insists on a subprotocol when it offers some: which the provider was not asked for.
    assert!(near.is_err_and(|fault| fault.to_string().contains("subprotocol")));
    drop(there);
    assert!(head.starts_with("GET /voice-stream HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "authorization"), Some("Bearer sk-voice-canary-0123456789"));
    assert_eq!((header(&head, "x-restaurant-id"), header(&head, "x-user-id")), (Some("r1"), Some("u1")));
    let others = head.replace("sk-voice-canary", "");
    assert!(!others.contains("canary") && header(&head, "sec-websocket-extensions").is_none(), "{head}");
    assert_eq!(refused(gateway.address, VOICE, &[("x-restaurant-id", "no such tenant")]).await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openais_realtime_client_gets_its_subprotocol_and_its_model() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let headers = [
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-own-canary, openai-beta.realtime-v1"),
        ("openai-beta", "realtime=v1"),
        ("openai-organization", "org-canary"),
    ];
    let agreed = "sec-websocket-protocol: realtime\r\n";
    let (near, (mut there, head)) = tokio::join!(
        ask(gateway.address, "/v1/realtime?model=gpt-4o-realtime-preview&intent=transcription", &headers),
        far.agrees_with(agreed)
    );
    let (mut near, response) = near.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    assert!(
        head.starts_with("GET /v1/realtime?model=gpt-4o-realtime-preview&intent=transcription HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("realtime, openai-beta.realtime-v1"));
    assert_eq!(header(&head, "openai-beta"), Some("realtime=v1"));
    assert_eq!(header(&head, "authorization"), Some("Bearer sk-realtime-canary-0123456789"));
    assert!(!head.contains("own-canary") && !head.contains("org-canary"), "{head}");
    carry(&mut near, &mut there, "{\"type\":\"session.update\"}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_asks_for_no_websocket_is_told_how() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut caller = gateway.connect().await;
    let answer = caller.ask("GET /voice-stream?token=canary HTTP/1.1\r\nhost: gateway\r\n\r\n").await;
    assert_eq!(answer.status(), 426);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(answer.json()["error"]["code"], "upgrade_required");
    for (name, value, status) in [
        ("sec-websocket-version", "12", 426),
        ("connection", "close", 426),
        ("sec-websocket-key", "short", 400),
        ("origin", "https://elsewhere.example", 403),
    ] {
        assert_eq!(refused(gateway.address, VOICE, &[(name, value)]).await, status, "{name}: {value}");
    }
    let (own, there) = tokio::join!(ask(gateway.address, VOICE, &[("origin", "http://gateway")]), far.agrees());
    let (mut near, mut there) = (own.unwrap().0, there.0);
    carry(&mut near, &mut there, "from our own page").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_outlasts_the_patience_that_connections_get() {
    let far = Far::start().await;
    let server = "[server]\nheader_timeout = \"100ms\"\nidle_timeout = \"100ms\"\nwrite_timeout = \"100ms\"\n";
    let gateway = gateway(&[far.address], "ping_after = \"150ms\"\n", server).await;
    let (mut near, mut there) = open(&gateway, &far).await;
    let mut second = Http2::connect(&gateway).await;
    let (mut second_near, mut second_there, _) = second.open(&far).await;
    for end in [&mut there, &mut second_there] {
        for _ in 0..3 {
            // Pings come only because the gateway still waits for a sign of life, each after longer than a connection may idle.
            let next = soon("a ping", futures_util::StreamExt::next(end)).await.unwrap().unwrap();
            assert!(next.is_ping(), "{next}");
        }
    }
    carry(&mut near, &mut there, "still here").await;
    carry(&mut second_near, &mut second_there, "still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_with_the_answer_is_not_lost() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let providing = async {
        let (mut stream, head) = far.asked().await;
        let first = [agreement(&head, "").as_bytes(), b"\x81\x05early"].concat();
        stream.write_all(&first).await.unwrap();
        stream
    };
    let (near, _stream) = tokio::join!(ask(gateway.address, VOICE, &[]), providing);
    assert_eq!(heard(&mut near.unwrap().0).await, Message::text("early"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_secret_is_in_the_log_at_any_level() {
    let far = Far::start().await;
    let folder = Folder::new("websocket-log");
    let url = format!("http://{}", far.address);
    let variables = [
        ("PORT", "0"),
        ("ADMIN_ADDR", "off"),
        ("LOG_LEVEL", "trace"),
        ("USE_BUILDPANEL", "true"),
        ("BUILDPANEL_URL", &*url),
        ("BUILDPANEL_API_KEY", "key-canary"),
    ];
    let program = Program::start(&folder, &["serve"], &variables).await;
    // The first to connect is a probe.
    let headers = [
        ("authorization", "Bearer header-canary"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-canary"),
    ];
    let providing = async {
        loop {
            let (mut stream, head) = far.asked().await;
            if head.starts_with("GET /voice-stream") {
                let agreed = agreement(&head, "sec-websocket-protocol: realtime\r\n");
                stream.write_all(agreed.as_bytes()).await.unwrap();
                return WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            }
        }
    };
    let (near, mut there) =
        tokio::join!(ask(program.address, "/voice-stream?token=address-canary", &headers), providing);
    let mut near = near.unwrap().0;
    carry(&mut near, &mut there, "message-canary").await;
    carry(&mut there, &mut near, "answer-canary").await;
    there.send(close(3000, "no such key: key-canary")).await.unwrap();
    assert_eq!(closed(&mut near).await, Some((3000, String::new())), "the gateway's key is nobody's business");
    over(&mut near).await;
    assert_eq!(refused(program.address, "/voice-stream?token=address-canary", &[("connection", "close")]).await, 426);
    drop(far);
    program.terminate().await;
    let (_, written) = program.ended().await;
    assert!(written.contains("\"path\":\"/voice-stream\""), "{written}");
    assert!(written.contains("\"ended_by\":\"provider\"") && written.contains("\"close_code\":3000"), "{written}");
    let told: Vec<&str> = written.lines().filter(|line| line.contains("canary")).collect();
    assert!(told.is_empty(), "{told:#?}");
}
