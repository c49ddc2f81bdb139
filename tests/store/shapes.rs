//! The forms in which Redis comes: a Cluster, a Sentinel group, a password; and what else is kept and said there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidegate::state::store::redis::shelf::RedisShelf;
use tidegate::state::store::{RateLimiter, Shelf, Source};
use tokio::task::JoinSet;

use crate::fleet::{CacheDirectives, Member, fleet, in_a_month, one};
use crate::groups::{cluster, url, watched};
use crate::server::{Server, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_gateways_admit_exactly_the_limit_in_a_cluster_and_survive_the_loss_of_a_node() {
    let mut servers = cluster().await;
    let members = fleet(&url(&servers), 4, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(500)), one("tenant", in_a_month(100_000)), one("address", in_a_month(100_000))];
    let mut tasks = JoinSet::new();
    for member in &members {
        for _ in 0..4 {
            let meter = member.meter.clone();
            tasks.spawn(async move {
                let mut admitted = 0u32;
                for _ in 0..60 {
                    let taken = meter.take(&takes).await.unwrap();
                    assert_eq!(taken.source, Source::Redis);
                    admitted += u32::from(taken.is_admitted(&takes));
                }
                admitted
            });
        }
    }
    let admitted: u32 = tasks.join_all().await.into_iter().sum();
    assert_eq!(admitted, 500);
    // The node with the counters dies: all of them stand in one slot.
    let mut holder = 0;
    for (number, server) in servers.iter().enumerate() {
        if server.cli(&["DBSIZE"]).await != "0" {
            holder = number;
        }
    }
    servers[holder].kill().await;
    let mut admitted = 0;
    for _ in 0..50 {
        for member in &members {
            admitted += u32::from(member.ask(&takes).await.0);
        }
    }
    assert!(admitted <= 4, "{admitted} admitted although the burst was spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_sentinels_replace_is_found_again() {
    let (mut master, _replica, _sentinel, url) = watched().await;
    let members = fleet(&url, 2, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(40))];
    for member in members.iter().cycle().take(20) {
        assert_eq!(member.ask(&takes).await, (true, Source::Redis));
    }
    master.kill().await;
    // Nobody waits for the election; each gateway goes on with its share.
    let mut admitted = 20;
    until("the replica counts", async || {
        let mut by_store = 0;
        for member in &members {
            let (is_admitted, source) = member.ask(&takes).await;
            admitted += u32::from(is_admitted);
            by_store += usize::from(source == Source::Redis);
        }
        by_store == members.len()
    })
    .await;
    for member in members.iter().cycle().take(40) {
        admitted += u32::from(member.ask(&takes).await.0);
    }
    assert!((40..=44).contains(&admitted), "{admitted} of 40");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_needed_and_a_wrong_one_is_told_without_repeating_it() {
    let server = Server::start().await;
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", "canary"]).await, "OK");
    let port = server.port;
    let right = fleet(&format!("redis://:canary@127.0.0.1:{port}/1"), 1, &CacheDirectives::default()).await;
    assert_eq!(right[0].ask(&[one("user", in_a_month(2))]).await, (true, Source::Redis));
    let wrong = Member::join(&format!("redis://:wrong-canary@127.0.0.1:{port}"), &CacheDirectives::default());
    until("it is refused", async || format!("{:?}", wrong.redis.standing()).contains("authentication failed")).await;
    assert!(!format!("{:?}", wrong.redis.standing()).contains("canary"));
    assert_eq!(wrong.ask(&[one("user", in_a_month(2))]).await.1, Source::Local);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_kept_for_all_gateways_in_a_cluster_too() {
    let servers = cluster().await;
    let single = Server::start().await;
    for url in [url(&servers), single.url()] {
        let members = fleet(&url, 2, &CacheDirectives::default()).await;
        let shelves: Vec<RedisShelf> = members.iter().map(|it| RedisShelf::new(it.redis.clone(), "cache")).collect();
        let bytes = bytes::Bytes::from_static(b"\0\xff\r\nbytes");
        for number in 0..20 {
            shelves[0].keep(&format!("key {number}"), bytes.clone(), Duration::from_secs(60)).await.unwrap();
        }
        for number in 0..20 {
            assert_eq!(shelves[1].fetch(&format!("key {number}")).await, Ok(Some(bytes.clone())));
        }
        shelves[1].forget("key 3").await.unwrap();
        assert_eq!(shelves[0].fetch("key 3").await, Ok(None));
        shelves[0].keep("soon gone", bytes, Duration::from_millis(1)).await.unwrap();
        until("it is gone", async || shelves[0].fetch("soon gone").await == Ok(None)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_reaches_all_that_listen_also_after_a_restart() {
    let mut server = Server::start().await;
    let members = fleet(&server.url(), 2, &CacheDirectives::default()).await;
    let (heard, connected) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut listening = JoinSet::new();
    let (redis, count, joined) = (members[1].redis.clone(), heard.clone(), connected.clone());
    listening.spawn(async move {
        let each = move |bytes: bytes::Bytes| {
            assert_eq!(&bytes[..], b"news");
            count.fetch_add(1, Ordering::Relaxed);
        };
        redis
            .listen(
                "flags",
                move || {
                    joined.fetch_add(1, Ordering::Relaxed);
                },
                each,
            )
            .await;
    });
    for round in 1..=2 {
        until("it listens", async || connected.load(Ordering::Relaxed) == round).await;
        until("the store is in use", async || !members[0].redis.is_out()).await;
        until("it is heard", async || {
            let _ = members[0].redis.publish("flags", b"news").await;
            heard.load(Ordering::Relaxed) >= round
        })
        .await;
        if round == 1 {
            server.kill().await;
            server.restart().await;
        }
    }
}
