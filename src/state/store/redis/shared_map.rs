//! A shared map: texts by name, the same for all gateways. It is one Redis hash; a writer states the previous value
//! (compare and set), and all other gateways see the change within a moment.
//!
//! It does not know what the texts mean.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::super::StoreFault;
use super::{Redis, Script};

/// The pause before the store is read again after that failed.
const AGAIN: Duration = Duration::from_millis(250);

/// The same after the first time; it doubles until it is as long. A start waits for what is read, and its connection takes a
/// moment.
const AGAIN_SOON: Duration = Duration::from_millis(10);

/// What `change.lua` answers where the key is of another type.
const SPOILT: u8 = 2;

/// Names and texts as they stand in the store.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A register.
pub struct SharedMap {
    redis: Arc<Redis>,
    name: String,
    channel: &'static str,
    look: Duration,
    change: Script,
    read: Script,
    restore: Script,
    news: Notify,
    /// The word that it had when it was last read whole, and its texts: what is lost in the store is put back from here.
    known: Mutex<Option<(String, HashMap<String, String>)>>,
    /// How often a text was changed here. Held while what was read is put in force, so that no change is lost to another.
    changes: Mutex<u64>,
    is_read: watch::Sender<bool>,
}

impl SharedMap {
    /// The register `name` of a group of the store's names. Gateways tell each other of changes on `channel`; what gets lost
    /// there is found by looking every so often.
    pub fn new(redis: Arc<Redis>, (group, name): (&str, &str), channel: &'static str, look: Duration) -> Self {
        Self {
            name: redis.key(group, name),
            channel,
            look,
            change: Script::new(include_str!("change.lua")),
            read: Script::new(include_str!("read.lua")),
            restore: Script::new(include_str!("restore.lua")),
            news: Notify::new(),
            known: Mutex::default(),
            changes: Mutex::default(),
            is_read: watch::Sender::new(false),
            redis,
        }
    }

    /// Replaces a text by another, for all gateways; an empty one is none. False, and nothing has changed: it was not as it
    /// was thought to be.
    pub async fn change(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreFault> {
        let arguments = [name.to_owned(), before.to_owned(), after.to_owned(), self.redis.word()];
        let keys = std::slice::from_ref(&self.name);
        let mut changed = self.redis.run_script::<u8>(&self.change, keys, &arguments).await?;
        if changed == SPOILT {
            let known = lock(&self.known).as_ref().map(|(_, texts)| texts.clone());
            self.put_back(&known.unwrap_or_default()).await?;
            changed = self.redis.run_script::<u8>(&self.change, keys, &arguments).await?;
        }
        let changed = changed == 1;
        if changed {
            // With the others it is in force when they have read it: now, or soon if nobody hears this.
            let _ = self.redis.publish(self.channel, name.as_bytes()).await;
        }
        // Where it was not as thought, what is known here is older than the store.
        self.news.notify_one();
        Ok(changed)
    }

    /// Puts in force here what was changed, so that nothing that was read before undoes it.
    pub fn settle<T>(&self, apply: impl FnOnce() -> T) -> T {
        let mut changes = lock(&self.changes);
        *changes += 1;
        apply()
    }

    /// Waits until it was read once, but never longer than this. False: it was not.
    pub async fn was_read(&self, patience: Duration) -> bool {
        let mut is_read = self.is_read.subscribe();
        timeout(patience, is_read.wait_for(|is_read| *is_read)).await.is_ok()
    }

    /// Tells `apply` of all texts, now and whenever one has changed. Runs until dropped.
    pub async fn follow(&self, apply: impl Fn(HashMap<String, String>) + Sync) {
        let listening = self.redis.listen(self.channel, || self.news.notify_one(), |_| self.news.notify_one());
        let reading = async {
            let mut again = AGAIN_SOON;
            loop {
                let pause = match self.read(&apply).await {
                    Ok(()) => {
                        again = AGAIN;
                        self.look
                    }
                    // What is known stays good.
                    Err(_) => {
                        let pause = again;
                        again = AGAIN.min(pause * 2);
                        pause
                    }
                };
                let _ = timeout(pause, self.news.notified()).await;
            }
        };
        tokio::join!(listening, reading);
    }

    async fn read(&self, apply: &(impl Fn(HashMap<String, String>) + Sync)) -> Result<(), StoreFault> {
        let before = *lock(&self.changes);
        let known = lock(&self.known).as_ref().map(|(word, _)| word.clone());
        let arguments = [known.is_some().to_string(), known.clone().unwrap_or_default()];
        let keys = std::slice::from_ref(&self.name);
        let (spoilt, word, fields): (u64, Vec<u8>, Fields) =
            self.redis.run_script(&self.read, keys, &arguments).await?;
        if spoilt != 0 {
            return self.mend().await;
        }
        let word = String::from_utf8_lossy(&word).into_owned();
        if known.as_ref() == Some(&word) {
            return Ok(());
        }
        let text = |bytes| String::from_utf8(bytes).map_err(|_| self.redis.note_spoilt(&self.name)).ok();
        let fields = fields.into_iter().filter_map(|(name, value)| text(name).zip(text(value)));
        let texts: HashMap<String, String> = fields.filter(|(name, _)| !name.is_empty()).collect();
        let changes = lock(&self.changes);
        if *changes != before {
            // What was read may be older than what was changed meanwhile: it is read again.
            self.news.notify_one();
            return Ok(());
        }
        *lock(&self.known) = Some((word, texts.clone()));
        apply(texts);
        self.is_read.send_replace(true);
        Ok(())
    }

    /// Puts back what is known here where the store holds something else under this name. Who never read it leaves that to the
    /// others: to keep nothing would take from them what they have.
    async fn mend(&self) -> Result<(), StoreFault> {
        let known = lock(&self.known).as_ref().map(|(_, texts)| texts.clone());
        match known {
            Some(texts) => self.put_back(&texts).await,
            None => {
                let key = &*self.name;
                tracing::error!(
                    store_key = key,
                    "a Redis key has the wrong type, and its contents are unknown: delete it"
                );
                Err(StoreFault::Spoilt)
            }
        }
    }

    async fn put_back(&self, texts: &HashMap<String, String>) -> Result<(), StoreFault> {
        let pairs = texts.iter().flat_map(|(name, text)| [name.clone(), text.clone()]);
        let arguments: Vec<String> = std::iter::once(self.redis.word()).chain(pairs).collect();
        let keys = std::slice::from_ref(&self.name);
        let restored = self.redis.run_script::<u64>(&self.restore, keys, &arguments).await?;
        self.redis.note_all_spoilt(keys.iter().zip([restored]));
        self.news.notify_one();
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    // Each of these holds one value that is replaced whole.
    mutex.lock()
}
