//! Issued API keys: those created at runtime. In memory, and in the shared store if there is one, so that all
//! gateways know them within a moment.
//!
//! Calls are checked against the key ring in memory: no call waits for the store, and an outage of it locks nobody
//! out. It does not know who may issue keys.

use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::api_key::ring::Keyring;
use crate::model::api_key::{ApiKey, Written};
use crate::state::store::StoreFault;
use crate::state::store::redis::Redis;
use crate::state::store::redis::shared_map::SharedMap;

/// The most keys. A gateway for more customers than this has another place for them.
const MAX_KEYS: usize = 10_000;

/// How often the store is looked at although nobody said that anything changed.
const LOOK: Duration = Duration::from_secs(10);

/// How long a call waits at the start until the store was read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where gateways tell each other that keys have changed.
const CHANNEL: &str = "keys";

/// The group of the store's names, and the hash in it that holds all keys.
const NAME: (&str, &str) = ("auth", "keys");

/// The keys.
pub struct Issued {
    ring: RwLock<Arc<Keyring>>,
    /// Held while the ring is replaced by one that is made out of it.
    turn: Mutex<()>,
    register: Option<SharedMap>,
}

/// Why a key was not changed.
#[derive(Clone, Debug, PartialEq)]
pub enum NotChanged {
    /// It is not as it was: somebody else was faster.
    Conflict,
    /// There are too many.
    Full,
    /// The store is down.
    Store(StoreFault),
}

impl Issued {
    /// No keys yet; those of a shared store come when [`Issued::run`] runs.
    pub fn new(redis: Option<Arc<Redis>>) -> Self {
        let register = redis.map(|redis| SharedMap::new(redis, NAME, CHANNEL, LOOK));
        Self { ring: RwLock::default(), turn: Mutex::default(), register }
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<Keyring> {
        self.ring.read().clone()
    }

    /// Waits until it is known which keys there are: not at all, except at the very start. False: nobody says.
    pub async fn known(&self) -> bool {
        match &self.register {
            Some(register) => register.was_read(PATIENCE).await,
            None => true,
        }
    }

    /// True when they are kept outside the process.
    pub fn is_shared(&self) -> bool {
        self.register.is_some()
    }

    /// Makes a key out of none, another out of one, or none out of one.
    pub async fn change(&self, before: Option<&ApiKey>, after: Option<ApiKey>) -> Result<(), NotChanged> {
        let Some(name) = after.as_ref().or(before).map(|key| key.name.clone()) else { return Ok(()) };
        if before.is_none() && self.ring().len() >= MAX_KEYS {
            return Err(NotChanged::Full);
        }
        let put = |keys: &mut BTreeMap<Arc<str>, Arc<ApiKey>>, after| match after {
            Some(key) => drop(keys.insert(name.clone(), Arc::new(key))),
            None => drop(keys.remove(&name)),
        };
        let Some(register) = &self.register else {
            return self.replace(|keys| {
                if keys.get(&name).map(|key| &**key) != before {
                    return Err(NotChanged::Conflict);
                }
                put(keys, after);
                Ok(())
            });
        };
        let changed = register.change(&name, &text(before), &text(after.as_ref())).await;
        match changed.map_err(NotChanged::Store)? {
            true => register.settle(|| {
                self.replace(|keys| {
                    put(keys, after);
                    Ok(())
                })
            }),
            false => Err(NotChanged::Conflict),
        }
    }

    fn replace(
        &self,
        change: impl FnOnce(&mut BTreeMap<Arc<str>, Arc<ApiKey>>) -> Result<(), NotChanged>,
    ) -> Result<(), NotChanged> {
        let _turn = self.turn.lock();
        let mut keys = self.ring().keys().map(|key| (key.name.clone(), key.clone())).collect();
        change(&mut keys)?;
        *self.ring.write() = Arc::new(Keyring::new(keys.into_values()));
        Ok(())
    }

    /// Follows the store, if there is one. Runs until dropped.
    pub async fn run(&self) {
        if let Some(register) = &self.register {
            register.follow(|texts| self.read(&texts)).await;
        }
    }

    fn read(&self, texts: &HashMap<String, String>) {
        let parsed = texts.values().take(MAX_KEYS).filter_map(|text| {
            let key = serde_json::from_str::<Written>(text).map_err(drop).and_then(|key| key.read().map_err(drop));
            if key.is_err() {
                tracing::warn!("ignoring an unreadable API key in the store");
            }
            key.ok().map(Arc::new)
        });
        *self.ring.write() = Arc::new(Keyring::new(parsed));
    }
}

/// A key as it stands in the store; nothing where there is none.
fn text(key: Option<&ApiKey>) -> String {
    key.and_then(|key| serde_json::to_string(&key.written(true)).ok()).unwrap_or_default()
}
