//! Flags that gateways share: thrown at one, in force at all within a second, and kept through restarts of either side.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::server::dispatch;
use tokio::time::Instant;

use crate::gateways::{Member, Providers};
use crate::server::{Server, until};

const SETTINGS: &str = "[store]\ntimeout = '5s'\n[auth]\ndefault = 'none'\n";

/// A change must be everywhere by then.
const SOON: Duration = Duration::from_secs(1);

/// Asks about flags at a gateway, as an operator who has the token.
async fn flags(member: &Member, method: &str, path: &str, body: Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(format!("/api/flags/{path}"));
    let request = request.header("authorization", "Bearer admin-token-of-the-tests");
    let request = request.body(Full::new(Bytes::from(text))).unwrap();
    let response = dispatch::operate(&member.gateway, std::net::Ipv4Addr::LOCALHOST.into(), request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn is_on(member: &Member) -> bool {
    member.gateway.state.provider("together").unwrap().switch.is_on()
}

async fn start(url: &str, providers: &Providers) -> Member {
    let member = Member::start(url, providers, SETTINGS);
    until("the flags are known", async || member.gateway.state.flags().known(SOON).await).await;
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_thrown_at_one_gateway_is_in_force_at_the_other_within_a_second_and_after_a_restart() {
    let (server, providers) = (Server::start().await, Providers::default());
    let (one, other) = (start(&server.url(), &providers).await, start(&server.url(), &providers).await);
    for round in 1..=5u64 {
        let wanted = round % 2 == 0;
        let (status, flag) = flags(&one, "PUT", "use_together", json!({"enabled": wanted})).await;
        assert_eq!((status, &flag["version"], &flag["persisted"]), (200, &round.into(), &true.into()), "{flag}");
        assert_eq!(is_on(&one), wanted, "at once where it was thrown");
        let told = Instant::now();
        until("the other knows", async || is_on(&other) == wanted).await;
        assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
    }
    let (status, _) = flags(&other, "PUT", "use_together", json!({"enabled": true, "version": 4})).await;
    assert_eq!(status, 409, "somebody else was there after version 4");
    let late = start(&server.url(), &providers).await;
    assert!(!is_on(&late));
    let (_, undone) = flags(&late, "POST", "use_together/undo", Value::Null).await;
    assert_eq!((&undone["enabled"], &undone["version"]), (&true.into(), &6.into()));
    until("all know", async || is_on(&one) && is_on(&other)).await;
    let (_, history) = flags(&one, "GET", "use_together/history", Value::Null).await;
    assert_eq!(history["history"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_out_refuses_changes_and_one_that_lost_everything_is_told_again() {
    let (mut server, providers) = (Server::start().await, Providers::default());
    let (one, other) = (start(&server.url(), &providers).await, start(&server.url(), &providers).await);
    assert_eq!(flags(&one, "PUT", "use_together", json!({"enabled": false})).await.0, 200);
    until("the other knows", async || !is_on(&other)).await;
    server.kill().await;
    let is_out = |member: &Member| member.gateway.state.redis().unwrap().is_out();
    until("it is noticed", async || is_out(&one) && is_out(&other)).await;
    let (status, problem) = flags(&one, "PUT", "use_together", json!({"enabled": true})).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("nothing was changed"), "{problem}");
    assert!(!is_on(&one) && !is_on(&other), "what is known holds");
    // It comes back, and remembers nothing.
    server.restart().await;
    until("it is back", async || !is_out(&one) && !is_out(&other)).await;
    until("it was told again", async || {
        server.cli(&["HGET", "{tidegate:flags}:flags", "use_together"]).await.contains("\"version\":1")
    })
    .await;
    assert!(!is_on(&one) && !is_on(&other));
    assert_eq!(flags(&other, "PUT", "use_together", json!({"enabled": true})).await.0, 200);
    until("all know", async || is_on(&one) && is_on(&other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_a_file_keeps_flags_and_changes_that_it_cannot_keep_are_refused() {
    let providers = Providers::default();
    let folder = std::env::temp_dir().join(format!("tidegate-state-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let settings = format!("{SETTINGS}[flags]\nstate_file = {:?}\n", folder.join("flags.json"));
    let first = Member::alone(&providers, &settings);
    let (status, flag) =
        flags(&first, "PUT", "use_together", json!({"enabled": true, "rolloutPercentage": 12.5})).await;
    assert_eq!((status, &flag["persisted"], &flag["rolloutPercentage"]), (200, &true.into(), &12.5.into()), "{flag}");
    drop(first);
    let second = Member::alone(&providers, &settings);
    let (_, flag) = flags(&second, "GET", "use_together", Value::Null).await;
    assert_eq!(
        (&flag["rolloutPercentage"], &flag["version"], &flag["source"]),
        (&12.5.into(), &1.into(), &"admin".into())
    );
    std::fs::remove_dir_all(&folder).unwrap();
    let (status, problem) = flags(&second, "PUT", "use_together", json!({"enabled": false})).await;
    assert_eq!(status, 503, "{problem}");
    assert!(is_on(&second), "nothing was changed");
}
