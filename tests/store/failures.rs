//! A store that is killed, frozen, paused or spoilt: who waits, what is admitted meanwhile, and what is known afterwards.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate::model::rate::OnStoreError;
use tidegate::state::store::{Acquire, RateLimiter, Source, StoreFault};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fleet::{CacheDirectives, Member, fleet, in_a_month, one};
use crate::server::{Server, until};

/// Asks so often at each gateway; returns how many were admitted and how many by the store.
async fn ask_all(members: &[Member], takes: &[Acquire], times: usize) -> (u32, u32) {
    let (mut admitted, mut by_store) = (0, 0);
    for _ in 0..times {
        for member in members {
            let (is_admitted, source) = member.ask(takes).await;
            admitted += u32::from(is_admitted);
            by_store += u32::from(source == Source::Redis);
        }
    }
    (admitted, by_store)
}

fn failures(members: &[Member]) -> u64 {
    members.iter().map(|member| member.redis.operations().failures).sum()
}

async fn back(members: &[Member]) {
    until("the store is in use again", async || members.iter().all(|member| !member.redis.is_out())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_store_costs_nobody_a_wait_and_admits_no_more_than_the_bound() {
    let mut server = Server::start().await;
    let members = fleet(&server.url(), 4, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(100))];
    // Nothing was spent yet: the worst moment, because every gateway believes to have its whole share.
    server.kill().await;
    let (admitted, by_store) = ask_all(&members, &takes, 100).await;
    assert_eq!(by_store, 0);
    // Burst, and one call for each gateway; nothing comes back in the time that this takes.
    assert!((100..=104).contains(&admitted), "{admitted} admitted without the store");
    assert!(failures(&members) <= 4, "after the first failure each gateway asks no more");
    server.restart().await;
    back(&members).await;
    // The store is empty, but the gateways tell it what they let through.
    let (admitted, by_store) = ask_all(&members, &takes, 10).await;
    assert_eq!((admitted, by_store), (0, 40), "what was spent without the store stays spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_killed_under_load_fails_no_check_and_its_limit_goes_on_where_it_was() {
    let mut server = Server::start().await;
    let members = fleet(&server.url(), 4, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(2_000))];
    let (before, _) = ask_all(&members, &takes, 400).await;
    assert_eq!(before, 1_600);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    let mut load = JoinSet::new();
    for meter in members.iter().map(|member| member.meter.clone()) {
        load.spawn(async move {
            let mut admitted = 0u32;
            while !IS_OVER.load(Ordering::Relaxed) {
                admitted += u32::from(meter.take(&takes).await.unwrap().is_admitted(&takes));
                tokio::task::yield_now().await;
            }
            admitted
        });
    }
    server.kill().await;
    until("all gateways go on alone", async || members.iter().all(|member| member.redis.is_out())).await;
    server.restart().await;
    back(&members).await;
    IS_OVER.store(true, Ordering::Relaxed);
    let during: u32 = load.join_all().await.into_iter().sum();
    let (after, _) = ask_all(&members, &takes, 20).await;
    // 400 were left. Each gateway lags behind by what the three others took since its last check: here at most a few.
    let total = before + during + after;
    assert!((2_000..=2_020).contains(&total), "{before} + {during} + {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_store_is_waited_for_once_and_no_more() {
    let server = Server::start().await;
    let wishes = CacheDirectives { timeout: Duration::from_millis(50), ..CacheDirectives::default() };
    let members = fleet(&server.url(), 1, &wishes).await;
    let takes = [one("user", in_a_month(100_000))];
    server.signal("STOP").await;
    let (admitted, by_store) = ask_all(&members, &takes, 2_000).await;
    assert_eq!((admitted, by_store), (2_000, 0));
    assert!(failures(&members) <= 1, "{} checks waited for the timeout", failures(&members));
    server.signal("CONT").await;
    back(&members).await;
    until("a check is counted by the store", async || members[0].ask(&takes).await.1 == Source::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_store_comes_back_by_itself() {
    let server = Server::start().await;
    let wishes = CacheDirectives { timeout: Duration::from_millis(50), ..CacheDirectives::default() };
    let members = fleet(&server.url(), 1, &wishes).await;
    let takes = [one("user", in_a_month(100_000))];
    assert_eq!(server.cli(&["CLIENT", "PAUSE", "700", "ALL"]).await, "OK");
    let (admitted, by_store) = ask_all(&members, &takes, 500).await;
    assert_eq!((admitted, by_store), (500, 0));
    assert!(failures(&members) <= 1);
    until("a check is counted by the store", async || members[0].ask(&takes).await.1 == Source::Redis).await;
}

/// A way to a server on which connections can be made to fall silent without a word, as a network partition does.
struct WireRequest {
    port: u16,
    /// The connections made so far.
    connections: Arc<Mutex<Vec<CancellationToken>>>,
    _accepting: JoinSet<()>,
}

impl WireRequest {
    async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.port);
        let connections: Arc<Mutex<Vec<CancellationToken>>> = Arc::default();
        let (known, mut accepting) = (connections.clone(), JoinSet::new());
        accepting.spawn(async move {
            let mut pairs = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let silent = CancellationToken::new();
                known.lock().push(silent.clone());
                pairs.spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        // Both ends stay open, and nothing passes any more.
                        () = silent.cancelled() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, connections, _accepting: accepting }
    }

    fn fall_silent(&self) {
        self.connections.lock().iter().for_each(CancellationToken::cancel);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fell_silent_is_replaced() {
    let server = Server::start().await;
    let wire = WireRequest::to(&server).await;
    let wishes = CacheDirectives { timeout: Duration::from_millis(100), ..CacheDirectives::default() };
    let members = fleet(&format!("redis://127.0.0.1:{}", wire.port), 1, &wishes).await;
    let takes = [one("user", in_a_month(100_000))];
    for round in 1..=3 {
        assert!(members[0].ask(&takes).await.0);
        wire.fall_silent();
        let failed = failures(&members);
        until("it is noticed", async || members[0].ask(&takes).await == (true, Source::Local)).await;
        until("another connection is used", async || members[0].ask(&takes).await.1 == Source::Redis).await;
        assert!(failures(&members) - failed <= 2, "round {round}: {} checks waited", failures(&members) - failed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_writes_is_out_until_it_takes_them() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(100_000))];
    for (spoil, mend) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "64mb"]),
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""]),
    ] {
        let words = |words: [&'static str; 4]| words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        assert_eq!(server.cli(&words(spoil)).await, "OK");
        until("checks are counted here", async || members[0].ask(&takes).await == (true, Source::Local)).await;
        assert_eq!(server.cli(&words(mend)).await, "OK");
        until("checks are counted there", async || members[0].ask(&takes).await == (true, Source::Redis)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_without_the_store_is_as_the_config_says() {
    let mut server = Server::start().await;
    let takes = [one("user", in_a_month(2))];
    let admits =
        fleet(&server.url(), 1, &CacheDirectives { on_error: OnStoreError::Admit, ..CacheDirectives::default() }).await;
    let denies =
        Member::join(&server.url(), &CacheDirectives { on_error: OnStoreError::Deny, ..CacheDirectives::default() });
    until("it is connected", async || !denies.redis.is_out()).await;
    assert!(denies.ask(&takes).await.0);
    server.kill().await;
    until("it is noticed", async || admits[0].redis.is_out() && denies.redis.is_out()).await;
    for _ in 0..5 {
        assert_eq!(admits[0].ask(&takes).await, (true, Source::Nobody));
        assert_eq!(denies.meter.take(&takes).await.unwrap_err(), StoreFault::Out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_store_is_bounded() {
    let server = Server::start().await;
    let wishes = CacheDirectives { max_in_flight: 4, timeout: Duration::from_secs(2), ..CacheDirectives::default() };
    let members = fleet(&server.url(), 1, &wishes).await;
    let takes = [one("user", in_a_month(100_000))];
    // Long enough that all checks below are made while it lasts, and shorter than the timeout.
    assert_eq!(server.cli(&["CLIENT", "PAUSE", "1000", "ALL"]).await, "OK");
    let mut asked = JoinSet::new();
    for _ in 0..100 {
        let meter = members[0].meter.clone();
        asked.spawn(async move { meter.take(&takes).await.unwrap().source });
    }
    let by_store = asked.join_all().await.into_iter().filter(|source| *source == Source::Redis).count();
    assert!(by_store <= 4, "{by_store} waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_vanishes_is_no_longer_counted() {
    let server = Server::start().await;
    let mut members = fleet(&server.url(), 3, &CacheDirectives::default()).await;
    members.remove(0).vanish();
    until("the others know", async || members.iter().all(|member| member.redis.gateways() == 2)).await;
}
