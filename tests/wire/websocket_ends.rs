//! WebSockets: how they end. Whoever ends one, the other end is told, and what a provider did wrong is never taken for what
//! its caller did.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::socket::soon;
use crate::talk::{
    Far, VOICE, Ws, agreement, ask, carry, close, closed, code, gateway, metric, open, over, refused, reset,
    until_metric,
};

/// Writes bytes beneath the frames.
async fn write(end: &mut Ws, bytes: &[u8]) {
    end.get_mut().write_all(bytes).await.expect("the gateway listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_reasons_are_passed_on_both_ways() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let longest = "é".repeat(61);
    for (number, reason) in [
        (1000, ""),
        (1000, "done"),
        (1001, "bye"),
        (1003, "what?"),
        (1008, "no"),
        (1011, "oh"),
        (1013, "later"),
        (3000, "own"),
        (4999, &longest),
    ] {
        let said = Some((number, reason.to_owned()));
        let (mut near, mut there) = open(&gateway, &far).await;
        near.send(close(number, reason)).await.unwrap();
        assert_eq!((closed(&mut there).await, closed(&mut near).await), (said.clone(), said.clone()));
        over(&mut near).await;
        over(&mut there).await;
        let (mut near, mut there) = open(&gateway, &far).await;
        there.send(close(number, reason)).await.unwrap();
        assert_eq!((closed(&mut near).await, closed(&mut there).await), (said.clone(), said));
        over(&mut near).await;
        over(&mut there).await;
    }
    let (mut near, mut there) = open(&gateway, &far).await;
    near.send(Message::Close(None)).await.unwrap();
    assert_eq!((closed(&mut there).await, closed(&mut near).await), (None, None));
    let (mut near, mut there) = open(&gateway, &far).await;
    there.send(Message::Close(None)).await.unwrap();
    assert_eq!((closed(&mut near).await, closed(&mut there).await), (None, None));
    until_metric(&gateway, "voice_active_connections", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_nobody_may_send_is_passed_on_to_nobody() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    for number in [999_u16, 1005, 1006, 1015, 2000] {
        let (mut near, mut there) = open(&gateway, &far).await;
        // With a mask of zeros.
        let frame = [&[0x88, 0x82, 0, 0, 0, 0][..], &number.to_be_bytes()].concat();
        write(&mut near, &frame).await;
        assert_eq!((code(&mut near).await, code(&mut there).await), (1002, 1002), "{number}");
        let (mut near, mut there) = open(&gateway, &far).await;
        write(&mut there, &[&[0x88, 2][..], &number.to_be_bytes()].concat()).await;
        assert_eq!((code(&mut near).await, code(&mut there).await), (1002, 1002), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_dies_closes_its_caller_with_a_reason_that_says_to_try_again() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    for is_reset in [true, false] {
        let (mut near, mut there) = open(&gateway, &far).await;
        carry(&mut near, &mut there, "hello").await;
        match is_reset {
            true => reset(there),
            false => drop(there),
        }
        assert_eq!(closed(&mut near).await, Some((1013, "the connection to the provider was lost".into())));
        over(&mut near).await;
    }
    // Said while its caller speaks, and read although the connection was lost in the meantime.
    let (mut near, mut there) = open(&gateway, &far).await;
    there.send(close(4001, "session over")).await.unwrap();
    drop(there);
    let speaking = async { while near.send(Message::binary(vec![0; 1000])).await.is_ok() {} };
    tokio::select! {
        () = speaking => {}
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    assert_eq!(closed(&mut near).await, Some((4001, "session over".into())));
    until_metric(&gateway, "tidegate_provider_calls_total{provider=\"bp0\",outcome=\"stream_incomplete\"}", 2).await;
    until_metric(&gateway, "tidegate_provider_calls_total{provider=\"bp0\",outcome=\"ok\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_vanishes_closes_its_provider_at_once() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    for is_reset in [true, false] {
        let (mut near, mut there) = open(&gateway, &far).await;
        carry(&mut near, &mut there, "hello").await;
        match is_reset {
            true => reset(near),
            false => drop(near),
        }
        assert_eq!(closed(&mut there).await, Some((1001, "the caller has gone".into())));
        over(&mut there).await;
    }
    until_metric(&gateway, "tidegate_provider_calls_total{provider=\"bp0\",outcome=\"cancelled\"}", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_before_the_provider_agrees_is_not_waited_for() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut caller = gateway.connect().await;
    caller
        .send(
            "GET /voice-stream HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let (mut stream, _) = far.asked().await;
    drop(caller);
    assert_eq!(soon("the end of the connection", stream.read(&mut [0; 16])).await.unwrap_or(0), 0);
    until_metric(&gateway, "voice_active_connections", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_sends_that_is_no_message_ends_its_tunnel_and_no_other() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let (mut other_near, mut other_there) = open(&gateway, &far).await;
    for (bytes, number, what) in [
        (&b"\x81\x02hi"[..], 1002, "no mask"),
        (b"\xc1\x82\0\0\0\0hi", 1002, "a reserved bit"),
        (b"\x83\x82\0\0\0\0hi", 1002, "a reserved opcode"),
        (b"\x80\x82\0\0\0\0hi", 1002, "the end of nothing"),
        (b"\x01\x81\0\0\0\0a\x01\x81\0\0\0\0b", 1002, "two beginnings"),
        (b"\x09\x81\0\0\0\0a", 1002, "a ping in pieces"),
        (b"\x89\xfe\0\x7e\0\0\0\0 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678 12345678", 1002, "a long ping"),
        (b"\x88\x81\0\0\0\0a", 1002, "half a code"),
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007, "text that is none"),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009, "more than there is"),
    ] {
        let (mut near, mut there) = open(&gateway, &far).await;
        write(&mut near, bytes).await;
        assert_eq!(code(&mut near).await, number, "{what}");
        assert_eq!(closed(&mut there).await, Some((1001, "the caller has gone".into())), "{what}");
        over(&mut there).await;
    }
    carry(&mut other_near, &mut other_there, "still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_sends_that_is_no_message_is_its_own_fault() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    for (bytes, number, what) in [
        (&b"\x81\x82\0\0\0\0hi"[..], 1002, "a mask"),
        (b"\x83\x02hi", 1002, "a reserved opcode"),
        (b"HTTP/1.1 500 Oh no\r\nserver: after it had agreed\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n", 1002, "no frame"),
        (b"\x81\x02\xff\xfe", 1007, "text that is none"),
        (b"\x82\x7f\0\0\0\0\x7f\xff\xff\xff", 1009, "too much"),
    ] {
        let (mut near, mut there) = open(&gateway, &far).await;
        write(&mut there, bytes).await;
        let (is_again, reason) = closed(&mut near).await.map(|(number, reason)| (number == 1013, reason)).unwrap();
        assert!(is_again && reason.starts_with("the provider sent"), "{what}: {reason}");
        assert_eq!(code(&mut there).await, number, "{what}");
    }
    until_metric(&gateway, "tidegate_provider_calls_total{provider=\"bp0\",outcome=\"stream_incomplete\"}", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_answers_no_ping_is_taken_for_gone() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "ping_after = \"50ms\"\npong_timeout = \"200ms\"\n", "").await;
    // The far end is never read, and therefore answers nothing.
    let (near, there) = tokio::join!(ask(gateway.address, VOICE, &[]), far.agrees());
    let (mut near, silent) = (near.unwrap().0, there.0);
    assert_eq!(closed(&mut near).await, Some((1013, "the provider does not answer".into())));
    drop(silent);
    let (silent, mut there) = open(&gateway, &far).await;
    assert_eq!(closed(&mut there).await, Some((1001, "the caller has gone".into())));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_is_passed_over_and_with_none_left_the_answer_is_503() {
    let (down, far) = (Far::start().await, Far::start().await);
    let nobody = down.address;
    drop(down);
    let gateway = gateway(&[nobody, far.address], "", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    carry(&mut near, &mut there, "from the second").await;
    drop((near, there));
    for (answer, status) in [
        ("HTTP/1.1 500 Oh no\r\ncontent-length: 0\r\n\r\n", 503),
        ("HTTP/1.1 401 Who?\r\ncontent-length: 21\r\n\r\n{\"error\":\"key-canary\"}", 503),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 503),
        ("HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: no\r\n\r\n", 503),
        ("HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 503),
        ("nonsense\r\n\r\n", 503),
        ("", 503),
    ] {
        let refusing = async {
            let (mut stream, _) = far.asked().await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (refusal, ()) = tokio::join!(refused(gateway.address, VOICE, &[]), refusing);
        assert_eq!(refusal, status, "{answer:?}");
    }
    assert_eq!(metric(&gateway, "voice_active_connections"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_tunnels_keep_dying_is_left_alone() {
    let far = Far::start().await;
    // One caller stands for many here: each of its tunnels counts by itself.
    let tables = "[provider.bp0.breaker]\nmin_calls = 6\nfailure_share = 0.5\nsame_request = 0\n";
    let gateway = gateway(&[far.address], "", tables).await;
    for _ in 0..3 {
        let (mut near, there) = open(&gateway, &far).await;
        reset(there);
        assert_eq!(code(&mut near).await, 1013);
    }
    // Three that began well, and died.
    assert_eq!(refused(gateway.address, VOICE, &[]).await, 503);
    assert_eq!(metric(&gateway, "tidegate_breaker_state{provider=\"bp0\"}"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_that_go_on_do_not_keep_a_breaker_from_closing() {
    let far = Far::start().await;
    let tables = "[provider.bp0.breaker]\nconsecutive = 1\nopen_for = \"50ms\"\nprobes = 2\nramp_step = \"20ms\"\n";
    let gateway = gateway(&[far.address], "max_per_address = 9", tables).await;
    let refusing = async { drop(far.asked().await) };
    assert_eq!(tokio::join!(refused(gateway.address, VOICE, &[]), refusing).0, 503);
    until_metric(&gateway, "tidegate_breaker_state{provider=\"bp0\"}", 1).await;
    let mut held = vec![open(&gateway, &far).await, open(&gateway, &far).await];
    until_metric(&gateway, "tidegate_breaker_state{provider=\"bp0\"}", 0).await;
    held.push(open(&gateway, &far).await);
    for (near, there) in &mut held {
        carry(near, there, "still here").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_in_pieces_is_one_too() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let agreeing = async {
        let (mut stream, head) = far.asked().await;
        stream.set_nodelay(true).unwrap();
        for piece in agreement(&head, "").as_bytes().chunks(7) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        WebSocketStream::from_raw_socket(stream, Role::Server, None).await
    };
    let (near, mut there) = tokio::join!(ask(gateway.address, VOICE, &[]), agreeing);
    carry(&mut near.unwrap().0, &mut there, "hello").await;
}
