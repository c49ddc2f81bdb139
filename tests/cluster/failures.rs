//! A shared store that is killed, frozen, full, read-only, locked or spoilt: calls are answered as if there were none.

use serde_json::json;

use crate::gateways::{Member, PATIENT, Providers, fleet, sharing};
use crate::server::{Server, until};

/// Asks this many different questions at each gateway; every one must be answered.
async fn ask_all(members: &[Member], about: &str, times: usize) {
    for number in 0..times {
        for member in members {
            let got = member.ask("r1", &format!("{about} {number}")).await;
            assert_eq!(got.status, 200, "{about} {number}: {got:?}");
            assert!(got.body.contains(&format!("answers: {about} {number}")), "{got:?}");
        }
    }
}

fn operations(member: &Member) -> u64 {
    member.gateway.state.cluster().unwrap().redis().operations().asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_store_costs_answers_and_no_call() {
    let (mut server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, "").await;
    ask_all(&members, "before", 3).await;
    server.kill().await;
    ask_all(&members, "during", 20).await;
    // What each has in its own memory it still gives.
    assert_eq!(members[0].ask("r1", "before 0").await.cache, "hit");
    until("it is noticed", async || members.iter().all(|member| !member.is_sharing())).await;
    server.restart().await;
    sharing(&members).await;
    let calls = providers.calls();
    let _ = members[0].ask("r1", "after").await;
    until("they share again", async || members[1].ask("r1", "after").await.cache == "hit").await;
    assert!(providers.calls() <= calls + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_store_is_waited_for_once_and_then_not_asked() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 1, &providers, "[cache]\nredis_timeout = \"200ms\"\n").await;
    ask_all(&members, "before", 1).await;
    server.signal("STOP").await;
    ask_all(&members, "during", 1).await;
    until("it is noticed", async || members[0].gateway.state.cluster().unwrap().redis().is_out()).await;
    let asked = operations(&members[0]);
    ask_all(&members, "during", 50).await;
    assert!(operations(&members[0]) <= asked + 1, "nobody asks a store that is known to be out");
    server.signal("CONT").await;
    sharing(&members).await;
    ask_all(&members, "after", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_cannot_be_read_are_misses_and_go() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 1, &providers, PATIENT).await;
    ask_all(&members, "x", 1).await;
    until("it is kept", async || !server.cli(&["KEYS", "tidegate:cache:*"]).await.is_empty()).await;
    let name = server.cli(&["KEYS", "tidegate:cache:*"]).await;
    let length: usize = server.cli(&["STRLEN", &name]).await.parse().unwrap();
    for (number, spoil) in ["empty", "garbage", "forged", "last", "cut", "version"].iter().enumerate() {
        let last = (length - 1).to_string();
        // Of the same length, so that only the seal tells.
        let forge = "redis.call('SET', KEYS[1], (string.gsub(redis.call('GET', KEYS[1]), 'answers', 'canary!')))";
        match *spoil {
            "empty" => server.cli(&["SET", &name, ""]).await,
            "garbage" => server.cli(&["SET", &name, "{\"answer\":\"canary\"}"]).await,
            "forged" => server.cli(&["EVAL", forge, "1", &name]).await,
            "last" => server.cli(&["SETRANGE", &name, &last, "\u{7f}"]).await,
            "version" => server.cli(&["SETRANGE", &name, "0", "\u{7f}"]).await,
            _ => {
                server
                    .cli(&["EVAL", "redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, -9))", "1", &name])
                    .await
            }
        };
        // One that has nothing in its own memory.
        let fresh = Member::start(&server.url(), &providers, PATIENT);
        sharing(std::slice::from_ref(&fresh)).await;
        let got = fresh.ask("r1", "x 0").await;
        assert_eq!((got.status.as_u16(), &*got.cache), (200, "fwd=miss"), "{spoil}: {got:?}");
        assert!(!got.body.contains("canary") && got.body.contains("answers: x 0"), "{spoil}: {got:?}");
        assert_eq!(fresh.tally().spoilt, 1, "{spoil}");
        assert_eq!(providers.calls(), number + 2);
        // What is kept then is sound again.
        until("it is sound", async || server.cli(&["STRLEN", &name]).await.parse().is_ok_and(|it: usize| it > 60))
            .await;
        fresh.vanish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_no_reason_to_fail_whatever_it_drops() {
    let policies = [
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    for policy in policies {
        let (server, providers) = (Server::start().await, Providers::default());
        let members = fleet(&server.url(), 2, &providers, "").await;
        server.cli(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        let used = server.cli(&["INFO", "memory"]).await;
        let used: u64 =
            used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap();
        // Room for a few.
        server.cli(&["CONFIG", "SET", "maxmemory", &(used + 20_000).to_string()]).await;
        ask_all(&members, &"long ".repeat(200), 30).await;
        // What the gateways remember themselves they still give.
        let first = format!("{} 0", "long ".repeat(200));
        assert_eq!(members[0].ask("r1", &first).await.cache, "hit", "{policy}");
        server.cli(&["CONFIG", "SET", "maxmemory", "64mb"]).await;
        sharing(&members).await;
        ask_all(&members, "after", 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_is_a_store_that_is_not_there() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, "").await;
    ask_all(&members, "before", 2).await;
    // READONLY: a replica of nobody.
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    ask_all(&members, "readonly", 10).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    sharing(&members).await;
    ask_all(&members, "between", 2).await;
    // NOAUTH, for connections that are made from now on; those there are, are closed.
    server.cli(&["CONFIG", "SET", "requirepass", "secret"]).await;
    server.cli(&["-a", "secret", "CLIENT", "KILL", "TYPE", "normal"]).await;
    ask_all(&members, "noauth", 10).await;
    server.cli(&["-a", "secret", "CONFIG", "SET", "requirepass", ""]).await;
    sharing(&members).await;
    // Every client is held back.
    server.cli(&["CLIENT", "PAUSE", "1000", "ALL"]).await;
    ask_all(&members, "paused", 10).await;
    sharing(&members).await;
    let _ = members[0].ask("r1", "after").await;
    until("they share again", async || members[1].ask("r1", "after").await.cache == "hit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_killed_while_calls_wait_for_it_fails_none_of_them() {
    let (mut server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, "").await;
    providers.behave("openai", json!({"latency_ms": 400}));
    providers.behave("together", json!({"latency_ms": 400}));
    let (one, two, ()) = tokio::join!(members[0].ask("r1", "x"), members[1].ask("r1", "x"), async {
        until("one waits for the other", async || members.iter().any(|member| member.tally().waited == 1)).await;
        server.kill().await;
    });
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200), "{one:?} {two:?}");
    assert!(providers.calls() <= 2);
}
