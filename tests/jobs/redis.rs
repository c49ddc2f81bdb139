//! Jobs in Redis: the contract on one server, behind Sentinels and in a Cluster; and what only Redis can do to them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::model::rng::SeededRng;
use tidegate::state::jobs::redis::RedisJobs;
use tidegate::state::jobs::{JobStore, JobTerms};
use tidegate::state::store::redis::{Redis, Settings};
use tidegate::wire::redis_url::Address;

use crate::bed::{Bed, TERMS};
use crate::groups::{cluster, url, watched};
use crate::server::{Server, until};

/// Names that differ from store to store.
static SEED: AtomicU64 = AtomicU64::new(1);

/// The store of one process.
fn store(url: &str, terms: JobTerms) -> Arc<RedisJobs> {
    let chance = SeededRng::new(SEED.fetch_add(1, Ordering::Relaxed));
    let redis = |purpose, chance| {
        let settings = Settings {
            purpose,
            address: Address::parse(url).unwrap(),
            timeout: Duration::from_secs(1),
            max_in_flight: 1024,
            key_prefix: "test".into(),
            gateways: 1,
        };
        Redis::new(settings, chance)
    };
    Arc::new(RedisJobs::new(redis("jobs", chance.apart(1)), redis("jobs-replicated", chance.apart(2)), terms))
}

async fn bed(url: &str, medium: impl Any) -> Bed {
    let (one, other) = (store(url, TERMS), store(url, TERMS));
    let bed = Bed::new(one.clone(), other.clone(), Box::new(medium));
    until("both processes reach Redis", async || one.outage().is_none() && other.outage().is_none()).await;
    bed
}

async fn single() -> Bed {
    let server = Server::with(&["--appendonly", "yes"]).await;
    bed(&server.url(), server).await
}

mod one_server {
    contract!(super::single);
}

async fn with_sentinels() -> Bed {
    let (master, replica, sentinel, url) = watched().await;
    bed(&url, (master, replica, sentinel)).await
}

mod sentinel {
    contract!(super::with_sentinels);
}

async fn clustered() -> Bed {
    let servers = cluster().await;
    bed(&url(&servers), servers).await
}

mod in_a_cluster {
    contract!(super::clustered);
}
