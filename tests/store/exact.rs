//! Gateways that share a store admit together what one of them would alone.

use std::time::Duration;

use tidegate::model::rate::Key;
use tidegate::model::rate::Rate;
use tidegate::state::store::{Acquire, RateLimiter, Source};
use tokio::task::JoinSet;

use crate::fleet::{CacheDirectives, fleet, in_a_month, one};
use crate::server::{Server, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_gateways_under_load_admit_exactly_the_limit() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 4, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(1_000)), one("wide", in_a_month(100_000))];
    let mut tasks = JoinSet::new();
    for member in members {
        for _ in 0..8 {
            let meter = member.meter.clone();
            tasks.spawn(async move {
                let mut admitted = 0u64;
                for _ in 0..60 {
                    let taken = meter.take(&takes).await.unwrap();
                    assert_eq!(taken.source, Source::Redis, "the store is there all the time");
                    admitted += u64::from(taken.is_admitted(&takes));
                }
                admitted
            });
        }
        // The keepers stop with the test.
        tasks.spawn(async move {
            let _kept = member;
            std::future::pending().await
        });
    }
    let mut admitted = 0;
    for _ in 0..32 {
        admitted += tasks.join_next().await.unwrap().unwrap();
    }
    // 1920 asked. The aim is 0.1 %; nothing can come back meanwhile, so it is exact.
    assert_eq!(admitted, 1_000);
    // What the narrow rule refused, the wide one was not charged for.
    let paid: f64 = server.cli(&["GET", &format!("{{test:limit}}:{}", takes[1].key)]).await.parse().unwrap();
    let other: f64 = server.cli(&["GET", &format!("{{test:limit}}:{}", takes[0].key)]).await.parse().unwrap();
    let month = 30.0 * 24.0 * 3600.0 * 1e6;
    assert!((other - paid - month * (1.0 - 0.01)).abs() < 60e6, "{paid} {other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_is_one_round_trip_whatever_the_number_of_rules() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    let takes: Vec<Acquire> = ["a", "b", "c", "d"].map(|name| one(name, in_a_month(1_000))).into();
    members[0].ask(&takes).await;
    let (scripts, loads) = (server.calls("evalsha").await, server.calls("eval").await);
    for _ in 0..100 {
        assert!(members[0].ask(&takes).await.0);
    }
    // A heartbeat a second runs beside it.
    let ran = server.calls("evalsha").await - scripts;
    assert!((100..=110).contains(&ran), "{ran} scripts for 100 checks");
    assert_eq!(server.calls("eval").await, loads, "the scripts are there since the first check");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_script_is_sent_again_and_nobody_notices() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(20))];
    let mut admitted = 0;
    for number in 0..30 {
        if number % 10 == 5 {
            assert_eq!(server.cli(&["SCRIPT", "FLUSH"]).await, "OK");
        }
        let (is_admitted, source) = members[0].ask(&takes).await;
        assert_eq!(source, Source::Redis);
        admitted += u32::from(is_admitted);
    }
    assert_eq!(admitted, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_data_is_told_what_it_had_known() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 2, &CacheDirectives::default()).await;
    let takes = [one("user", in_a_month(20))];
    for member in members.iter().cycle().take(20) {
        assert!(member.ask(&takes).await.0);
    }
    assert_eq!(server.cli(&["FLUSHALL"]).await, "OK");
    // The last to be admitted knows it all; one that lags behind would be let through as far as it does.
    for member in members.iter().rev() {
        assert_eq!(member.ask(&takes).await, (false, Source::Redis), "the burst is spent, flushed or not");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlements_reach_the_store_and_all_gateways() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 2, &CacheDirectives::default()).await;
    let tokens = [Acquire { key: Key::of(&["tokens"]), rate: in_a_month(1_000), cost: 900, is_enforced: true }];
    let taken = members[0].meter.take(&tokens).await.unwrap();
    assert!(!members[1].ask(&tokens).await.0, "900 of 1000 are held");
    members[0].meter.settle(taken.verdicts[0].hold.unwrap(), 50);
    until("the other gateway sees what was given back", async || members[1].ask(&tokens).await.0).await;
    // 950 are taken. One more fits, and turns out to be a thousand.
    let little = [Acquire { cost: 1, ..tokens[0] }];
    let hold = members[1].meter.take(&little).await.unwrap().verdicts[0].hold.unwrap();
    members[1].meter.settle(hold, 1_000);
    until("the first gateway is refused for it", async || !members[0].ask(&little).await.0).await;
    let wait = members[0].meter.take(&little).await.unwrap().verdicts[0].wait;
    let owed = wait.as_secs_f64() / in_a_month(1_000).interval() as f64 * 1e9;
    assert!((945.0..=960.0).contains(&owed), "{owed} units too many are owed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_by_themselves_and_garbage_under_them_is_no_trouble() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    let quick = [one("quick", Rate::new(1_000, Duration::from_millis(100)))];
    assert!(members[0].ask(&quick).await.0);
    let name = format!("{{test:limit}}:{}", quick[0].key);
    let ttl: i64 = server.cli(&["PTTL", &name]).await.parse().unwrap();
    assert!((1..=1_200).contains(&ttl), "{ttl} ms");
    for garbage in ["", "nonsense", "nan", "inf", "-1e300", "99999999999999999999"] {
        server.cli(&["SET", &name, garbage]).await;
        let (_, source) = members[0].ask(&quick).await;
        assert_eq!(source, Source::Redis, "{garbage:?}");
    }
    // As after the server's clock was set back by years: ten bursts' time is the longest wait.
    server.cli(&["SET", &name, "999999999999999"]).await;
    let wait = members[0].meter.take(&quick).await.unwrap().verdicts[0].wait;
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    server.cli(&["DEL", &name]).await;
    server.cli(&["LPUSH", &name, "a list"]).await;
    assert_eq!(members[0].ask(&quick).await.1, Source::Redis);
}
