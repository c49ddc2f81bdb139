//! Keys of the store that hold something else than the gateways wrote, as after a mistake with redis-cli or another program under
//! the same prefix. Nothing but that key is lost: the store stays in use, for everything and by all.

use std::time::Duration;

use tidegate::model::rate::Rate;
use tidegate::state::store::Source;
use tidegate::state::store::redis::shared_map::SharedMap;
use tokio::task::JoinSet;

use crate::fleet::{CacheDirectives, fleet, in_a_month, one};
use crate::gateway::Running;
use crate::server::{Server, until};

/// What one mistake can leave under a key.
const POISONS: [&[&str]; 7] = [
    &["SET", "garbage"],
    &["SET", ""],
    &["SET", "9223372036854775807"],
    &["LPUSH", "a list"],
    &["SADD", "a set"],
    &["HSET", "#", "no number"],
    &["ZADD", "7", "a sorted set"],
];

/// Has a key hold something else, without an end.
async fn poison(server: &Server, key: &str, poison: &[&str]) {
    // At once: a key that is gone for a moment is another matter.
    let script = "redis.call('DEL', KEYS[1]) redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";
    server.cli(&[&["EVAL", script, "1", key], poison].concat()).await;
}

/// A limit and a budget that are never reached, and the ledger.
const CONFIG: &str = "[limit.ai]\nrate = \"1000/31d\"\n[limit.general]\nenabled = false\n[store]\ntimeout = \"2s\"\n\
                      [budget.all]\nkey = [\"all\"]\namount = 1000\nper = \"month\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_key_holds_the_store_stays_in_use_and_the_key_is_replaced() {
    let server = Server::start().await;
    let gateways = [Running::start(&server.url(), CONFIG, 1), Running::start(&server.url(), CONFIG, 2)];
    for running in &gateways {
        until("the gateways know each other", async || running.has_metric("tidegate_store_gateways 2")).await;
    }
    let ask = async |running: &Running| {
        running.ask("POST", "/api/llm/chat", r#"{"prompt":"hi","model":"m","maxTokens":10}"#).await.status
    };
    let keys = async || {
        let keys = server.cli(&["KEYS", "*"]).await;
        // What the ledger's batches are numbered by is any number; and nobody writes where nobody switched anything.
        let is_ours = |key: &&str| !key.contains(":writer:");
        keys.lines().filter(is_ours).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask(&gateways[0]).await, 200);
    for part in ["limit}:", "budget}:", "{tidegate:usage}:day", "gateways"] {
        until(part, async || keys().await.iter().any(|key| key.contains(part))).await;
    }
    let mut kinds = Vec::new();
    for key in keys().await {
        kinds.push((key.clone(), server.cli(&["TYPE", &key]).await));
    }
    for what in POISONS {
        for (key, _) in &kinds {
            poison(&server, key, what).await;
        }
        for running in &gateways {
            assert_eq!(ask(running).await, 200, "{what:?}");
        }
        for (key, kind) in &kinds {
            until(key, async || {
                server.cli(&["TYPE", key]).await == *kind && server.cli(&["HGET", key, "#"]).await != "no number"
            })
            .await;
        }
        for running in &gateways {
            let redis = running.gateway.state.redis().unwrap();
            assert_eq!((redis.is_out(), redis.operations().failures), (false, 0), "{what:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_whose_key_was_spoilt_goes_on_where_it_was_as_far_as_a_gateway_knows() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 1, &CacheDirectives::default()).await;
    for (number, what) in POISONS.into_iter().enumerate() {
        let takes = [one(&format!("user {number}"), in_a_month(10))];
        let name = format!("{{test:limit}}:{}", takes[0].key);
        let mut admitted = 0;
        for turn in 0..20 {
            if turn == 5 {
                poison(&server, &name, what).await;
            }
            let (is_admitted, source) = members[0].ask(&takes).await;
            assert_eq!(source, Source::Redis, "{what:?}");
            admitted += u32::from(is_admitted);
        }
        assert_eq!(admitted, 10, "{what:?}");
    }
    // And a refused call replaces a spoilt key too.
    let full = [one("full", in_a_month(1)), one("other", Rate::new(1, Duration::from_secs(3600)))];
    assert!(members[0].ask(&full).await.0);
    let name = format!("{{test:limit}}:{}", full[1].key);
    poison(&server, &name, POISONS[3]).await;
    assert_eq!(members[0].ask(&full).await, (false, Source::Redis));
    assert_eq!(server.cli(&["TYPE", &name]).await, "string");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_that_was_overwritten_is_put_back_by_who_knows_it() {
    let server = Server::start().await;
    let members = fleet(&server.url(), 2, &CacheDirectives::default()).await;
    let look = Duration::from_millis(20);
    let register = |number: usize| SharedMap::new(members[number].redis.clone(), ("auth", "keys"), "keys", look);
    let registers = std::sync::Arc::new([register(0), register(1)]);
    let (seen, mut following) =
        (std::sync::Arc::new(parking_lot::Mutex::new([(); 2].map(|()| Vec::new()))), JoinSet::new());
    for number in 0..2 {
        let (registers, seen) = (registers.clone(), seen.clone());
        following.spawn(async move {
            let note = |texts: std::collections::HashMap<String, String>| {
                let mut texts: Vec<_> = texts.into_iter().collect();
                texts.sort();
                seen.lock()[number] = texts;
            };
            registers[number].follow(note).await;
        });
    }
    let known = |number: usize| seen.lock()[number].iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(registers[0].change("a", "", "1").await, Ok(true));
    assert_eq!(registers[0].change("b", "", "2").await, Ok(true));
    until("both know both", async || known(0).len() == 2 && known(1).len() == 2).await;
    let name = "{test:auth}:keys";
    for what in POISONS.into_iter().filter(|what| what[0] != "HSET") {
        poison(&server, name, what).await;
        until("it is put back", async || server.cli(&["HGET", name, "a"]).await == "1").await;
        assert_eq!((server.cli(&["HGET", name, "b"]).await, known(0), known(1)), ("2".into(), known(0), known(0)));
        // A change that comes first puts it back too.
        poison(&server, name, what).await;
        assert_eq!(registers[1].change("a", "1", "3").await, Ok(true), "{what:?}");
        assert_eq!(registers[0].change("a", "3", "1").await, Ok(true), "{what:?}");
        assert_eq!(server.cli(&["HGET", name, "b"]).await, "2");
    }
    // One text that is none takes nothing from the others.
    server.cli(&["EVAL", "redis.call('HSET', KEYS[1], 'c', '\\255', '', 'news')", "1", name]).await;
    assert_eq!(registers[0].change("d", "", "4").await, Ok(true));
    until("both know the others", async || known(0) == ["a", "b", "d"] && known(1) == ["a", "b", "d"]).await;
    for member in &members {
        assert_eq!((member.redis.is_out(), member.redis.operations().failures), (false, 0));
    }
}
