//! The register: texts by name, the same for all gateways. One hash of the store holds them; who changes one says what it was
//! before, and all others read it within a moment.
//!
//! It does not know what the texts mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::super::StoreFault;
use super::{Redis, Script};

/// The pause before the store is read again after that failed.
const AGAIN: Duration = Duration::from_millis(250);

/// Puts, replaces or removes one text, if it is as it was read: two operators at once must not undo what the other has done.
/// A word under the empty name tells that something has changed.
const CHANGE: &str = "local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
redis.call('HSET', KEYS[1], '', ARGV[4])
return 1";

/// A register.
pub struct Register {
    redis: Arc<Redis>,
    name: String,
    channel: &'static str,
    look: Duration,
    change: Script,
    news: Notify,
    /// The word that it had when it was last read whole.
    word: Mutex<Option<String>>,
    /// How often a text was changed here. Held while what was read is put in force, so that no change is lost to another.
    changes: Mutex<u64>,
    is_read: watch::Sender<bool>,
}

impl Register {
    /// The register `name` of a group of the store's names. Gateways tell each other of changes on `channel`; what gets lost
    /// there is found by looking every so often.
    pub fn new(redis: Arc<Redis>, (group, name): (&str, &str), channel: &'static str, look: Duration) -> Self {
        Self {
            name: redis.key(group, name),
            channel,
            look,
            change: Script::new(CHANGE),
            news: Notify::new(),
            word: Mutex::default(),
            changes: Mutex::default(),
            is_read: watch::Sender::new(false),
            redis,
        }
    }

    /// Replaces a text by another, for all gateways; an empty one is none. False, and nothing has changed: it was not as it
    /// was thought to be.
    pub async fn change(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreFault> {
        let arguments = [name.to_owned(), before.to_owned(), after.to_owned(), self.redis.word()];
        let changed =
            self.redis.run_script::<u8>(&self.change, std::slice::from_ref(&self.name), &arguments).await? == 1;
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
            loop {
                let pause = match self.read(&apply).await {
                    Ok(()) => self.look,
                    // What is known stays good.
                    Err(_) => AGAIN,
                };
                let _ = timeout(pause, self.news.notified()).await;
            }
        };
        tokio::join!(listening, reading);
    }

    async fn read(&self, apply: &(impl Fn(HashMap<String, String>) + Sync)) -> Result<(), StoreFault> {
        let before = *lock(&self.changes);
        let word: Option<String> = self.redis.ask(redis::cmd("HGET").arg(&self.name).arg("")).await?;
        if *lock(&self.word) == Some(word.unwrap_or_default()) {
            return Ok(());
        }
        let mut texts: HashMap<String, String> = self.redis.ask(redis::cmd("HGETALL").arg(&self.name)).await?;
        let word = texts.remove("").unwrap_or_default();
        let changes = lock(&self.changes);
        if *changes != before {
            // What was read may be older than what was changed meanwhile: it is read again.
            self.news.notify_one();
            return Ok(());
        }
        *lock(&self.word) = Some(word);
        apply(texts);
        self.is_read.send_replace(true);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each of these holds one value that is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
