//! A shared invalidation log: name to monotonic timestamp, published to all gateways and re-read periodically by
//! those that missed the message.
//!
//! Timestamps are the store's: gateways' own clocks may be hours apart, so they only send and receive ages. It does
//! not know what is invalidated.

use parking_lot::Mutex;
use std::sync::Arc;
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
pub struct Invalidations {
    redis: Arc<Redis>,
    name: String,
    channel: String,
    raise: Script,
    look: Script,
    /// The word that the board had when it was last read whole.
    read: Mutex<Option<String>>,
    changed: Notify,
}

impl Invalidations {
    /// The board of this name.
    pub fn new(redis: Arc<Redis>, name: &str) -> Self {
        Self {
            name: redis.key(name, "board"),
            channel: name.to_owned(),
            raise: Script::new(include_str!("raise.lua")),
            look: Script::new(include_str!("look.lua")),
            read: Mutex::new(None),
            changed: Notify::new(),
            redis,
        }
    }

    /// Raises a name to the moment that was `ago` before now, for all gateways.
    pub async fn raise(&self, name: &str, ago: Duration) -> Result<(), StoreFault> {
        let word = self.redis.word();
        let (ago, kept) = (ago.as_millis().to_string(), KEPT.as_millis().to_string());
        let arguments = [name.to_owned(), ago.clone(), word, NAMES.to_string(), kept, ALL.to_owned()];
        let keys = std::slice::from_ref(&self.name);
        let spoilt = self.redis.run_script::<u64>(&self.raise, keys, &arguments).await?;
        self.redis.note_all_spoilt(keys.iter().zip([spoilt]));
        // Who misses the message looks at the board itself a little later.
        let _ = self.redis.publish(&self.channel, format!("{ago} {name}").as_bytes()).await;
        Ok(())
    }

    /// True while what is on the board is known here, as of its last change or the one before.
    pub fn is_known(&self) -> bool {
        self.read.lock().is_some()
    }

    /// Tells `each` of what is on the board and of every change: a name, and how long ago its moment was at most. Runs until
    /// dropped.
    pub async fn follow(&self, each: impl Fn(&str, Duration) + Sync) {
        tokio::join!(
            self.redis.listen(
                &self.channel,
                || self.changed.notify_one(),
                |message| {
                    // Also what was on its way for a while: it is taken for younger than it is.
                    if let Some((name, ago)) = std::str::from_utf8(&message).ok().and_then(read_message) {
                        each(name, ago);
                    }
                    self.changed.notify_one();
                }
            ),
            self.look(&each)
        );
    }

    async fn look(&self, each: &(impl Fn(&str, Duration) + Sync)) {
        loop {
            match self.look_once(each).await {
                Ok(word) => *self.read.lock() = Some(word),
                // What is written meanwhile is not known here.
                Err(_) => *self.read.lock() = None,
            }
            let _ = timeout(LOOK, self.changed.notified()).await;
        }
    }

    /// Reads the board, if it has changed. Returns its word.
    async fn look_once(&self, each: &(impl Fn(&str, Duration) + Sync)) -> Result<String, StoreFault> {
        let known = self.read.lock().clone();
        // Where nothing is known the board is read whatever its word is.
        let (word, kept) = (self.redis.word(), KEPT.as_millis().to_string());
        let arguments = [known.is_some().to_string(), known.unwrap_or_default(), word, kept, ALL.to_owned()];
        let keys = std::slice::from_ref(&self.name);
        let (now, spoilt, word, fields): (u64, u64, String, Vec<(Vec<u8>, u64)>) =
            self.redis.run_script(&self.look, keys, &arguments).await?;
        self.redis.note_all_spoilt(keys.iter().zip([spoilt]));
        for (name, moment) in fields {
            // A moment that is still to come is none: the store's clock was set back.
            let ago = Duration::from_millis(now.saturating_sub(moment));
            if let Ok(name) = std::str::from_utf8(&name) {
                each(name, ago);
            }
        }
        Ok(word)
    }
}

fn read_message(message: &str) -> Option<(&str, Duration)> {
    let (ago, name) = message.split_once(' ')?;
    Some((name, ago.parse().ok().map(Duration::from_millis)?))
}
