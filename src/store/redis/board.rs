//! The board: names with a moment each that only ever grows, the same for all gateways. What is written there all learn of at
//! once, and who was not there to listen when he looks again.
//!
//! It does not know what the moments are of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::StoreFault;
use super::{Redis, Script};

/// The name that stands for all others. When there are too many names, only this one is left: rather too much than too
/// little.
pub const ALL: &str = "all";

/// The most names on a board.
const NAMES: usize = 1_000;

/// How long a board is kept after it was last written on: longer than anything that it is about.
const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// How often a gateway looks whether the board has changed. What is published comes sooner; this is for what got lost.
const LOOK: Duration = Duration::from_millis(500);

/// A board.
pub struct Board {
    redis: Arc<Redis>,
    name: String,
    channel: String,
    raise: Script,
    /// The word that the board had when it was last read whole.
    read: Mutex<Option<String>>,
    changed: Notify,
}

impl Board {
    /// The board of this name.
    pub fn new(redis: Arc<Redis>, name: &str) -> Self {
        Self {
            name: redis.key(name, "board"),
            channel: name.to_owned(),
            raise: Script::new(include_str!("raise.lua")),
            read: Mutex::new(None),
            changed: Notify::new(),
            redis,
        }
    }

    /// Raises a name to a moment, for all gateways.
    pub async fn raise(&self, name: &str, moment: u64) -> Result<(), StoreFault> {
        let word = self.redis.word();
        let kept = KEPT.as_millis().to_string();
        let arguments = [name.to_owned(), moment.to_string(), word, NAMES.to_string(), kept, ALL.to_owned()];
        self.redis.run_script::<u64>(&self.raise, std::slice::from_ref(&self.name), &arguments).await?;
        // Who misses the message looks at the board itself a little later.
        let _ = self.redis.publish(&self.channel, format!("{moment} {name}").as_bytes()).await;
        Ok(())
    }

    /// True while what is on the board is known here, as of its last change or the one before.
    pub fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// Tells `each` of what is on the board and of every change. Runs until dropped.
    pub async fn follow(&self, each: impl Fn(&str, u64) + Sync) {
        tokio::join!(
            self.redis.listen(
                &self.channel,
                || self.changed.notify_one(),
                |message| {
                    if let Some((name, moment)) = std::str::from_utf8(&message).ok().and_then(read_message) {
                        each(name, moment);
                    }
                }
            ),
            self.look(&each)
        );
    }

    async fn look(&self, each: &(impl Fn(&str, u64) + Sync)) {
        loop {
            match self.look_once(each).await {
                Ok(word) => *self.lock() = Some(word),
                // What is written meanwhile is not known here.
                Err(_) => *self.lock() = None,
            }
            let _ = timeout(LOOK, self.changed.notified()).await;
        }
    }

    /// Reads the board, if it has changed. Returns its word.
    async fn look_once(&self, each: &(impl Fn(&str, u64) + Sync)) -> Result<String, StoreFault> {
        let word: Option<String> = self.redis.ask(redis::cmd("HGET").arg(&self.name).arg("")).await?;
        let word = word.unwrap_or_default();
        if self.lock().as_ref() == Some(&word) {
            return Ok(word);
        }
        let all: HashMap<String, String> = self.redis.ask(redis::cmd("HGETALL").arg(&self.name)).await?;
        for (name, moment) in all.iter().filter(|(name, _)| !name.is_empty()) {
            if let Ok(moment) = moment.parse() {
                each(name, moment);
            }
        }
        Ok(all.get("").cloned().unwrap_or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // One value that is replaced whole.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_message(message: &str) -> Option<(&str, u64)> {
    let (moment, name) = message.split_once(' ')?;
    Some((name, moment.parse().ok()?))
}
