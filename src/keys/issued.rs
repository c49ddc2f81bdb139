//! Issued keys: those that were made while the gateway ran. In memory, and in the shared store where there is one, so that
//! all gateways know them within a moment.
//!
//! The ring in memory is what calls are checked with: no call waits for the store, and one that is out locks nobody out. It
//! does not know who may make keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::ring::Keyring;
use super::{ApiKey, Written};
use crate::store::StoreFault;
use crate::store::redis::{Redis, Script};

/// The most keys. A gateway for more customers than this has another place for them.
const MAX_KEYS: usize = 10_000;

/// How often the store is read although nobody said that anything changed.
const REREAD: Duration = Duration::from_secs(10);

/// The pause before the store is read again after that failed.
const AGAIN: Duration = Duration::from_millis(250);

/// How long a call waits at the start until the store was read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where gateways tell each other that keys have changed.
const CHANNEL: &str = "keys";

/// The group of the store's names; one hash in it holds all keys.
const GROUP: &str = "auth";

/// Puts, replaces or removes one key of the hash, if it is as it was read: two operators at once must not undo what the other
/// has done.
const CHANGE: &str = "local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1";

/// The keys.
pub struct Issued {
    ring: RwLock<Arc<Keyring>>,
    /// How often a key was changed here. Held while the ring is replaced, so that no change is lost to another.
    changes: Mutex<u64>,
    store: Option<Store>,
}

struct Store {
    redis: Arc<Redis>,
    change: Script,
    news: Notify,
    /// True once it was read.
    is_read: watch::Sender<bool>,
}

/// Why a key was not changed.
#[derive(Clone, Debug, PartialEq)]
pub enum NotChanged {
    /// It is not as it was: somebody else was faster.
    Conflict,
    /// There are too many.
    Full,
    /// The store is out.
    Store(StoreFault),
}

impl Issued {
    /// No keys yet; those of a shared store come when [`Issued::run`] runs.
    pub fn new(redis: Option<Arc<Redis>>) -> Self {
        let store = |redis| Store {
            redis,
            change: Script::new(CHANGE),
            news: Notify::new(),
            is_read: watch::Sender::new(false),
        };
        let store = redis.map(store);
        Self { ring: RwLock::default(), changes: Mutex::default(), store }
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<Keyring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it is known which keys there are: not at all, except at the very start. False: nobody says.
    pub async fn known(&self) -> bool {
        let Some(store) = &self.store else { return true };
        let mut is_read = store.is_read.subscribe();
        tokio::time::timeout(PATIENCE, is_read.wait_for(|is_read| *is_read)).await.is_ok()
    }

    /// True when they are kept outside the process.
    pub fn is_shared(&self) -> bool {
        self.store.is_some()
    }

    /// Makes a key out of none, another out of one, or none out of one.
    pub async fn change(&self, before: Option<&ApiKey>, after: Option<ApiKey>) -> Result<(), NotChanged> {
        let Some(name) = after.as_ref().or(before).map(|key| key.name.clone()) else { return Ok(()) };
        if before.is_none() && self.ring().len() >= MAX_KEYS {
            return Err(NotChanged::Full);
        }
        if let Some(store) = &self.store {
            let arguments = [name.to_string(), text(before), text(after.as_ref())];
            let keys = [store.redis.key(GROUP, "keys")];
            let changed = store.redis.run_script::<u8>(&store.change, &keys, &arguments).await;
            match changed.map_err(NotChanged::Store)? {
                1 => {}
                _ => {
                    // What is known here is older than the store.
                    store.news.notify_one();
                    return Err(NotChanged::Conflict);
                }
            }
            // It is in force here at once, and with the others when they have read it: now, or soon if nobody hears this.
            let _ = store.redis.publish(CHANNEL, name.as_bytes()).await;
            store.news.notify_one();
        }
        self.replace(|keys| {
            if self.store.is_none() && keys.get(&name).map(|key| &**key) != before {
                return Err(NotChanged::Conflict);
            }
            match after {
                Some(key) => drop(keys.insert(name, Arc::new(key))),
                None => drop(keys.remove(&name)),
            }
            Ok(())
        })
    }

    fn replace(
        &self,
        change: impl FnOnce(&mut BTreeMap<Arc<str>, Arc<ApiKey>>) -> Result<(), NotChanged>,
    ) -> Result<(), NotChanged> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.ring().keys().map(|key| (key.name.clone(), key.clone())).collect();
        change(&mut keys)?;
        *changes += 1;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Keyring::new(keys.into_values()));
        Ok(())
    }

    /// Follows the store, if there is one. Runs until dropped.
    pub async fn run(&self) {
        let Some(store) = &self.store else { return };
        let listening = store.redis.listen(CHANNEL, || store.news.notify_one(), |_| store.news.notify_one());
        let reading = async {
            loop {
                let pause = match self.read(store).await {
                    Ok(()) => REREAD,
                    // What is known stays good.
                    Err(_) => AGAIN,
                };
                let _ = tokio::time::timeout(pause, store.news.notified()).await;
            }
        };
        tokio::join!(listening, reading);
    }

    async fn read(&self, store: &Store) -> Result<(), StoreFault> {
        let before = *self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = redis::cmd("HVALS");
        command.arg(store.redis.key(GROUP, "keys"));
        let texts: Vec<String> = store.redis.ask(&command).await?;
        let parsed = texts.iter().take(MAX_KEYS).filter_map(|text| {
            let key = serde_json::from_str::<Written>(text).map_err(drop).and_then(|key| key.read().map_err(drop));
            if key.is_err() {
                tracing::warn!("the store holds an API key that cannot be read: it is not valid");
            }
            key.ok().map(Arc::new)
        });
        let ring = Keyring::new(parsed);
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *changes != before {
            // What was read may be older than what was changed meanwhile: it is read again.
            store.news.notify_one();
            return Ok(());
        }
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        store.is_read.send_replace(true);
        Ok(())
    }
}

/// A key as it stands in the store; nothing where there is none.
fn text(key: Option<&ApiKey>) -> String {
    key.and_then(|key| serde_json::to_string(&key.written(true)).ok()).unwrap_or_default()
}
