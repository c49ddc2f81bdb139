//! Jobs in Redis: the contract on one server, behind Sentinels and in a Cluster; and what only Redis can do to them.

use std::any::Any;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate::model::job::{JobEnd, JobState};
use tidegate::model::rng::SeededRng;
use tidegate::state::jobs::redis::RedisJobs;
use tidegate::state::jobs::{JobStore, JobStoreFault, JobTerms, Renewal, Submission, Submitted};
use tidegate::state::store::redis::{Reach, Redis, Settings};
use tidegate::wire::redis_url::Address;

use crate::bed::{Bed, TERMS, job};
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
            reach: Reach::Network(Address::parse(url).unwrap()),
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
    bed_with(url, TERMS, medium).await
}

async fn bed_with(url: &str, terms: JobTerms, medium: impl Any) -> Bed {
    let (one, other) = (store(url, terms), store(url, terms));
    let bed = Bed::new(one.clone(), other.clone(), Box::new(medium));
    reached(&bed).await;
    bed
}

/// Waits until both processes know how Redis is doing.
async fn reached(bed: &Bed) {
    let is_out = |store: &dyn JobStore| matches!(store.outage(), Some(JobStoreFault::Store(_)));
    until("both processes reach Redis", async || !is_out(&*bed.store) && !is_out(&*bed.other)).await;
}

fn submission(number: u32) -> Submission {
    Submission { jobs: vec![job("pizza", number)], once: None }
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

#[tokio::test]
async fn a_redis_that_does_not_write_to_disk_gets_no_jobs_unless_that_is_wanted() {
    let server = Server::start().await;
    let terms = JobTerms { is_volatile: false, ..TERMS };
    let bed = bed_with(&server.url(), terms, ()).await;
    assert_eq!(bed.store.submit(submission(1)).await, Err(JobStoreFault::Volatile));
    assert_eq!(bed.store.outage(), Some(JobStoreFault::Volatile));
    assert!(bed.take(1).await.is_empty());
    bed.store.configure(JobTerms { is_volatile: true, ..terms });
    assert_eq!(bed.store.submit(submission(1)).await, Ok(Submitted::Accepted));
    assert_eq!(bed.other.submit(submission(2)).await, Err(JobStoreFault::Volatile));
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]).await;
    until("the other process hears of it", async || bed.other.submit(submission(2)).await.is_ok()).await;
}

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock()).matches(what).count()
    }
}

#[tokio::test]
async fn a_redis_that_may_lose_jobs_is_warned_of_before_there_are_any() {
    let lines = Lines::default();
    let written = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let server = Server::with(&["--appendonly", "yes", "--maxmemory-policy", "volatile-lru"]).await;
    let bed = bed(&server.url(), ()).await;
    until("both warn", async || lines.count("may evict them") == 2).await;
    // It syncs once a second, unless told otherwise. One warning is written after the other.
    until("both warn of that too", async || lines.count("before they are on the disk") == 2).await;
    assert_eq!((lines.count("volatile-lru"), lines.count("does not write to disk")), (2, 0));
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.cli(&["CONFIG", "SET", "appendonly", "no"]).await;
    until("both warn", async || lines.count("does not write to disk") == 2).await;
    assert_eq!(lines.count("may evict them"), 2, "what was said once is not said again");
    drop(bed);
}

#[tokio::test]
async fn a_job_that_no_replica_has_is_refused_and_not_lost() {
    let master = Server::with(&["--appendonly", "yes"]).await;
    let mut replica = Server::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    let follows = async |replica: &Server| {
        let is_up = async || replica.cli(&["INFO", "replication"]).await.contains("master_link_status:up");
        until("the replica follows", is_up).await;
    };
    follows(&replica).await;
    let bed = bed_with(&master.url(), JobTerms { replicas: 1, ..TERMS }, ()).await;
    until("it is accepted", async || bed.store.submit(submission(1)).await == Ok(Submitted::Accepted)).await;
    replica.kill().await;
    let refused = bed.store.submit(submission(2)).await;
    assert_eq!(refused, Err(JobStoreFault::Unreplicated));
    assert_eq!(bed.state(&job("pizza", 2).id).await, JobState::Queued, "who has it may work on it");
    replica.restart().await;
    follows(&replica).await;
    // The same submission again, as its caller was told to.
    until("it is accepted", async || bed.store.submit(submission(2)).await == Ok(Submitted::Accepted)).await;
    assert_eq!(bed.list(&[JobState::Queued]).await.len(), 2, "it was written once");
}

#[tokio::test]
async fn time_in_which_redis_was_down_takes_no_job_from_its_worker() {
    let mut server = Server::with(&["--appendonly", "yes"]).await;
    let terms = JobTerms { lease: Duration::from_secs(3), ..TERMS };
    let bed = bed_with(&server.url(), terms, ()).await;
    bed.one("pizza").await;
    let taken = bed.take_soon().await;
    server.kill().await;
    assert!(bed.store.take(&bed.worker, 1).await.is_err());
    let renewal = [Renewal { lease: taken.lease.clone(), progress: None }];
    assert!(bed.store.renew(&renewal).await.is_err(), "that says nothing about the lease");
    // Redis measures how long ago a lease was confirmed by the time of day, so all of this counts.
    tokio::time::sleep(terms.lease + Duration::from_millis(200)).await;
    server.restart().await;
    reached(&bed).await;
    // Long enough for whoever looks for leases that have passed to have looked.
    tokio::time::sleep(terms.lease / 3).await;
    assert!(bed.other.take(&bed.rival, 1).await.unwrap().is_empty());
    assert_eq!(bed.store.renew(&renewal).await, Ok(vec![None]), "it is still the worker's");
    assert_eq!(bed.store.finish(&taken.lease, JobEnd::Completed("it".into())).await, Ok(true));
}
