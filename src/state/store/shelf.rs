//! The in-memory shelf: bytes with a TTL, bounded by their total size.
//!
//! Expiry is in the entry and follows tokio's clock; moka, which does not, bounds the memory and evicts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use moka::sync::Cache;
use tokio::time::Instant;

use super::{Shelf, StoreFault};
use crate::model::time::later;

/// What an entry takes beside its key and its bytes, roughly.
const OVERHEAD: usize = 128;

/// A shelf in memory.
#[derive(Clone)]
pub struct MemoryShelf(Cache<Arc<str>, (Bytes, Instant)>);

impl MemoryShelf {
    /// An empty shelf for so many bytes, keys included.
    pub fn new(capacity: usize) -> Self {
        let weigh = |key: &Arc<str>, (bytes, _): &(Bytes, Instant)| {
            u32::try_from(key.len() + bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weigh).max_capacity(capacity as u64).build())
    }

    /// Bytes that are taken.
    pub fn size(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

impl Shelf for MemoryShelf {
    fn fetch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreFault>> {
        let fresh = self.0.get(key).and_then(|(bytes, until)| (Instant::now() < until).then_some(bytes));
        if fresh.is_none() {
            self.0.invalidate(key);
        }
        Box::pin(future::ready(Ok(fresh)))
    }

    fn keep<'a>(&'a self, key: &'a str, bytes: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), StoreFault>> {
        self.0.insert(key.into(), (bytes, later(Instant::now(), ttl)));
        Box::pin(future::ready(Ok(())))
    }

    fn forget<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreFault>> {
        self.0.invalidate(key);
        Box::pin(future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_kept_as_long_as_they_should_be_and_no_longer() {
        let shelf = MemoryShelf::new(1 << 20);
        shelf.keep("a", "1".into(), Duration::from_secs(5)).await.unwrap();
        shelf.keep("b", "2".into(), Duration::from_secs(50)).await.unwrap();
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(shelf.fetch("a").await, Ok(Some("1".into())));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(shelf.fetch("a").await, Ok(None));
        shelf.forget("b").await.unwrap();
        assert_eq!(shelf.fetch("b").await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let shelf = MemoryShelf::new(64 << 10);
        for number in 0..1_000 {
            shelf.keep(&number.to_string(), vec![0; 1024].into(), Duration::from_secs(60)).await.unwrap();
        }
        assert!(shelf.size() <= 64 << 10, "{}", shelf.size());
    }
}
