//! A request that was decoded before, and the cache key that was computed for it.
//!
//! It does not know how a key is computed, nor how long a request is remembered.

use std::sync::Arc;

use parking_lot::Mutex;

use super::CallRequest;

/// A request that was answered from the cache before, and what the cache knows of it since.
#[derive(Debug)]
pub struct KnownRequest {
    /// The request, decoded.
    pub request: Arc<CallRequest>,
    key: Mutex<Option<KnownKey>>,
}

/// A cache key, and what it holds for besides the request and its caller.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The cache that made it; each has targets of its own.
    pub cache: Arc<()>,
    /// The target that would answer, counted from zero.
    pub target: usize,
    /// The key.
    pub key: [u8; 32],
    /// What the tenant is called in entries.
    pub tenant: [u8; 16],
}

impl KnownRequest {
    /// A request of which nothing else is known yet.
    pub fn new(request: Arc<CallRequest>) -> Self {
        Self { request, key: Mutex::default() }
    }

    /// Its key in a cache, while this target would answer.
    pub fn key(&self, cache: &Arc<()>, target: usize) -> Option<KnownKey> {
        self.key.lock().clone().filter(|known| Arc::ptr_eq(&known.cache, cache) && known.target == target)
    }

    /// Takes note of its key.
    pub fn note(&self, key: KnownKey) {
        *self.key.lock() = Some(key);
    }
}
