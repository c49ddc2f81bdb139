//! WebSockets: what they may take. How many there are, how long they last, how large a message is, and how little is held for
//! an end that does not read.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::gateway::Gateway;
use crate::socket::soon;
use crate::talk::{
    Far, VOICE, Ws, ask, carry, closed, code, gateway, heard, metric, open, over, refused, roomy, until_metric,
};

/// A write that waits this long waits for the reader.
const BLOCKED: Duration = Duration::from_secs(1);
/// What one end may say before it must wait: the kernel's buffers of two connections (at most 10 MiB each on Linux), and a
/// little of the gateway's own.
const LITTLE: usize = 24 << 20;
/// What it would say if it could.
const MUCH: usize = 50 << 20;
const PIECE: usize = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_from_an_address_is_closed_with_1008_and_nobody_is_asked() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "max_per_address = 2\n", "").await;
    let (mut first, mut first_there) = open(&gateway, &far).await;
    let (second, second_there) = open(&gateway, &far).await;
    for _ in 0..3 {
        let (mut third, _) = ask(gateway.address, VOICE, &[]).await.expect("it is accepted");
        assert_eq!(closed(&mut third).await, Some((1008, "Too many connections: the limit is 2.".into())));
        over(&mut third).await;
    }
    // Places are counted for each route by itself.
    let (realtime, _) = tokio::join!(ask(gateway.address, "/v1/realtime?model=m", &[]), far.agrees());
    drop(realtime.unwrap());
    drop(second_there);
    let mut second = second;
    assert_eq!(code(&mut second).await, 1013);
    let (mut third, mut third_there) = open(&gateway, &far).await;
    carry(&mut third, &mut third_there, "there is room again").await;
    carry(&mut first, &mut first_there, "still here").await;
    until_metric(&gateway, "http_requests_total{route=\"voice\",method=\"GET\",status=\"101\",kind=\"call\"}", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_devices_of_a_shop_behind_one_address_fit_by_default() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(open(&gateway, &far).await);
    }
    let (mut more, _) = ask(gateway.address, VOICE, &[]).await.expect("it is accepted");
    assert_eq!(closed(&mut more).await, Some((1008, "Too many connections: the limit is 20.".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_in_all_is_closed_with_1008() {
    let far = Far::start().await;
    let proxies = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = gateway(&[far.address], "max_connections = 3\nmax_per_address = 1\n", proxies).await;
    let mut held = Vec::new();
    for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        let headers = [("x-forwarded-for", address)];
        let (near, there) = tokio::join!(ask(gateway.address, VOICE, &headers), far.agrees());
        held.push((near.unwrap().0, there.0));
    }
    for (address, limit) in [("192.0.2.3", 3), ("192.0.2.1", 1), ("2001:db8::2", 1)] {
        let (mut more, _) = ask(gateway.address, VOICE, &[("x-forwarded-for", address)]).await.unwrap();
        let (number, reason) = closed(&mut more).await.unwrap();
        assert_eq!(number, 1008);
        assert_eq!(reason, format!("Too many connections: the limit is {limit}."), "{address}");
    }
    assert_eq!(metric(&gateway, "voice_active_connections"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_ends_the_tunnel_and_its_sender_gets_to_know() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "max_message = \"64KiB\"\n", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    carry(&mut near, &mut there, vec![1; 64 << 10]).await;
    // The whole of it is sent before anything is read.
    near.send(Message::binary(vec![1; 8 << 20])).await.unwrap();
    assert_eq!(closed(&mut near).await, Some((1009, "the message is too large".into())));
    assert_eq!(code(&mut there).await, 1001);
    let (mut near, mut there) = open(&gateway, &far).await;
    for _ in 0..3 {
        near.send(Message::Frame(piece(30 << 10))).await.unwrap();
    }
    assert_eq!((code(&mut near).await, code(&mut there).await), (1009, 1001), "also in fragments");
    let (mut near, mut there) = open(&gateway, &far).await;
    let saying = there.send(Message::binary(vec![1; (64 << 10) + 1]));
    let (said, heard) = tokio::join!(saying, closed(&mut near));
    assert_eq!(heard, Some((1013, "the provider sent a message that is too large".into())));
    assert_eq!((said.is_ok(), code(&mut there).await), (true, 1009));
    assert_eq!(metric(&gateway, "voice_overrun_total{reason=\"size\"}"), 3);
}

/// A fragment that is not the last.
fn piece(length: usize) -> tokio_tungstenite::tungstenite::protocol::frame::Frame {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    static IS_FIRST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let is_first = IS_FIRST.swap(false, std::sync::atomic::Ordering::SeqCst);
    let kind = if is_first { Data::Binary } else { Data::Continue };
    Frame::message(vec![0; length], OpCode::Data(kind), false)
}

/// Says as much as is taken, without waiting longer than `BLOCKED`; returns how much of it that was.
async fn say_until_blocked(end: &mut Ws) -> usize {
    let mut said = 0;
    while said < MUCH {
        match timeout(BLOCKED, end.send(numbered(said))).await {
            Ok(sent) => sent.expect("the gateway is there"),
            // Written in part; the rest goes with the next.
            Err(_) => return said + PIECE,
        }
        said += PIECE;
    }
    said
}

fn numbered(place: usize) -> Message {
    let mut bytes = vec![0; PIECE];
    bytes[..8].copy_from_slice(&(place as u64).to_be_bytes());
    Message::binary(bytes)
}

/// Reads all of what was said, which must be in order.
async fn hear_all(end: &mut Ws, said: usize) {
    for place in (0..said).step_by(PIECE) {
        assert_eq!(heard(end).await, numbered(place), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_heard_has_to_wait_and_nothing_is_lost() {
    let far = Far::start().await;
    let keys = "write_timeout = \"60s\"\nping_after = \"500ms\"\npong_timeout = \"500ms\"\n";
    let gateway = gateway(&[far.address], keys, "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    for (from, to) in [(true, false), (false, true)] {
        let (said, heard) = match (from, to) {
            (true, _) => (&mut near, &mut there),
            _ => (&mut there, &mut near),
        };
        let taken = say_until_blocked(said).await;
        assert!(taken < LITTLE, "{taken} bytes were taken although nobody reads");
        let (flushed, ()) = tokio::join!(soon("the rest", said.flush()), hear_all(heard, taken));
        flushed.unwrap();
    }
    carry(&mut near, &mut there, "and on it goes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_reads_nothing_for_too_long_is_cut_off() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "write_timeout = \"300ms\"\nping_after = \"1h\"\n", "").await;
    let (deaf, mut there) = open(&gateway, &far).await;
    let said = async { while there.feed(Message::binary(vec![0; PIECE])).await.is_ok() {} };
    soon("the end of patience", said).await;
    drop(deaf);
    let (mut near, deaf) = open(&gateway, &far).await;
    let (mut sink, mut stream) = StreamExt::split(&mut near);
    let saying = async {
        while sink.send(Message::binary(vec![0; PIECE])).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let hearing = async {
        loop {
            match soon("a close", stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return (u16::from(frame.code), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    };
    tokio::select! {
        told = hearing => assert_eq!(told, (1013, "the provider does not keep up".into())),
        () = saying => {}
    }
    drop(deaf);
    assert_eq!(metric(&gateway, "voice_overrun_total{reason=\"stalled\"}"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_in_which_nobody_says_anything_is_closed() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "idle_timeout = \"300ms\"\nping_after = \"50ms\"\n", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    carry(&mut near, &mut there, "hello").await;
    // Both ends answer pings; that is no conversation.
    let said = Some((1001, "nothing was said for too long".to_owned()));
    assert_eq!(tokio::join!(closed(&mut near), closed(&mut there)), (said.clone(), said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_lasts_longer_than_it_may() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "max_lifetime = \"400ms\"\n", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    let talking = async {
        loop {
            near.send(Message::text("more")).await.unwrap();
            match soon("an echo", near.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    };
    let echoing = async {
        while let Some(Ok(message)) = there.next().await {
            if there.send(message).await.is_err() {
                break;
            }
        }
    };
    assert_eq!(tokio::join!(talking, echoing).0, 1001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_lets_tunnels_go_on_and_closes_what_is_left_when_its_time_is_over() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "[server]\ndrain_timeout = \"1500ms\"\n").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    let (mut leaves, mut left_there) = open(&gateway, &far).await;
    gateway.leave();
    carry(&mut near, &mut there, "one more thing").await;
    leaves.close(None).await.unwrap();
    over(&mut left_there).await;
    let said = Some((1001, "the gateway is shutting down".to_owned()));
    assert_eq!(tokio::join!(closed(&mut near), closed(&mut there)), (said.clone(), said));
    tokio::join!(over(&mut near), over(&mut there));
    assert!(!gateway.left().await, "somebody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_whose_tunnels_end_in_time_has_cut_nobody_off() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    gateway.leave();
    carry(&mut there, &mut near, "goodbye").await;
    there.close(None).await.unwrap();
    over(&mut near).await;
    over(&mut there).await;
    assert!(gateway.left().await, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_gateway_begins_no_tunnel() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    // It is accepted while others still come in, and refused by what it asks for.
    let asking = async {
        gateway.leave();
        ask(gateway.address, VOICE, &[]).await
    };
    match asking.await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_on_calls_count_tunnels_when_they_are_asked_for() {
    let far = Far::start().await;
    let rule = "[limit.tunnels]\ncalls = [\"voice-stream\"]\nkey = [\"address\"]\nrate = \"2/h\"\n";
    let gateway = gateway(&[far.address], "", rule).await;
    for _ in 0..2 {
        drop(open(&gateway, &far).await);
    }
    assert_eq!(refused(gateway.address, VOICE, &[]).await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_echoes() {
    let gateway = Gateway::simulated("", BTreeMap::new()).await;
    let request = format!("ws://gateway{VOICE}").into_client_request().unwrap();
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (mut near, _): (WebSocketStream<_>, _) =
        client_async_with_config(request, stream, Some(roomy())).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![1, 2, 3])] {
        near.send(message.clone()).await.unwrap();
        assert_eq!(heard(&mut near).await, message);
    }
    near.send(Message::Close(None)).await.unwrap();
    assert_eq!(closed(&mut near).await, None);
    over(&mut near).await;
}
