//! What one gateway has learnt, all give; what all want at once, one asks for; what one forgets, all forget.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::gateways::{Member, PATIENT, Providers, ask, fleet, sharing};
use crate::server::{Server, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_one_gateway_is_given_by_another() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, PATIENT).await;
    let first = members[0].chat("one", true).await;
    assert_eq!((first.status.as_u16(), &*first.cache), (200, "fwd=miss"));
    until("it is in the store", async || server.cli(&["DBSIZE"]).await != "0" && members[0].tally().missed == 1).await;
    until("the other finds it", async || members[1].chat("one", false).await.cache == "hit").await;
    let second = members[1].chat("one", true).await;
    let text = |body: &str| body.matches("answers:").count();
    assert_eq!((text(&first.body), text(&second.body)), (1, 1), "{first:?} {second:?}");
    let third = members[1].ask("r1", "one").await;
    assert_eq!(third.cache, "fwd=miss", "another route");
    assert_eq!(providers.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_identical_calls_over_two_gateways_make_one_call() {
    for stream in [false, true] {
        let (server, providers) = (Server::start().await, Providers::default());
        let members = fleet(&server.url(), 2, &providers, PATIENT).await;
        providers.behave("openai", json!({"latency_ms": 300, "gap_ms": 5}));
        let mut calls = JoinSet::new();
        for number in 0..1_000 {
            let gateway = members[number % 2].gateway.clone();
            let body = json!({
                "model": "gpt-4", "temperature": 0, "stream": stream,
                "messages": [{"role": "user", "content": "the same"}],
            });
            calls.spawn(async move { ask(gateway, "/v1/chat/completions", "r1", body).await });
        }
        let answers = calls.join_all().await;
        assert!(answers.iter().all(|got| got.status == 200));
        let is_whole = |body: &str| match stream {
            true => body.ends_with("data: [DONE]\n\n") && body.contains("\"finish_reason\":\"stop\""),
            false => body.contains("answers: the same"),
        };
        let broken = answers.iter().find(|got| !is_whole(&got.body));
        assert!(broken.is_none(), "{broken:?}");
        assert_eq!(providers.calls(), 1, "stream: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_cannot_get_another_asks_for() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members =
        fleet(&server.url(), 2, &providers, &format!("{PATIENT}[route.canvas-chat]\ntargets = [\"openai\"]\n")).await;
    providers.behave("openai", json!({"fault": "status", "status": 400, "latency_ms": 200, "times": 1}));
    let (one, two) = tokio::join!(members[0].ask("r1", "x"), async {
        until("the first has asked", async || providers.calls() == 1).await;
        members[1].ask("r1", "x").await
    });
    // The refusal is the first one's to tell; it is no answer that the other could share.
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (400, 200), "{one:?} {two:?}");
    assert_eq!(providers.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_gateway_that_died_ends_by_itself_and_a_wait_is_bounded() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 1, &providers, &format!("{PATIENT}cluster_wait = \"300ms\"\n")).await;
    // The lease of a dead gateway, which would last much longer than the wait.
    let _ = members[0].ask("r1", "learn the name").await;
    until("it is kept", async || server.cli(&["KEYS", "tidegate:cache:*"]).await.len() == 79).await;
    let name = server.cli(&["KEYS", "tidegate:cache:*"]).await;
    let lease = name.replace("tidegate:cache:", "tidegate:cache-lease:");
    server.cli(&["DEL", &name]).await;
    server.cli(&["SET", &lease, "nobody", "PX", "15000"]).await;
    let other = Member::start(&server.url(), &providers, &format!("{PATIENT}cluster_wait = \"300ms\"\n"));
    sharing(std::slice::from_ref(&other)).await;
    let got = other.ask("r1", "learn the name").await;
    assert_eq!((got.status.as_u16(), &*got.cache, other.tally().waited), (200, "fwd=miss", 1));
    assert_eq!(providers.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_every_gateway_and_the_store() {
    // Whoever asks first afterwards: the one that purged, the other, or one that comes later and finds what the store may still
    // have. The answer that it gets may be shared again at once.
    for (what, first) in ["all", "route", "tenant", "key"].into_iter().flat_map(|what| [0, 1, 2].map(|it| (what, it))) {
        let (server, providers) = (Server::start().await, Providers::default());
        let mut members = fleet(&server.url(), 2, &providers, PATIENT).await;
        for member in &members {
            member.ask("r1", "x").await;
        }
        until("both have it", async || {
            members[0].ask("r1", "x").await.cache == "hit" && members[1].ask("r1", "x").await.cache == "hit"
        })
        .await;
        let name = server.cli(&["KEYS", "tidegate:cache:*"]).await;
        let purge = match what {
            "all" => json!({"all": true}),
            "route" => json!({"route": "canvas-chat"}),
            "tenant" => json!({"tenant": "r1"}),
            _ => json!({"key": name.rsplit(':').next().unwrap()}),
        };
        let calls = providers.calls();
        assert_eq!(members[0].purge(purge).await["gateways"], "all");
        members.push(Member::start(&server.url(), &providers, PATIENT));
        sharing(&members).await;
        match first {
            1 => until("it is told", async || members[1].ask("r1", "x").await.cache != "hit").await,
            first => assert_ne!(members[first].ask("r1", "x").await.cache, "hit", "{what}, {first}"),
        }
        assert_eq!(providers.calls(), calls + 1, "{what}, {first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_while_the_store_is_out_is_told_when_it_is_back() {
    let (mut server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, PATIENT).await;
    for member in &members {
        member.ask("r1", "x").await;
    }
    until("the other has it", async || members[1].ask("r1", "x").await.cache == "hit").await;
    server.kill().await;
    until("it is noticed", async || members.iter().all(|member| !member.is_sharing())).await;
    assert_ne!(members[0].purge(json!({"all": true})).await["gateways"], "all");
    assert_eq!(members[1].ask("r1", "x").await.cache, "hit", "nobody can have told it");
    server.restart().await;
    until("it is told", async || members[1].ask("r1", "x").await.cache != "hit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_with_other_secrets_share_nothing() {
    let (server, providers) = (Server::start().await, Providers::default());
    let folder = std::env::temp_dir().join(format!("tidegate-secret-{}", std::process::id()));
    std::fs::write(&folder, "another secret").unwrap();
    let one = fleet(&server.url(), 1, &providers, PATIENT).await;
    let other = fleet(&server.url(), 1, &providers, &format!("{PATIENT}secret_file = {folder:?}\n")).await;
    for _ in 0..2 {
        assert_eq!(one[0].ask("r1", "x").await.status, 200);
        assert_eq!(other[0].ask("r1", "x").await.status, 200);
    }
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(providers.calls(), 2, "each asked once, and neither knew the other's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_share_nothing_whatever_the_gateway() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, PATIENT).await;
    let _ = members[0].ask("r1", "x").await;
    until("the other has it", async || members[1].ask("r1", "x").await.cache == "hit").await;
    for (number, tenant) in ["r2", "r1 ", "R1", "r", "r12"].iter().enumerate() {
        let got = members[number % 2].ask(tenant.trim(), "x").await;
        assert!(got.cache == "fwd=miss" || *tenant == "r1 ", "{tenant}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_ends_with_its_time_in_the_store_too() {
    let (server, providers) = (Server::start().await, Providers::default());
    let settings =
        "[route.canvas-chat.cache]\nttl = \"40s\"\nstale_if_error = \"20s\"\nstale_while_revalidate = \"10s\"\n";
    let members = fleet(&server.url(), 1, &providers, settings).await;
    let _ = members[0].ask("r1", "x").await;
    until("it is kept", async || !server.cli(&["KEYS", "tidegate:cache:*"]).await.is_empty()).await;
    let name = server.cli(&["KEYS", "tidegate:cache:*"]).await;
    let left: i64 = server.cli(&["PTTL", &name]).await.parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms");
    assert!(left > Duration::from_secs(40).as_millis() as i64, "as long as it may serve: {left} ms");
}
