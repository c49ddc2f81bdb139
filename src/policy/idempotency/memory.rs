//! The in-memory idempotency records: which keys are executing now, and the responses of finished executions,
//! within bounds.
//!
//! Expiry follows tokio's clock; `moka` bounds the memory and evicts the least recently used.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::record::Record;
use crate::model::call::Once;

/// What an entry takes beside its answer, roughly.
const OVERHEAD: usize = 256;

/// What is known of a request.
pub(super) enum Claim<T> {
    /// Nothing that stands in its way: it is to be executed.
    Free(T),
    /// How it ended.
    Kept(Arc<Record>),
    /// It is being executed.
    Running,
    /// Its key was used for another request.
    Other,
}

/// The memory of a gateway. Shared, and outlives the gateway that uses it.
#[derive(Clone)]
pub struct Memory(Arc<Shelf>);

struct Shelf {
    max_bytes: usize,
    /// By key: the requests that run.
    running: Arc<Mutex<HashMap<[u8; 32], [u8; 32]>>>,
    ended: Cache<[u8; 32], (Arc<Record>, Instant)>,
}

impl Memory {
    /// An empty memory of this size.
    pub fn new(max_bytes: usize) -> Self {
        Self::build(max_bytes, Arc::default())
    }

    /// This one if the size is the same, else an empty one; what runs goes on.
    #[must_use]
    pub fn under(&self, max_bytes: usize) -> Self {
        match max_bytes == self.0.max_bytes {
            true => self.clone(),
            false => Self::build(max_bytes, self.0.running.clone()),
        }
    }

    fn build(max_bytes: usize, running: Arc<Mutex<HashMap<[u8; 32], [u8; 32]>>>) -> Self {
        let ended = Cache::builder()
            .max_capacity(max_bytes as u64)
            .weigher(|_: &[u8; 32], (record, _): &(Arc<Record>, Instant)| {
                u32::try_from(record.bytes() + OVERHEAD).unwrap_or(u32::MAX)
            })
            // The newest is the one that is asked for again: how often it was asked for before says nothing.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self(Arc::new(Shelf { max_bytes, running, ended }))
    }

    /// The right to execute a request here, if nothing is known of it. What ended longer ago than `ttl` is not known any more.
    pub(super) fn take(&self, once: &Once, ttl: Duration) -> Claim<ExecutionRight> {
        let mut running = self.0.running.lock();
        if let Some(request) = running.get(&once.key) {
            return if *request == once.request { Claim::Running } else { Claim::Other };
        }
        // Under the lock: what has ended is put here before it counts as not running.
        if let Some((record, at)) = self.0.ended.get(&once.key)
            && at.elapsed() < ttl
        {
            match record.is_of(once) {
                false => return Claim::Other,
                true if record.has_ended() => return Claim::Kept(record),
                true => {}
            }
        }
        running.insert(once.key, once.request);
        Claim::Free(ExecutionRight { memory: self.clone(), key: once.key })
    }
}

/// The right to execute a request here, until it is dropped.
pub(super) struct ExecutionRight {
    memory: Memory,
    key: [u8; 32],
}

impl ExecutionRight {
    /// Remembers how it ended.
    pub(super) fn ended(self, record: Arc<Record>) {
        self.memory.0.ended.insert(self.key, (record, Instant::now()));
    }

    /// It was not executed.
    pub(super) fn release(self) {
        drop(self);
    }
}

impl Drop for ExecutionRight {
    fn drop(&mut self) {
        self.memory.0.running.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::StoredOutcome;
    use super::*;

    fn once(key: u8, request: u8) -> Once {
        Once { key: [key; 32], request: [request; 32] }
    }

    fn word(taken: &Claim<ExecutionRight>) -> &'static str {
        match taken {
            Claim::Free(_) => "free",
            Claim::Kept(_) => "kept",
            Claim::Running => "running",
            Claim::Other => "other",
        }
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test(start_paused = true)]
    async fn one_request_runs_under_a_key_and_its_end_is_remembered_for_its_time() {
        let memory = Memory::new(1 << 20);
        let take = |key, request| memory.take(&once(key, request), DAY);
        let Claim::Free(running) = take(1, 1) else { panic!("nothing is known") };
        assert_eq!((word(&take(1, 1)), word(&take(1, 2)), word(&take(2, 1))), ("running", "other", "free"));
        running.ended(Arc::new(Record { request: [1; 32], kept: Some(StoredOutcome::example()) }));
        assert_eq!((word(&take(1, 1)), word(&take(1, 2))), ("kept", "other"));
        tokio::time::advance(DAY).await;
        assert_eq!(word(&take(1, 2)), "free");
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_may_be_done_again_and_nothing_else_under_its_key() {
        let memory = Memory::new(1 << 20);
        let take = |request| memory.take(&once(1, request), DAY);
        let Claim::Free(running) = take(1) else { panic!("nothing is known") };
        running.ended(Arc::new(Record { request: [1; 32], kept: None }));
        assert_eq!((word(&take(2)), word(&take(1))), ("other", "free"));
        assert_eq!(word(&take(1)), "free", "it was not executed");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_newest_stays() {
        let memory = Memory::new(64 << 10);
        for key in 0..=255 {
            let Claim::Free(running) = memory.take(&once(key, 1), DAY) else { panic!("nothing is known") };
            running.ended(Arc::new(Record { request: [1; 32], kept: Some(StoredOutcome::example()) }));
        }
        memory.0.ended.run_pending_tasks();
        assert!(memory.0.ended.weighted_size() <= 64 << 10);
        assert_eq!(word(&memory.take(&once(255, 1), DAY)), "kept");
        assert!(memory.0.running.lock().is_empty());
    }
}
