//! The shelf in Redis: bytes under a key with a TTL, shared by all gateways.
//!
//! It does not know what the bytes are; whoever reads them must expect anything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::super::{Shelf, StoreFault};
use super::{Redis, Script};

/// Writes can be large, and nobody waits for them: this many times the timeout of a read.
const PATIENCE: u32 = 10;

/// More bytes than anybody keeps. What is larger is not fetched.
const LARGEST: usize = 64 << 20;

/// A shelf in a shared store.
#[derive(Clone)]
pub struct RedisShelf {
    redis: Arc<Redis>,
    group: Arc<str>,
    fetch: Arc<Script>,
}

impl RedisShelf {
    /// A shelf whose keys begin with the store's prefix and this word.
    pub fn new(redis: Arc<Redis>, group: &str) -> Self {
        Self { redis, group: group.into(), fetch: Arc::new(Script::new(include_str!("fetch.lua"))) }
    }

    /// Names a key in the log whose bytes are nobody's.
    pub fn note_spoilt(&self, key: &str) {
        self.redis.note_spoilt(&self.name(key));
    }

    /// Unlike those of a limit, these keys are spread over a Cluster: each is used alone.
    fn name(&self, key: &str) -> String {
        format!("{}:{}:{key}", self.redis.settings.key_prefix, self.group)
    }
}

impl Shelf for RedisShelf {
    fn fetch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreFault>> {
        Box::pin(async move {
            let keys = [self.name(key)];
            let found: Option<Vec<u8>> = self.redis.run_script(&self.fetch, &keys, &[LARGEST.to_string()]).await?;
            Ok(found.map(Bytes::from))
        })
    }

    fn keep<'a>(&'a self, key: &'a str, bytes: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), StoreFault>> {
        Box::pin(async move {
            let milliseconds = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
            let mut command = redis::cmd("SET");
            command.arg(self.name(key)).arg(&bytes[..]).arg("PX").arg(milliseconds);
            self.redis.ask_for(&command, self.redis.settings.timeout * PATIENCE).await
        })
    }

    fn forget<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreFault>> {
        Box::pin(async move { self.redis.ask::<u64>(redis::cmd("DEL").arg(self.name(key))).await.map(drop) })
    }
}
