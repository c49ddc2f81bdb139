//! Keys of the store that hold something else than the gateways wrote, as after a mistake with redis-cli or another program under
//! the same prefix: what shares answers goes on, and replaces them.

use serde_json::json;

use crate::gateways::{Member, PATIENT, Providers, fleet, sharing};
use crate::server::{Server, until};

const BOARD: &str = "{tidegate:cache}:board";

/// Ways in which a key can hold something else.
const POISONS: [&[&str]; 5] = [
    &["SET", "garbage"],
    &["LPUSH", "a list"],
    &["SADD", "a set"],
    &["HSET", "a field", "a value"],
    &["ZADD", "7", "a sorted set"],
];

/// Has a key hold something else, without an end.
async fn poison(server: &Server, key: &str, poison: &[&str]) {
    // At once: a key that is gone for a moment is another matter.
    let script = "redis.call('DEL', KEYS[1]) redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";
    server.cli(&[&["EVAL", script, "1", key], poison].concat()).await;
}

fn has_failed(member: &Member) -> u64 {
    member.gateway.state.cluster().unwrap().redis().operations().failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_and_leases_of_another_type_are_misses_and_replaced() {
    let (server, providers) = (Server::start().await, Providers::default());
    let member = fleet(&server.url(), 1, &providers, PATIENT).await.pop().unwrap();
    for what in POISONS {
        let calls = providers.calls();
        assert_eq!(member.ask("r1", what[0]).await.status, 200);
        until("it is kept", async || !server.cli(&["KEYS", "tidegate:cache:*"]).await.is_empty()).await;
        let entry = server.cli(&["KEYS", "tidegate:cache:*"]).await;
        let lease = entry.replace("tidegate:cache:", "tidegate:cache-lease:");
        poison(&server, &entry, what).await;
        poison(&server, &lease, what).await;
        // One that has nothing in its own memory: it does not wait for who seems to have the lease.
        let fresh = fleet(&server.url(), 1, &providers, PATIENT).await.pop().unwrap();
        assert_eq!(fresh.ask("r1", what[0]).await.cache, "fwd=miss", "{what:?}");
        assert_eq!((providers.calls(), fresh.tally().spoilt, fresh.tally().waited), (calls + 2, 1, 0), "{what:?}");
        assert_eq!(has_failed(&fresh), 0, "{what:?}");
        until("it is kept again", async || server.cli(&["TYPE", &entry]).await == "string").await;
        until("its lease has ended", async || server.cli(&["TYPE", &lease]).await == "none").await;
        server.cli(&["DEL", &entry]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_nobody_can_read_begins_anew_and_everything_counts_as_purged() {
    let (server, providers) = (Server::start().await, Providers::default());
    let members = fleet(&server.url(), 2, &providers, PATIENT).await;
    for (number, what) in POISONS.into_iter().enumerate() {
        let prompt = format!("x {number}");
        members[0].ask("r1", &prompt).await;
        until("both have it", async || members[1].ask("r1", &prompt).await.cache == "hit").await;
        poison(&server, BOARD, what).await;
        // A hash is not of another type: that its field is no moment is seen with the next change.
        if what[0] == "HSET" {
            server.cli(&["HSET", BOARD, "", "changed", "route \u{1}", "never"]).await;
        }
        until("it is a board again", async || {
            server.cli(&["TYPE", BOARD]).await == "hash" && server.cli(&["HGET", BOARD, "a field"]).await != "a value"
        })
        .await;
        if what[0] != "HSET" {
            until("nobody gives what may have been purged", async || {
                members[1].ask("r1", &prompt).await.cache != "hit"
            })
            .await;
        }
        sharing(&members).await;
        // And purges reach all again.
        until("both have it again", async || {
            members[0].ask("r1", &prompt).await.cache == "hit" && members[1].ask("r1", &prompt).await.cache == "hit"
        })
        .await;
        assert_eq!(members[0].purge(json!({"tenant": "r1"})).await["gateways"], "all", "{what:?}");
        until("the other forgets it", async || members[1].ask("r1", &prompt).await.cache != "hit").await;
    }
    assert_eq!(members.iter().map(has_failed).sum::<u64>(), 0);
}
