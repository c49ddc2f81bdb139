//! Idempotency shared through Redis: the outcomes of requests, and which gateway executes which.
//!
//! If Redis fails, calls continue: each gateway then knows only its own executions.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::record::Record;
use crate::model::call::Once;
use crate::state::store::redis::Redis;
use crate::state::store::redis::leases::{Lease, Leases};
use crate::state::store::redis::shelf::RedisShelf;
use crate::state::store::{Shelf, StoreFault};

/// How long a lease lives without its holder: a gateway that dies holds nobody up for longer.
const LEASE: Duration = Duration::from_secs(2);

/// The purpose of the secret that makes seals (BLAKE3's key derivation).
const SEALS: &str = "tidegate 2026 idempotency: seals of records";

/// What is known elsewhere of a request.
pub(super) enum FetchResult {
    /// Nothing that stands in its way. `None`: nobody can say, and the other gateways do not hear of it either.
    Free(Option<Right>),
    /// How it ended.
    Kept(Arc<Record>),
    /// It is being executed.
    Running,
    /// Its key was used for another request.
    Other,
}

/// The right to execute a request, for all gateways, until it is dropped.
pub(super) struct Right(#[expect(dead_code, reason = "it is held, and given back by dropping it")] Lease);

/// What gateways share, as one generation of the configuration sees it.
pub struct SharedRecords {
    redis: Arc<Redis>,
    shelf: RedisShelf,
    leases: Arc<Leases>,
    seal: [u8; 32],
    tasks: TaskTracker,
}

impl SharedRecords {
    /// Shares through this store what is sealed with this secret.
    pub fn new(redis: Arc<Redis>, secret: &[u8], tasks: TaskTracker) -> Self {
        Self {
            shelf: RedisShelf::new(redis.clone(), "once"),
            leases: Arc::new(Leases::new(redis.clone(), "once-lease")),
            seal: blake3::derive_key(SEALS, secret),
            tasks,
            redis,
        }
    }

    /// The right to execute a request, if nothing is known of it.
    pub(super) async fn take(&self, once: &Once) -> FetchResult {
        self.ask(once).await.unwrap_or(FetchResult::Free(None))
    }

    async fn ask(&self, once: &Once) -> Result<FetchResult, StoreFault> {
        let name = hex(&once.key);
        if let Some(found) = self.look(&name, once).await? {
            return Ok(found);
        }
        let request = hex(&once.request);
        let token = format!("{request} {}", self.redis.word());
        if !self.leases.take(&name, &token, LEASE).await? {
            let holder = self.leases.holder(&name).await?;
            return Ok(match holder.is_none_or(|holder| holder.starts_with(&request)) {
                true => FetchResult::Running,
                false => FetchResult::Other,
            });
        }
        let right = Right(self.leases.hold(name.clone(), token, LEASE, &self.tasks));
        // Another gateway may have finished between the look and the lease.
        Ok(self.look(&name, once).await?.unwrap_or(FetchResult::Free(Some(right))))
    }

    /// What is kept under a key; `None` where a request may be executed, because it was not, or failed.
    async fn look(&self, name: &str, once: &Once) -> Result<Option<FetchResult>, StoreFault> {
        let Some(bytes) = self.shelf.fetch(name).await? else { return Ok(None) };
        let Some(record) = Record::decode(&bytes, &self.seal, &once.key) else {
            // Best effort: what stays is read, and found spoilt, again.
            let _ = self.shelf.forget(name).await;
            return Ok(None);
        };
        Ok(match record.is_of(once) {
            false => Some(FetchResult::Other),
            true => record.has_ended().then(|| FetchResult::Kept(Arc::new(record))),
        })
    }

    /// Has all gateways know how a request ended, before the right to execute it is given back. Nobody waits for that.
    pub(super) fn keep(self: Arc<Self>, key: [u8; 32], record: Arc<Record>, lifetime: Duration, right: Right) {
        // A call may end because the runtime does.
        let Ok(runtime) = Handle::try_current() else { return };
        let tasks = self.tasks.clone();
        tasks.spawn_on(
            async move {
                // A store that is down is not worth the work, which is more than a thread of calls should do.
                if !self.redis.is_out() {
                    let seal = self.seal;
                    let encoded = tokio::task::spawn_blocking(move || record.encode(&seal, &key)).await;
                    if let Ok(bytes) = encoded {
                        let _ = self.shelf.keep(&hex(&key), bytes.into(), lifetime).await;
                    }
                }
                drop(right);
            },
            &runtime,
        );
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}
