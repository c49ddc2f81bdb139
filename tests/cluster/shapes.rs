//! Kept answers in a Cluster and behind Sentinels, also while a node is lost and replaced.

use serde_json::json;
use tokio::task::JoinSet;

use crate::gateways::{PATIENT, Providers, ask, fleet, sharing};
use crate::groups::{cluster, url, watched};
use crate::server::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_on_a_cluster_ask_once_share_purge_and_survive_the_loss_of_a_node() {
    let (mut servers, providers) = (cluster().await, Providers::default());
    let members = fleet(&url(&servers), 2, &providers, PATIENT).await;
    providers.behave("openai", json!({"latency_ms": 200}));
    // Forty questions, whose keys lie on all nodes; each asked five times at each gateway.
    let mut calls = JoinSet::new();
    for number in 0..400 {
        let gateway = members[number % 2].gateway.clone();
        let prompt = format!("question {}", number / 10);
        let body = json!({"model": "gpt-4", "temperature": 0, "messages": [{"role": "user", "content": prompt}]});
        calls.spawn(async move { ask(gateway, "/v1/chat/completions", "r1", body).await });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|got| got.status == 200));
    assert_eq!(providers.calls(), 40);
    let mut holding = 0;
    for server in &servers {
        holding += usize::from(server.cli(&["DBSIZE"]).await != "0");
    }
    assert_eq!(holding, 3, "they are spread over all nodes");
    assert_eq!(members[0].purge(json!({"route": "openai-chat"})).await["gateways"], "all");
    until("the other has forgotten it", async || members[1].chat("question 1", false).await.cache != "hit").await;
    servers[1].kill().await;
    for number in 0..60 {
        let got = members[number % 2].chat(&format!("another {number}"), number % 3 == 0).await;
        assert_eq!(got.status, 200, "{got:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_sentinels_fails_no_call_and_is_ridden_through() {
    let (mut master, replica, _sentinel, url) = watched().await;
    let providers = Providers::default();
    let members = fleet(&url, 2, &providers, PATIENT).await;
    let _ = members[0].ask("r1", "before").await;
    until("the replica has it", async || replica.cli(&["KEYS", "tidegate:cache:*"]).await.len() > 20).await;
    master.kill().await;
    let mut asked = 0;
    until("the replica serves", async || {
        for member in &members {
            let got = member.ask("r1", &format!("during {asked}")).await;
            assert_eq!(got.status, 200, "{got:?}");
            asked += 1;
        }
        asked > 10 && members.iter().all(|member| member.is_sharing())
    })
    .await;
    sharing(&members).await;
    // What was kept before, a gateway that has never heard of it finds.
    let calls = providers.calls();
    until("it is found", async || members[1].ask("r1", "before").await.cache == "hit").await;
    assert!(providers.calls() <= calls + 1);
}
