//! What the Redis that keeps the jobs says of itself: whether it writes to disk, when, and whether it may evict what it keeps.
//!
//! It does not know what is done about it.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{FromRedisValue, Value, pipe};
use tokio::time::Instant;

use crate::state::store::StoreFault;
use crate::state::store::redis::Redis;

/// For how long an answer is good. A replica that takes over may be configured otherwise.
const GOOD: Duration = Duration::from_secs(1);

/// As of the last look.
#[derive(Default)]
pub(super) struct Medium(Mutex<Look>);

#[derive(Clone, Default)]
struct Look {
    at: Option<Instant>,
    /// `None`: it does not say.
    is_volatile: Option<bool>,
    /// `appendfsync`, where what it has accepted may not be on the disk yet.
    lag: Option<String>,
    /// The policy by which it evicts, if it may.
    eviction: Option<String>,
    is_silent: bool,
}

impl Medium {
    /// True when it said that it does not write to disk.
    pub(super) fn is_volatile(&self) -> bool {
        self.0.lock().is_volatile == Some(true)
    }

    /// Asks, unless that was just done. The answer is that of the server which has this key. Warns of what has changed to
    /// the worse.
    pub(super) async fn look(&self, redis: &Redis, key: &str) -> Result<(), StoreFault> {
        if self.0.lock().at.is_some_and(|at| at.elapsed() < GOOD) {
            return Ok(());
        }
        let mut commands = pipe();
        // An ACL may forbid to ask, which is no outage.
        commands.ignore_errors();
        commands.cmd("EXISTS").arg(key);
        commands.cmd("INFO").arg("persistence").cmd("INFO").arg("memory");
        commands.cmd("CONFIG").arg("GET").arg("appendfsync");
        let answers = match redis.run_all(&commands).await? {
            Value::Array(answers) => answers,
            _ => Vec::new(),
        };
        // The first is only there for its key.
        let mut answers = answers.into_iter().skip(1);
        let mut text = || answers.next().and_then(|it| String::from_redis_value(it).ok()).unwrap_or_default();
        let (persistence, memory) = (text(), text());
        let synced = answers.next().and_then(|it| Vec::<String>::from_redis_value(it).ok()?.pop());
        let now = Look::read(&persistence, &memory, synced.as_deref());
        now.warn(&std::mem::replace(&mut *self.0.lock(), now.clone()));
        Ok(())
    }
}

impl Look {
    /// `synced`: its `appendfsync`, if it may be asked.
    fn read(persistence: &str, memory: &str, synced: Option<&str>) -> Self {
        let is_volatile = field(persistence, "aof_enabled").map(|value| value == "0");
        let lag = synced.filter(|synced| is_volatile == Some(false) && *synced != "always");
        let is_bounded = field(memory, "maxmemory").is_some_and(|value| value != "0");
        let eviction = field(memory, "maxmemory_policy").filter(|policy| is_bounded && *policy != "noeviction");
        Self {
            at: Some(Instant::now()),
            is_volatile,
            lag: lag.map(str::to_owned),
            eviction: eviction.map(str::to_owned),
            is_silent: is_volatile.is_none(),
        }
    }

    fn warn(&self, before: &Look) {
        if self.is_volatile == Some(true) && before.is_volatile != Some(true) {
            tracing::warn!(
                "the Redis that keeps jobs does not write to disk: jobs are refused unless jobs.volatile is set; set \
                 `appendonly yes` there"
            );
        }
        if let Some(appendfsync) = self.lag.as_deref().filter(|_| self.lag != before.lag) {
            tracing::warn!(
                appendfsync,
                "the Redis that keeps jobs answers before they are on the disk: if it is killed, jobs that were accepted in \
                 the seconds before may be lost; set `appendfsync always` there"
            );
        }
        if let Some(policy) = self.eviction.as_deref().filter(|_| self.eviction != before.eviction) {
            tracing::warn!(
                maxmemory_policy = policy,
                "the Redis that keeps jobs may evict them and their results when it is full; set `maxmemory-policy \
                 noeviction` there, or name a Redis of their own in jobs.redis_url"
            );
        }
        if self.is_silent && !before.is_silent {
            tracing::warn!(
                "the Redis that keeps jobs does not say whether it writes to disk; allow INFO to the gateway's user, \
                 and make sure of `appendonly yes`"
            );
        }
    }
}

/// The value of a line `name:value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_read_is_what_was_said() {
        let read = |aof: &str, maximum: &str, policy: &str| {
            let look = Look::read(
                &format!("# Persistence\r\nloading:0\r\naof_enabled:{aof}\r\naof_rewrite_in_progress:0\r\n"),
                &format!("maxmemory_human:1\r\nmaxmemory:{maximum}\r\nmaxmemory_policy:{policy}\r\n"),
                Some("everysec"),
            );
            (look.is_volatile, look.eviction, look.lag.is_some())
        };
        assert_eq!(read("1", "0", "volatile-lru"), (Some(false), None, true));
        assert_eq!(read("0", "268435456", "noeviction"), (Some(true), None, false));
        assert_eq!(read("1", "268435456", "allkeys-lru"), (Some(false), Some("allkeys-lru".to_owned()), true));
        assert_eq!(Look::read("aof_enabled:1", "", Some("always")).lag, None);
        let silent = Look::read("", "", None);
        assert_eq!((silent.is_volatile, silent.eviction, silent.is_silent), (None, None, true));
    }
}
