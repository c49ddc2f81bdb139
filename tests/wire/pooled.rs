//! The gateway's connections to providers: how many are made, who gets one that becomes free, and that none is left behind.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::gateway::world::World;
use tidegate::provider::connector::Lookup;
use tidegate::server::Listener;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::{Gateway, Setup};
use crate::h2c::{Http2, text};
use crate::provider::Provider;
use crate::secure::{Authority, Paper, SecureProvider};
use crate::socket::{Message, PATIENCE, soon};
use crate::words::{STREAM, answer, chat, chat_stream, chunk, completion, event, plain};

/// A name server that answers as often as it is told.
#[derive(Clone)]
struct Names {
    answers: Arc<Semaphore>,
    asked: Arc<Semaphore>,
}

impl Lookup for Names {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let names = self.clone();
        Box::pin(async move {
            names.asked.add_permits(1);
            names.answers.acquire().await.expect("it is never closed").forget();
            Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        })
    }
}

impl Names {
    fn answering(times: usize) -> Self {
        Self { answers: Arc::new(Semaphore::new(times)), asked: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until it has been asked once more.
    async fn asked(&self) {
        soon("a question for an address", self.asked.acquire()).await.expect("it is never closed").forget();
    }

    fn answer(&self) {
        self.answers.add_permits(1);
    }

    async fn gateway(&self, port: u16) -> Gateway {
        let text = format!(
            "defaults = false\n{}[provider.a]\nkind = \"openai\"\nurl = \"http://provider.test:{port}/v1\"\n\
             [route.chat]\npaths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"a\"]\n",
            crate::gateway::NO_POLICIES
        );
        let world = World::real().with_names(Arc::new(self.clone()));
        Gateway::of(world, Listener::Public, &text, BTreeMap::new()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_takes_what_becomes_free_and_the_connection_it_had_begun_is_for_the_next_one() {
    let provider = Provider::start().await;
    let names = Names::answering(1);
    let gateway = names.gateway(provider.address.port()).await;
    let (mut first, mut second) = (gateway.connect().await, gateway.connect().await);
    first.send(chat()).await;
    names.asked().await;
    let (mut there, _) = provider.request().await;
    second.send(chat()).await;
    names.asked().await;
    // The second call waits for an address; the first one ends before that is known.
    there.send(plain(&completion("first"))).await;
    assert_eq!(first.message().await.text(), completion("first"));
    soon("the second call", there.message()).await;
    names.answer();
    let mut begun = provider.connection().await;
    // The third call has only the connection that was begun for the second: no other address is ever known.
    first.send(chat()).await;
    begun.message().await;
    begun.send(plain(&completion("third"))).await;
    assert_eq!(first.message().await.text(), completion("third"));
    there.send(plain(&completion("second"))).await;
    assert_eq!(second.message().await.text(), completion("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_becomes_free_goes_to_the_call_that_has_waited_longest() {
    let provider = Provider::start().await;
    let names = Names::answering(1);
    let gateway = names.gateway(provider.address.port()).await;
    let mut callers = Vec::new();
    for number in 0..4 {
        let mut caller = gateway.connect().await;
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"call {number}"}}]}}"#);
        caller.send(crate::words::chat_of(&body)).await;
        names.asked().await;
        callers.push(caller);
    }
    let mut there = provider.connection().await;
    for (number, caller) in callers.iter_mut().enumerate() {
        let request: Message = there.message().await;
        assert!(request.text().contains(&format!("call {number}")), "{}", request.text());
        there.send(plain(&completion("ok"))).await;
        assert_eq!(caller.message().await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_while_its_connection_is_being_made_leaves_none_behind() {
    let provider = Provider::start().await.say(plain(&completion("ok")));
    let names = Names::answering(0);
    let gateway = names.gateway(provider.address.port()).await;
    for _ in 0..3 {
        let mut leaves = gateway.connect().await;
        leaves.send(chat()).await;
        names.asked().await;
        leaves.finish().await;
        leaves.closed().await;
    }
    names.answer();
    assert_eq!(gateway.connect().await.ask(chat()).await.text(), completion("ok"));
    assert_eq!(provider.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_in_a_handshake_ends_it() {
    let authority = Authority::new("pool-handshake");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let setup = Setup::over(&[listener.local_addr().unwrap()]).first_over_tls(&authority.file());
    let gateway = setup.start().await;
    let mut leaves = gateway.connect().await;
    leaves.send(chat()).await;
    let (mut there, _) = soon("a connection", listener.accept()).await.unwrap();
    there.read_u8().await.unwrap();
    drop(leaves);
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = soon("the end of the handshake", there.read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_before_its_answer_or_in_it_takes_its_connection_along() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let half = plain(&completion("ok"));
    let half = &half[..half.len() - 9];
    for said in ["", "HTTP/1.1 200 O", half, STREAM, &format!("{STREAM}{}", chunk_of("first"))] {
        let mut leaves = gateway.connect().await;
        leaves.send(if said.starts_with(STREAM) { chat_stream() } else { chat() }).await;
        let (mut there, _) = provider.request().await;
        there.send(said).await;
        drop(leaves);
        assert_eq!(there.closed().await, "", "{said:?}");
    }
}

fn chunk_of(text: &str) -> String {
    String::from_utf8(chunk(event(text))).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_after_its_time_though_nobody_calls() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    // It is used for half as long.
    there.send(answer("200 OK", "keep-alive: timeout=1\r\n", &completion("ok"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_says_on_an_idle_connection_answers_nothing() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    caller.send(chat()).await;
    let (mut there, _) = provider.request().await;
    there.send(plain(&completion("ok")) + &plain(&completion("forged"))).await;
    assert_eq!(caller.message().await.text(), completion("ok"));
    caller.send(chat()).await;
    let (mut other, _) = provider.request().await;
    other.send(plain(&completion("asked for"))).await;
    assert_eq!(caller.message().await.text(), completion("asked for"));
    assert_eq!(there.closed().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_with_two_lengths_is_the_last_one_of_its_connection_though_it_has_no_body() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut caller = gateway.connect().await;
    for head in ["204 No Content", "200 OK"] {
        caller.send(chat()).await;
        let (mut there, _) = provider.request().await;
        there.send(format!("HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(caller.message().await.status(), 502, "{head}");
        assert_eq!(there.closed().await, "", "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_closed_while_they_were_idle_cost_no_call() {
    let provider = Provider::start().await;
    let gateway = Setup::over(&[provider.address]).start().await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(gateway.connect().await);
    }
    for _ in 0..10 {
        let mut theirs = Vec::new();
        for caller in &mut callers {
            caller.send(chat()).await;
            theirs.push(provider.request().await.0);
        }
        for (caller, there) in callers.iter_mut().zip(&mut theirs) {
            there.send(plain(&completion("ok"))).await;
            assert_eq!(caller.message().await.text(), completion("ok"));
        }
        for mut there in theirs {
            there.finish().await;
            there.closed().await;
        }
    }
}

/// Connections may take long to be made on a busy machine.
const PATIENT: &str = "[timeout]\nconnect = \"60s\"\n";

/// So many calls at once, over a few connections of callers.
async fn at_once(gateway: &Gateway, calls: usize) {
    let mut callers = Vec::new();
    for _ in 0..calls / 50 {
        callers.push(Http2::connect(gateway).await);
    }
    let mut running = JoinSet::new();
    for caller in &mut callers {
        for _ in 0..50 {
            running.spawn(caller.chat(false));
        }
    }
    // On a busy machine it takes long to make them all.
    while let Some(answer) = timeout(6 * PATIENCE, running.join_next()).await.expect("all answers") {
        let answer = answer.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), text(answer).await.unwrap()), (200, completion("ok")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_are_answered_and_their_connections_are_used_again() {
    let all = Arc::new(Barrier::new(1000));
    let provider = Provider::start().await.follow(move |mut socket, _| {
        let all = all.clone();
        Box::pin(async move {
            all.wait().await;
            socket.send(plain(&completion("ok"))).await;
            Some(socket)
        })
    });
    let gateway = Setup::over(&[provider.address]).tables(PATIENT).start().await;
    for _ in 0..2 {
        at_once(&gateway, 1000).await;
    }
    assert_eq!((provider.requests().len(), provider.connections()), (2000, 1000));
}

/// A provider that speaks HTTP/2 and answers when `all` have asked; returns how many connections it has.
fn serve(provider: SecureProvider, all: Arc<Barrier>, streams: u32, serving: &mut JoinSet<()>) -> Arc<AtomicUsize> {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    serving.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok(stream) = provider.try_connection().await {
            count.fetch_add(1, Ordering::SeqCst);
            let all = all.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let all = all.clone();
                async move {
                    request.collect().await.expect("a whole request");
                    all.wait().await;
                    let answer = http::Response::builder().header("content-type", "application/json");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(completion("ok")))).expect("an answer"))
                }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(streams);
            open.spawn(async move {
                // It ends with the test.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_share_as_few_connections_as_have_room_for_them() {
    let authority = Authority::new("pool-shared");
    let provider = authority.provider(Paper::Good, &["h2"]).await;
    let setup = Setup::over(&[provider.address]).first_over_tls(&authority.file()).tables(PATIENT);
    let mut serving = JoinSet::new();
    let connections = serve(provider, Arc::new(Barrier::new(1000)), 100, &mut serving);
    let gateway = setup.start().await;
    at_once(&gateway, 1000).await;
    assert_eq!(connections.load(Ordering::SeqCst), 10);
    at_once(&gateway, 1000).await;
    assert_eq!(connections.load(Ordering::SeqCst), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_together_make_one_handshake_with_a_provider_of_http_2() {
    let authority = Authority::new("pool-one");
    let provider = authority.provider(Paper::Good, &["h2"]).await;
    let setup = Setup::over(&[provider.address]).first_over_tls(&authority.file()).tables(PATIENT);
    let mut serving = JoinSet::new();
    let connections = serve(provider, Arc::new(Barrier::new(50)), 100, &mut serving);
    let gateway = setup.start().await;
    at_once(&gateway, 50).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_anothers_handshake_go_on_when_that_caller_leaves() {
    let authority = Authority::new("pool-left");
    let provider = authority.provider(Paper::Good, &["http/1.1"]).await;
    let setup = Setup::over(&[provider.address]).first_over_tls(&authority.file());
    let gateway = setup.start().await;
    let (mut leaves, mut stays) = (gateway.connect().await, gateway.connect().await);
    leaves.send(chat()).await;
    // Nobody goes on with this handshake.
    let stalled = provider.accept().await;
    stays.send(chat()).await;
    drop(leaves);
    let mut there = provider.connection().await;
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        soon("a request", there.read_buf(&mut read)).await.expect("the gateway writes");
    }
    drop(stalled);
    tokio::io::AsyncWriteExt::write_all(&mut there, plain(&completion("ok")).as_bytes()).await.unwrap();
    assert_eq!(stays.message().await.text(), completion("ok"));
}
