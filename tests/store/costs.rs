//! Money across gateways: budgets that nobody overdraws together, and a ledger that counts each call once, whatever becomes of
//! the store meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::Value;
use tidegate::model::money::Usd;
use tidegate::model::rate::Key;
use tidegate::model::rate::OnStoreError;
use tidegate::server::dispatch;
use tidegate::state::store::budget_account::{BudgetAccounts, BudgetRequest};
use tokio::task::JoinSet;

use crate::fleet::{CacheDirectives, fleet};
use crate::gateway::Running;
use crate::server::{Server, until};

/// A purse of a hundred microdollars for everybody, and nothing else that refuses. The store has more time than a busy test
/// machine needs.
const CONFIG: &str = "[limits]\nenabled = false\n[store]\ntimeout = \"2s\"\n\
                      [budget.all]\nkey = [\"all\"]\namount = 0.0001\nper = \"month\"\n";

impl Running {
    /// What a call cost, in nanodollars; `None` when the budget refused it.
    async fn spend(&self) -> Option<u64> {
        let answer = self.ask("POST", "/api/llm/chat", r#"{"prompt":"hi","model":"m","maxTokens":10}"#).await;
        if answer.status == 402 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        Some(nanos(&body["data"]["cost"]))
    }

    /// Everybody's numbers of the day.
    async fn usage(&self) -> Value {
        let request = Request::get("/api/usage?from=2026-01-01&by=route").body(Full::new(Bytes::new())).unwrap();
        let response = dispatch::operate(&self.gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), request).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    async fn counted(&self, source: &str) -> Option<(u64, u64)> {
        let usage = self.usage().await;
        let total = &usage["total"];
        (usage["source"] == source).then(|| (total["calls"].as_u64().unwrap(), nanos(&total["cost_usd"])))
    }
}

fn nanos(usd: &Value) -> u64 {
    (usd.as_f64().unwrap() * 1e9).round() as u64
}

/// So many calls at once, in turns at each gateway. Returns how many were admitted, and what they cost together.
async fn rush(gateways: &[Running], calls: usize) -> (u64, u64) {
    let calls = gateways.iter().cycle().take(calls).map(Running::spend);
    let costs: Vec<u64> = futures_util::future::join_all(calls).await.into_iter().flatten().collect();
    (costs.len() as u64, costs.iter().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_have_one_purse_and_one_ledger_also_when_the_store_was_out() {
    let server = Server::start().await;
    let gateways = [Running::start(&server.url(), CONFIG, 1), Running::start(&server.url(), CONFIG, 2)];
    for running in &gateways {
        until("the gateways know each other", async || running.has_metric("tidegate_store_gateways 2")).await;
        until("the ledger is shared", async || running.counted("redis").await.is_some()).await;
    }
    // One after the other: the purse is emptied to the last call that it reaches for.
    let (first, spent) = rush(&gateways, 6).await;
    assert!(first > 0 && spent <= 100_000, "{first} calls cost {spent}");
    for running in &gateways {
        until("each knows what both counted", async || running.counted("redis").await == Some((first, spent))).await;
    }

    // Frozen, it answers nobody; nothing that it has is lost.
    server.signal("STOP").await;
    let (second, more) = rush(&gateways, 40).await;
    assert!(spent + more <= 100_000, "{second} calls cost {more} besides {spent}");
    assert!(gateways[0].counted("local").await.is_some());
    server.signal("CONT").await;
    let total = Some((first + second, spent + more));
    for running in &gateways {
        until("each knows what both counted meanwhile", async || running.counted("redis").await == total).await;
    }

    // Whatever is left, both together do not spend more than that.
    let (third, last) = rush(&gateways, 40).await;
    let (mut calls, mut sum) = (first + second + third, spent + more + last);
    assert!(sum <= 100_000, "{last} besides {}", spent + more);
    // What was held for calls that cost less, or that nobody waited for any more, has come back: a call holds 15.5 microdollars at most,
    // what its dearest target would take.
    until("the purse is empty", async || {
        if let Some(cost) = gateways[0].spend().await {
            (calls, sum) = (calls + 1, sum + cost);
        }
        sum > 100_000 - 16_000
    })
    .await;
    assert!(sum <= 100_000, "{sum}");
    until("all of it is counted once", async || gateways[1].counted("redis").await == Some((calls, sum))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_survive_the_gateway_and_a_purse_survives_the_store() {
    let mut server = Server::start().await;
    let before = Running::start(&server.url(), CONFIG, 1);
    until("it is connected", async || before.counted("redis").await.is_some()).await;
    let mut spent = 0;
    while let Some(cost) = before.spend().await {
        spent += cost;
    }
    assert!((80_000..=100_000).contains(&spent), "{spent}");
    let counted = before.counted("redis").await;
    // A gateway of another name finds both.
    let after = Running::start(&server.url(), CONFIG, 2);
    until("the next one is connected", async || after.counted("redis").await == counted).await;
    until("its budget is shared too", async || after.has_metric("tidegate_store_up 1")).await;
    assert_eq!(after.spend().await, None);

    // A store that comes back empty is told what was known to be spent.
    server.kill().await;
    until("it is noticed", async || after.has_metric("tidegate_store_up 0")).await;
    server.restart().await;
    until("it is back", async || after.has_metric("tidegate_store_up 1")).await;
    assert_eq!(after.spend().await, None);
}

#[tokio::test]
async fn a_batch_counts_once_however_often_it_comes_and_a_full_page_leaves_details_out() {
    const ADD: &str = include_str!("../../src/state/ledger/add.lua");
    let server = Server::start().await;
    // Two names a row; the first is for new rows while there is none.
    let add = async |number: &str, names: [&str; 2], cost: &str| {
        let keys = ["EVAL", ADD, "2", "writer", "page"];
        let head = [number, "60000", "60000", "2", "chdiroeps", "1"];
        let sums = ["1", "0", "0", "3", "0", "6", "0", cost, "0"];
        server.cli(&[&keys[..], &head, &names, &sums].concat()).await
    };
    let field = async |name: &str| server.cli(&["HGET", "page", name]).await;
    let large = "9223372036854775000";
    assert_eq!(add("1", ["ann", "(other)"], large).await, "1\n0");
    assert_eq!(add("1", ["ann", "(other)"], large).await, "0\n0", "it is known");
    assert_eq!((field("cann").await, field("pann").await), ("1".into(), large.into()), "to the last digit");
    assert_eq!(add("2", ["ann", "(other)"], "7").await, "1\n0");
    assert_eq!(add("3", ["bob", "(other)"], "5").await, "1\n0");
    assert_eq!((field("cann").await, field("pann").await), ("2".into(), "9223372036854775007".into()));
    assert_eq!(
        (field("c(other)").await, field("p(other)").await, field("cbob").await),
        ("1".into(), "5".into(), "".into())
    );
}

/// A purse of a hundred, of which this is taken.
fn draw(cost: u64) -> BudgetRequest {
    BudgetRequest {
        key: Key::of(&["purse"]),
        budget: "b".into(),
        ends: Timestamp::MAX,
        amount: Usd::from_nanos(100),
        cost: Usd::from_nanos(cost),
        may_exceed: true,
        is_enforced: true,
        warn_at: Usd::from_nanos(100),
    }
}

/// Whether the purse has so much left; nothing is taken.
async fn has(accounts: &BudgetAccounts, left: u64) -> bool {
    let asked = [
        draw(left),
        BudgetRequest { amount: Usd::from_nanos(1), key: Key::of(&["never"]), cost: Usd::from_nanos(1), ..draw(1) },
    ];
    let now = Timestamp::UNIX_EPOCH;
    accounts.draw(&asked, now).await.is_ok_and(|(drawn, _)| drawn[0].fits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrections_that_are_made_while_the_store_is_out_reach_it_when_it_is_back() {
    let server = Server::start().await;
    let wishes = CacheDirectives { timeout: Duration::from_millis(200), ..CacheDirectives::default() };
    let members = fleet(&server.url(), 2, &wishes).await;
    let accounts: Vec<Arc<BudgetAccounts>> = members
        .iter()
        .map(|member| Arc::new(BudgetAccounts::new(1000, Some((member.redis.clone(), OnStoreError::Local)))))
        .collect();
    let mut telling = JoinSet::new();
    for accounts in &accounts {
        let accounts = accounts.clone();
        telling.spawn(async move { accounts.run().await });
    }
    let now = Timestamp::UNIX_EPOCH;
    // One purse is for two that only look, and empty.
    let never =
        BudgetRequest { key: Key::of(&["never"]), amount: Usd::from_nanos(1), cost: Usd::from_nanos(1), ..draw(1) };
    accounts[1].draw(&[never], now).await.unwrap();
    let (_, first) = accounts[0].draw(&[draw(60)], now).await.unwrap();
    let (_, second) = accounts[0].draw(&[draw(20)], now).await.unwrap();
    assert!(has(&accounts[1], 20).await && !has(&accounts[1], 21).await);
    server.signal("STOP").await;
    // One came to less, which is on its way to the store when that is found to be out; one to more, when that is known.
    accounts[0].settle(&first[0], Usd::from_nanos(10));
    until("the store is out", async || members[0].redis.is_out()).await;
    accounts[0].settle(&second[0], Usd::from_nanos(25));
    server.signal("CONT").await;
    until("the other gateway knows of both, and nobody has asked the first", async || has(&accounts[1], 65).await)
        .await;
    assert!(!has(&accounts[1], 66).await, "each counts once");
}
