//! Gateways whose own clocks are an hour apart: kept answers are as old everywhere as they are, and purges reach all.

use serde_json::json;

use crate::gateways::{Member, Providers, sharing};
use crate::server::{Server, until};

/// An answer that is good for so long that no test waits for its end, or for a second.
const LONG: &str =
    "[cache]\nredis_timeout = \"5s\"\n[route.canvas-chat.cache]\nttl = \"10m\"\nstale_if_error = \"0s\"\n";
const SHORT: &str =
    "[cache]\nredis_timeout = \"5s\"\n[route.canvas-chat.cache]\nttl = \"1s\"\nstale_if_error = \"0s\"\n";

/// Two gateways, of which the second's clock is right.
async fn two(server: &Server, providers: &Providers, settings: &str, hours_ahead: i64) -> [Member; 2] {
    let wrong = Member::start_ahead(&server.url(), providers, settings, hours_ahead);
    let right = Member::start(&server.url(), providers, settings);
    let both = [wrong, right];
    sharing(&both).await;
    both
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_shared_while_it_is_fresh_whatever_the_gateways_own_clocks_show() {
    for hours_ahead in [1, -1] {
        let (server, providers) = (Server::start().await, Providers::default());
        let both = two(&server, &providers, LONG, hours_ahead).await;
        for (number, (from, to)) in [(0, 1), (1, 0)].into_iter().enumerate() {
            let prompt = format!("{number}");
            assert_eq!(both[from].ask("r1", &prompt).await.cache, "fwd=miss");
            until("the other has it", async || both[to].ask("r1", &prompt).await.cache == "hit").await;
            assert_eq!(providers.calls(), number + 1, "{hours_ahead} hours ahead");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_past_its_time_is_given_by_nobody_whatever_the_gateways_own_clocks_show() {
    for hours_ahead in [1, -1] {
        let (server, providers) = (Server::start().await, Providers::default());
        let both = two(&server, &providers, SHORT, hours_ahead).await;
        for (from, to) in [(0, 1), (1, 0)] {
            let prompt = format!("{from}");
            let first = providers.calls();
            both[from].ask("r1", &prompt).await;
            until("it is not given any more", async || {
                both[to].ask("r1", &prompt).await;
                providers.calls() > first + 1
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_answers_of_gateways_whose_clocks_are_ahead_or_behind() {
    for hours_ahead in [1, -1] {
        for (kept_by, purged_by) in [(0, 1), (1, 0)] {
            let (server, providers) = (Server::start().await, Providers::default());
            let both = two(&server, &providers, LONG, hours_ahead).await;
            for member in [&both[kept_by], &both[purged_by]] {
                until("it has it", async || member.ask("r1", "x").await.cache == "hit").await;
            }
            assert_eq!(providers.calls(), 1);
            assert_eq!(both[purged_by].purge(json!({"all": true})).await["gateways"], "all");
            until("the one that kept it forgets it", async || both[kept_by].ask("r1", "x").await.cache != "hit").await;
            assert_eq!(providers.calls(), 2, "it was asked for anew");
            // Nor is what comes after it held for purged.
            until("it is kept again", async || both[purged_by].ask("r1", "x").await.cache == "hit").await;
        }
    }
}
