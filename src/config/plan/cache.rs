//! Cache: which responses are cached, for whom, and with which TTL.

use std::time::Duration;

use crate::config::engine::secret::Secret;

/// `[cache]`
#[derive(Clone, Debug)]
pub struct CachePlan {
    /// False: no route caches responses.
    pub is_on: bool,
    /// Bytes of memory for all of them.
    pub max_bytes: usize,
    /// How long the shared store may take.
    pub redis_timeout: Duration,
    /// How long a call waits for another gateway's answer to the same.
    pub cluster_wait: Duration,
    /// What keys are made with; `None` where no other gateway needs to make the same.
    pub secret: Option<Secret>,
}

/// `[route.NAME.cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCachePlan {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How long after that it is still given, while a new one is asked for.
    pub stale_while_revalidate: Duration,
    /// How long after `ttl` it is given when no new one is to be had.
    pub stale_if_error: Duration,
    /// Who shares an answer.
    pub scope: CacheScope,
    /// Which responses are cached.
    pub when: CacheWhen,
    /// The largest response that is cached, in bytes.
    pub max_entry: usize,
    /// Fields at the top level of a body in OpenAI's dialect that do not make two calls different.
    pub ignore: Vec<String>,
    /// The delay between two events of a cached response that is replayed as a stream.
    pub pace: Duration,
}

/// `scope` of a route's cache: who shares an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// Everybody.
    Shared,
    /// The callers of one tenant.
    Tenant,
    /// One user, or one session.
    User,
}

/// `when` of a route's cache: which responses are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheWhen {
    /// All of them.
    Always,
    /// Those whose caller asks for no chance: `temperature` 0, or a `seed`.
    Deterministic,
}
